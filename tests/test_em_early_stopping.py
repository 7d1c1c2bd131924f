"""Held-out rows of networks with stochastic units: curves, early stopping, errors."""

import copy
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from em_problems import at_the_last_epoch, data_loss, fitted, same_bits, stochastic
from mlp_problems import CONVERGENCE, REGRESSIONS, TARGETS, WEIGHTS, X
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem import FastEMClassifier, FastEMRegressor, Quadrature, Sampling
from fastem.estimators import held_out as held_out_rows
from fastem.solvers import EpochMonitor, HeldOut, Monitor

pytestmark = pytest.mark.filterwarnings(CONVERGENCE)

TRAIN, HELD_OUT = np.arange(30), np.arange(30, 45)
EM = [{}, {"m_step": "bound"}, {"m_step": "gradient"}, {"solver": "lbfgs"}]
ADAM = {"solver": "adam", "batch_size": 7}
# weights that fit the rows of training too closely, and so fail on others
LOOSE = {"alpha": 0.0, "max_iter": 200, "tol": 1e-9, "n_iter_no_change": 3}
TASKS = ["multiclass", "multilabel", "three outputs", "poisson"]


def passed(y, weights=None):
    """Return the arguments of `fit` for half of the problem, the rest being held out."""
    data = (X[TRAIN], y[TRAIN], None if weights is None else weights[TRAIN])
    held_out = {"X_val": X[HELD_OUT], "y_val": y[HELD_OUT]}
    if weights is not None:
        held_out["sample_weight_val"] = weights[HELD_OUT]
    return data, held_out


def held_out_loss(model, y, weights=None):
    own = None if weights is None else weights[HELD_OUT]
    return data_loss(model, X[HELD_OUT], y[HELD_OUT], own)


# The curve


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("options", [*EM, ADAM], ids=str)
def test_every_iterate(options, task, weights):
    data, held_out = passed(TARGETS[task], weights)
    model = stochastic(task, **options).fit(*data, **held_out)
    assert same_bits(model, stochastic(task, **options).fit(*data))  # it has no influence
    assert len(model.validation_loss_curve_) == len(model.loss_curve_) == 7
    assert all(type(loss) is float for loss in model.validation_loss_curve_)
    for n in (1, 4, 6):
        part = stochastic(task, **{**options, "max_iter": n}).fit(*data)
        if options is ADAM:
            part = at_the_last_epoch(part)
        expected = held_out_loss(part, TARGETS[task], weights)
        assert model.validation_loss_curve_[n] == pytest.approx(expected, rel=1e-9)
    assert model.best_validation_loss_ == min(model.validation_loss_curve_)


@pytest.mark.parametrize(
    ("task", "engine"),
    [("binary", Quadrature()), ("multiclass", Quadrature()), ("one output", Quadrature())],
    ids=str,
)
def test_quadrature(task, engine):
    data, held_out = passed(TARGETS[task])
    model = stochastic(task, e_step=engine, max_iter=2).fit(*data, **held_out)
    expected = held_out_loss(model, TARGETS[task])
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("task", TASKS)
def test_estimates_of_sampling(task):
    data, held_out = passed(TARGETS[task])
    engine = Sampling(2000, random_state=0)
    model = stochastic(task, e_step=engine).fit(*data, **held_out)
    exact = stochastic(task, e_step="enumeration")
    exact = exact.set_params(max_iter=1).fit(*data)
    exact.coefs_, exact.intercepts_ = model.coefs_, model.intercepts_
    if hasattr(model, "variance_"):
        exact.variance_ = model.variance_
    expected = held_out_loss(exact, TARGETS[task])
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, abs=0.05)
    best = stochastic(task, e_step=engine, early_stopping=True, max_iter=30)
    best = best.fit(*data, **held_out)
    index = int(np.argmin(best.validation_loss_curve_))
    assert best.loss_ == best.loss_curve_[index]


def test_class_weights_are_those_of_training_rows():
    y = TARGETS["multiclass"]
    data, held_out = passed(y)
    by_class = {0: 5.0, 1: 1.0, 2: 1.0}
    model = stochastic("multiclass", class_weight=by_class).fit(*data, **held_out)
    assert model.validation_loss_curve_[-1] == pytest.approx(held_out_loss(model, y))


