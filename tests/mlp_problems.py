"""Small problems for the multi-layer perceptrons, and how two fits are compared."""

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier, MLPRegressor

from fastem import FastMLPClassifier, FastMLPRegressor

CONVERGENCE = "ignore::sklearn.exceptions.ConvergenceWarning"

_rng = np.random.default_rng(20)
X = _rng.normal(size=(45, 4))
_scores = X @ _rng.normal(size=(4, 3)) + 0.5 * _rng.normal(size=(45, 3))
WEIGHTS = _rng.uniform(0.2, 3.0, size=45)
WEIGHTS[[3, 17, 30]] = 0.0
NAMES = np.array(["pear", "apple", "quince"])
TARGETS = {
    "binary": (_scores[:, 0] > 0.2).astype(int),
    "multiclass": np.argmax(_scores, axis=1),
    "strings": NAMES[np.argmax(_scores, axis=1)],
    "two strings": NAMES[(_scores[:, 0] > 0.2).astype(int)],
    "multilabel": (_scores > 0.3).astype(int),
    "one output": _scores[:, 0],
    "three outputs": _scores,
    "poisson": _rng.poisson(np.exp(0.4 * _scores[:, 0])).astype(float),
}
REGRESSIONS = ("one output", "three outputs", "poisson")
for _array in (X, WEIGHTS, *TARGETS.values()):
    _array.setflags(write=False)


def settings(task, **options):
    """Options of a small network, with the loss that the task asks for."""
    chosen = {"hidden_layer_sizes": (5,), "max_iter": 6, "random_state": 1, **options}
    if task in ("poisson", "three outputs"):  # whose gradients grow
        chosen["learning_rate_init"] = 0.2 * chosen.get("learning_rate_init", 0.005)
    if task == "poisson":
        chosen["loss"] = "poisson"
    return chosen


SGD = {"solver": "sgd", "learning_rate_init": 0.05, "batch_size": 7}
ADAM = {"solver": "adam", "learning_rate_init": 0.01, "batch_size": 7}
STOCHASTIC = [SGD, ADAM]
BY_SOLVER = {"ids": lambda value: value.get("solver") if isinstance(value, dict) else str(value)}
TOLERANCE = {"rtol": 1e-8, "atol": 1e-8}


def fast(task, **options):
    kind = FastMLPRegressor if task in REGRESSIONS else FastMLPClassifier
    return kind(**settings(task, **options))


def slow(task, **options):
    kind = MLPRegressor if task in REGRESSIONS else MLPClassifier
    return kind(**settings(task, **options))


def parameters(model):
    return [*model.coefs_, *model.intercepts_]


def same_bits(a, b):
    """Whether two models have the same parameters to the last bit."""
    return len(parameters(a)) == len(parameters(b)) and all(
        np.array_equal(p, q) for p, q in zip(parameters(a), parameters(b), strict=True)
    )


def assert_same(ours, theirs, rows=X, tolerance=TOLERANCE):
    """Compare all that scikit-learn's model has, and what it predicts."""
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert len(ours.coefs_) == len(theirs.coefs_) == len(ours.intercepts_)
    for a, b in zip(parameters(ours), parameters(theirs), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, **tolerance)
    for name in (
        "loss_",
        "best_loss_",
        "loss_curve_",
        "validation_scores_",
        "best_validation_score_",
    ):
        if hasattr(theirs, name):
            a, b = getattr(ours, name), getattr(theirs, name)
            assert (a is None) == (b is None), name
            if b is not None:
                assert type(a) is type(b) or np.isscalar(a), name
                np.testing.assert_allclose(a, b, **tolerance, err_msg=name)
    if hasattr(theirs, "classes_"):
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        assert ours.classes_.dtype == theirs.classes_.dtype
        p, q = ours.predict_proba(rows), theirs.predict_proba(rows)
        assert p.shape == q.shape
        np.testing.assert_allclose(p, q, **tolerance)
        with np.errstate(divide="ignore"):  # scikit-learn warns of the logarithm of zero
            logs = [model.predict_log_proba(rows) for model in (ours, theirs)]
        np.testing.assert_array_equal(logs[0], np.log(p, where=p > 0, out=np.full_like(p, -np.inf)))
        assert logs[0].shape == logs[1].shape
        np.testing.assert_array_equal(ours.predict(rows), theirs.predict(rows))
    else:
        a, b = ours.predict(rows), theirs.predict(rows)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, **tolerance)


def assert_same_fit(task, weights=None, rows=X, **options):
    """Fit both and compare them; return ours."""
    y = TARGETS[task]
    ours = fast(task, **options).fit(rows, y, weights)
    theirs = slow(task, **options).fit(rows, y, weights)
    assert_same(ours, theirs, rows)
    if task != "multilabel" or weights is None:
        assert ours.score(rows, y) == pytest.approx(theirs.score(rows, y), abs=1e-8)
    return ours
