"""Networks of several hidden layers against brute force over all their joint states."""

import tracemalloc

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem import FastEMClassifier
from fastem.engines.enumeration import Enumeration
from fastem.m_step import M_STEPS, Parts
from fastem.parameters import Shape
from fastem.rows import sort_rows
from fastem.runtime import threads
from fastem.solvers.starts import draw_start

SIZES = [(3, 2), (2, 5), (1, 1), (4, 1, 3), (2, 3, 2, 2), (9, 3)]


def _problem(sizes, n=40, p=3, g=3, scale=1.0, seed=0, **settings):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, p)), rng.integers(0, g, size=n)
    weights = rng.choice([0.0, 0.3, 1.0, 1e3], size=n)
    return X, y, weights, *reference.draw_network(rng, p, sizes, g, scale=scale, **settings)


def _assert_equal(got, truth, tolerance=1e-10):
    for name in ("log_likelihood", "hidden_posterior"):
        np.testing.assert_allclose(
            getattr(got, name), truth[name], rtol=tolerance, atol=tolerance, err_msg=name
        )
    for name in ("coef_gradients", "intercept_gradients"):
        for a, b in zip(getattr(got, name), truth[name], strict=True):
            assert a.shape == b.shape
            scale = 1.0 + max(np.abs(x).max() for x in truth[name])
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("scale", [1.0, 20.0, 300.0])
@pytest.mark.parametrize("g", [2, 3, 5])
@pytest.mark.parametrize("sizes", SIZES)
def test_it_is_the_sum_over_all_joint_states(sizes, g, scale):
    X, y, weights, coefs, intercepts = _problem(sizes, g=g, scale=scale)
    for sample_weight in (None, weights):
        truth = reference.e_step(X, y, coefs, intercepts, sample_weight)
        got = fastem.e_step(X, y, coefs, intercepts, sample_weight=sample_weight)
        _assert_equal(got, truth)