def test_no_validation_no_curve():
    y = TARGETS["multiclass"]
    model = stochastic("multiclass").fit(X, y)
    assert model.validation_loss_curve_ is model.best_validation_loss_ is None
    model.set_params(early_stopping=True).fit(X, y)
    assert len(model.validation_loss_curve_) == len(model.loss_curve_)
    model.set_params(early_stopping=False).fit(X, y)
    assert model.validation_loss_curve_ is model.best_validation_loss_ is None


def test_rows_of_weight_zero_are_not_held_out():
    y = TARGETS["multiclass"]
    data, held_out = passed(y, WEIGHTS)
    kept = HELD_OUT[WEIGHTS[HELD_OUT] > 0.0]
    assert len(kept) < len(HELD_OUT)
    model = stochastic("multiclass").fit(*data, **held_out)
    fewer = {"X_val": X[kept], "y_val": y[kept], "sample_weight_val": WEIGHTS[kept]}
    same = stochastic("multiclass").fit(*data, **fewer)
    assert model.validation_loss_curve_ == same.validation_loss_curve_


# Early stopping


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("options", [*EM[::3], ADAM], ids=str)
def test_a_set_of_ones_own(options, task):
    y = TARGETS[task]
    data, held_out = passed(y)
    options = {**LOOSE, **options}
    model = stochastic(task, early_stopping=True, **options).fit(*data, **held_out)
    losses = model.validation_loss_curve_
    assert model.n_iter_ < 200
    assert model.converged_
    best = int(np.argmin(losses))
    assert model.best_validation_loss_ == losses[best] < losses[-1]
    assert held_out_loss(model, y) == pytest.approx(losses[best], rel=1e-10)
    if options["solver" if "solver" in options else "alpha"] != "adam":
        same = stochastic(task, **{**options, "max_iter": max(best, 1)}).fit(*data)
        assert best == 0 or same_bits(model, same)
        assert model.loss_ == model.loss_curve_[best]
    else:  # of all rows at once
        assert model.loss_ == pytest.approx(data_loss(model, *data[:2]), rel=1e-10)
    # the rule itself
    count, top = 0, losses[0]
    for i, loss in enumerate(losses[1:], 1):
        least = model.tol * max(abs(loss), abs(top))
        count = 0 if top - loss > least else count + 1
        top = min(top, loss)
        assert (count == 3) == (i == model.n_iter_)


def test_an_unlimited_patience():
    y = TARGETS["multiclass"]
    data, held_out = passed(y)
    options = {**LOOSE, "n_iter_no_change": np.inf, "max_iter": 30}
    model = stochastic("multiclass", early_stopping=True, **options).fit(*data, **held_out)
    assert model.n_iter_ == 30
    assert not model.converged_
    assert held_out_loss(model, y) == pytest.approx(min(model.validation_loss_curve_))


@pytest.mark.parametrize("options", [*EM[::3], ADAM], ids=str)
def test_the_best_start_is_that_of_the_held_out_rows(options):
    y = TARGETS["multiclass"]
    data, held_out = passed(y)
    options = {**LOOSE, **options, "early_stopping": True, "random_state": 3}
    model = stochastic("multiclass", n_init=4, **options).fit(*data, **held_out)
    generator = np.random.RandomState(3)
    options["random_state"] = generator  # which draws one start after the other
    single = [stochastic("multiclass", **options).fit(*data, **held_out) for _ in range(4)]
    losses = [one.best_validation_loss_ for one in single]
    assert len(set(losses)) == 4
    assert model.best_validation_loss_ == min(losses)
    assert same_bits(model, single[int(np.argmin(losses))])


