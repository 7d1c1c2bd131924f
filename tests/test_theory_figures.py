"""The numbers in the figures of the theory pages, and the statements of their captions."""

import runpy
import sys
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

from fastem import FastEMClassifier, Quadrature, e_step
from fastem.engines.quadrature.constants import (
    LARGE_SHARE_OF_VARIANCE,
    LINE_NODE_IN_PLANE_NODES,
    NODES_TO_CONDITION,
)
from fastem.engines.quadrature.refine import Budget

FIGURES = Path(__file__).parents[1] / "docs" / "theory" / "figures"
NAMES = sorted(path.stem for path in FIGURES.glob("*.py") if path.stem != "rules")


@cache
def _figure(name):
    """Run a script once, and return its global names."""
    plt.switch_backend("Agg")
    sys.path.insert(0, str(FIGURES))
    try:
        with plt.rc_context():
            names = runpy.run_path(str(FIGURES / f"{name}.py"))
            for number in plt.get_fignums():
                plt.figure(number).canvas.draw()
    finally:
        sys.path.remove(str(FIGURES))
        plt.close("all")
    return names


@pytest.mark.parametrize("name", NAMES)
def test_figure_has_labelled_axes(name):
    figure = _figure(name)["figure"]
    drawn = [ax for ax in figure.axes if ax.axison and ax.get_label() != "<colorbar>"]
    missing = [ax.get_title() for ax in drawn if not (ax.get_xlabel() or ax.get_ylabel())]
    assert not missing
    assert figure.get_size_inches()[0] <= 6.7  # its text is readable at the width of a phone


@pytest.mark.parametrize("name", NAMES)
def test_page_shows_figure_with_alternative_text(name):
    pages = [path.read_text() for path in FIGURES.parent.glob("*.md")]
    shown = [page for page in pages if f".. plot:: theory/figures/{name}.py\n   :alt: " in page]
    assert len(shown) == 1


def test_doubling_gives_the_softmax():
    assert _figure("doubling")["largest_difference"] < 1e-15


def test_two_halves_give_the_e_step():
    names = _figure("halves")
    assert names["error"] < 1e-14
    assert names["error_of_posterior"] < 1e-14
    counts, p = names["R"], names["p"]
    assert np.isclose(counts.sum(), len(p), rtol=1e-12)  # every row has weight 1
    # eq. 15 from the counts: the gradient of the output intercept of the class
    gradient = names["expected"].intercept_gradients[1][0]
    assert np.isclose(counts.sum() - (counts * names["T"]).sum(), gradient, rtol=1e-10)


@pytest.mark.parametrize("name", ["two_classes", "saddle", "triangle"])
def test_nodes_of_the_picture_give_the_exact_probability(name):
    names = _figure(name)
    assert names["row"].exact() > 0.0
    assert 0.0 <= names["error"] <= 1e-10


def test_saddle_point_is_a_minimum_and_other_lines_cancel():
    names = _figure("saddle")
    row, delta = names["row"], names["delta"]
    lowest = row.integrand(delta).real
    # the engine stops at 0.1 % of a standard deviation; the integrand is flat there
    assert lowest < row.integrand(delta - 0.1).real
    assert lowest < row.integrand(delta + 0.1).real
    assert 1e8 < row.integrand(0.0).real / names["p"] < 1e9
    # about 1e8 rounding errors, which more nodes do not reduce
    assert 1e-10 < names["error_on_axis"] < 1e-4


def test_two_classes_saddle_point_lies_between_poles():
    names = _figure("two_classes")
    assert 0.0 < names["saddle"] < 1.0
    assert 0.0 < names["nodes"].delta < 1.0


@pytest.mark.parametrize("name", ["two classes", "one Gaussian number", "three classes"])
def test_every_rule_is_within_its_tolerance(name):
    names = _figure("convergence")
    errors, nodes = names["errors"][name], names["n_nodes"][name]
    assert (errors <= names["tolerances"] + 1e-14).all()
    assert (np.diff(nodes) >= 0).all()
    assert errors[0] > 1e-6  # the first rule is coarse, so the picture has something to show
    root = np.sqrt(nodes) if name == "three classes" else nodes
    digits = -np.log10(np.maximum(errors, 1e-15))
    assert np.corrcoef(root, digits)[0, 1] > 0.97


def test_rows_of_the_pictures_agree_with_the_engine():
    names = _figure("split")
    row, p = names["row"], names["p"]
    coefs = [row.log_odds[None], np.stack([np.zeros(11), row.v], axis=1)]
    intercepts = [np.zeros(11), np.array([0.0, row.c])]
    found = e_step([[1.0]], [1], coefs, intercepts, method=Quadrature())
    assert np.isclose(found.log_likelihood[0], np.log(p), rtol=0.0, atol=1e-10)
    assert np.isclose(found.hidden_posterior[0, names["unit"]], names["share_of_on"], atol=1e-10)


