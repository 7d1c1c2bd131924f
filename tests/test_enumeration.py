"""The enumeration engine against the slow truth, at its extremes, and within its means."""

import itertools
import re
import tracemalloc

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastem.engines import enumeration_plan
from fastem.engines.enumeration import Enumeration
from fastem.kernels import enumeration as kernels
from fastem.parameters import Shape
from fastem.rows import add_ones, sort_rows
from fastem.runtime import memory, threads
from fastem.runtime.memory import format_bytes


def _problem(seed, n_samples, n_hidden, n_classes, n_features=3, scale=1.0, fit_intercept=True):
    rng = np.random.default_rng(seed)
    shape = Shape(n_features, (n_hidden,), n_classes, fit_intercept)
    X = rng.normal(size=(n_samples, n_features))
    y = rng.integers(n_classes, size=n_samples)
    coefs = [
        scale * rng.normal(size=(n_features, n_hidden)),
        scale * rng.normal(size=(n_hidden, n_classes)),
    ]
    on = float(fit_intercept)
    intercepts = [on * rng.normal(size=n_hidden), on * rng.normal(size=n_classes)]
    return shape, X, y, coefs, intercepts


def _expect(shape, X, y, coefs, intercepts, weights=None, n_threads=1):
    """Run the engine; return its results in the order and the layout of the reference."""
    weights = np.ones(len(X)) if weights is None else weights
    rows = sort_rows(X, y, weights, shape)
    plan = Enumeration().plan(rows, shape, n_threads)
    statistics = plan.expect(shape.from_lists(coefs, intercepts))
    log_likelihood = np.empty(len(X))
    log_likelihood[rows.order] = statistics.log_likelihood
    posterior = np.empty((len(X), shape.first))
    posterior[rows.order] = statistics.hidden[0].posterior.T
    hidden, output = statistics.hidden[0].gradient, statistics.output_gradient
    p = shape.n_features
    return {
        "log_likelihood": log_likelihood,
        "hidden_posterior": posterior,
        "counts": statistics.expected_counts().reshape(shape.n_outputs, -1),
        "coef_gradients": [hidden[:p], output[: shape.last]],
        "intercept_gradients": [*hidden[p:], *output[shape.last :]],
    }


def _log_marginal(shape, X, coefs, intercepts, n_threads=1):
    inputs = add_ones(X, shape.fit_intercept)
    parameters = shape.from_lists(coefs, intercepts)
    return Enumeration().log_marginal(inputs, parameters, shape, n_threads)


def _assert_equal(got, expected, scale=1.0, rtol=1e-10):
    for name in ("log_likelihood", "hidden_posterior", "counts"):
        atol = rtol * (scale if name == "counts" else 1.0)
        np.testing.assert_allclose(got[name], expected[name], rtol=rtol, atol=atol, err_msg=name)
    for name in ("coef_gradients", "intercept_gradients"):
        kept = expected[name][: len(got[name])]  # there may be no intercepts
        for a, b in zip(got[name], kept, strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale, err_msg=name)


def _check(shape, X, y, coefs, intercepts, weights=None, n_threads=1):
    got = _expect(shape, X, y, coefs, intercepts, weights, n_threads)
    largest = 1.0 if weights is None else max(np.max(weights), 1.0)
    scale = max(largest * len(X) * max(np.max(np.abs(X), initial=1.0), 1.0), 1.0)
    _assert_equal(got, reference.e_step(X, y, coefs, intercepts, weights), scale)
    assert (got["hidden_posterior"] >= 0.0).all()
    assert (got["hidden_posterior"] <= 1.0).all()
    log_marginal = _log_marginal(shape, X, coefs, intercepts, n_threads)
    expected = reference.log_marginal(X, coefs, intercepts)
    np.testing.assert_allclose(log_marginal, expected, rtol=1e-10, atol=1e-10)
    return got


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("n_hidden", range(1, 10))
def test_random_problems(n_hidden, n_classes, fit_intercept):
    problem = _problem(n_hidden, 40, n_hidden, n_classes, scale=2.0, fit_intercept=fit_intercept)
    weights = np.random.default_rng(0).uniform(0.0, 2.0, size=40)
    weights[:3] = 0.0
    weights[3] = 1e3
    _check(*problem, weights)


