"""Training of perceptrons: a state goes in, a result comes out."""

import copy
import tracemalloc

import numpy as np
import pytest
from mlp_problems import ADAM, CONVERGENCE, SGD, TARGETS, X, fast, parameters, same_bits
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem.estimators import mlp_training
from fastem.perceptron import (
    LOSSES,
    Adam,
    Ending,
    FeedForward,
    Layers,
    Objective,
    Samples,
    Settings,
    TrainingState,
    ValidationSet,
    train_epochs,
    train_lbfgs,
)

SETTINGS = Settings(
    solver="adam", batch_size=9, max_iter=6, loss_scale=1.0, learning_rate="constant",
    learning_rate_init=0.01, power_t=0.5, momentum=0.9, nesterovs_momentum=True, beta_1=0.9,
    beta_2=0.999, epsilon=1e-8, shuffle=True, tol=1e-4, early_stopping=False,
    n_iter_no_change=10, max_fun=1000,
)  # fmt: skip
LAYERS = Layers.of([4, 5, 1], ["tanh"], "identity")
SAMPLES = Samples(X.copy(), TARGETS["one output"][:, None].copy(), np.ones(45), None)


def network():
    return FeedForward(LAYERS, Objective(LOSSES["squared_error"], 0.0, 0.0, 1e-16))


def start():
    return TrainingState(np.random.RandomState(3).normal(size=LAYERS.n_parameters))


def train(state, random_state=None, settings=SETTINGS, **options):
    random_state = random_state or np.random.RandomState(0)
    return train_epochs(network(), SAMPLES, state, settings, random_state=random_state, **options)


def test_two_calls_equal_one():
    whole = SETTINGS._replace(shuffle=False)  # a call shuffles the order of the last epoch
    half = whole._replace(max_iter=3)
    one, first = train(start(), settings=whole), train(start(), settings=half)
    two = train(copy.deepcopy(first.state), settings=half)
    np.testing.assert_array_equal(two.state.theta, one.state.theta)
    assert two.state.loss_curve == one.state.loss_curve
    assert (first.n_iter, two.n_iter, one.n_iter) == (3, 3, 6)
    assert two.state.n_rows == one.state.n_rows == 6 * 45
    assert len(two.state.seconds) == 6


@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        ({}, Ending.LIMIT),
        ({"tol": 1e6, "n_iter_no_change": 1}, Ending.CONVERGED),
        ({"solver": "sgd", "learning_rate_init": 1e200}, Ending.DIVERGED),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
def test_endings_are_returned_and_nothing_is_raised(changes, ending):
    result = train(start(), settings=SETTINGS._replace(**changes))
    assert result.ending is ending
    assert np.isfinite(result.state.theta).all()
    assert (result.state.optimizer is None) == (ending is Ending.DIVERGED)
    assert len(result.state.loss_curve) == result.n_iter


@pytest.mark.parametrize("ending", ["LIMIT", "CONVERGED"])
def test_endings_of_lbfgs(ending):
    settings = SETTINGS._replace(max_iter=2 if ending == "LIMIT" else 2000, max_fun=10**5, tol=1e-3)
    result = train_lbfgs(network(), SAMPLES, start(), settings)
    assert result.ending is Ending[ending]
    assert result.state.loss == result.state.loss_curve[-1]


def test_order_and_validation_set_are_arguments():
    rows, lines = np.arange(30), []
    held_out = ValidationSet(
        SAMPLES.part(np.arange(30, 45)), lambda outputs, targets, _: -np.ptp(outputs - targets)
    )
    settings = SETTINGS._replace(early_stopping=True, shuffle=False)
    result = train(start(), settings=settings, order=rows, validation=held_out, report=lines.append)
    state = result.state
    assert state.n_rows == 6 * 30
    assert len(state.scores) == len(state.score_losses) == 6
    assert state.best_score == max(state.scores)
    np.testing.assert_array_equal(state.theta, state.best_theta)
    assert [line.split()[0] for line in lines] == ["Iteration", "Validation"] * 6


# What the estimators make of it


@pytest.mark.filterwarnings(CONVERGENCE)
@pytest.mark.parametrize("options", [ADAM, SGD], ids=["adam", "sgd"])
@pytest.mark.parametrize("call", ["partial_fit", "fit"])
def test_a_failure_within_an_epoch_changes_nothing(call, options, monkeypatch):
    """Neither weights nor the memory of the optimizer, which steps in place."""
    y = TARGETS["multiclass"]
    model = fast("multiclass", **options, warm_start=True).fit(X, y)
    same = copy.deepcopy(model)
    epoch = FeedForward.train

    def fails_afterwards(*args):
        epoch(*args)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(FeedForward, "train", fails_afterwards)
        with pytest.raises(MemoryError):
            getattr(model, call)(X, y)
    assert list(vars(model)) == list(vars(same))
    for one in (model, same):
        one.partial_fit(X, y)
    assert same_bits(model, same)


@pytest.mark.filterwarnings(CONVERGENCE)
def test_a_copy_shares_no_memory_that_training_writes():
    y = TARGETS["multiclass"]
    model = fast("multiclass", **ADAM).fit(X, y)
    shallow = copy.copy(model)
    kept = [values.copy() for values in parameters(model)]
    shallow.partial_fit(X, y)
    expected = copy.deepcopy(model).partial_fit(X, y)
    for values, before in zip(parameters(model), kept, strict=True):
        np.testing.assert_array_equal(values, before)
    assert same_bits(model.partial_fit(X, y), expected)
    assert isinstance(model._optimizer, Adam)


@pytest.mark.parametrize("activation", ["relu", "maxout"])
@pytest.mark.parametrize(
    ("solver", "early_stopping"),
    [("adam", False), ("adam", True), ("sgd", False), ("lbfgs", False)],
)
def test_a_fit_takes_what_it_announces(monkeypatch, solver, early_stopping, activation):
    announced = []
    monkeypatch.setattr(mlp_training, "check_memory", lambda *args: announced.append(args[-1]))
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(250, 400)), rng.normal(size=250)
    model = fastem.FastMLPRegressor(
        hidden_layer_sizes=(400,), activation=activation, solver=solver, max_iter=3,
        early_stopping=early_stopping, random_state=0,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning):
        clone(model).fit(X[:, :2], y)  # compiles
    announced.clear()
    tracemalloc.start()
    try:
        with pytest.warns(ConvergenceWarning):
            model.fit(X, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.6 * announced[0] < peak < 1.05 * announced[0]
