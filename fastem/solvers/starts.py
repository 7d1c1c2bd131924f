"""Starting values, drawn in parameter space.

Nothing here looks at single rows, so that a start depends on neither their order nor
their number: equal weights and repetition begin, and end, at the same point.
"""

import numpy as np

from fastem.parameters import Array, Parameters, Shape

# Deviations of the hidden log-odds and of the output weights. Units that begin decided and
# with a say in the outcome end in better optima than ones that begin undecided (measured
# on iris, wine, breast cancer and digits by benches/choose_defaults.py).
_LOG_ODDS_DEVIATION = 2.0
_OUTPUT_DEVIATION = 4.0
# Units beyond these share the spread of logits that so many have: quadrature needs nodes in
# proportion to it, and the optima are as good (breast cancer with 64 units, moons with 100).
_MOST_UNITS_AT_FULL_DEVIATION = 16


def draw_start(
    shape: Shape, class_weights: Array, random_state: np.random.RandomState
) -> Parameters:
    """Draw starting values for standardised features.

    Hidden log-odds have deviation 2 over rows, or over states of the layer below when each of
    its units is on half the time; output weights have deviation 4 and mean zero over classes;
    the output intercepts give the classes their frequencies when every hidden unit is half on.
    In a last layer of more than 16 units output weights are smaller, so that the logits spread
    no more than there.

    Parameters
    ----------
    shape : Shape
    class_weights : array (n_classes,)
        Total weight of the rows of each class.
    random_state : RandomState

    Returns
    -------
    parameters : Parameters
    """
    hidden = []
    for layer, (n_inputs, n_hidden) in enumerate(shape.hidden_shapes):
        n_below = n_inputs - shape.fit_intercept
        deviation = 1.0 if layer == 0 else 0.5  # of an input
        spread = _LOG_ODDS_DEVIATION / (deviation * np.sqrt(n_below))
        weights = np.zeros((n_inputs, n_hidden))
        weights[:n_below] = spread * random_state.standard_normal((n_below, n_hidden))
        if shape.fit_intercept and layer > 0:
            weights[-1] = -0.5 * weights[:n_below].sum(axis=0)  # centred where all are half on
        hidden.append(weights)
    crowding = min(1.0, _MOST_UNITS_AT_FULL_DEVIATION / shape.last)
    output = (
        _OUTPUT_DEVIATION
        * np.sqrt(crowding)
        * random_state.standard_normal((shape.last, shape.n_classes))
    )
    output -= output.mean(axis=1, keepdims=True)
    if shape.fit_intercept:
        # a class without weight keeps a finite intercept
        shares = np.maximum(class_weights / class_weights.sum(), 1e-6)
        output = np.vstack([output, np.log(shares) - 0.5 * output.sum(axis=0)])
    return Parameters(tuple(hidden), output)