@pytest.mark.parametrize(("n_samples", "n_hidden"), [(1, 1), (1, 6), (2, 1), (30, 1)])
@pytest.mark.parametrize("n_features", [1, 4])
def test_one_row_and_one_unit(n_samples, n_hidden, n_features):
    _check(*_problem(7, n_samples, n_hidden, 3, n_features))


# rows around the edges of tiles (256) and of chunks (3 tiles for the largest)
@pytest.mark.parametrize("n_samples", [255, 256, 257, 513, 9000, 20001])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_several_tiles_and_chunks(n_samples, n_threads):
    shape, X, y, coefs, intercepts = _problem(8, n_samples, 3, 3)
    y = np.minimum(y, np.arange(n_samples) % 7)  # classes of unequal sizes
    _check(shape, X, y, coefs, intercepts, n_threads=n_threads)


@pytest.mark.parametrize("n_hidden", [15, 16])
def test_tables_cut_into_slices(n_hidden):
    _check(*_problem(8, 5, n_hidden, 2), n_threads=2)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_class_without_rows(missing):
    shape, X, y, coefs, intercepts = _problem(9, 50, 4, 3)
    y[y == missing] = (missing + 1) % 3
    assert not _check(shape, X, y, coefs, intercepts)["counts"][missing].any()


def test_no_rows_at_all():
    shape, X, y, coefs, intercepts = _problem(9, 0, 4, 3)
    got = _expect(shape, X, y, coefs, intercepts)
    assert not got["counts"].any()
    assert not any(g.any() for g in got["coef_gradients"] + got["intercept_gradients"])
    assert _log_marginal(shape, X, coefs, intercepts).shape == (0, 3)


@pytest.mark.parametrize("scale", [30.0, 300.0, 1e3, 1e5])
@pytest.mark.parametrize("n_hidden", [1, 2, 5, 8])
def test_large_weights(n_hidden, scale):
    shape, X, y, coefs, intercepts = _problem(10, 60, n_hidden, 3, scale=1.0)
    _check(shape, X, y, [coefs[0], scale * coefs[1]], [intercepts[0], scale * intercepts[1]])
    _check(shape, X, y, [scale * coefs[0], coefs[1]], intercepts)
    _check(shape, X, y, [scale * coefs[0], scale * coefs[1]], intercepts)


def test_log_odds_of_800_and_certain_wrong_predictions():
    # unit h is sure of itself; unit 0 says the class, with 1e3 nats of confidence
    X = np.array([[1.0], [-1.0], [1.0], [-1.0], [0.0]])
    y = np.array([0, 0, 1, 1, 1])
    coefs = [np.array([[800.0, -800.0, 0.1]]), np.array([[1e3, -1e3], [0.0, 0.0], [1.0, 2.0]])]
    intercepts = [np.zeros(3), np.zeros(2)]
    got = _check(Shape(1, (3,), 2), X, y, coefs, intercepts, np.array([1.0, 2.0, 0.0, 1.0, 1e3]))
    assert got["log_likelihood"][2] < -700.0  # the cheaper of two impossible explanations


@pytest.mark.parametrize("n_rows", [1, 300])
def test_impossible_rows_among_ordinary_ones(n_rows):
    """Rows whose likelihood underflows share tiles with rows whose does not."""
    shape, X, y, coefs, intercepts = _problem(11, n_rows, 5, 3)
    X[::3, 0] = 9e3
    X[1::7, 1] = -900.0
    coefs[1] *= 2e3
    y[::3] = reference.log_marginal(X, coefs, intercepts).argmin(axis=1)[::3]
    got = _check(shape, X, y, coefs, intercepts, np.linspace(0.0, 5.0, n_rows))
    assert (got["log_likelihood"] < np.log(kernels.SMALLEST_LIKELIHOOD)).any()


