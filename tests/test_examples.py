"""The examples and the README say what really happens."""

import importlib.util
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from fastem import FastEMClassifier

ROOT = Path(__file__).parents[1]

# Mean cross-entropies of the plug-in forward pass. The faulty ones are printed in the slides
# "EM Algorithm to Train Neural Networks"; the correct ones are from the same gradient steps
# with eq. 15 summed by brute force.
PUBLISHED = {0: 1.1427729846642725, 5: 0.8477192072820486, 10: 0.8088932560503146,
             25: 0.7862787852, 50: 0.6652140857718162}  # fmt: skip
CORRECT = {0: 1.1427729848, 5: 0.6630088002, 10: 0.5840563717, 25: 0.5293556718, 50: 0.4688172619}


def _example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("run", "expected", "right"),
    [("faulty_run", PUBLISHED, (28, 30)), ("correct_run", CORRECT, (28, 29))],
)
def test_published_run(run, expected, right):
    example = _example("published_run")
    losses, model = getattr(example, run)()
    for iteration, loss in expected.items():
        assert losses[iteration] == pytest.approx(loss, abs=1e-9)
    _, X_test, _, y_test = example.iris_split()
    for prediction, count in zip(("plugin", "marginal"), right, strict=True):
        predicted = model.set_params(prediction=prediction).predict(X_test)
        assert np.sum(predicted == y_test) == count


def test_published_run_prints_both_columns(capsys):
    _example("published_run").main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[5].split() == ["50", "0.6652140858", "0.4688172619"]


@pytest.mark.parametrize(("max_iter", "expected"), [(1, (0.71, 0.58)), (1000, (0.80, 0.52))])
def test_two_coins(max_iter, expected):
    # the classic figures for heads 5, 9, 8, 4, 7 of ten
    theta, monitor = _example("two_coins").biases(max_iter)
    assert tuple(theta.round(2)) == expected
    assert min(np.diff(monitor.history)) >= 0.0


def test_readme_example_prints_what_it_says(capsys):
    text = (ROOT / "README.md").read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.rstrip().splitlines()
    said = re.search(r"\nprints\n\n((?:    .*\n)+)", text).group(1)
    said = [line[4:] for line in said.splitlines()]
    number = r"-?\d+\.\d*"
    assert [re.sub(number, "0", x) for x in printed] == [re.sub(number, "0", x) for x in said]
    # another processor rounds differently, which may lead to a neighbouring optimum
    values, expected = (np.array(re.findall(number, "".join(x)), float) for x in (printed, said))
    np.testing.assert_allclose(values, expected, atol=0.02, rtol=0.1)


def test_documented_defaults_are_the_defaults():
    documented = dict(re.findall(r"^    (\w+) : .*default=(.+)$", FastEMClassifier.__doc__, re.M))
    for name, parameter in inspect.signature(FastEMClassifier).parameters.items():
        default = parameter.default
        expected = f'"{default}"' if isinstance(default, str) else repr(default)
        if default is not None:
            assert documented[name].replace("1e-6", "1e-06") == expected, name
