"""Random starting values.

They do not depend on single rows, and so neither on the order nor on the number of the rows. A fit
with a row of weight 2 and a fit with that row repeated therefore have the same start and the same
result.
"""

import numpy as np

from fastem.parameters import Array, Parameters, Shape

# Standard deviations of the hidden log-odds and of the output weights. Large values lead to better
# optima than small ones (measured on iris, wine, breast cancer and digits by
# benches/choose_defaults.py).
_LOG_ODDS_DEVIATION = 2.0
_OUTPUT_DEVIATION = 4.0
# With more units than this, the spread of the logits is that of 16 units. Quadrature needs nodes in
# proportion to the spread, and the optima are as good (breast cancer with 64 units, moons with
# 100).
_MOST_UNITS_AT_FULL_DEVIATION = 16


def draw_start(
    shape: Shape, class_weights: Array, random_state: np.random.RandomState
) -> Parameters:
    """Draw starting values for standardised features.

    Hidden log-odds have standard deviation 2 over rows, or over the states of the layer below if
    each of its units is on with probability 1/2. Output weights have standard deviation 4 and mean
    zero over classes. The output intercepts give the classes their frequencies if every hidden unit
    has the value 1/2. With more than 16 units in the last layer, output weights are smaller: the
    logits have the spread of 16 units.

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
        deviation = 1.0 if layer == 0 else 0.5  # standard deviation of an input
        spread = _LOG_ODDS_DEVIATION / (deviation * np.sqrt(n_below))
        weights = np.zeros((n_inputs, n_hidden))
        weights[:n_below] = spread * random_state.standard_normal((n_below, n_hidden))
        if shape.fit_intercept and layer > 0:
            weights[-1] = -0.5 * weights[:n_below].sum(axis=0)  # zero where all inputs are 1/2
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