@pytest.mark.parametrize("scale", [1e8, 1e15, 1e20, 1e100, 1e300])
@pytest.mark.parametrize("layer", [0, 1])
def test_absurd_weights_stay_finite(layer, scale):
    shape, X, y, coefs, intercepts = _problem(12, 40, 4, 3)
    coefs[layer] *= scale
    got = _expect(shape, X, y, coefs, intercepts)
    assert np.isfinite(got["log_likelihood"]).all()
    assert (got["log_likelihood"] <= 0.0).all()
    assert ((got["hidden_posterior"] >= 0.0) & (got["hidden_posterior"] <= 1.0)).all()
    np.testing.assert_allclose(got["counts"].sum(), 40.0, rtol=1e-9)
    assert all(np.isfinite(g).all() for g in got["coef_gradients"] + got["intercept_gradients"])


@pytest.mark.parametrize("scale", [1e3, 1e12, 1e20])
def test_counts_of_an_impossible_row_sum_to_its_weight(scale):
    # unit 0 is on and says class 0, the row is of class 1, and the other units say nothing
    W, b, V = np.zeros((1, 4)), np.array([scale, 0.0, 0.0, 0.0]), np.zeros((4, 2))
    V[0, 0] = scale
    problem = Shape(1, (4,), 2), np.zeros((1, 1)), np.array([1]), [W, V], [b, np.zeros(2)]
    got = _expect(*problem, np.array([3.0]))
    np.testing.assert_allclose(got["counts"].sum(), 3.0, rtol=1e-10)


