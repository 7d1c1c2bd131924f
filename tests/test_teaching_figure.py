"""The figure of the teaching page: its data, its E-step in JavaScript, its controls, the text."""

import contextlib
import io
import re
import sys
import warnings
from pathlib import Path

import browser as browsers
import numpy as np
import pytest

import fastem

PAGE = Path(__file__).parents[1] / "docs" / "teaching" / "index.md"


@pytest.fixture(scope="module")
def data():
    return module("em_data").figure_data()


def module(name):
    """Import a module of docs/teaching, as Sphinx does."""
    sys.path.insert(0, str(PAGE.parents[1]))
    try:
        return __import__(f"teaching.{name}", fromlist=[name])
    finally:
        sys.path.pop(0)


def runs(data):
    for problem in data["problems"]:
        for run in problem["runs"]:
            yield np.array(problem["X"]), np.array(problem["y"]), run


def parameters(iteration):
    W, b, V, c = (np.array(iteration[key]) for key in "WbVc")
    return [W, V], [b, c]


def test_losses_are_those_of_the_parameters(data):
    for X, y, run in runs(data):
        assert len(run["loss"]) == len(run["iterations"]) > 20
        oracle = fastem.EStep(X, y, hidden_layer_sizes=len(run["iterations"][0]["b"]))
        for iteration, loss in zip(run["iterations"], run["loss"], strict=True):
            (W, V), intercepts = parameters(iteration)
            log_likelihood = oracle([W, V], intercepts).log_likelihood.sum()
            penalty = 0.5 * data["alpha"] * (np.sum(W**2) + np.sum(V**2))
            assert loss == pytest.approx((penalty - log_likelihood) / len(X), rel=1e-10)


def test_no_iteration_increases_the_loss(data):
    for _, _, run in runs(data):
        assert np.diff(run["loss"]).max() < 0.0


def test_points_lie_in_the_picture(data):
    for problem in data["problems"]:
        assert np.abs(problem["X"]).max() < problem["extent"] - 0.1


def reference_states(iteration, x, y):
    """Prior and posterior of every hidden state by the formulas, without fastem."""
    (W, V), (b, c) = parameters(iteration)
    states = (np.arange(2 ** len(b))[:, None] >> np.arange(len(b))) & 1
    a = x @ W + b
    log_prior = -np.logaddexp(0.0, np.where(states == 1, -a, a)).sum(axis=1)
    logits = states @ V + c
    log_table = logits - np.logaddexp.reduce(logits, axis=1)[:, None]
    joint = log_prior + log_table[:, y]
    return np.exp(log_prior), np.exp(joint - np.logaddexp.reduce(joint))


# The text of the page.


def loss_at(data, problem, run, iteration=-1):
    return data["problems"][problem]["runs"][run]["loss"][iteration]


def test_losses_in_the_text(data):
    final = [loss_at(data, 0, run) for run in range(3)]
    np.testing.assert_allclose(final, [0.154, 0.220, 0.533], atol=6e-4)
    plateau = data["problems"][0]["runs"][0]["loss"][1:11]
    np.testing.assert_allclose(plateau, np.log(2.0), atol=0.011)
    assert loss_at(data, 0, 0, 20) < 0.5


def count_wrong(data, run):
    problem = data["problems"][0]
    X, y = np.array(problem["X"]), np.array(problem["y"])
    oracle = fastem.EStep(X, y, hidden_layer_sizes=2)
    found = oracle.class_log_probability(*parameters(problem["runs"][run]["iterations"][-1]))
    return int(np.sum(found.argmax(axis=1) != y))


def test_errors_in_the_text(data):
    assert [count_wrong(data, run) for run in (0, 1)] == [3, 10]


def state_of(data, run, iteration, point, y=None):
    problem = data["problems"][0]
    y = problem["y"][point - 1] if y is None else y
    values = problem["runs"][run]["iterations"][iteration]
    return reference_states(values, np.array(problem["X"][point - 1]), y)


def test_probabilities_in_the_exercises(data):
    prior, posterior = state_of(data, run=0, iteration=0, point=1)
    np.testing.assert_allclose(prior, [0.171, 0.136, 0.385, 0.308], atol=6e-4)
    np.testing.assert_allclose(posterior, [0.214, 0.084, 0.501, 0.201], atol=6e-4)
    prior, of_0 = state_of(data, run=0, iteration=-1, point=38, y=0)
    _, of_1 = state_of(data, run=0, iteration=-1, point=38, y=1)
    of_unit_1 = [p[1] + p[3] for p in (prior, of_0, of_1)]
    np.testing.assert_allclose(of_unit_1, [0.597, 0.013, 0.991], atol=6e-4)
    assert min(p[2] + p[3] for p in (prior, of_0, of_1)) > 0.9995
    _, posterior = state_of(data, run=1, iteration=30, point=50)
    found = [posterior[1] + posterior[3], posterior[2] + posterior[3], posterior[3]]
    np.testing.assert_allclose(found, [0.596, 0.427, 0.097], atol=6e-4)
    for number in ("0.597", "0.013", "0.991", "0.596", "0.427", "0.254", "0.097", "0.398"):
        assert number in PAGE.read_text("utf-8")


