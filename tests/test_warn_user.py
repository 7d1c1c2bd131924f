"""Warnings point at the user's line, whatever lies between."""

import ast
import copyreg
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

import fastem
from fastem import FastEMClassifier, FastMLPRegressor, Sampling
from fastem.runtime import warn_user

X, y = load_iris(return_X_y=True)
ROOT = Path(fastem.__file__).parent


def place_of_the_warning(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert len(caught) == 1
    return caught[0].filename, caught[0].lineno


def here(call):
    return __file__, call.__code__.co_firstlineno


def test_outside_the_package_it_is_the_line_of_the_call():
    call = lambda: warn_user("something")  # noqa: E731
    assert place_of_the_warning(call) == here(call)


def test_the_category_is_passed_on():
    with pytest.warns(RuntimeWarning, match="something"):
        warn_user("something", RuntimeWarning)


def em(**options):
    return FastEMClassifier((2,), random_state=0, **{"max_iter": 1, "alpha": 0.15, **options})


def opened_by_another_version():
    kind, state = type(em()), {**em().__getstate__(), "_fastem_version": "0.0"}
    copyreg.__newobj__(kind).__setstate__(state)


V = np.column_stack([np.zeros(6), np.full(6, -12.0)])
ROWS = np.zeros((3, 1)), [1, 1, 1], [np.zeros((1, 6)), V], [np.zeros(6), np.zeros(2)]
few = Sampling(n_samples=400, random_state=0)
regressor = FastMLPRegressor(hidden_layer_sizes=(2,), max_iter=1, random_state=0)
CALLS = {
    "fit": lambda: em().fit(X, y),
    "through scikit-learn's mixin": lambda: em().fit_transform(X, y),
    "fit by mini-batches": lambda: em(solver="adam").fit(X, y),
    "perceptron": lambda: regressor.fit(X, y),
    "e_step": lambda: fastem.e_step(*ROWS, method=few),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_warnings_of_public_calls(call):
    assert place_of_the_warning(call) == here(call)


def test_a_pickle_of_another_version():
    filename, _ = place_of_the_warning(opened_by_another_version)
    assert filename == __file__


def test_no_module_counts_frames_by_hand():
    counting = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.keyword) and node.arg == "stacklevel"
    }
    # "auto" warns from a fixed place, so that Python shows the warning once per process
    assert counting == {"runtime/warn.py", "engines/auto.py"}
