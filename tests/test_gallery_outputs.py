"""The gallery, section outputs: the examples show what the package really does."""

import importlib.util

import numpy as np
import pytest
from gallery import EXAMPLES
from scipy.integrate import trapezoid


def _example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_branches(capsys, tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    example = _example("outputs/two_branches")
    path = tmp_path / "density.png"
    example.main(str(path))
    _, constant, stochastic, truth, interval, name = capsys.readouterr().out.splitlines()
    constant, stochastic, truth = (float(x.split()[-1]) for x in (constant, stochastic, truth))
    assert constant + 0.4 < stochastic < truth
    assert 80 <= int(interval.split()[4]) <= 97
    assert name == str(path)
    assert path.stat().st_size > 10_000


def test_the_branches_have_the_density_of_the_example():
    example = _example("outputs/two_branches")
    y = np.linspace(-6.0, 6.0, 20001)
    for x in (-3.0, 0.5):
        density = np.exp(example.true_log_density(np.full((len(y), 1), x), y))
        assert trapezoid(density, y) == pytest.approx(1.0, abs=1e-8)
        assert trapezoid(y * density, y) == pytest.approx(0.0, abs=1e-8)
        spread = (np.sin(x) + 1.5) ** 2 + example.deviation(x) ** 2
        assert trapezoid(y * y * density, y) == pytest.approx(spread, abs=1e-8)


def test_calibration(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    example = _example("practice/penalty_and_calibration")
    first = np.repeat([0.2, 0.7], 50) + 1e-9 * np.arange(100)  # ten bins of ten rows
    positive = np.concatenate([np.arange(50) % 10 < 2, np.arange(50) % 10 < 7])
    labels, probability = (np.stack([x, 1 - x], axis=1) for x in (positive, first))
    assert example.calibration_error(labels == 1, probability) == pytest.approx(0.0, abs=1e-7)
    probability += [0.1, -0.1]
    assert example.calibration_error(labels == 1, probability) == pytest.approx(0.1)

    path = tmp_path / "calibration.png"
    example.main(str(path))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "400 training rows, 4000 new rows, 8 hidden units"
    for line, name in zip(lines[2:4], ("exact EM", "perceptron"), strict=True):
        assert line.startswith(name)
        loss, error = map(float, line[11:].split())
        assert 0.6 < loss < 0.8  # the classes alone have log 3 = 1.1
        assert error < 0.08
    assert lines[4] == str(path)
    assert 10_000 < path.stat().st_size < 150_000
