"""Named problems of the benches, the same in all tables."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from fastem.families import resolve_family
from fastem.parameters import NO_VARIANCE, Parameters, Shape
from fastem.profiling.stopwatch import draw_problem
from fastem.rows import TrainingRows, sort_rows


class EStepProblem(NamedTuple):
    """Rows with outputs drawn from a network, and the network."""

    rows: TrainingRows
    shape: Shape
    parameters: Parameters


def e_step_problem(
    n_samples: int, n_hidden: int | tuple[int, ...], n_classes: int, n_features: int = 20
) -> EStepProblem:
    """Draw a network with log-odds of order one, and rows and labels from this network."""
    sizes = (n_hidden,) if isinstance(n_hidden, int) else n_hidden
    rng = np.random.default_rng([n_samples, *sizes, n_classes, n_features])
    shape = Shape(n_features, sizes, n_classes)
    rows, parameters = draw_problem(shape, n_samples, rng)
    return EStepProblem(rows, shape, parameters)


def family_problem(
    family: str, n_samples: int, n_hidden: int, n_outputs: int, noise: float = 0.5
) -> EStepProblem:
    """Draw a network with another family, and 20 features and outputs from this network.

    Gaussian noise has the standard deviation ``noise`` times that of the means given the hidden
    states. The noise variance among the parameters is that of ``noise`` times the standard
    deviation of y.
    """
    rng = np.random.default_rng([n_samples, n_hidden, n_outputs])
    shape = Shape(20, (n_hidden,), n_outputs, family=resolve_family(family))
    hidden = rng.normal(size=shape.hidden_shapes[0]) / np.sqrt(shape.n_inputs)
    output = rng.normal(size=shape.output_shape) / np.sqrt(shape.last)
    X = rng.normal(size=(n_samples, shape.n_features))
    states = rng.logistic(size=(n_samples, n_hidden)) < X @ hidden[:-1] + hidden[-1]
    eta = states @ output[:-1] + output[-1]
    random_state = np.random.RandomState(0)
    y = shape.family.draw(eta, (noise * eta.std(axis=0)) ** 2, random_state)
    variance = (noise * y.std(axis=0)) ** 2 if shape.family.has_variance else NO_VARIANCE
    rows = sort_rows(X, y, np.ones(n_samples), shape)
    return EStepProblem(rows, shape, Parameters((hidden,), output, variance))


# Hidden units of FastEMClassifier for data sets that need more than ten.
HIDDEN_LAYER_SIZES = {"digits": (16,)}

DATASETS = ("iris", "wine", "breast_cancer", "digits")


def dataset(name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return raw features and labels of one of scikit-learn's own data sets."""
    return getattr(datasets, f"load_{name}")(return_X_y=True)


# Given penalties of FastEMClassifier and FastEMRegressor.
PENALTY_OF_CLASSES, PENALTY_OF_NUMBERS = 0.15, 0.5


def fastem_settings(name: str) -> dict:
    """Return parameters of FastEMClassifier for a data set, so that a fit chooses nothing."""
    sizes = HIDDEN_LAYER_SIZES.get(name, (10,))
    fixed = {"solver": "em", "m_step": "newton", "alpha": PENALTY_OF_CLASSES}
    return {"hidden_layer_sizes": sizes, **fixed}


def many_units(name: str) -> tuple[int, NDArray[np.float64], NDArray[np.int64]]:
    """Return hidden units, features and labels of a two-class problem."""
    n_hidden, draw = _MANY_UNITS[name]
    return n_hidden, *draw()


def _moons() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return datasets.make_moons(1000, noise=0.25, random_state=0)


def _odd_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    X, y = datasets.load_digits(return_X_y=True)
    return X, y % 2


_MANY_UNITS = {
    "breast_cancer-64": (64, lambda: dataset("breast_cancer")),
    "moons-100": (100, _moons),
    "odd_digits-200": (200, _odd_digits),
}
MANY_UNITS = tuple(_MANY_UNITS)


class MLPProblem(NamedTuple):
    """Rows, labels, and parameters of both MLPClassifier and FastMLPClassifier."""

    X: NDArray[np.float64]
    y: NDArray[np.int64]
    parameters: dict

    def with_parameters(self, **parameters) -> "MLPProblem":
        """Return the problem with changed or additional parameters."""
        return self._replace(parameters={**self.parameters, **parameters})


def mlp_problem(name: str) -> MLPProblem:
    """Return a problem of backpropagation with a fixed number of epochs."""
    X, y, parameters = _MLP_PROBLEMS[name]()
    fixed = {"random_state": 0, "tol": 0.0, "n_iter_no_change": parameters["max_iter"] + 1}
    return MLPProblem(X, y, {**fixed, **parameters})


def _digits_mlp():
    X, y = dataset("digits")
    return X / 16.0, y, {"hidden_layer_sizes": (32,), "batch_size": 32, "max_iter": 20}


def _digits_lbfgs_mlp():
    X, y = dataset("digits")
    return X / 16.0, y, {"hidden_layer_sizes": (32,), "solver": "lbfgs", "max_iter": 30}


def _iris_mlp():
    return *dataset("iris"), {"hidden_layer_sizes": (8,), "batch_size": 8, "max_iter": 100}


def _online_mlp():
    """Digits as images of 28 x 28 pixels, three hidden layers, batches of one row."""
    X, y = dataset("digits")
    images = X[:1500].reshape(-1, 8, 8).repeat(3, axis=1).repeat(3, axis=2)
    X = np.pad(images, ((0, 0), (2, 2), (2, 2))).reshape(-1, 784) / 16.0 * 0.99 + 0.01
    parameters = {
        "hidden_layer_sizes": (100, 100, 100),
        "activation": "logistic",
        "solver": "sgd",
        "batch_size": 1,
        "learning_rate_init": 0.01,
        "max_iter": 1,
    }
    return X, y[:1500], parameters


def _wide_mlp():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20_000, 784)), rng.integers(10, size=20_000)
    return X, y, {"hidden_layer_sizes": (256,), "batch_size": 256, "max_iter": 2}


_MLP_PROBLEMS = {
    "digits": _digits_mlp,
    "digits-lbfgs": _digits_lbfgs_mlp,
    "iris": _iris_mlp,
    "online": _online_mlp,
    "wide": _wide_mlp,
}