def test_states_in_the_text(data):
    problem = data["problems"][0]
    values = problem["runs"][0]["iterations"][-1]
    rows = zip(np.array(problem["X"]), problem["y"], strict=True)
    used = np.mean([reference_states(values, x, y)[1] for x, y in rows], axis=0)
    assert used[[0, 2, 3]].sum() > 0.99  # states 00, 01 and 11
    (_, V), (_, c) = parameters(values)
    assert [int(np.argmax(z @ V + c)) for z in ([0, 0], [0, 1], [1, 1])] == [1, 0, 1]


def test_equal_units_stay_equal(data):
    for iteration in data["problems"][0]["runs"][2]["iterations"]:
        (W, V), (b, _) = parameters(iteration)
        np.testing.assert_allclose(W[:, 0], W[:, 1], atol=1e-6)
        np.testing.assert_allclose(V[0], V[1], atol=1e-6)
        assert b[0] == pytest.approx(b[1], abs=1e-6)


def test_code_of_the_page_prints_what_the_page_shows():
    text = PAGE.read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    printed = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == shown


# In a browser.


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("figure") / "em_figure.html"
    path.write_text(module("build").standalone(), "utf-8")
    return path


@pytest.fixture(scope="module")
def chromium():
    with browsers.chromium() as found:
        yield found


@pytest.fixture
def open_figure(chromium, file):
    """Open the figure; the test fails if the page has complained."""
    opened, found = [], []

    def open_with(**options):
        page = chromium.new_page(**options)
        found.append(browsers.complaints(page))
        page.goto(file.as_uri())
        opened.append(page)
        return page

    yield open_with
    for page in opened:
        page.close()
    assert [complaint for of_page in found for complaint in of_page] == []


def test_posterior_agrees_with_the_e_step(data, open_figure):
    page = open_figure()
    for X, y, run in runs(data):
        for iteration in (run["iterations"][i] for i in (0, 1, 10, -1)):
            found = page.evaluate(
                "([p, X, y]) => X.map((x, i) => emModel.posterior(p, x, y[i]))",
                [iteration, X.tolist(), y.tolist()],
            )
            expected = fastem.e_step(X, y, *parameters(iteration))
            for key, truth in (
                ("posterior", expected.hidden_posterior),
                ("logLikelihood", expected.log_likelihood),
            ):
                values = np.array([row[key] for row in found])
                np.testing.assert_allclose(values, truth, rtol=1e-9, atol=1e-12)
            for i in (0, 50, 100):
                prior, posterior = reference_states(iteration, X[i], y[i])
                np.testing.assert_allclose(found[i]["statePrior"], prior, rtol=1e-9, atol=1e-300)
                np.testing.assert_allclose(
                    found[i]["statePosterior"], posterior, rtol=1e-9, atol=1e-300
                )


