"""The wall time of every entry of a loss curve."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from fastem import FastEMClassifier, FastMLPClassifier, FastMLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = load_iris(return_X_y=True)


def assert_a_clock(model):
    seconds = model.loss_curve_seconds_
    assert len(seconds) == len(model.loss_curve_)
    assert min(np.diff(seconds)) >= 0.0
    assert seconds[0] >= 0.0
    assert all(isinstance(time, float) for time in seconds)


def models(**options):
    return [
        FastEMClassifier((2,), max_iter=4, random_state=0, **options),
        FastEMClassifier((2,), solver="lbfgs", max_iter=4, random_state=0, **options),
        FastMLPClassifier((2,), max_iter=4, random_state=0, **options),
        FastMLPRegressor(hidden_layer_sizes=(2,), max_iter=4, random_state=0, **options),
        FastMLPClassifier((2,), solver="lbfgs", max_iter=4, random_state=0, **options),
    ]


@pytest.mark.parametrize("model", models(), ids=lambda model: f"{type(model).__name__}")
def test_one_time_to_an_entry(model):
    assert_a_clock(model.fit(X, y))


@pytest.mark.parametrize("model", models(warm_start=True), ids=lambda m: type(m).__name__)
def test_the_clock_goes_on_after_a_warm_start(model):
    before = list(model.fit(X, y).loss_curve_seconds_)
    assert_a_clock(model.fit(X, y))
    assert len(model.loss_curve_) > len(before)
    assert model.loss_curve_seconds_[: len(before)] == before


def test_partial_fit():
    model = FastMLPClassifier((2,), random_state=0)
    for _ in range(3):
        model.partial_fit(X, y, classes=[0, 1, 2])
    assert_a_clock(model)
    assert len(model.loss_curve_seconds_) == 3


def test_several_starts():
    assert_a_clock(FastEMClassifier((2,), n_init=3, max_iter=4, random_state=0).fit(X, y))


def test_saved_and_read_back(tmp_path):
    model = FastEMClassifier((2,), max_iter=4, random_state=0).fit(X, y)
    model.save(tmp_path / "model")
    read = FastEMClassifier.load(tmp_path / "model")
    assert read.loss_curve_seconds_ == model.loss_curve_seconds_
    del model.loss_curve_seconds_  # as in files of versions without times
    model.save(tmp_path / "older")
    assert not hasattr(FastEMClassifier.load(tmp_path / "older"), "loss_curve_seconds_")