@pytest.mark.parametrize("n_samples", [1, 600])
@pytest.mark.parametrize("cause", ["nan", "inf - inf"])
def test_log_odds_that_are_not_numbers(cause, n_samples):
    shape, X, y, coefs, intercepts = _problem(13, n_samples, 4, 2)
    if cause == "nan":
        X[n_samples // 2, 0] = np.nan
    else:
        X[n_samples // 2] = [np.inf, -np.inf, 0.0]
        coefs[0][:2, 3] = 1.0
    with pytest.raises(ValueError, match="X contains NaN or infinity"):
        _expect(shape, X, y, coefs, intercepts)
    with pytest.raises(FloatingPointError, match="weights overflow"):
        _log_marginal(shape, X, coefs, intercepts)


@pytest.mark.parametrize("n_samples", [1, 600])
def test_log_odds_that_overflow(n_samples):
    shape, X, y, coefs, intercepts = _problem(13, n_samples, 4, 2)
    X[n_samples // 2] = [1e200, -1e200, 0.0]
    coefs[0][:2, 3] = 1e200
    for function in (_expect, lambda shape, X, y, *weights: _log_marginal(shape, X, *weights)):
        with pytest.raises(FloatingPointError, match="weights overflow"):
            function(shape, X, y, coefs, intercepts)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_gradients_are_finite_differences(fit_intercept):
    shape, X, y, coefs, intercepts = _problem(14, 25, 5, 3, fit_intercept=fit_intercept)
    weights = np.random.default_rng(1).uniform(0.0, 2.0, size=25)
    rows = sort_rows(X, y, weights, shape)
    plan = Enumeration().plan(rows, shape, 1)
    theta = shape.pack(shape.from_lists(coefs, intercepts))

    def total(x):
        return rows.weights @ plan.expect(shape.unpack(x)).log_likelihood

    s = plan.expect(shape.unpack(theta))
    gradient = np.concatenate([s.hidden[0].gradient.ravel(), s.output_gradient.ravel()])
    assert gradient.size == shape.n_parameters
    steps = 1e-5 * np.eye(theta.size)
    differences = [(total(theta + step) - total(theta - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(gradient, differences, atol=1e-7)


def _arrays_of(statistics):
    layers = [array for layer in statistics.hidden for array in layer]
    own = statistics._replace(counts=statistics.expected_counts())
    return [np.array(x) for x in (own.log_likelihood, *layers, *own[2:])]


@pytest.mark.parametrize(
    ("n_samples", "n_hidden", "serial_seconds"), [(12000, 10, None), (300, 16, None), (900, 7, 0.0)]
)
def test_any_number_of_threads_gives_the_same_bits(
    monkeypatch, n_samples, n_hidden, serial_seconds
):
    used = []
    run = threads.run

    def record(function, n_pieces, n_threads):
        used.append(n_threads)
        run(function, n_pieces, n_threads)

    monkeypatch.setattr(enumeration_plan, "run", record)
    if serial_seconds is not None:
        monkeypatch.setattr(threads, "_SERIAL_SECONDS", serial_seconds)
    shape, X, y, coefs, intercepts = _problem(15, n_samples, n_hidden, 3)
    X[::100] *= 500.0  # some rows to be redone in log space
    coefs[1] *= 1e3
    y[::100] = _log_marginal(shape, X[::100], coefs, intercepts).argmin(axis=1)
    rows = sort_rows(X, y, np.linspace(0.0, 3.0, n_samples), shape)
    parameters = shape.from_lists(coefs, intercepts)
    results = {}
    for n_threads in (1, 2, 3):
        used.clear()
        plan = Enumeration().plan(rows, shape, n_threads)
        for _ in range(3):
            statistics = _arrays_of(plan.expect(parameters))
            log_marginal = Enumeration().log_marginal(rows.inputs, parameters, shape, n_threads)
            expected = results.setdefault("bits", [*statistics, log_marginal])
            for a, b in zip([*statistics, log_marginal], expected, strict=True):
                np.testing.assert_array_equal(a, b)
        assert max(used) == n_threads
    assert (expected[0] < np.log(kernels.SMALLEST_LIKELIHOOD)).any()


def test_small_problems_wake_no_threads(monkeypatch):
    used = []
    run = threads.run
    monkeypatch.setattr(enumeration_plan, "run", lambda f, n, t: (used.append(t), run(f, n, t)))
    _expect(*_problem(16, 50, 4, 3), n_threads=8)
    assert set(used) <= {1}


def test_a_plan_can_be_run_again():
    shape, X, y, coefs, intercepts = _problem(17, 700, 6, 3)
    rows = sort_rows(X, y, np.ones(700), shape)
    plan = Enumeration().plan(rows, shape, 1)
    parameters = shape.from_lists(coefs, intercepts)
    absurd = shape.from_lists([1e3 * coefs[0], 1e3 * coefs[1]], intercepts)
    first = _arrays_of(plan.expect(parameters))
    plan.expect(absurd)
    for a, b in zip(first, _arrays_of(plan.expect(parameters)), strict=True):
        np.testing.assert_array_equal(a, b)


# ---- memory


def test_bytes_needed_double_with_each_unit():
    needed = [Enumeration().bytes_needed(Shape(5, (m,), 3), 100) for m in range(24, 70)]
    ratios = np.array([b / a for a, b in itertools.pairwise(needed)])
    assert ratios.min() > 1.0
    np.testing.assert_allclose(ratios, 2.0, rtol=0.02)


def test_bytes_needed_grow_with_rows_and_classes_but_never_as_their_table():
    engine = Enumeration()
    few, many = (engine.bytes_needed(Shape(5, (12,), 3), n) for n in (100, 10**6))
    assert few < many < 10**6 * 2**12
    assert engine.bytes_needed(Shape(5, (12,), 9), 100) > few
    assert few < engine.bytes_needed(Shape(5, (12,), 3), 100, n_threads=2)


def _allocates_nothing_and_raises(call, match):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=match):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("n_hidden", [40, 60, 61, 200, 2000, 20000])
def test_too_many_units_are_refused_before_anything_is_allocated(n_hidden):
    shape, X, y, *_ = _problem(18, 10, 1, 2)
    shape = shape._replace(hidden_layer_sizes=(n_hidden,))
    rows = sort_rows(X, y, np.ones(10), shape)
    message = rf"hidden_layer_sizes=\({n_hidden},\).*2\*\*{n_hidden}\b.*available.*[Ff]ewer hidden"
    peak = _allocates_nothing_and_raises(lambda: Enumeration().plan(rows, shape, 2), message)
    assert peak < 2**20


def test_the_refusal_names_needed_and_available_bytes(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 65_432)
    monkeypatch.setattr(memory, "_NEGLIGIBLE_BYTES", 0)
    shape, X, y, coefs, intercepts = _problem(18, 10, 12, 2)
    engine = Enumeration()
    for needed, call in (
        (engine.bytes_needed(shape, 10), lambda: _expect(shape, X, y, coefs, intercepts)),
        (engine.bytes_to_predict(shape, 10), lambda: _log_marginal(shape, X, coefs, intercepts)),
    ):
        assert f"({needed} bytes)" in format_bytes(needed)
        message = f"{re.escape(format_bytes(needed))}.*{re.escape(format_bytes(65_432))}"
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("n_hidden", [44, 60, 61, 2000, 20000])
def test_absurdly_many_units_are_refused_where_memory_cannot_be_known(monkeypatch, n_hidden):
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    monkeypatch.setattr(memory, "_NEGLIGIBLE_BYTES", 0)
    shape, X, y, *_ = _problem(18, 10, 1, 2)
    shape = shape._replace(hidden_layer_sizes=(n_hidden,))
    rows = sort_rows(X, y, np.ones(10), shape)
    message = rf"hidden_layer_sizes=\({n_hidden},\) needs.*128 TiB.*can be addressed.*[Ff]ewer"
    peak = _allocates_nothing_and_raises(lambda: Enumeration().plan(rows, shape, 2), message)
    assert peak < 2**20


def test_prediction_needs_less_than_training(monkeypatch):
    shape, X, _, coefs, intercepts = _problem(18, 3000, 12, 3)
    engine = Enumeration()
    needed = engine.bytes_to_predict(shape, 3000)
    assert needed < engine.bytes_needed(shape, 3000) / 2
    monkeypatch.setattr(memory, "available_bytes", lambda: needed)
    monkeypatch.setattr(memory, "_NEGLIGIBLE_BYTES", 0)
    found = _log_marginal(shape, X, coefs, intercepts)
    expected = reference.log_marginal(X[::50], coefs, intercepts)  # slow
    np.testing.assert_allclose(found[::50], expected, atol=1e-10)


@pytest.mark.parametrize("spare", [0, None])
def test_what_just_fits_or_cannot_be_known_is_run(monkeypatch, spare):
    shape, X, y, coefs, intercepts = _problem(18, 10, 3, 2)
    needed = Enumeration().bytes_needed(shape, 10)
    available = None if spare is None else needed + spare
    monkeypatch.setattr(memory, "available_bytes", lambda: available)
    monkeypatch.setattr(memory, "_NEGLIGIBLE_BYTES", 0)
    _check(shape, X, y, coefs, intercepts)


def _peak(call):
    """Return the most memory that a call takes, what it compiles aside."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("n_samples", "n_features", "n_hidden", "n_classes", "scale"),
    [
        (4000, 3, 12, 3, 1.0),
        (8192, 300, 3, 2, 1.0),  # gradients of the chunks
        (10, 3, 16, 2, 1000.0),  # tables in log space
        (20000, 1, 3, 2, 1.0),  # results of the rows
    ],
)
@pytest.mark.parametrize("n_threads", [1, 3])
def test_what_is_announced_is_what_is_needed(
    n_samples, n_features, n_hidden, n_classes, scale, n_threads, monkeypatch
):
    monkeypatch.setattr(threads, "_SERIAL_SECONDS", 0.0)
    size = n_samples, n_hidden, n_classes, n_features, scale
    shape, X, y, coefs, intercepts = _problem(19, *size)
    rows = sort_rows(X, y, np.ones(n_samples), shape)
    parameters = shape.from_lists(coefs, intercepts)
    engine = Enumeration()
    needed = {
        engine.bytes_needed: lambda: engine.plan(rows, shape, n_threads).expect(parameters),
        engine.bytes_to_predict: lambda: engine.log_marginal(
            rows.inputs, parameters, shape, n_threads
        ),
    }
    for announce, call in needed.items():
        announced, peak = announce(shape, n_samples, n_threads), _peak(call)
        # a class less in log space, or a worker without work, needs a table less
        assert 0.6 * announced - 2**17 < peak < 1.02 * announced + 2**16


@pytest.mark.parametrize("n_threads", [1, 2, 8])
def test_memory_stays_within_what_was_announced(n_threads):
    shape, X, y, coefs, intercepts = _problem(19, 4000, 12, 3)
    rows = sort_rows(X, y, np.ones(4000), shape)
    parameters = shape.from_lists(coefs, intercepts)
    Enumeration().plan(rows, shape, n_threads).expect(parameters)  # compiles
    tracemalloc.start()
    try:
        Enumeration().plan(rows, shape, n_threads).expect(parameters)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 4000 * 2**12 / 10
    assert peak < 1.15 * Enumeration().bytes_needed(shape, 4000, n_threads) + 2**19


# ---- invariances

_BOUNDED = settings(deadline=None, derandomize=True, database=None, max_examples=60)


@st.composite
def _problems(draw, with_weights=False):
    def numbers(*size, bound=4.0):
        elements = st.floats(-bound, bound, allow_subnormal=False)
        return draw(arrays(np.float64, size, elements=elements))

    n, p, m, g = (draw(st.integers(*ends)) for ends in ((1, 6), (1, 3), (1, 6), (2, 4)))
    scale = draw(st.sampled_from([1.0, 1.0, 50.0, 500.0]))
    y = np.array(draw(st.lists(st.integers(0, g - 1), min_size=n, max_size=n)))
    coefs = [numbers(p, m), scale * numbers(m, g)]
    problem = Shape(p, (m,), g), numbers(n, p), y, coefs, [numbers(m), numbers(g)]
    if not with_weights:
        return problem
    return problem, np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))


@_BOUNDED
@given(_problems(), st.randoms(use_true_random=False))
def test_permuting_hidden_units_permutes_the_results(problem, random):
    shape, X, y, (W, V), (b, c) = problem
    order = list(range(shape.first))
    random.shuffle(order)
    before = _expect(*problem)
    after = _expect(shape, X, y, [W[:, order], V[order]], [b[order], c])
    np.testing.assert_allclose(
        after["log_likelihood"], before["log_likelihood"], rtol=1e-11, atol=1e-11
    )
    np.testing.assert_allclose(
        after["hidden_posterior"], before["hidden_posterior"][:, order], atol=1e-10
    )


@_BOUNDED
@given(_problems(), st.integers(0, 5))
def test_flipping_a_hidden_unit_leaves_the_likelihood(problem, unit):
    shape, X, y, (W, V), (b, c) = problem
    h = unit % shape.first
    before = _expect(*problem)
    W, V, b, c = W.copy(), V.copy(), b.copy(), c + V[h]
    W[:, h], b[h], V[h] = -W[:, h], -b[h], -V[h]
    after = _expect(shape, X, y, [W, V], [b, c])
    np.testing.assert_allclose(
        after["log_likelihood"], before["log_likelihood"], rtol=1e-10, atol=1e-10
    )
    flipped = before["hidden_posterior"].copy()
    flipped[:, h] = 1.0 - flipped[:, h]
    np.testing.assert_allclose(after["hidden_posterior"], flipped, atol=1e-9)


@_BOUNDED
@given(_problems(with_weights=True))
def test_weights_are_replication_and_zero_is_removal(drawn):
    (shape, X, y, coefs, intercepts), weights = drawn
    weighted = _expect(shape, X, y, coefs, intercepts, weights.astype(float))
    repeated = _expect(
        shape, np.repeat(X, weights, axis=0), np.repeat(y, weights), coefs, intercepts
    )
    for name in ("log_likelihood", "hidden_posterior"):
        again = np.repeat(weighted.pop(name), weights, axis=0)
        np.testing.assert_allclose(repeated[name], again, rtol=1e-13, atol=1e-13)
    gradients = ("coef_gradients", "intercept_gradients")
    for a, b in zip(
        [weighted["counts"], *(g for name in gradients for g in weighted[name])],
        [repeated["counts"], *(g for name in gradients for g in repeated[name])],
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)
