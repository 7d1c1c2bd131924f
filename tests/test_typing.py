"""Type information of the public interface, as mypy sees it and as fitted models have it."""

import inspect
import re
import shutil
import types
import typing
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from sklearn.datasets import load_iris

import fastem
import fastem.dask
import fastem.jax
import fastem.torch

HERE = Path(__file__).parent
HEADER = "import fastem\nimport numpy as np\nX, y = np.zeros((2, 2)), np.zeros(2)"
# One mistake per line, with the code of the error that mypy must find there.
MISTAKES = """
fastem.FastEMClassifier(hidden_layers=3)  # call-arg
fastem.FastEMClassifier((4,), alpha=[0.1])  # arg-type
fastem.FastEMClassifier((4,), "quadrature")  # call-arg
fastem.FastEMClassifier((4,), e_step=fastem.Gaussian())  # arg-type
fastem.FastEMRegressor((4,), family=fastem.Sampling())  # arg-type
fastem.FastEMRegressor((4,)).predict(X, return_std="yes")  # call-overload
fastem.FastEMRegressor((4,)).fit(X)  # call-arg
fastem.FastEMClassifier((4,)).partial_fit(X, y, klasses=[0, 1])  # call-arg
fastem.FastEMClassifier.load(3)  # arg-type
fastem.FastMLPClassifier((4,), activation=3)  # arg-type
fastem.Enumeration(precision=64)  # arg-type
fastem.Quadrature(tol="small")  # arg-type
fastem.EStep(X, y)  # call-arg
fastem.EStep(X, y, hidden_layer_sizes=2)([X], [y], out=X)  # arg-type
fastem.e_step(X, y, [X, X], [y, y], method=fastem.Gaussian())  # arg-type
fastem.Inference("model.npz", X, y)  # arg-type
fastem.bootstrap("model.npz", X, y)  # arg-type
fastem.LossCurveDisplay(iterations=[[1.0]])  # call-arg
fastem.warmup(2)  # call-arg
fastem.not_there  # attr-defined
"""


def _public():
    for module in (fastem, fastem.dask, fastem.torch, fastem.jax):
        for name in module.__all__:
            if name != "__version__":
                yield f"{module.__name__}.{name}", getattr(module, name)


def _functions():
    """Yield the public functions and methods that this package defines, with their names."""
    for name, value in _public():
        if inspect.isfunction(value):
            yield name, value
        if not inspect.isclass(value):
            continue
        for member, found in inspect.getmembers_static(value):
            found = getattr(found, "__func__", getattr(found, "fget", found))
            found = getattr(found, "fn", found)  # of available_if
            is_public = not member.startswith("_") or member in ("__init__", "__call__")
            if is_public and inspect.isfunction(found) and found.__module__.startswith("fastem"):
                yield f"{name}.{member}", found


FUNCTIONS = dict(_functions())


def test_the_search_finds_methods():
    assert len(FUNCTIONS) > 150
    assert "fastem.FastEMClassifier.partial_fit" in FUNCTIONS
    assert "fastem.FastEMClassifier.load" in FUNCTIONS
    assert "fastem.EStep.row_gradients" in FUNCTIONS
    assert "fastem.dask.DaskEMRegressor.fit" in FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_have_complete_annotations(name):
    signature = inspect.signature(FUNCTIONS[name])
    assert signature.return_annotation is not inspect.Signature.empty
    parameters = [x for x in signature.parameters.values() if x.name not in ("self", "cls")]
    assert [x.name for x in parameters if x.annotation is inspect.Parameter.empty] == []


