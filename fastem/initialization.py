"""Starting values, drawn in parameter space.

Nothing here looks at single rows, so that a start depends on neither their order nor
their number: equal weights and repetition begin, and end, at the same point.
"""

import numpy as np

from fastem.parameters import Array, Parameters, Shape


def draw_start(
    shape: Shape, class_weights: Array, random_state: np.random.RandomState
) -> Parameters:
    """Draw starting values for standardised features.

    Hidden log-odds have variance 1 and output weights have variance 1 around zero mean
    over classes; the output intercepts give the classes their frequencies when every
    hidden unit is half on.

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
    spread = 1.0 / np.sqrt(shape.n_features)
    hidden = np.zeros((shape.n_inputs, shape.n_hidden))
    hidden[: shape.n_features] = spread * random_state.standard_normal(
        (shape.n_features, shape.n_hidden)
    )
    output = random_state.standard_normal((shape.n_hidden, shape.n_classes))
    output -= output.mean(axis=1, keepdims=True)
    intercepts = np.zeros(shape.n_classes)
    if shape.fit_intercept:
        # a class without weight keeps a finite intercept
        shares = np.maximum(class_weights / class_weights.sum(), 1e-6)
        intercepts = np.log(shares) - 0.5 * output.sum(axis=0)
    return Parameters(hidden, output, intercepts)
