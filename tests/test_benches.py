"""The files of benches/ use names that the package has; the benches themselves run separately."""

import importlib
from pathlib import Path

import choose_defaults
import pytest

BENCHES = Path(__file__).parents[1] / "benches"
MODULES = sorted(path.stem for path in BENCHES.glob("*.py") if path.stem != "conftest")


@pytest.mark.parametrize("name", MODULES)
def test_every_module_can_be_imported(name):
    assert importlib.import_module(name).__doc__


def test_constants_to_choose_exist():
    for module, name in choose_defaults.CONSTANTS.values():
        assert hasattr(module, name), f"{module.__name__} has no {name}"