def test_a_phase_in_single_precision():
    rng = np.random.default_rng(1)
    rows, y = rng.normal(size=(1500, 3)), rng.integers(0, 3, size=1500)
    held_out = {"X_val": rows[1000:], "y_val": y[1000:]}
    options = {"random_state": 0, "alpha": 0.0, "n_iter_no_change": 3, "early_stopping": True}
    model = FastEMClassifier((12,), **options).fit(rows[:1000], y[:1000], **held_out)
    exact = data_loss(model, rows[:1000], y[:1000])
    assert model.loss_ == pytest.approx(exact, rel=1e-12)
    assert np.argmin(model.validation_loss_curve_) < model.n_iter_


def test_patience_is_that_of_adam_too():
    y = TARGETS["multiclass"]
    options = {**ADAM, "max_iter": 300, "tol": 1e-2, "learning_rate_init": 0.05}
    n_iter = [
        stochastic("multiclass", **options, n_iter_no_change=n).fit(X, y).n_iter_ for n in (1, 10)
    ]
    assert n_iter[0] < n_iter[1] < 300


# The split


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", ["strings", *TASKS])
@pytest.mark.parametrize("options", [*EM[::3], ADAM], ids=str)
def test_a_split_made_before_is_the_split_made_inside(options, task, weights, monkeypatch):
    y, made = TARGETS[task], []
    split = held_out_rows._split

    def record(estimator, problem):
        made.append(split(estimator, problem))
        return made[-1]

    monkeypatch.setattr(held_out_rows, "_split", record)
    options = {**options, "early_stopping": True, "validation_fraction": 0.3}
    inside = stochastic(task, **options).fit(X, y, weights)
    (problem,) = made
    train, held_out = (numbers_of(part.X) for part in (problem, problem.held_out))
    parts = [None, None] if weights is None else [weights[train], weights[held_out]]
    before = stochastic(task, **options).fit(
        X[train], y[train], parts[0],
        X_val=X[held_out], y_val=y[held_out], sample_weight_val=parts[1],
    )  # fmt: skip
    assert len(made) == 1
    assert same_bits(inside, before)
    assert inside.validation_loss_curve_ == before.validation_loss_curve_
    assert inside.loss_curve_ == before.loss_curve_


def numbers_of(rows):
    """Return the positions of rows in X."""
    return np.array([int(np.flatnonzero((row == X).all(axis=1))[0]) for row in rows])


def split_of(y, fraction=0.1, seed=0, weights=None):
    """Return the positions of the rows that are held out."""
    rows = np.arange(float(len(y)))[:, None]
    kind = FastEMRegressor if y.dtype.kind == "f" else FastEMClassifier
    model = kind(
        (1,), max_iter=1, early_stopping=True, validation_fraction=fraction, random_state=seed
    )
    found = held_out_rows.hold_out(
        model, model._check_problem(rows, y, weights, resumes=False), None, None, None
    )
    both = np.concatenate([found.X, found.held_out.X]).ravel()
    assert len(np.unique(both)) == len(both)
    return found.held_out.X.ravel().astype(int)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_classes_have_their_shares(fraction):
    y = np.repeat([0, 1, 2, 3], [100, 40, 7, 1])
    held_out = split_of(y, fraction)
    assert len(held_out) == np.ceil(fraction * 148)
    counts = np.bincount(y[held_out], minlength=4)
    np.testing.assert_allclose(counts, fraction * np.array([100, 40, 7, 1]), atol=1.5)
    assert counts[3] == 0  # the only row of a class is trained on


def test_the_split_depends_on_the_seed_and_on_nothing_else():
    y = np.arange(60) % 3
    first, second = split_of(y, 0.3, seed=1), split_of(y, 0.3, seed=2)
    np.testing.assert_array_equal(first, split_of(y, 0.3, seed=1))
    assert set(first) != set(second)
    numbers = y + np.random.default_rng(0).normal(size=60)
    held_out = split_of(numbers, 0.3, seed=1)
    assert len(held_out) == 18


def test_rows_without_weight_are_not_split_off():
    y, weights = np.arange(60) % 2, np.ones(60)
    weights[::4] = 0.0
    held_out = split_of(y, 0.5, weights=weights)
    assert len(held_out) == 23
    assert (weights[held_out] > 0.0).all()