@pytest.mark.parametrize("scale", [1.0, 30.0, 800.0])
def test_posterior_of_random_and_extreme_parameters(open_figure, scale):
    rng = np.random.default_rng(0)
    page = open_figure()
    for n_hidden, n_classes in ((1, 2), (3, 3), (5, 4)):
        W, V = rng.normal(size=(2, n_hidden)), rng.normal(size=(n_hidden, n_classes))
        b, c = rng.normal(size=n_hidden), rng.normal(size=n_classes)
        values = dict(zip("WVbc", (scale * array for array in (W, V, b, c)), strict=True))
        iteration = {key: array.tolist() for key, array in values.items()}
        X, y = rng.normal(size=(20, 2)), rng.integers(n_classes, size=20)
        found = page.evaluate(
            "([p, X, y]) => X.map((x, i) => emModel.posterior(p, x, y[i]))",
            [iteration, X.tolist(), y.tolist()],
        )
        expected = fastem.e_step(X, y, *parameters(iteration))
        np.testing.assert_allclose(
            [row["posterior"] for row in found], expected.hidden_posterior, rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(
            [row["logLikelihood"] for row in found], expected.log_likelihood, rtol=1e-9, atol=1e-12
        )
        total = np.sum([row["classProbability"] for row in found], axis=1)
        np.testing.assert_allclose(total, 1.0, rtol=1e-12)


def test_colours_of_the_map_are_the_class_probabilities(data, open_figure):
    page = open_figure(color_scheme="light")
    page.select_option("#em-problem", "2")
    iteration = data["problems"][2]["runs"][0]["iterations"][0]
    extent = data["problems"][2]["extent"]
    pixels = page.evaluate(
        """() => { const canvas = document.getElementById("em-canvas");
             return [canvas.width, [...canvas.getContext("2d").getImageData(
               0, 0, canvas.width, canvas.width).data]]; }"""
    )
    n = pixels[0]
    found = np.array(pixels[1]).reshape(n, n, 4)[:, :, :3]
    place = np.linspace(-extent, extent, n)
    X = np.array([[x1, -x2] for x2 in place for x1 in place])
    oracle = fastem.EStep(X, np.arange(len(X)) % 3, hidden_layer_sizes=4)
    probability = np.exp(oracle.class_log_probability(*parameters(iteration)))
    style = "getComputedStyle(document.getElementById('em-figure')).getPropertyValue"
    names = [f"--em-class-{k}" for k in range(3)]
    hexes = [page.evaluate(f"{style}('{name}').trim()") for name in names]
    colours = np.array([[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in hexes])
    tint = float(page.evaluate(f"{style}('--em-tint')"))
    expected = (1.0 - tint) * 255.0 + tint * probability @ colours
    assert np.abs(found.reshape(-1, 3) - expected).max() <= 0.51


def status(page):
    return page.inner_text("#em-status")


def test_keys_move_the_slider(open_figure):
    page = open_figure()
    page.focus("#em-slider")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert status(page).startswith("Iteration 2 of 35")
    assert page.get_attribute("#em-slider", "aria-valuetext").startswith("iteration 2, loss")
    page.keyboard.press("End")
    assert status(page).startswith("Iteration 35 of 35")
    page.focus("#em-previous")
    page.keyboard.press("Enter")
    assert status(page).startswith("Iteration 34 of 35")


def test_play_runs_to_the_last_iteration(open_figure):
    page = open_figure()
    page.clock.install()
    page.click("#em-play")
    assert page.inner_text("#em-play") == "Pause"
    page.clock.run_for(1000)
    middle = page.evaluate("emFigure.current().iteration")
    assert 0 < middle < 35
    page.clock.run_for(20_000)
    assert status(page).startswith("Iteration 35 of 35")
    assert page.inner_text("#em-play") == "Play"


def test_a_click_on_the_loss_selects_the_iteration(open_figure):
    page = open_figure(viewport=browsers.DESKTOP)
    box = page.locator("#em-loss").bounding_box()
    page.mouse.click(box["x"] + 0.55 * box["width"], box["y"] + 0.5 * box["height"])
    assert 12 <= page.evaluate("emFigure.current().iteration") <= 24


@pytest.mark.parametrize("size", [browsers.DESKTOP, browsers.PHONE], ids=["desktop", "phone"])
def test_a_click_selects_a_point_or_a_place(open_figure, size):
    page = open_figure(viewport=size)
    page.locator("#em-points [data-point='100']").scroll_into_view_if_needed()
    box = page.locator("#em-points [data-point='100']").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.inner_text("#em-point-name") == "point 101 of 120"
    assert page.evaluate("emFigure.current().label") == 1
    before = page.evaluate("emFigure.posterior().posterior")
    page.select_option("#em-label", "0")
    assert page.evaluate("emFigure.posterior().posterior") != before
    box = page.locator("#em-canvas").bounding_box()
    page.mouse.click(box["x"] + 0.96 * box["width"], box["y"] + 0.04 * box["height"])
    assert page.inner_text("#em-point-name") == "a place without data"
    np.testing.assert_allclose(page.evaluate("emFigure.current().x"), [2.116, 2.116], atol=0.03)
    page.click("#em-point-next")
    assert page.inner_text("#em-point-name") == "point 102 of 120"


def test_every_choice_can_be_drawn(data, open_figure):
    page = open_figure(viewport=browsers.PHONE)
    seen = set()
    for p, problem in enumerate(data["problems"]):
        page.select_option("#em-problem", str(p))
        for r in range(len(problem["runs"])):
            page.select_option("#em-run", str(r))
            for view in page.eval_on_selector_all(
                "#em-view option", "all => all.map((o) => o.value)"
            ):
                page.select_option("#em-view", view)
                seen.add(page.evaluate("document.getElementById('em-canvas').toDataURL()"))
                assert "NaN" not in page.inner_html("#em-figure")
    # The two equal units and unit 1 of start B have the same starting values.
    assert len(seen) == 3 * 3 + 2 * 5 + 2 * 5 - 2
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= browsers.PHONE["width"]


def test_colours_follow_the_theme(open_figure):
    page = open_figure(color_scheme="light")
    light = page.evaluate("document.getElementById('em-canvas').toDataURL()")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(
        "(light) => document.getElementById('em-canvas').toDataURL() !== light", arg=light
    )
