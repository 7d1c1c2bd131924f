"""Fits to rows in parts, without a cluster."""

import pickle
import threading

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from rows_in_parts import Rows
from sklearn.datasets import load_diabetes, load_iris

from fastem import Enumeration, FastEMClassifier, FastEMRegressor, Quadrature
from fastem.estimators import fit_parts
from fastem.estimators.parts.counts import HoldOut
from fastem.estimators.parts.part import PartPreparation, Work, prepare_part
from fastem.estimators.standardization import Moments, Standardization
from fastem.expectations import total
from fastem.families import Bernoulli, Gaussian, Poisson
from fastem.parameters import CATEGORICAL, Shape
from fastem.rows import sort_rows
from fastem.solvers import Network, Request, SummedNetwork, draw_start

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SETTINGS = {
    "hidden_layer_sizes": (4,), "m_step": "bound", "alpha": 0.1, "max_iter": 40, "random_state": 0,
}  # fmt: skip


def table(kind):
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], y[order]
    if kind == "labels":
        return X, np.array(["a", "b", "c"])[y]
    if kind == "several labels":
        return X, np.column_stack([y == 0, y == 1, y > 1]).astype(int)
    if kind == "counts":
        return X, np.random.default_rng(1).poisson(np.exp(0.5 * X[:, 0] - 2.0)).astype(float)
    if kind == "two classes":
        return X, 1 * (y > 0)
    if kind == "numbers":
        return load_diabetes(return_X_y=True)
    return X, y


CASES = {
    "classes": (FastEMClassifier, "classes", {}),
    "labels": (FastEMClassifier, "labels", {}),
    "several labels": (FastEMClassifier, "several labels", {}),
    "quadrature": (FastEMClassifier, "two classes", {"e_step": "quadrature"}),
    "two layers": (FastEMClassifier, "classes", {"hidden_layer_sizes": (3, 2)}),
    "L-BFGS": (FastEMClassifier, "classes", {"solver": "lbfgs"}),
    "gradient steps": (FastEMClassifier, "classes", {"m_step": "gradient"}),
    "plain EM": (FastEMClassifier, "classes", {"accelerate": False}),
    "raw features": (FastEMClassifier, "classes", {"standardize": False}),
    "several starts": (FastEMClassifier, "classes", {"n_init": 3}),
    "Gaussian": (FastEMRegressor, "numbers", {"variance_floor": 0.05}),
    "Gaussian, quadrature": (
        FastEMRegressor, "numbers", {"variance_floor": 0.05, "e_step": "quadrature"},
    ),
    "Poisson": (FastEMRegressor, "counts", {"family": "poisson"}),
}  # fmt: skip


def fits(case, lengths=None, **changes):
    """Return the local fit, and the fit to parts."""
    kind, name, settings = CASES[case]
    X, y = table(name)
    settings = {**SETTINGS, **settings, **changes}
    local, model = kind(**settings).fit(X, y), kind(**settings)
    fit_parts(model, Rows(X, y, lengths or [len(X)]), (X, y, None))
    return local, model


@pytest.mark.parametrize("case", CASES)
def test_one_part_equals_the_local_fit_to_the_bit(case):
    local, model = fits(case)
    assert_array_equal(model.loss_curve_, local.loss_curve_)
    for mine, its in zip(
        model.coefs_ + model.intercepts_, local.coefs_ + local.intercepts_, strict=True
    ):
        assert_array_equal(mine, its)
    assert model.n_features_in_ == local.n_features_in_
    assert model.alpha_ == local.alpha_
    assert model.n_layers_ == local.n_layers_


@pytest.mark.parametrize("case", [name for name in CASES if not name.startswith("Gaussian")])
def test_several_parts_differ_by_rounding(case):
    local, model = fits(case, [70, 0, 1, 49, 30], max_iter=12)
    assert_allclose(model.loss_curve_, local.loss_curve_, rtol=1e-10)
    for mine, its in zip(
        model.coefs_ + model.intercepts_, local.coefs_ + local.intercepts_, strict=True
    ):
        assert_allclose(mine, its, rtol=1e-6, atol=1e-8)


@pytest.mark.filterwarnings("ignore:The noise variance")
def test_gaussian_parts_end_in_the_same_optimum():
    local, model = fits("Gaussian", [200, 42, 200], max_iter=400, tol=1e-10, alpha=30.0)
    assert_allclose(model.loss_, local.loss_, rtol=1e-9)


