"""One error for diverging weights in all estimators."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem import DivergenceError, FastEMClassifier, FastMLPClassifier, FastMLPRegressor

X, y = load_iris(return_X_y=True)
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{ConvergenceWarning.__module__}.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:overflow encountered"),
    pytest.mark.filterwarnings("ignore:invalid value encountered"),
]


def em(**options):
    return FastEMClassifier((2,), random_state=0, n_jobs=1, max_iter=3, **options)


def perceptron(kind, **options):
    options = {"solver": "sgd", "learning_rate_init": 1e200, "activation": "identity", **options}
    return kind(hidden_layer_sizes=(3,), random_state=0, **options)


def fit_by_adam():
    em(solver="adam", learning_rate_init=1e200).fit(X, y)


def stream():
    em(solver="adam", learning_rate_init=1e200).partial_fit(X, y, classes=[0, 1, 2])


def warm_start_by_adam():
    model = em(solver="adam", warm_start=True).fit(X, y)
    model.set_params(learning_rate_init=1e200).fit(X, y)


def warm_start_at_huge_weights():
    model = em(warm_start=True).fit(X, y)
    model.coefs_ = [np.full_like(W, 1e200) for W in model.coefs_]
    model.fit(X, y)


def starts_without_an_objective():
    em(coefs_init=[np.full((4, 2), 1e308), np.full((2, 3), 1e308)]).fit(X, y)


CALLS = {
    "classifier": lambda: perceptron(FastMLPClassifier).fit(1e100 * X, y),
    "regressor": lambda: perceptron(FastMLPRegressor).fit(X, y),
    "regressor, partial_fit": lambda: perceptron(FastMLPRegressor).partial_fit(X, y),
    "EM, adam": fit_by_adam,
    "EM, partial_fit": stream,
    "EM, warm start by adam": warm_start_by_adam,
    "EM, warm start": warm_start_at_huge_weights,
    "EM, starts": starts_without_an_objective,
}


@pytest.mark.parametrize("kind", [DivergenceError, ValueError, FloatingPointError])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_divergence_is_caught_as_either(call, kind):
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is DivergenceError


def test_it_is_public():
    assert "DivergenceError" in fastem.__all__