def test_rare_classes():
    y = np.array(["a"] * 30 + ["b"] + ["c"] * 14)
    model = stochastic("multiclass", early_stopping=True, validation_fraction=0.9).fit(X, y)
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert np.isfinite(model.validation_loss_curve_).all()


# Going on


@pytest.mark.parametrize("own", [True, False], ids=["passed", "split"])
@pytest.mark.parametrize("task", ["multiclass", "one output"])
@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("options", [{}, {"m_step": "bound"}, ADAM], ids=str)
def test_one_iteration_at_a_time(options, early_stopping, task, own):
    y = TARGETS[task]
    data, held_out = passed(y) if own else ((X, y), {})
    n_iter = 80 if early_stopping else 8
    options = {**LOOSE, **options, "early_stopping": early_stopping}
    whole = stochastic(task, **{**options, "max_iter": n_iter}).fit(*data, **held_out)
    steps = stochastic(task, **{**options, "max_iter": 1}, warm_start=True)
    for _ in range(whole.n_iter_):
        steps.fit(*data, **held_out)
    assert same_bits(whole, steps)
    for name in ("loss_curve_", "data_loss_curve_", "validation_loss_curve_", "n_iter_"):
        assert getattr(whole, name) == getattr(steps, name), name
    assert whole.best_validation_loss_ == steps.best_validation_loss_
    assert whole.converged_ == steps.converged_
    if early_stopping and own:
        assert whole.n_iter_ < 80
        again = steps.fit(*data, **held_out)  # no patience is left
        assert again.n_iter_ == whole.n_iter_ + 1
        assert same_bits(whole, again)


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, ADAM], ids=str)
def test_early_stopping_comes_and_goes(options):
    y = TARGETS["multiclass"]
    data, held_out = passed(y)
    options = {"max_iter": 4, "warm_start": True, **options}
    model = stochastic("multiclass", **options).fit(*data)
    model.set_params(early_stopping=True).fit(*data, **held_out)
    curve = model.validation_loss_curve_
    assert len(curve) == len(model.loss_curve_)
    n_before = int(np.isnan(curve).sum())
    if "solver" not in options:
        assert n_before == 4  # the last iterate was evaluated when training went on
    assert np.isfinite(curve[n_before:]).all()
    assert model.best_validation_loss_ == min(curve[n_before:])
    assert held_out_loss(model, y) == pytest.approx(model.best_validation_loss_)
    model.fit(*data, X_val=X, y_val=y)  # other rows: a new record
    assert len(model.validation_loss_curve_) == len(model.loss_curve_)
    assert model.best_validation_loss_ == np.nanmin(model.validation_loss_curve_)
    assert data_loss(model, X, y) == pytest.approx(model.best_validation_loss_)
    model.set_params(early_stopping=False).fit(*data)
    assert model.validation_loss_curve_ is None


@pytest.mark.parametrize("options", [*EM[::3], ADAM], ids=str)
@pytest.mark.parametrize("standardize", [True, False])
def test_other_rows_begin_at_what_was_kept(standardize, options):
    y = TARGETS["multiclass"]
    data, held_out = passed(y)
    options = {**LOOSE, **options, "early_stopping": True, "warm_start": True}
    model = stochastic("multiclass", standardize=standardize, **options).fit(*data, **held_out)
    assert np.argmin(model.validation_loss_curve_) < model.n_iter_
    expected = data_loss(model, X[5:], y[5:])
    if "solver" not in options:  # other steps, which begin anew
        model.set_params(accelerate=standardize)
    model.set_params(max_iter=1, early_stopping=False).fit(X[5:], y[5:])
    assert model.loss_curve_[0] == pytest.approx(expected, rel=1e-9)
    assert len(model.loss_curve_) == 2


@pytest.mark.parametrize("options", [{}, ADAM], ids=str)
def test_a_pickled_fit_goes_on(options):
    y = TARGETS["multiclass"]
    data, held_out = passed(y)
    options = {**LOOSE, **options, "early_stopping": True, "warm_start": True, "max_iter": 3}
    model = stochastic("multiclass", **options).fit(*data, **held_out)
    other = pickle.loads(pickle.dumps(model))
    a, b = (one.fit(*data, **held_out) for one in (model, other))
    assert same_bits(a, b)
    assert a.validation_loss_curve_ == b.validation_loss_curve_
    assert len(a.validation_loss_curve_) == 7