def test_weights_and_class_weights_count_as_locally():
    X, y = table("labels")
    weights = np.random.default_rng(3).integers(0, 3, len(X)).astype(float)
    weights[:50] = 0.0  # a part without weight
    for class_weight in (None, "balanced", {"a": 2.0}):
        settings = {**SETTINGS, "class_weight": class_weight, "max_iter": 12}
        local = FastEMClassifier(**settings).fit(X, y, weights)
        model = FastEMClassifier(**settings)
        fit_parts(model, Rows(X, y, [50, 60, 40], weights), (X, y, weights))
        assert_allclose(model.loss_curve_, local.loss_curve_, rtol=1e-10)
        assert_allclose(model.feature_deviation_, local.feature_deviation_, rtol=1e-12)


# Sums


@pytest.mark.parametrize(
    ("family", "engine"),
    [
        (CATEGORICAL, Enumeration()), (CATEGORICAL, Quadrature()), (Bernoulli(), Enumeration()),
        (Gaussian(), Enumeration()), (Gaussian(), Quadrature()), (Poisson(), Enumeration()),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_sums_of_parts_add_up(family, engine):
    rng, n = np.random.default_rng(0), 90
    n_outputs = 3 if family is CATEGORICAL else 1
    shape = Shape(4, (3,), n_outputs, True, family)
    X = rng.standard_normal((n, 4))
    targets = rng.integers(0, 3, n) if family is CATEGORICAL else rng.integers(0, 2, (n, 1)) * 1.0
    weights = rng.uniform(0.5, 2.0, n)
    parameters = draw_start(shape, np.full(n_outputs, 0.5), np.random.RandomState(0))

    def sums(rows):
        rows = sort_rows(X[rows], targets[rows], weights[rows], shape)
        network = Network(rows, shape, engine, "bound", alpha=0.0, n_threads=1)
        return network.sums(parameters, with_first_moments=True, is_single=False)[1]

    whole = sums(np.arange(n))
    added = total([sums(rows) for rows in np.split(np.arange(n), [10, 11, 60])])
    assert_allclose(added.log_likelihood, whole.log_likelihood, rtol=1e-12)
    assert_allclose(added.hidden[0].gradient, whole.hidden[0].gradient, rtol=1e-10, atol=1e-11)
    inputs = np.column_stack([X, np.ones(n)])
    assert_allclose(added.hidden[0].moments, (inputs * weights[:, None]).T @ inputs, rtol=1e-12)
    assert_allclose(added.output.gradient, whole.output.gradient, rtol=1e-10, atol=1e-11)
    assert_allclose(added.output.weight, weights.sum(), rtol=1e-14)
    for mine, its in zip(added.output.moments, whole.output.moments, strict=True):
        assert_allclose(mine, its, rtol=1e-10)


def test_sums_equal_those_of_the_slow_truth():
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((30, 3)), rng.integers(0, 3, 30)
    shape = Shape(3, (3,), 3, True, CATEGORICAL)
    parameters = draw_start(shape, np.ones(3), np.random.RandomState(1))
    coefs, intercepts = shape.to_lists(parameters)
    truth = reference.e_step(X, y, coefs, intercepts)

    def e_step(request):
        found = []
        for rows in np.split(np.arange(30), [7, 20]):
            part = sort_rows(X[rows], y[rows], np.ones(len(rows)), shape)
            network = Network(part, shape, Enumeration(), "bound", alpha=0.0, n_threads=1)
            found.append(
                network.sums(request.parameters, with_first_moments=True, is_single=False)[1]
            )
        return found

    network = SummedNetwork(e_step, shape, "counts", "bound", alpha=0.0)
    theta = shape.pack(parameters)
    objective, sums = network.expect(theta)
    assert_allclose(objective, np.sum(truth["log_likelihood"]), rtol=1e-12)
    gradient = shape.unpack(network.gradient(theta, sums))
    assert_allclose(gradient.hidden[0][:-1], truth["coef_gradients"][0], rtol=1e-9, atol=1e-11)
    assert_allclose(gradient.output[:-1], truth["coef_gradients"][1], rtol=1e-9, atol=1e-11)


def test_moments_of_parts():
    rng = np.random.default_rng(1)
    values = np.column_stack([
        rng.standard_normal(50), 1e14 + np.zeros(50), 1e300 * rng.standard_normal(50),
        1e-300 * rng.standard_normal(50), 5.0 + 1e-3 * rng.standard_normal(50), np.zeros(50),
    ])  # fmt: skip
    weights = rng.uniform(0.0, 2.0, 50)
    whole = Moments.of(values, weights)
    parts = [Moments.of(values[a:b], weights[a:b]) for a, b in ((0, 1), (1, 30), (30, 50))]
    merged = Moments.merged(parts)
    assert_allclose(merged.weight, whole.weight, rtol=1e-14)
    assert_array_equal(merged.largest, whole.largest)
    for mine, its in zip(merged.centre_and_scale(), whole.centre_and_scale(), strict=True):
        assert_allclose(mine, its, rtol=1e-11)
    plain = np.average(values, axis=0, weights=weights)
    assert_allclose(merged.mean * merged.largest, plain, rtol=1e-11)
    uncentred = Moments.of(values, weights, centred=False)
    assert_allclose(merged.uncentred().deviation, uncentred.deviation, rtol=1e-11)


# Parts


def prepared_part(hold_out=None):
    X, y = table("classes")
    model = FastEMClassifier((3,), alpha=0.1).fit(X, y)
    shape = Shape(4, (3,), 3, True, CATEGORICAL)
    standardization = Standardization.of(X, y, np.ones(len(X)), shape, features=True)
    how = PartPreparation(model, shape, standardization, None, hold_out)
    return prepare_part(X, y, None, how), shape


def test_a_copy_from_another_process_gives_the_same_bits():
    part, shape = prepared_part()
    work = Work(shape, Enumeration(), "bound")
    request = Request(draw_start(shape, np.ones(3), np.random.RandomState(0)), True)
    buffers = []
    text = pickle.dumps(part, protocol=5, buffer_callback=buffers.append)
    copy = pickle.loads(text, buffers=[bytes(buffer) for buffer in buffers])  # read-only
    mine, its = copy.sums(work, request), part.sums(work, request)
    assert_array_equal(mine.hidden[0].gradient, its.hidden[0].gradient)
    assert mine.log_likelihood == its.log_likelihood


def test_a_part_may_be_used_by_several_threads():
    part, shape = prepared_part()
    work = Work(shape, Enumeration(), "bound")
    requests = [
        Request(draw_start(shape, np.ones(3), np.random.RandomState(i)), True) for i in range(8)
    ]
    wanted = [part.sums(work, request).log_likelihood for request in requests]
    found = [None] * len(requests)

    def run(i):
        for _ in range(20):
            found[i] = part.sums(work, requests[i]).log_likelihood

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == wanted


def test_held_out_rows_have_no_part_in_sums():
    part, shape = prepared_part(HoldOut(0.3, has_few_values=False, are_counts=True, frequent=None))
    parameters = draw_start(shape, np.ones(3), np.random.RandomState(0))
    trial, whole = (Work(shape, Enumeration(), "bound", is_trial) for is_trial in (True, False))
    n_held = len(part.describe(trial).held)
    assert 20 < n_held < 70
    held = part.held_log_likelihood(trial, parameters)
    rest = part.sums(trial, Request(parameters)).log_likelihood
    every = part.sums(whole, Request(parameters)).log_likelihood
    assert len(held) == n_held
    assert_allclose(held.sum() + rest, every, rtol=1e-12)
    assert part.describe(trial).weight + n_held == part.describe(whole).weight == 150.0


@pytest.mark.parametrize("case", ["classes", "Gaussian", "Gaussian, quadrature", "quadrature"])
def test_rows_without_weight_have_no_part_in_sums(case):
    """Rows of weight zero count in no sum of any engine."""
    kind, name, settings = CASES[case]
    X, y = table(name)
    weights = np.r_[np.ones(len(X)), np.zeros(len(X))]
    settings = {**SETTINGS, **settings, "max_iter": 5}
    local, model = kind(**settings).fit(X, y), kind(**settings)
    doubled = np.r_[X, X + 1.0], np.r_[y, y[::-1]]
    fit_parts(model, Rows(*doubled, [len(X), len(X)], weights), (X, y, None))
    assert_allclose(model.loss_curve_, local.loss_curve_, rtol=1e-10)


@pytest.mark.parametrize("case", ["classes", "Poisson", "several labels", "two layers"])
def test_the_order_of_parts_changes_only_rounding(case):
    kind, name, settings = CASES[case]
    X, y = table(name)
    settings = {**SETTINGS, **settings, "max_iter": 12}
    found = []
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        rows = Rows(X, y, [20, 1, 69, 60])
        rows.parts = [rows.parts[i] for i in order]
        model = kind(**settings)
        fit_parts(model, rows, (X, y, None))
        found.append(model)
    assert_allclose(found[0].loss_curve_, found[1].loss_curve_, rtol=1e-10)
    for mine, its in zip(found[0].coefs_, found[1].coefs_, strict=True):
        assert_allclose(mine, its, rtol=1e-6, atol=1e-8)


def test_converged_fits_to_parts_have_the_local_loss():
    settings = {"max_iter": 3000, "tol": 1e-12, "alpha": 3.0}
    local, model = fits("labels", [70, 0, 1, 49, 30], **settings)
    assert local.converged_
    assert model.converged_
    assert_allclose(model.loss_, local.loss_, rtol=1e-10)


def test_categorical_labels_count_as_labels():
    pandas = pytest.importorskip("pandas")
    X, y = table("labels")
    columns = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    labels = pandas.Series(pandas.Categorical(y, ["c", "b", "a", "unused"]))
    local, model = FastEMClassifier(**SETTINGS).fit(X, y), FastEMClassifier(**SETTINGS)
    rows = Rows(X, y, [50, 100])
    rows.parts = [(columns[:50], labels[:50], None), (columns[50:], labels[50:], None)]
    fit_parts(model, rows, (columns, labels, None))
    assert_array_equal(model.classes_, ["a", "b", "c"])
    assert_array_equal(model.feature_names_in_, ["a", "b", "c", "d"])
    assert_allclose(model.loss_curve_[:12], local.loss_curve_[:12], rtol=1e-10)


# Choices


def test_few_rows_have_the_choices_of_a_local_fit():
    X, y = table("classes")
    local, model = FastEMClassifier(random_state=0).fit(X, y), FastEMClassifier(random_state=0)
    fit_parts(model, Rows(X, y, [70, 50, 30]), (X, y, None))
    assert model.alpha_ == local.alpha_
    assert len(model.intercepts_[0]) == len(local.intercepts_[0])
    for name, column in local.alpha_path_.items():
        assert_allclose(model.alpha_path_[name], column, rtol=1e-9)


def test_more_units_are_tried_if_they_are_needed():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5600, 2))
    y = np.sin(3.0 * X[:, 0]) + 0.05 * rng.standard_normal(5600)
    model = FastEMRegressor("auto", alpha=0.1, variance_floor=0.01, random_state=0, max_iter=30)
    fit_parts(model, Rows(X, y, [2800, 2800]), (X, y, None))
    assert list(model.size_path_["n_hidden"][:2]) == [10, 16]
    assert len(model.intercepts_[0]) in model.size_path_["n_hidden"]