def test_split_makes_the_rounding_error_small():
    names = _figure("split")
    assert np.isclose(sum(names["joint"].values()), names["p"], rtol=1e-12)
    assert 0.47 < names["share_of_on"] < 0.49  # the caption says 48 %
    mode = names["weights"][names["on"]].sum()
    assert 3e-17 < mode < 3.5e-17  # the caption says 3e-17
    assert names["errors"]["whole row"].min() > 1e-7
    assert names["errors"]["given Z = 0"].min() < 1e-12
    assert names["errors"]["given Z = 1"].min() < 1e-12


def test_lattices_avoid_the_star():
    names = _figure("lattice")
    for lattice in ("triangular", "square"):
        assert not names["is_inside_star"](names[lattice]).any()
        # a slightly denser lattice has a point inside
        assert names["is_inside_star"](0.99 * names[lattice]).any()
    assert names["is_inside_star"](np.zeros(2))
    for corners in (names["D"], names["re_entrant"]):
        assert np.allclose(np.minimum(names["height"](corners), names["height"](-corners)), 1.0)
    assert names["cells"]["square"] == 3.0 * names["cells"]["triangular"]


def test_nodes_are_dual_to_aliases():
    names = _figure("lattice")
    nodes, aliases = names["nodes"].t, names["nodes"].period * names["triangular"]
    turns = nodes @ aliases.T / (2.0 * np.pi)
    assert np.allclose(turns, np.round(turns), atol=1e-9)
    computed = names["computed"]
    assert (np.abs(nodes).max(axis=1) <= names["rho"]).all()
    conjugates = {tuple(t) for t in np.round(-nodes[computed], 9) + 0.0}
    assert {tuple(t) for t in np.round(nodes[~computed], 9) + 0.0} <= conjugates


def test_table_and_tilt_give_the_log_density():
    names = _figure("tilt")
    assert names["error"] < 1e-12
    assert len(names["widths"]) == 16
    assert (names["widths"] * names["reach"] <= 300.0).all()
    exponents = -0.5 * names["eta"] ** 2 / names["variance"]
    assert exponents.min() < -745.0 < names["log_table"].min()  # exp(-745) is the smallest number


def test_stored_times_cross_where_the_page_says():
    times = _figure("timing")["times"]
    for name, (low, high) in {
        "two classes": (16, 17), "one Gaussian number": (15, 16), "three classes": (20, 21)
    }.items():  # fmt: skip
        m, quadrature, enumeration = times[name]
        faster = enumeration > quadrature
        assert not faster[m <= low].any()
        assert faster[m == high].all()


def test_quoted_constants_of_the_split():
    page = (FIGURES.parent / "quadrature.md").read_text()
    assert f"${NODES_TO_CONDITION} \\cdot 2^{{r/2}}$" in page
    assert f"exceeds {100 * LARGE_SHARE_OF_VARIANCE:g} % of $s$" in page


@pytest.mark.parametrize(
    ("load", "kind", "low", "high"),
    [(load_breast_cancer, "lines", 60, 100), (load_iris, "planes", 10_000, 15_000),
     (load_wine, "planes", 10_000, 15_000)],
)  # fmt: skip
def test_number_of_nodes_that_the_map_states(load, kind, low, high, monkeypatch):
    used = []
    monkeypatch.setattr(Budget, "use_nodes", lambda self, n_nodes: used.append(n_nodes))
    X, y = load(return_X_y=True)
    model = FastEMClassifier((10,), alpha=0.15, e_step="enumeration", random_state=0).fit(X, y)
    e_step(X, y, model.coefs_, model.intercepts_, method=Quadrature())
    unit = LINE_NODE_IN_PLANE_NODES if kind == "lines" else 1.0
    assert low <= sum(used) / unit / len(X) <= high


def test_number_of_nodes_of_one_number_that_the_map_states(monkeypatch):
    used = []
    monkeypatch.setattr(Budget, "use_nodes", lambda self, n_nodes: used.append(n_nodes))
    random = np.random.RandomState(0)
    X, W = random.standard_normal((1000, 5)), random.standard_normal((5, 16))
    V = random.standard_normal((16, 1))
    on = 1.0 / (1.0 + np.exp(-X @ W))
    states = random.uniform(size=on.shape) < on
    deviation = (states @ V).std() / 3.0
    y = (states @ V)[:, 0] + deviation * random.standard_normal(1000)
    e_step(
        X, y, [W, V], [np.zeros(16), np.zeros(1)], family="gaussian", variance=[deviation**2],
        method=Quadrature(),
    )  # fmt: skip
    assert 20 <= sum(used) / LINE_NODE_IN_PLANE_NODES / len(X) <= 30
