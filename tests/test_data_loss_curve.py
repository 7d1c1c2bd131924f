"""The loss of every iterate without penalty."""

import pickle

import numpy as np
import pytest
import reference_backprop as reference
from em_problems import at_the_last_epoch, data_loss, stochastic
from mlp_problems import ADAM, BY_SOLVER, CONVERGENCE, REGRESSIONS, SGD, TARGETS, WEIGHTS, X, fast

from fastem import FastEMClassifier, Quadrature, Sampling

pytestmark = pytest.mark.filterwarnings(CONVERGENCE)
rng = np.random.default_rng(3)


# Networks with stochastic units


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", ["multiclass", "multilabel", "three outputs", "poisson"])
@pytest.mark.parametrize(
    "options",
    [{}, {"m_step": "bound", "accelerate": False}, {"solver": "lbfgs"}, {"m_step": "gradient"}],
    ids=str,
)
def test_every_iterate_of_em_and_lbfgs(options, task, weights):
    y = TARGETS[task]
    model = stochastic(task, alpha=2.0, **options).fit(X, y, weights)
    n_iter = model.n_iter_
    assert len(model.data_loss_curve_) == len(model.loss_curve_) == n_iter + 1 > 4
    for n in (1, 3, n_iter):
        part = stochastic(task, alpha=2.0, **{**options, "max_iter": n}).fit(X, y, weights)
        expected = data_loss(part, X, y, weights)
        assert model.data_loss_curve_[n] == pytest.approx(expected, rel=1e-9)
        assert model.data_loss_curve_[n] < model.loss_curve_[n] - 1e-3


@pytest.mark.parametrize("engine", [Quadrature(), Sampling(100)], ids=str)
def test_other_engines(engine):
    y = TARGETS["binary"]
    model = stochastic("binary", alpha=2.0, e_step=engine).fit(X, y)
    W, V = model.coefs_
    penalty = ((W * X.std(axis=0)[:, None]) ** 2).sum() + (V**2).sum()
    assert model.loss_curve_[-1] - model.data_loss_curve_[-1] == pytest.approx(penalty / len(X))


@pytest.mark.parametrize("task", ["multiclass", "one output"])
def test_every_epoch_of_one_batch(task):
    y, options = TARGETS[task], {"solver": "adam", "batch_size": 100, "alpha": 2.0}
    model = stochastic(task, **options).fit(X, y, WEIGHTS)
    assert len(model.data_loss_curve_) == 7
    assert model.data_loss_curve_[0] == pytest.approx(model.data_loss_curve_[1], rel=1e-12)
    for n in (1, 5):  # a batch is evaluated before its step
        part = stochastic(task, **{**options, "max_iter": n}).fit(X, y, WEIGHTS)
        part = at_the_last_epoch(part)
        assert model.data_loss_curve_[n + 1] == pytest.approx(data_loss(part, X, y, WEIGHTS))


def test_epochs_of_several_batches():
    options = {"solver": "adam", "batch_size": 7, "max_iter": 20, "learning_rate_init": 0.05}
    y = TARGETS["multiclass"]
    model = stochastic("multiclass", alpha=1.0, **options).fit(X, y)
    penalties = np.subtract(model.loss_curve_, model.data_loss_curve_)
    assert penalties[:2] == pytest.approx(penalties[0], rel=0.1)
    # the penalty is a mean over the iterates of an epoch, which is close to that of either end
    W, V = model.coefs_
    last = 0.5 * (((W * X.std(axis=0)[:, None]) ** 2).sum() + (V**2).sum()) / len(X)
    assert penalties[-1] == pytest.approx(last, rel=0.1)
    plain = stochastic("multiclass", alpha=0.0, **options).fit(X, y)
    assert plain.data_loss_curve_ == plain.loss_curve_


def test_the_end_of_a_phase_in_single_precision():
    rows, y = rng.normal(size=(1500, 3)), rng.integers(0, 3, size=1500)
    model = FastEMClassifier((12,), max_iter=5, random_state=0, alpha=3.0).fit(rows, y)
    assert model.data_loss_curve_[-1] == pytest.approx(data_loss(model, rows, y), rel=1e-12)
    assert len(model.data_loss_curve_) == 6