# Bad input


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda X, y: (X, np.where(np.arange(150) < 50, "a", y.astype(object))), "kind of labels"),
        (lambda X, y: (X, np.zeros(150)), "only one class"),
        (lambda X, y: (X, y + 0.5), "continuous|Unknown label"),
    ],
)
def test_targets_that_contradict_each_other(change, text):
    X, y = change(*table("classes"))
    model = FastEMClassifier(**SETTINGS)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=text):
        fit_parts(model, Rows(X, y, [50, 100]), (X, y, None))
    assert vars(model) == before


def test_parts_with_other_columns():
    X, y = table("classes")
    rows = Rows(X, y, [50, 100])
    rows.parts[1] = (X[50:, :3], y[50:], None)
    with pytest.raises(ValueError, match="Partition 2 of X has 3 features, partition 1 has 4"):
        fit_parts(FastEMClassifier(**SETTINGS), rows, (X, y, None))


def test_no_rows_and_no_weight():
    X, y = table("classes")
    with pytest.raises(ValueError, match="no rows: all 2 partitions are empty"):
        fit_parts(FastEMClassifier(**SETTINGS), Rows(X[:0], y[:0], [0, 0]), (X, y, None))
    rows = Rows(X, y, [50, 100], np.zeros(150))
    with pytest.raises(ValueError, match="zero for every row"):
        fit_parts(FastEMClassifier(**SETTINGS), rows, (X, y, None))


