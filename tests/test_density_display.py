"""Predictive densities in pictures: the plotted numbers, their truth, and what is refused."""

import sys

import numpy as np
import pytest
from scipy.stats import norm, poisson
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError

from fastem import DensityDisplay, FastEMClassifier, FastEMRegressor, FastMLPRegressor

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib draws, and is not installed")
matplotlib.use("Agg")


pytestmark = [
    pytest.mark.usefixtures("figures_closed"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def _line(family="gaussian", n=60, **parameters):
    """Return a fitted model of one feature, its rows and values."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, n)
    y = rng.poisson(np.exp(1.0 + x)) if family == "poisson" else x + rng.normal(size=n)
    parameters = {"alpha": 0.5, "max_iter": 10, "random_state": 0, **parameters}
    model = FastEMRegressor((3,), family=family, **parameters)
    return model.fit(x[:, None], y), x[:, None], y


def _states(model, x):
    """Return P(z|x) (n_states, n_samples) and the natural parameters (n_states, n_outputs)."""
    n_hidden = model.coefs_[0].shape[1]
    states = np.indices((2,) * n_hidden).reshape(n_hidden, -1).T
    on = 1.0 / (1.0 + np.exp(-(x @ model.coefs_[0] + model.intercepts_[0])))
    prior = np.prod(np.where(states[:, None] == 1, on, 1.0 - on), axis=2)
    return prior, states @ model.coefs_[1] + model.intercepts_[1]


def test_density_on_a_grid():
    model, X, y = _line()
    display = DensityDisplay.from_estimator(model, X, y)
    grid, (ax,) = display.grid, display.axes_
    assert grid.x[0] < X.min() < X.max() < grid.x[-1]
    assert grid.y[0] < y.min() < y.max() < grid.y[-1]
    prior, means = _states(model, grid.x[:, None])
    deviation = np.sqrt(model.variance_[0])
    expected = np.einsum("sx,sy->yx", prior, norm.pdf(grid.y, means, deviation))
    np.testing.assert_allclose(grid.density, expected, rtol=1e-9, atol=1e-300)
    mesh = ax.collections[0]
    np.testing.assert_array_equal(np.reshape(mesh.get_array(), grid.density.shape), grid.density)
    x_edges, y_edges = mesh.get_coordinates()[0, :, 0], mesh.get_coordinates()[:, 0, 1]
    np.testing.assert_allclose(0.5 * (x_edges[1:] + x_edges[:-1]), grid.x)
    np.testing.assert_allclose(0.5 * (y_edges[1:] + y_edges[:-1]), grid.y)
    assert ax.get_xlim() == (x_edges[0], x_edges[-1])
    np.testing.assert_array_equal(ax.collections[1].get_offsets(), np.column_stack([X[:, 0], y]))
    assert len(display.lines_) == 3
    for line, level in zip(display.lines_, (0.05, 0.5, 0.95), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), grid.x)
        reached = np.einsum("sx,sx->x", prior, norm.cdf(line.get_ydata(), means, deviation))
        np.testing.assert_allclose(reached, level, rtol=1e-8)
    display.figure_.canvas.draw()


def test_counts_are_whole_numbers_in_steps():
    model, X, y = _line("poisson")
    display = DensityDisplay.from_estimator(model, X, y)
    grid, (ax,) = display.grid, display.axes_
    np.testing.assert_array_equal(grid.y, np.arange(grid.y[0], grid.y[-1] + 1))
    assert grid.y[0] == 0
    prior, log_rates = _states(model, grid.x[:, None])
    expected = np.einsum("sx,sy->yx", prior, poisson.pmf(grid.y, np.exp(log_rates)))
    np.testing.assert_allclose(grid.density, expected, rtol=1e-9)
    assert [line.get_drawstyle() for line in display.lines_] == ["steps-mid"] * 3
    assert ax.get_ylim() == (-0.5, grid.y[-1] + 0.5)
    assert ax.figure.axes[1].get_ylabel() == "probability of y given x"


def test_large_counts_have_a_coarse_grid():
    model, X, y = _line("poisson")
    display = DensityDisplay.from_estimator(model, X, 1000 * y)
    assert len(display.grid.y) < 300
    assert (display.grid.y == np.floor(display.grid.y)).all()
    assert display.grid.y[-1] >= 1000 * y.max()


def test_forecasts_of_several_features():
    X, y = load_diabetes(return_X_y=True)
    model = FastEMRegressor((3,), alpha=0.5, max_iter=5, random_state=0).fit(X, y)
    display = DensityDisplay.from_estimator(model, X, y)
    left, right = display.axes_
    drawn = np.arange(0, 442, 2)  # at most 300 rows
    bars, points = left.collections
    interval = model.predict_interval(X)
    for segment, i in zip(bars.get_segments(), drawn, strict=True):
        np.testing.assert_allclose(segment, [[y[i], interval[i, 0]], [y[i], interval[i, 1]]])
    expected = np.column_stack([y, model.predict(X)])[drawn]
    np.testing.assert_allclose(points.get_offsets(), expected)
    share = np.mean((interval[:, 0] <= y) & (y <= interval[:, 1]))
    assert left.get_title() == f"90 % intervals contain {100 * share:.0f} % of 442 values"
    heights = [bar.get_height() for bar in right.patches[:20]]
    np.testing.assert_array_equal(heights, np.histogram(model.predict_cdf(X, y), 20, (0, 1))[0])
    assert right.lines[0].get_ydata()[0] == 442 / 20
    display.figure_.canvas.draw()
    few = DensityDisplay.from_estimator(model, X[:50], y[:50])
    assert [bar.get_height() for bar in few.axes_[1].patches[:10]] == np.histogram(
        model.predict_cdf(X[:50], y[:50]), 10, (0, 1)
    )[0].tolist()


def test_transform_of_counts_is_uniform_under_the_model():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(4000, 2))
    model = FastEMRegressor((2,), alpha=0.5, family="poisson", max_iter=5, random_state=0)
    model.fit(X, rng.poisson(np.exp(0.5 * X[:, 0])))
    y, _ = model.sample(X, random_state=0)
    first, again = (DensityDisplay.from_estimator(model, X, y).forecasts for _ in range(2))
    np.testing.assert_array_equal(first.transform, again.transform)
    prior, log_rates = _states(model, X)
    at_most = (prior * poisson.cdf(y, np.exp(log_rates))).sum(axis=0)
    below = (prior * poisson.cdf(y - 1, np.exp(log_rates))).sum(axis=0)
    assert (first.transform <= at_most + 1e-12).all()
    assert (first.transform >= below - 1e-12).all()
    counts = np.histogram(first.transform, 10, (0, 1))[0]
    assert np.abs(counts - 400).max() < 5 * np.sqrt(400 * 0.9)
    raw = np.histogram(at_most, 10, (0, 1))[0]
    assert np.abs(raw - 400).max() > 5 * np.sqrt(400 * 0.9)


@pytest.mark.parametrize("output", [0, 1])
def test_one_of_several_outputs(output):
    X, y = load_diabetes(return_X_y=True)
    both = np.column_stack([y, X[:, 3] * y])
    model = FastEMRegressor((3,), alpha=0.5, max_iter=5, random_state=0).fit(X, both)
    display = DensityDisplay.from_estimator(model, X, both, output=output)
    np.testing.assert_array_equal(display.y, both[:, output])
    np.testing.assert_allclose(display.forecasts.mean, model.predict(X)[:, output])
    interval = model.predict_interval(X)[:, output]
    np.testing.assert_allclose(display.forecasts.interval, interval)
    np.testing.assert_allclose(display.forecasts.transform, model.predict_cdf(X, both)[:, output])
    assert display.axes_[0].get_xlabel() == f"observed y, output {output}"
    assert model.coefs_[1].shape == (3, 2)  # the model is unchanged

    line = FastEMRegressor((3,), alpha=0.5, max_iter=5, random_state=0).fit(X[:, :1], both)
    grid = DensityDisplay.from_estimator(line, X[:, :1], both, output=output).grid
    prior, means = _states(line, grid.x[:, None])
    deviation = np.sqrt(line.variance_[output])
    own = means[:, [output]]
    expected = np.einsum("sx,sy->yx", prior, norm.pdf(grid.y, own, deviation))
    np.testing.assert_allclose(grid.density, expected, rtol=1e-9, atol=1e-300)


def test_names_of_features():
    data = load_diabetes(as_frame=True)
    X = data.data[["bmi"]]
    model = FastEMRegressor((2,), alpha=0.5, max_iter=2, random_state=0).fit(X, data.target)
    (ax,) = DensityDisplay.from_estimator(model, X, data.target).axes_
    assert ax.get_xlabel() == "bmi"


def test_given_axes_and_titles(ax):
    model, X, y = _line()
    ax.set_title("mine")
    display = DensityDisplay.from_estimator(model, X, y, ax=ax)
    assert display.axes_ == [ax]
    assert display.figure_ is ax.figure
    assert ax.get_title() == "mine"
    with pytest.raises(ValueError, match="pass ax, not axes"):
        display.plot(axes=[ax])
    forecasts = ([0.0], [[-1.0, 1.0]], [0.5])
    several = DensityDisplay(y=[0.1], forecasts=forecasts)
    pair = matplotlib.figure.Figure().subplots(1, 2)
    assert several.plot(axes=pair).axes_ == list(pair)
    with pytest.raises(ValueError, match="pass axes, not ax"):
        several.plot(ax=ax)
    with pytest.raises(ValueError, match="axes must be two Axes"):
        several.plot(axes=[ax])


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_one_row(family):
    model, X, y = _line(family)
    grid = DensityDisplay.from_estimator(model, X[:1], y[:1]).grid
    assert np.isfinite(grid.density).all()
    assert (np.diff(grid.x) > 0).all()


def test_what_cannot_be_drawn():
    draw = DensityDisplay.from_estimator
    model, X, y = _line()
    with pytest.raises(NotFittedError):
        draw(FastEMRegressor(), X, y)
    for other in (FastEMClassifier(), FastMLPRegressor()):
        with pytest.raises(TypeError, match=f"Got {type(other).__name__}"):
            draw(other, X, y)
    with pytest.raises(ValueError, match="y must have shape"):
        draw(model, X, y[1:])
    for output in (-1, 1):
        with pytest.raises(ValueError, match=f"output must be 0, the only output. Got {output}"):
            draw(model, X, y, output=output)
    for output in (0.5, None, "0", [0], 0.0):
        with pytest.raises(ValueError, match=r"output must be 0, the only output. Got [\['0N]"):
            draw(model, X, y, output=output)
    counts, X, y = _line("poisson")
    with pytest.raises(ValueError, match="y must hold counts"):
        draw(counts, X, y - 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "Pass either x and grid, or forecasts"),
        ({"x": [0.0]}, "Pass either x and grid, or forecasts"),
        ({"y": [[0.0]], "forecasts": ([0.0], [[0.0, 1.0]], [0.5])}, "y must have shape"),
        ({"y": [], "forecasts": ([], [], [])}, "at least one row"),
        ({"forecasts": ([0.0], [[0.0]], [0.5])}, "forecasts: interval must have shape"),
        (
            {"x": [0.0], "grid": ([0.0, 1.0], [0.0], [[1.0]], np.ones((2, 3)))},
            r"grid: density must have shape \(1, 2\)",
        ),
    ],
)
def test_data_that_do_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        DensityDisplay(**{"y": [0.0], **options})


def test_without_matplotlib(monkeypatch):
    model, X, y = _line()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    display = DensityDisplay(y=[0.1], forecasts=([0.0], [[-1.0, 1.0]], [0.5]))
    with pytest.raises(ImportError, match=r"DensityDisplay.plot needs matplotlib: pip install"):
        display.plot()
    with pytest.raises(ImportError, match=r"DensityDisplay.from_estimator needs matplotlib"):
        DensityDisplay.from_estimator(model, X, y)