@pytest.mark.parametrize("options", [{}, {"solver": "adam"}, {"solver": "lbfgs"}], ids=str)
def test_warm_starts_and_starts(options):
    y = TARGETS["multiclass"]
    steps = stochastic("multiclass", warm_start=True, **{**options, "max_iter": 3}).fit(X, y)
    before = list(steps.data_loss_curve_)
    after = steps.fit(X, y).data_loss_curve_
    assert len(after) == len(steps.loss_curve_)
    if options.get("solver") != "lbfgs":
        assert after == stochastic("multiclass", **options).fit(X, y).data_loss_curve_
        assert after[:4] == before
    several = stochastic("multiclass", n_init=3, **options).fit(X, y)
    assert len(several.data_loss_curve_) == len(several.loss_curve_)


def test_partial_fit_goes_on():
    y = TARGETS["multiclass"]
    model = stochastic("multiclass", solver="adam", alpha=2.0).fit(X, y)
    before = list(model.data_loss_curve_)
    for n in (1, 2):
        model.partial_fit(X, y)
        assert len(model.data_loss_curve_) == len(model.loss_curve_) == 7 + n
    assert model.data_loss_curve_[:7] == before
    assert model.data_loss_curve_[-1] < model.loss_curve_[-1]


def test_saved_and_read_back(tmp_path):
    model = stochastic("multiclass").fit(X, TARGETS["multiclass"])
    model.save(tmp_path / "model")
    for read in (FastEMClassifier.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert read.data_loss_curve_ == model.data_loss_curve_
        assert all(type(loss) is float for loss in read.data_loss_curve_)
    del model.data_loss_curve_  # as in files of versions without it
    model.save(tmp_path / "older")
    assert not hasattr(FastEMClassifier.load(tmp_path / "older"), "data_loss_curve_")


# Perceptrons


def total(model, task, alpha):
    targets = {"multiclass": np.eye(3)[TARGETS["multiclass"]]}
    net = reference.Net(model.coefs_, model.intercepts_, [None], ("relu",), model.out_activation_)
    name = "log_loss" if task not in REGRESSIONS else model.loss
    y = targets.get(task, TARGETS[task].reshape(45, -1))
    loss = reference.total_loss(net, X, y, name, alpha, WEIGHTS)
    return loss / 3.0 if task == "three outputs" and alpha == 0.0 else loss


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "three outputs", "poisson"])
def test_every_iterate_of_lbfgs(task):
    options = {"solver": "lbfgs", "alpha": 5.0}
    model = fast(task, **options).fit(X, TARGETS[task], WEIGHTS)
    assert len(model.data_loss_curve_) == len(model.loss_curve_) == 6
    for n in (1, 4, 6):
        part = fast(task, **{**options, "max_iter": n}).fit(X, TARGETS[task], WEIGHTS)
        assert model.data_loss_curve_[n - 1] == pytest.approx(total(part, task, 0.0), rel=1e-10)
        assert model.data_loss_curve_[n - 1] < model.loss_curve_[n - 1]


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "three outputs", "poisson"])
@pytest.mark.parametrize("solver", [SGD, ADAM], **BY_SOLVER)
def test_every_epoch_of_a_perceptron(solver, task):
    options = {**solver, "alpha": 5.0, "batch_size": 45}
    model = fast(task, **options).fit(X, TARGETS[task], WEIGHTS)
    assert len(model.data_loss_curve_) == len(model.loss_curve_) == 6
    for n in (1, 4, 5):  # a batch is evaluated before its step
        part = fast(task, **{**options, "max_iter": n}).fit(X, TARGETS[task], WEIGHTS)
        assert model.data_loss_curve_[n] == pytest.approx(total(part, task, 0.0), rel=1e-10)
        squares = sum((W**2).sum() for W in part.coefs_)
        penalty = model.loss_curve_[n] - model.data_loss_curve_[n]
        assert penalty == pytest.approx(2.5 * squares / WEIGHTS.sum(), rel=1e-10)


@pytest.mark.parametrize("solver", [SGD, ADAM, {"solver": "lbfgs"}], **BY_SOLVER)
def test_without_penalty_both_curves_are_one(solver):
    model = fast("multiclass", **solver, alpha=0.0, warm_start=True)
    for n in (1, 2):
        model.fit(X, TARGETS["multiclass"])
        assert len(model.data_loss_curve_) == 6 * n
        assert model.data_loss_curve_ == model.loss_curve_


def test_epochs_of_partial_fits():
    y = TARGETS["multiclass"]
    model = fast("multiclass", **SGD, alpha=1.0)
    for n in (1, 2, 3):
        model.partial_fit(X, y, classes=[0, 1, 2])
        assert len(model.data_loss_curve_) == n
    assert (np.array(model.data_loss_curve_) < model.loss_curve_).all()
    assert pickle.loads(pickle.dumps(model)).data_loss_curve_ == model.data_loss_curve_