def test_too_little_memory_is_refused_before_the_work():
    X, y = table("classes")
    rows = Rows(X, y, [1, 149], memory=40_000)
    with pytest.raises(ValueError, match=r"Partition 2 of 2 is too large: its E-step on 149 rows"):
        fit_parts(FastEMClassifier(**SETTINGS), rows, (X, y, None))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"m_step": "newton"}, "m_step='newton' needs several passes"),
        ({"solver": "adam"}, "solver='adam' trains by mini-batches"),
        ({"e_step": "sampling"}, "needs exact E-steps"),
        ({"hidden_layer_sizes": (200, 200)}, "needs exact E-steps"),
    ],
)
def test_settings_that_need_all_rows_are_refused(settings, text):
    X, y = table("classes")
    model = FastEMClassifier(**{**SETTINGS, **settings})
    before = dict(vars(model))
    with pytest.raises(ValueError, match=text):
        fit_parts(model, Rows(X, y, [50, 100]), (X, y, None))
    assert vars(model) == before


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_leave_a_fitted_model_as_it_was(value):
    X, y = table("classes")
    model = FastEMClassifier(**SETTINGS)
    fit_parts(model, Rows(X, y, [50, 100]), (X, y, None))
    before = dict(vars(model))
    bad = X.copy()
    bad[120, 2] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        fit_parts(model, Rows(bad, y, [50, 100]), (X, y, None))
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is before[name] for name in before)
