"""Named problems, the same numbers in every table of the benches."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from fastem.engines.base import ClassSortedRows, sort_by_class
from fastem.parameters import Parameters, Shape


class EStepProblem(NamedTuple):
    """Labelled rows drawn from a network, and that network."""

    rows: ClassSortedRows
    shape: Shape
    parameters: Parameters


def e_step_problem(
    n_samples: int, n_hidden: int, n_classes: int, n_features: int = 20
) -> EStepProblem:
    """Draw a network with log-odds of order one, then rows and labels from it."""
    rng = np.random.default_rng([n_samples, n_hidden, n_classes, n_features])
    shape = Shape(n_features, n_hidden, n_classes)
    hidden = rng.normal(size=(shape.n_inputs, n_hidden)) / np.sqrt(shape.n_inputs)
    output = rng.normal(size=(n_hidden, n_classes))
    parameters = Parameters(hidden, output, rng.normal(size=n_classes))

    X = rng.normal(size=(n_samples, n_features))
    log_odds = X @ hidden[:-1] + hidden[-1]
    z = rng.logistic(size=log_odds.shape) < log_odds
    logits = z @ output + parameters.output_intercepts
    y = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    return EStepProblem(sort_by_class(X, y, np.ones(n_samples), shape), shape, parameters)


# Hidden units that FastEMClassifier is given on a data set, where not its default.
HIDDEN_LAYER_SIZES = {"digits": (16,)}

DATASETS = ("iris", "wine", "breast_cancer", "digits")


def dataset(name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return raw features and labels of one of scikit-learn's own data sets."""
    return getattr(datasets, f"load_{name}")(return_X_y=True)


def fastem_settings(name: str) -> dict:
    """Return what a data set asks of FastEMClassifier beside its defaults."""
    sizes = HIDDEN_LAYER_SIZES.get(name)
    return {} if sizes is None else {"hidden_layer_sizes": sizes}