def test_a_failed_fit_changes_nothing():
    y = TARGETS["multiclass"]
    data, held_out = passed(y)
    model = stochastic("multiclass", warm_start=True, early_stopping=True, max_iter=3)
    model.fit(*data, **held_out)
    before, same = dict(vars(model)), copy.deepcopy(model)
    with pytest.raises(ValueError, match="y_val"):
        model.fit(*data, X_val=X)
    assert vars(model) == before
    assert same_bits(model.fit(*data, **held_out), same.fit(*data, **held_out))


def test_saved_and_read_back(tmp_path):
    y = TARGETS["multiclass"]
    for settings in ({"early_stopping": True}, {}):
        model = stochastic("multiclass", n_iter_no_change=np.inf, **settings).fit(X, y)
        model.save(tmp_path / "model")
        read = FastEMClassifier.load(tmp_path / "model")
        assert read.get_params() == model.get_params()
        for name in ("validation_loss_curve_", "best_validation_loss_", "loss_"):
            assert getattr(read, name) == getattr(model, name)


def test_partial_fit():
    y = TARGETS["multiclass"]
    model = stochastic("multiclass", **ADAM, early_stopping=True)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        model.partial_fit(X, y, classes=[0, 1, 2])
    assert not hasattr(model, "classes_")
    data, held_out = passed(y)
    model.set_params(**LOOSE).fit(*data, **held_out)
    kept = model.best_validation_loss_
    model.set_params(early_stopping=False).partial_fit(*data[:2])
    assert model.validation_loss_curve_ is model.best_validation_loss_ is None
    assert held_out_loss(model, y) == pytest.approx(kept, abs=0.5)  # it went on from there


# Ctrl-C


@pytest.mark.parametrize("task", ["multiclass", "one output"])
@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, ADAM], ids=str)
def test_ctrl_c_while_held_out_rows_are_evaluated(options, early_stopping, task, monkeypatch):
    y, calls = TARGETS[task], []
    data, held_out = passed(y)
    objective = HeldOut.objective

    def interrupt(self, theta):
        calls.append(theta)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return objective(self, theta)

    monkeypatch.setattr(HeldOut, "objective", interrupt)
    options = {**LOOSE, **options, "early_stopping": early_stopping, "n_iter_no_change": 20}
    with pytest.warns(ConvergenceWarning, match="interrupted after 4 iterations"):
        model = stochastic(task, **options).fit(*data, **held_out)
    monkeypatch.undo()
    assert not model.converged_
    assert len(model.validation_loss_curve_) == len(model.loss_curve_) == 5
    assert np.isfinite(model.validation_loss_curve_).all()
    if early_stopping:
        expected = model.best_validation_loss_
        assert held_out_loss(model, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("options", [{}, ADAM], ids=str)
def test_ctrl_c_while_training(options, monkeypatch):
    y, calls = TARGETS["multiclass"], []
    data, held_out = passed(y)
    kind = EpochMonitor if options is ADAM else Monitor
    update = kind.update

    def interrupt(self, *arguments):
        stop = update(self, *arguments)
        calls.append(stop)
        if len(calls) == 6:
            self.interrupted, self.converged = True, False
            return True
        return stop

    monkeypatch.setattr(kind, "update", interrupt)
    options = {**LOOSE, **options, "early_stopping": True, "n_iter_no_change": 20}
    with pytest.warns(ConvergenceWarning, match="interrupted after 6 iterations"):
        model = stochastic("multiclass", **options).fit(*data, **held_out)
    assert held_out_loss(model, y) == pytest.approx(min(model.validation_loss_curve_))


# Costs and reports


@dataclass
class Counted(fastem.Engine):
    """An engine that counts its plans."""

    name = "counted"
    statistics = "counts"
    n_plans: int = 0

    def plan(self, rows, shape, n_threads):
        self.n_plans += 1
        return fastem.Enumeration().plan(rows, shape, n_threads)

    def log_marginal(self, inputs, parameters, shape, n_threads):
        return fastem.Enumeration().log_marginal(inputs, parameters, shape, n_threads)


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, ADAM], ids=str)
def test_one_plan_for_all_evaluations(options):
    data, held_out = passed(TARGETS["multiclass"])
    options = {**options, "e_step": Counted(), "n_init": 3}
    assert stochastic("multiclass", **options).fit(*data).e_step_.n_plans == 1
    model = stochastic("multiclass", **options, early_stopping=True).fit(*data, **held_out)
    assert model.e_step_.n_plans == 2