def test_the_package_announces_its_types():
    assert (Path(fastem.__file__).parent / "py.typed").exists()


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    """Return the errors that one run of mypy finds in the package and two programs, by file."""
    api = pytest.importorskip("mypy.api", reason="mypy checks types, and is not installed")
    folder = tmp_path_factory.mktemp("mypy")
    shutil.copy(HERE / "typing_use.py", folder)
    (folder / "mistakes.py").write_text(HEADER + MISTAKES, "utf-8")
    # a copy, because mypy does not check packages in site-packages
    package = folder / "source" / "fastem"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(fastem.__file__).parent, package, ignore=ignored)
    with mock.patch.dict("os.environ", {"MYPYPATH": str(package.parent)}):
        out, err, status = api.run([
            "--config-file", str(HERE.parent / "pyproject.toml"), f"--cache-dir={folder / 'cache'}",
            "--no-error-summary", str(package), *map(str, sorted(folder.glob("*.py"))),
        ])  # fmt: skip
    assert err == ""
    assert status in (0, 1), out  # 2: mypy could not run
    found = {"typing_use.py": [], "mistakes.py": [], "fastem": []}
    for line in out.splitlines():
        if ": note: " not in line:
            name = Path(line.partition(":")[0]).name
            found[name if name in found else "fastem"].append(line)
    return found


def test_a_program_of_a_user_in_strict_mode(messages):
    assert messages["typing_use.py"] == []


def test_mistakes_of_a_user_are_found(messages):
    first = HEADER.count("\n") + 2
    found = {}
    for line in messages["mistakes.py"]:
        number, code = re.search(r":(\d+): error: .*\[([\w-]+)\]$", line).groups()
        found.setdefault(int(number), []).append(code)
    wanted = [line.rpartition("# ")[2] for line in MISTAKES.strip().splitlines()]
    assert found == {first + i: [code] for i, code in enumerate(wanted)}


def test_the_package_itself(messages):
    assert messages["fastem"] == []


def _fits(kind, value):
    """Return whether a value has a type: of its elements, too."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is typing.Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(argument, value) for argument in arguments)
    if origin is list:
        return isinstance(value, list) and all(_fits(arguments[0], x) for x in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(arguments[1], x) for x in value.values())
    if origin is np.ndarray:
        (scalar,) = typing.get_args(arguments[1])
        scalar = typing.get_origin(scalar) or scalar
        return isinstance(value, np.ndarray) and (
            scalar is typing.Any or issubclass(value.dtype.type, scalar)
        )
    if kind is float:
        return isinstance(value, float)
    return type(value) is kind if kind in (int, bool, str) else isinstance(value, kind)


def test_the_comparison_of_types():
    assert _fits(list[float] | None, [0.5])
    assert not _fits(list[float] | None, [1])
    assert not _fits(int, True)
    assert not _fits(np.typing.NDArray[np.float64], np.zeros(1, np.float32))


def _models():
    X, y = load_iris(return_X_y=True)
    X, y = X[::3], y[::3]
    em = {"max_iter": 500, "random_state": 0}
    return [
        fastem.FastEMClassifier("auto", **em).fit(X, y),
        fastem.FastEMClassifier((3,), solver="adam", alpha=0.1, early_stopping=True, **em).fit(
            X, y
        ),
        fastem.FastEMRegressor((3,), **em).fit(X[:, :3], X[:, 3]),
        fastem.FastEMRegressor((3,), family="poisson", alpha=0.1, **em).fit(X, y),
        fastem.FastMLPClassifier((3,), solver="lbfgs", random_state=0).fit(X, y),
        fastem.FastMLPRegressor(
            hidden_layer_sizes=(3,),
            activation="prelu",
            random_state=0,
            tol=0.1,
            early_stopping=True,
        ).fit(X[:, :3].astype(np.float32), X[:, 3].astype(np.float32)),
    ]


def test_fitted_attributes_have_their_types():
    for model in _models():
        kinds = typing.get_type_hints(type(model))
        fitted = {name: value for name, value in vars(model).items() if name.endswith("_")}
        assert set(fitted) <= set(kinds)
        assert [
            (name, value) for name, value in fitted.items() if not _fits(kinds[name], value)
        ] == []