def test_the_brute_force_agrees_with_one_layer_whose_weights_are_certain():
    """A layer that copies the one below changes nothing."""
    X, y, weights, coefs, intercepts = _problem((3,))
    copied = [coefs[0], 2000.0 * np.eye(3), coefs[1]]
    shifted = [intercepts[0], np.full(3, -1000.0), intercepts[1]]
    one = fastem.e_step(X, y, coefs, intercepts, sample_weight=weights)
    two = fastem.e_step(X, y, copied, shifted, sample_weight=weights)
    np.testing.assert_allclose(two.log_likelihood, one.log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(two.hidden_posterior, one.hidden_posterior, atol=1e-12)
    np.testing.assert_allclose(two.coef_gradients[0], one.coef_gradients[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(two.coef_gradients[2], one.coef_gradients[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sizes", [(3, 2), (2, 2, 3)])
def test_gradients_are_slopes_of_the_weighted_total(sizes):
    X, y, weights, coefs, intercepts = _problem(sizes, n=15)

    def total():
        return weights @ fastem.e_step(X, y, coefs, intercepts).log_likelihood

    got = fastem.e_step(X, y, coefs, intercepts, sample_weight=weights)
    for arrays, gradients in (
        (coefs, got.coef_gradients), (intercepts, got.intercept_gradients)
    ):  # fmt: skip
        for array, gradient in zip(arrays, gradients, strict=True):
            for index in np.ndindex(array.shape):
                kept = array[index]
                array[index] = kept + 1e-5
                up = total()
                array[index] = kept - 1e-5
                slope = (up - total()) / 2e-5
                array[index] = kept
                assert gradient[index] == pytest.approx(slope, rel=1e-6, abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_extreme_weights(data):
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))
    g = data.draw(st.integers(2, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    scales = [data.draw(st.sampled_from([0.0, 1.0, 30.0, 900.0])) for _ in range(len(sizes) + 1)]
    X, y = rng.normal(size=(6, 2)), rng.integers(0, g, size=6)
    coefs, intercepts = reference.draw_network(rng, 2, sizes, g)
    coefs = [scale * W for scale, W in zip(scales, coefs, strict=True)]
    got = fastem.e_step(X, y, coefs, intercepts)
    _assert_equal(got, reference.e_step(X, y, coefs, intercepts), 1e-9)
    assert ((got.hidden_posterior >= 0.0) & (got.hidden_posterior <= 1.0)).all()


@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize("sizes", [(9, 7), (5, 9, 4)])
def test_threads_leave_every_bit_in_place(monkeypatch, sizes, scale):
    monkeypatch.setattr(threads, "_SERIAL_SECONDS", 0.0)
    X, y, weights, coefs, intercepts = _problem(sizes, n=900, scale=scale)
    one, *others = (
        fastem.e_step(X, y, coefs, intercepts, sample_weight=weights, n_jobs=n) for n in (1, 2, 3)
    )
    for other in others:
        for a, b in zip(one[:2], other[:2], strict=True):
            np.testing.assert_array_equal(a, b)
        for name in ("coef_gradients", "intercept_gradients"):
            for a, b in zip(getattr(one, name), getattr(other, name), strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_statistics_of_upper_layers(fit_intercept):
    """Weights of configurations, and the posteriors that the M-step regresses on."""
    sizes = (3, 2, 2)
    X, y, weights, coefs, intercepts = _problem(sizes, fit_intercept=fit_intercept)
    shape = Shape(3, sizes, 3, fit_intercept)
    rows = sort_rows(X, y, weights, shape)
    plan = Enumeration().plan(rows, shape, 1)
    found = plan.expect(shape.from_lists(coefs, intercepts))
    truth = reference.e_step(X, y, coefs, intercepts, weights)
    np.testing.assert_allclose(found.expected_counts().reshape(3, -1), truth["counts"], rtol=1e-10)
    for layer, n_below in zip(found.hidden[1:], sizes, strict=False):
        states = reference.configurations(n_below)
        np.testing.assert_array_equal(layer.inputs[:, :n_below], states)
        assert layer.inputs.shape[1] == n_below + fit_intercept
        assert layer.weights.sum() == pytest.approx(weights.sum())
        moved = layer.weights * (layer.posterior - layer.probability)
        np.testing.assert_allclose(layer.inputs.T @ moved.T, layer.gradient, rtol=1e-9, atol=1e-9)
    # a plan can be run again
    again = plan.expect(shape.from_lists(coefs, intercepts))
    np.testing.assert_array_equal(again.hidden[1].gradient, found.hidden[1].gradient)


# ---- M-steps and fits


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("m_step", ["newton", "bound"])
def test_each_layer_climbs_its_part_of_q(m_step, fit_intercept):
    sizes, alpha = (3, 2), 0.3
    X, y, weights, coefs, intercepts = _problem(sizes, fit_intercept=fit_intercept)
    shape = Shape(3, sizes, 3, fit_intercept)
    rows = sort_rows(X, y, weights, shape)
    parameters = shape.from_lists(coefs, intercepts)
    statistics = Enumeration().plan(rows, shape, 1).expect(parameters)
    parts = Parts.of(rows, shape, "counts", alpha, 1)
    new = M_STEPS[m_step](parts, 0.01)(parameters, statistics)

    def q(layer, joined):
        a = layer.inputs @ joined
        of_rows = layer.posterior.T * reference.log_sigmoid(a)
        of_rows += (1.0 - layer.posterior.T) * reference.log_sigmoid(-a)
        penalised = joined[: len(joined) - fit_intercept]
        return layer.weights @ of_rows.sum(axis=1) - 0.5 * alpha * (penalised**2).sum()

    for layer, before, after in zip(statistics.hidden, parameters.hidden, new.hidden, strict=True):
        assert q(layer, after) > q(layer, before)


@pytest.mark.parametrize("settings", [
    {}, {"m_step": "bound"}, {"m_step": "gradient"}, {"solver": "lbfgs"}, {"accelerate": False},
    {"fit_intercept": False}, {"m_step": "bound", "accelerate": False, "alpha": 0.0},
], ids=str)  # fmt: skip
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fits_never_fall(settings):
    X, y = load_iris(return_X_y=True)
    options = {"alpha": 0.15, "random_state": 0, "max_iter": 60, **settings}
    model = FastEMClassifier((4, 3, 2), **options).fit(X, y)
    losses = np.array(model.loss_curve_)
    if settings.get("solver") != "lbfgs":
        assert (np.diff(losses) <= 1e-12 * np.abs(losses[:-1])).all()
    assert losses[-1] < losses[0]
    assert model.n_layers_ == 5
    assert [W.shape for W in model.coefs_] == [(4, 4), (4, 3), (3, 2), (2, 3)]
    assert [b.shape for b in model.intercepts_] == [(4,), (3,), (2,), (3,)]
    if not settings.get("fit_intercept", True):
        assert not any(b.any() for b in model.intercepts_)


@pytest.fixture(scope="module")
def fitted():
    X, y = load_wine(return_X_y=True)
    names = np.array(["barolo", "grignolino", "barbera"])[y]
    return FastEMClassifier((5, 3), alpha=0.15, random_state=0).fit(X, names), X, names


def test_it_learns(fitted):
    model, X, y = fitted
    assert model.converged_
    assert model.score(X, y) > 0.98


def test_inference_is_brute_force(fitted):
    model, X, y = fitted
    log_p = reference.log_marginal(X, model.coefs_, model.intercepts_)
    np.testing.assert_allclose(model.predict_log_proba(X), log_p, atol=1e-9)
    labels = np.searchsorted(model.classes_, y)
    truth = reference.e_step(X, labels, model.coefs_, model.intercepts_)
    np.testing.assert_allclose(model.posterior(X, y), truth["hidden_posterior"], atol=1e-9)
    total = truth["log_likelihood"].sum()
    assert model.log_likelihood(X, y) == pytest.approx(total)
    penalty = reference.penalty([model.coefs_[0] * X.std(axis=0)[:, None], *model.coefs_[1:]], 0.15)
    assert model.loss_ == pytest.approx((penalty - total) / len(X), rel=1e-9)
    on = 1.0 / (1.0 + np.exp(-(X @ model.coefs_[0] + model.intercepts_[0])))
    np.testing.assert_allclose(model.transform(X), on)
    n_free = 13 * 5 + 5 + 5 * 3 + 3 + (3 + 1) * 2
    assert model.aic(X, y) == pytest.approx(2 * n_free - 2 * total)


def test_plugin_passes_mean_activations_on(fitted):
    model, X, _ = fitted
    plugin = clone(model).set_params(prediction="plugin")
    vars(plugin).update({n: v for n, v in vars(model).items() if n.endswith("_")})
    hidden = X
    for W, b in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        hidden = 1.0 / (1.0 + np.exp(-(hidden @ W + b)))
    odds = np.exp(hidden @ model.coefs_[-1] + model.intercepts_[-1])
    np.testing.assert_allclose(plugin.predict_proba(X), odds / odds.sum(axis=1, keepdims=True))


def test_samples_follow_the_model(fitted):
    model, X, _ = fitted
    rows = np.repeat(X[[0, 80]], 20000, axis=0)
    y, z = model.sample(rows, random_state=0)
    assert z.shape == (40000, 8)
    for i, part in enumerate(np.split(np.arange(40000), 2)):
        p = model.predict_proba(X[[0, 80]])[i]
        shares = [(y[part] == label).mean() for label in model.classes_]
        np.testing.assert_allclose(shares, p, atol=4 * 0.5 / np.sqrt(20000))
        on = model.transform(X[[0, 80]])[i]
        np.testing.assert_allclose(z[part, :5].mean(axis=0), on, atol=4 * 0.5 / np.sqrt(20000))
        # the second layer answers to the first
        a = z[part, :5] @ model.coefs_[1] + model.intercepts_[1]
        expected = (1.0 / (1.0 + np.exp(-a))).mean(axis=0)
        np.testing.assert_allclose(z[part, 5:].mean(axis=0), expected, atol=0.02)


def test_save_and_load(fitted, tmp_path):
    model, X, _ = fitted
    model.save(tmp_path / "deep")
    back = FastEMClassifier.load(tmp_path / "deep")
    assert back.get_params() == model.get_params()
    assert back.n_layers_ == 4
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_warm_starts_go_on():
    X, y = load_iris(return_X_y=True)
    whole = FastEMClassifier((4, 3), alpha=0.15, random_state=0, max_iter=12).fit(X, y)
    steps = FastEMClassifier((4, 3), alpha=0.15, random_state=0, max_iter=1, warm_start=True)
    for _ in range(12):
        steps.fit(X, y)
    assert steps.loss_curve_ == whole.loss_curve_
    with pytest.raises(ValueError, match=r"hidden units of the earlier fit, \(4, 3\)"):
        steps.set_params(hidden_layer_sizes=(4, 2)).fit(X, y)


def test_starts_can_be_given():
    X, y, _, coefs, intercepts = _problem((3, 2))
    model = FastEMClassifier(
        (3, 2),
        coefs_init=coefs,
        intercepts_init=intercepts,
        max_iter=1,
        accelerate=False,
        alpha=0.0,
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    truth = reference.e_step(X, y, coefs, intercepts)
    assert model.loss_curve_[0] == pytest.approx(-truth["log_likelihood"].mean())
    with pytest.raises(ValueError, match=r"coefs_init must be a list of 3 arrays, got 2"):
        clone(model).set_params(coefs_init=coefs[1:]).fit(X, y)


def test_starts_keep_every_layer_undecided():
    """Log-odds of deviation two over states of which each bit is a toss-up."""
    shape = Shape(4, (300, 200), 2)
    start = draw_start(shape, np.ones(2), np.random.RandomState(0))
    states = np.random.default_rng(1).integers(0, 2, size=(500, 300))
    log_odds = states @ start.hidden[1][:-1] + start.hidden[1][-1]
    assert np.std(log_odds) == pytest.approx(2.0, rel=0.05)
    assert np.mean(log_odds) == pytest.approx(0.0, abs=0.1)


# ---- what is refused


@pytest.mark.parametrize("sizes", [(), (3, 0), (3, 2.5), "ab", ((3,), 2), (3, True), None])
def test_sizes_that_are_no_layers(sizes):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes.* must be"):
        FastEMClassifier(sizes, alpha=0.15).fit(X, y)


def test_quadrature_names_an_engine_that_can():
    X, y, _, coefs, intercepts = _problem((3, 2), g=2)
    with pytest.raises(ValueError, match=r"one hidden layer, got 2.*Enumeration"):
        fastem.e_step(X, y, coefs, intercepts, method="quadrature")


@pytest.mark.parametrize("sizes", [(2, 45), (45, 2), (2, 61, 2), (30, 30)])
def test_too_many_units_in_any_layer_are_refused(sizes):
    engine, shape = Enumeration(), Shape(2, sizes, 2)
    rows = sort_rows(np.zeros((3, 2)), np.array([0, 1, 1]), np.ones(3), shape)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(.*\) needs (.*GiB|more than)"):
        engine.plan(rows, shape, 1)


@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize("sizes", [(12, 8), (8, 13), (14, 3)])
def test_memory_is_announced(sizes, scale):
    shape = Shape(4, sizes, 3)
    rng = np.random.default_rng(0)
    rows = sort_rows(rng.normal(size=(200, 4)), np.arange(200) % 3, np.ones(200), shape)
    parameters = shape.unpack(scale * rng.normal(size=shape.n_parameters))
    engine = Enumeration()

    def expect():
        engine.plan(rows, shape, 1).expect(parameters)

    def predict():
        engine.log_marginal(rows.inputs, parameters, shape, 1)

    for call, bytes_needed in ((expect, engine.bytes_needed), (predict, engine.bytes_to_predict)):
        call()  # compiles
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 1.1 * bytes_needed(shape, 200)
        assert bytes_needed(shape, 200) <= 2.5 * peak


@pytest.mark.parametrize(("change", "message"), [
    (lambda W, b: (W[:1], b[:1]), "must be a list of two arrays for one hidden layer"),
    (lambda W, b: (W, b[:2]), "the same length, got 3 and 2"),
    (lambda W, b: ([W[0], W[1].T, W[2]], b), r"coefs\[0\] must have .*got \(3, 3\)"),
    (lambda W, b: ([W[0], W[1][:, :1], W[2]], b), r"coefs\[1\] must have .*got \(3, 1\)"),
    (lambda W, b: (W, [b[0], b[1][:1], b[2]]), r"intercepts\[1\] must have .*got \(1,\)"),
    (lambda W, b: ([W[0], W[1] * np.nan, W[2]], b), r"coefs\[1\] contains NaN"),
])  # fmt: skip
def test_layers_that_do_not_fit_together(change, message):
    X, y, _, coefs, intercepts = _problem((3, 2))
    with pytest.raises(ValueError, match=message):
        fastem.e_step(X, y, *change(coefs, intercepts))


def test_weights_that_overflow_are_told():
    X, y, _, coefs, intercepts = _problem((3, 2))
    coefs[1][:] = 1.7e308
    with pytest.raises(FloatingPointError, match="inputs times weights overflow"):
        fastem.e_step(X, y, coefs, intercepts)