def test_losses_are_printed(capsys):
    data, held_out = passed(TARGETS["multiclass"])
    model = stochastic("multiclass", verbose=2, max_iter=2).fit(*data, **held_out)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line, loss in zip(lines, model.validation_loss_curve_[1:], strict=True):
        assert f", validation loss {loss:.8f} nats, " in line
    stochastic("multiclass", verbose=2, max_iter=2).fit(*data)
    assert "validation" not in capsys.readouterr().out


# Errors and extremes


Y = TARGETS["multiclass"]
BAD_VALIDATION = {
    "no y": ({"X_val": X}, "both X_val and y_val"),
    "no X": ({"y_val": Y}, "both X_val and y_val"),
    "weights alone": ({"sample_weight_val": WEIGHTS}, "both X_val and y_val"),
    "narrow": ({"X_val": X[:, :3], "y_val": Y}, "validation set.*3 features.*expecting 4"),
    "short": ({"X_val": X, "y_val": Y[:9]}, r"validation set.*\[45, 9\]"),
    "NaN": ({"X_val": X * np.nan, "y_val": Y}, "validation set.*contains NaN"),
    "labels": ({"X_val": X, "y_val": Y + 1}, r"validation set.*not seen in fit: \[3\]"),
    "shape": ({"X_val": X, "y_val": np.column_stack([Y, Y])}, r"validation set.*shape \(45,\)"),
    "short weights": (
        {"X_val": X, "y_val": Y, "sample_weight_val": WEIGHTS[:9]}, r"\(9,\).*\(45,\)",
    ),
    "no weight": ({"X_val": X, "y_val": Y, "sample_weight_val": 0.0 * WEIGHTS}, "zero"),
    "negative": ({"X_val": X, "y_val": Y, "sample_weight_val": -WEIGHTS}, "egative"),
    "large": ({"X_val": 1e308 * np.abs(X / abs(X).max()), "y_val": Y}, "X_val has values that"),
}  # fmt: skip


@pytest.mark.parametrize(("held_out", "message"), BAD_VALIDATION.values(), ids=BAD_VALIDATION)
@pytest.mark.parametrize("options", [{}, ADAM], ids=str)
def test_bad_validation_sets(options, held_out, message):
    scale = 1e-3 if message.startswith("X_val") else 1.0
    model = stochastic("multiclass", **options)
    with pytest.raises(ValueError, match=message):
        model.fit(scale * X, Y, **held_out)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("task", ["one output", "three outputs", "poisson"])
def test_bad_numbers_to_validate(task):
    y = TARGETS[task]
    model = stochastic(task)
    with pytest.raises(ValueError, match=r"validation set.*y must have shape \(45, [13]\)"):
        model.fit(X, y, X_val=X, y_val=np.ones((45, 2)))
    if task == "poisson":
        with pytest.raises(ValueError, match=r"validation set.*(negative|count)"):
            model.fit(X, y, X_val=X, y_val=y - 10.0)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("early_stopping", "yes", "'bool'"), ("validation_fraction", 1.0, r"\[0.0, 1.0\)"),
     ("validation_fraction", -0.1, r"\[0.0, 1.0\)"), ("n_iter_no_change", 0, r"\[1, inf\)"),
     ("n_iter_no_change", 2.5, "inf")],
)  # fmt: skip
@pytest.mark.parametrize("task", ["multiclass", "one output"])
def test_bad_parameters(task, name, value, words):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of FastEM.*{words}"):
        stochastic(task, **{name: value}).fit(X, TARGETS[task])


