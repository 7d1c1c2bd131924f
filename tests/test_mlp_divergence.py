"""Diverging weights and overflowing sums raise errors and never give NaN."""

import re

import numpy as np
import pytest
from mlp_problems import (
    ADAM,
    BY_SOLVER,
    CONVERGENCE,
    REGRESSIONS,
    SGD,
    STOCHASTIC,
    TARGETS,
    X,
    fast,
    parameters,
    same_bits,
)
from sklearn.base import clone

pytestmark = pytest.mark.filterwarnings(CONVERGENCE)

SOLVERS = [*STOCHASTIC, {"solver": "lbfgs"}]


@pytest.mark.parametrize("task", ["one output", "three outputs", "poisson"])
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_divergence_is_told_and_the_last_finite_weights_kept(call, task):
    y = TARGETS[task]
    model = fast(task, **{**SGD, "learning_rate_init": 1e4, "max_iter": 50}, activation="identity")

    def train():
        for _ in range(50):
            getattr(model, call)(X, y)

    with pytest.raises(ValueError, match=r"non-finite") as caught:
        train()
    message = str(caught.value)
    assert "smaller learning_rate_init" in message
    epoch = int(re.search(r"epoch (\d+)", message)[1])
    assert epoch == (model.n_iter_ + 1 if call == "fit" else 1)
    assert all(np.isfinite(values).all() for values in parameters(model))
    assert np.isfinite(model.loss_curve_).all()
    if call == "partial_fit":  # the diverged optimizer is not reused
        kept = clone(model).set_params(coefs_init=model.coefs_, intercepts_init=model.intercepts_)
        for going_on in (model, kept):
            going_on.set_params(learning_rate_init=1e-3, shuffle=False).partial_fit(X, y)
        assert same_bits(model, kept)
    model.set_params(learning_rate_init=1e-3).fit(X, y)
    fresh = clone(model).fit(X, y)
    assert same_bits(model, fresh)


def test_the_weights_kept_are_those_of_the_epoch_before():
    y = TARGETS["three outputs"]
    model = fast("three outputs", **{**SGD, "learning_rate_init": 0.25}, activation="identity")
    with pytest.raises(ValueError, match=r"in epoch 4 of solver='sgd'.*learning_rate_init.*0\.05"):
        model.fit(X, y)
    three = clone(model).set_params(max_iter=3).fit(X, y)
    assert same_bits(model, three)
    assert model.loss_curve_ == three.loss_curve_
    np.testing.assert_array_equal(model.predict(X), three.predict(X))


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("factor", [1e100, 1e300])
@pytest.mark.parametrize("task", ["binary", "multiclass", "one output", "poisson"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "elu", "prelu", "maxout"])
@pytest.mark.parametrize("solver", SOLVERS, **BY_SOLVER)
def test_no_size_of_the_features_gives_not_a_number(solver, activation, task, factor):
    model = fast(task, **solver, activation=activation)
    try:
        model.fit(X * factor, TARGETS[task])
    except ValueError as error:
        assert re.search(r"non-finite", str(error))  # noqa: PT017
    arrays = [*parameters(model), *(s for s in model.slopes_ if s is not None)]
    assert all(np.isfinite(values).all() for values in arrays)
    if hasattr(model, "predict_proba"):
        p = model.predict_proba(X)
        assert np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(axis=1), 1.0)


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "one output", "poisson"])
@pytest.mark.parametrize("activation", ["identity", "relu", "maxout", "tanh"])
def test_rows_too_large_to_predict_are_told(activation, task):
    model = fast(task, **ADAM, activation=activation).fit(X, TARGETS[task])
    method = "predict" if task in REGRESSIONS else "predict_proba"
    for factor in (1e20, 1e150):  # within range
        assert not np.isnan(getattr(model, method)(X * factor)).any()
    try:
        values = getattr(model, method)(np.sign(X) * 1e308)
    except (ValueError, FloatingPointError) as error:
        assert re.search(r"not a number|overflow|non-finite|[Rr]escale", str(error))  # noqa: PT017
        with pytest.raises(type(error), match=r"not a number|overflow|non-finite|[Rr]escale"):
            model.predict(np.sign(X) * 1e308)
    else:
        # infinity minus infinity is NaN or infinity, depending on the order of the sum
        assert not np.isnan(values).any()
