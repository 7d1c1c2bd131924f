"""The gallery, sections outputs and practice: the examples show what the package really does."""

import numpy as np
import pytest
from gallery import run_example
from scipy.integrate import trapezoid

pytest.importorskip("matplotlib")


def test_two_branches():
    names, _ = run_example("outputs/two_branches")
    # 1600 rows of one random generator; another processor rounds differently: another optimum
    constant, stochastic, truth = names["scores"].values()
    assert constant + 0.7 < stochastic < truth
    assert truth - stochastic < 0.3
    constant, stochastic, truth = names["mirrored_scores"].values()
    assert constant + 0.4 < stochastic < truth
    for coverage, inside in names["coverages"].items():
        # five standard errors of 400 held-out rows
        assert abs(inside - coverage) < 5.0 * np.sqrt(coverage * (1.0 - coverage) / 400)


def test_one_unit_switches_between_the_branches():
    names, _ = run_example("outputs/two_branches")
    weight = names["sign"] * names["weights_out"][names["switch"]]
    assert weight == pytest.approx(3.0, abs=0.2)
    assert names["sign"] * names["slope"] == pytest.approx(0.5, abs=0.2)  # error of 1200 rows: 0.04
    assert np.abs(names["others"]).max() < 1.5
    assert names["shares"].max() < 2.0


def test_the_branches_have_the_density_of_the_example():
    names, _ = run_example("outputs/two_branches")
    y = np.linspace(-8.0, 8.0, 40001)
    for branches in names["branches"], names["mirrored"]:
        for x in (-3.0, 0.5):
            (p, upper), (q, lower) = branches(x)
            assert p + q == pytest.approx(1.0)
            rows = np.full((len(y), 1), x)
            density = np.exp(names["true_log_density"](rows, y, branches))
            mean = p * upper + q * lower
            variance = names["deviation"](x) ** 2 + p * q * (upper - lower) ** 2
            assert trapezoid(density, y) == pytest.approx(1.0, abs=1e-8)
            assert trapezoid(y * density, y) == pytest.approx(mean, abs=1e-8)
            assert trapezoid((y - mean) ** 2 * density, y) == pytest.approx(variance, abs=1e-8)