@pytest.mark.parametrize(("n_rows", "fraction"), [(45, 0.0), (45, 0.01), (4, 0.1)])
@pytest.mark.parametrize("task", ["binary", "one output"])
def test_too_few_rows_to_split(task, n_rows, fraction):
    options = {"early_stopping": True, "validation_fraction": fraction}
    rows = np.argsort(TARGETS[task], kind="stable")[:: 45 // n_rows][:n_rows]
    with pytest.raises(ValueError, match=r"validation set is too small\. Increase"):
        stochastic(task, **options).fit(X[rows], TARGETS[task][rows])


@pytest.mark.parametrize("options", [*EM[::3], ADAM], ids=str)
@pytest.mark.parametrize(("task", "column"), [("multiclass", 0), ("one output", 0)])
def test_rows_whose_log_odds_overflow(task, column, options):
    y = TARGETS[task]
    data, _ = passed(y)
    rows = X[HELD_OUT].copy()
    rows[0] = 1.7e308
    held_out = {"X_val": rows, "y_val": y[HELD_OUT]}
    options = {**options, "max_iter": 30, "early_stopping": True, "n_iter_no_change": 3}
    scaled = 1.01 * data[0] / data[0].std(axis=0).min()  # standardised, 1.7e308 is finite
    model = stochastic(task, **options).fit(scaled, data[1], **held_out)
    assert model.validation_loss_curve_ == [np.inf] * 4
    assert model.best_validation_loss_ == np.inf
    assert np.isfinite(model.predict(scaled)).all()
    assert np.isfinite(model.loss_)


def test_outputs_beyond_range():
    y = TARGETS["one output"]
    data, held_out = passed(y)
    held_out["y_val"] = np.where(np.arange(15) == 2, 1e149, held_out["y_val"])
    model = stochastic("one output", early_stopping=True, n_iter_no_change=2)
    model.fit(*data, **held_out)
    assert not np.isnan(model.validation_loss_curve_).any()
    assert not np.isnan(model.loss_)
    with pytest.raises(ValueError, match=r"validation set.*squares overflow"):
        model.fit(*data, X_val=X, y_val=1e200 * y)


# The record


def record(values, tol=0.1, patience=2, scale=0.0, keeps_best=True):
    """Return a record of scripted objectives, the first that of the start."""
    held_out = HeldOut(tol, patience, keeps_best=keeps_best, scale=scale)
    given = iter(values)
    held_out.evaluate = lambda theta: next(given)
    held_out.start(np.zeros(1), 0, continues=False)
    for i in range(1, len(values)):
        theta = np.full(1, float(i))
        held_out.record(held_out.objective(theta), theta)
    return held_out


@pytest.mark.parametrize(
    ("values", "is_over", "best"),
    [([-10.0, -9.5, -9.4], True, 2), ([-10.0, -9.5, -8.0], False, 2),
     ([-10.0, -11.0, -8.0, -9.0, -9.0], True, 2), ([-10.0, -20.0], False, 0),
     ([-10.0, -np.inf, np.nan], True, 0), ([-np.inf, -np.inf, -5.0], False, 2),
     ([np.inf, -4.0, -3.0, -3.0, -3.0], True, 2), ([0.0, 0.5, 0.4], False, 1)],
)  # fmt: skip
def test_the_rule(values, is_over, best):
    held_out = record(values)
    assert held_out.is_over is is_over
    assert held_out.index == best
    assert held_out.theta[0] == best
    assert len(held_out.history) == len(values)
    assert not record(values, keeps_best=False).is_over


def test_a_gain_is_relative_to_the_scale():
    assert not record([0.01, 0.02, 0.04]).is_over
    assert record([0.01, 0.02, 0.04], scale=1.0).is_over


@pytest.mark.parametrize("task", REGRESSIONS)
def test_clones(task):
    model = stochastic(task, early_stopping=True, n_iter_no_change=4)
    assert clone(model).get_params() == model.get_params()
    assert same_bits(fitted(model, X, TARGETS[task]), fitted(clone(model), X, TARGETS[task]))
