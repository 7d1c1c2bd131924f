"""Engines that users write: a plain sum over all configurations, outside of the package."""

import itertools
import pickle
import warnings

import numpy as np
import pytest
import reference
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import fastem
from fastem.engines import HiddenStatistics, Parameters, Shape, Statistics, TrainingRows

X, y = load_iris(return_X_y=True)


class PlainPlan:
    """Every configuration of one hidden layer, one after the other."""

    def __init__(self, rows: TrainingRows, shape: Shape, floor: float):
        self.shape, self.floor = shape, floor
        self.rebind(rows)

    def rebind(self, rows):
        self.rows = rows
        self.labels = rows.labels

    def expect(self, parameters: Parameters, draw: int = 0) -> Statistics:
        inputs, weights = self.rows.inputs, self.rows.weights
        joint, states, log_classes = log_joint(inputs, parameters, self.shape)
        log_joints = joint + log_classes[self.labels]
        log_likelihood = np.logaddexp.reduce(log_joints, axis=1)
        share = np.exp(log_joints - log_likelihood[:, None])
        prior = 1.0 / (1.0 + np.exp(-inputs @ parameters.hidden[0]))
        posterior = share @ states
        gradient = inputs.T @ (weights[:, None] * (posterior - prior))
        residual = np.eye(self.shape.n_outputs)[self.labels][:, None] - np.exp(log_classes).T[None]
        above = np.hstack([states, np.ones((len(states), 1))])[:, : len(parameters.output)]
        output_gradient = np.einsum("i,is,sj,isk->jk", weights, share, above, residual)
        hidden = HiddenStatistics(inputs, weights, prior.T.copy(), posterior.T.copy(), gradient)
        return Statistics(log_likelihood, (hidden,), None, None, output_gradient)


def log_joint(inputs, parameters, shape):
    """Return log P(z|x) (n, K), all states (K, m) and log P(y|z) (g, K)."""
    states = np.array(list(itertools.product([0.0, 1.0], repeat=shape.first)))
    a = inputs @ parameters.hidden[0]
    log_prior = reference.log_sigmoid(a) @ states.T + reference.log_sigmoid(-a) @ (1.0 - states).T
    ones = np.ones((len(states), len(parameters.output) - shape.last))
    logits = np.hstack([states, ones]) @ parameters.output
    return log_prior, states, (logits - np.logaddexp.reduce(logits, axis=1)[:, None]).T


class Plain(fastem.Engine):
    """A user's engine, with one setting, that is no dataclass."""

    name = "plain"
    statistics = "means"

    def __init__(self, floor=0.0):
        self.floor = floor

    def plan(self, rows, shape, n_threads):
        if shape.depth > 1:
            raise ValueError("Plain is for one hidden layer.")
        return PlainPlan(rows, shape, self.floor)

    def log_marginal(self, inputs, parameters, shape, n_threads):
        log_prior, _, log_classes = log_joint(inputs, parameters, shape)
        return np.logaddexp.reduce(log_prior[:, :, None] + log_classes.T[None], axis=1)


class EstimatingPlan(PlainPlan):
    """Exact sums that count as estimates of one effective sample each."""

    def expect(self, parameters, draw=0):
        statistics = super().expect(parameters, draw)
        return statistics._replace(effective_sample_size=np.ones(len(self.labels)))


class Estimating(Plain):
    """An engine of estimates with neither ``n_samples`` nor ``random_state``."""

    statistics = "estimates"

    def plan(self, rows, shape, n_threads):
        return EstimatingPlan(rows, shape, self.floor)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("solver", ["em", "lbfgs", "adam"])
def test_a_users_engine_trains_the_classifier(solver, fit_intercept):
    options = {"solver": solver, "fit_intercept": fit_intercept, "max_iter": 15, "random_state": 0}
    options["alpha"] = 0.15
    model = fastem.FastEMClassifier((3,), e_step=Plain(), **options)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    assert model.e_step_.name == "plain"
    curve = model.loss_curve_
    assert np.isfinite(curve).all()
    assert curve[-1] < curve[0]
    if solver == "em":
        assert np.diff(curve).max() <= 1e-9
    # the same predictions as by the package's own engine, and the same likelihood
    lists = model.coefs_, model.intercepts_
    exact = fastem.e_step(X, y, *lists, method="enumeration")
    assert model.log_likelihood(X, y) == pytest.approx(exact.log_likelihood.sum(), rel=1e-10)
    np.testing.assert_allclose(model.posterior(X, y), exact.hidden_posterior, atol=1e-10)


def test_a_users_engine_serves_the_e_step():
    rng = np.random.default_rng(0)
    lists = reference.draw_network(rng, 4, 3, 3)
    weights = rng.uniform(size=len(y))
    mine, exact = (
        fastem.e_step(X, y, *lists, method=method, sample_weight=weights)
        for method in (Plain(), "enumeration")
    )
    np.testing.assert_allclose(mine.log_likelihood, exact.log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(mine.hidden_posterior, exact.hidden_posterior, atol=1e-10)
    for name in ("coef_gradients", "intercept_gradients"):
        for a, b in zip(getattr(mine, name), getattr(exact, name), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("solver", ["em", "adam"])
def test_a_users_engine_may_give_estimates(solver):
    model = fastem.FastEMClassifier(
        (3,),
        alpha=0.15,
        e_step=Estimating(),
        solver=solver,
        max_iter=3,
        random_state=0,
        warm_start=True,
    )
    for _ in range(2):
        with pytest.warns(ConvergenceWarning):
            model.fit(X, y)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    if solver == "adam":
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match="solver='lbfgs' needs exact E-steps"):
        model.set_params(solver="lbfgs").fit(X, y)
    lists = model.coefs_, model.intercepts_
    exact = fastem.e_step(X, y, *lists, method=Plain())
    estimated = fastem.e_step(X, y, *lists, method=Estimating(), random_state=0)
    np.testing.assert_array_equal(estimated.log_likelihood, exact.log_likelihood)
    np.testing.assert_array_equal(estimated.effective_sample_size, np.ones(len(y)))


def test_a_users_engine_warns_in_its_own_words():
    class Noisy(Estimating):
        def warn_if_noisy(self, effective_sample_size):
            warnings.warn(f"only {effective_sample_size:g} samples", UserWarning, stacklevel=2)

    lists = reference.draw_network(np.random.default_rng(0), 4, 3, 3)
    with pytest.warns(UserWarning, match="only 1 samples"):
        fastem.e_step(X, y, *lists, method=Noisy())
    model = fastem.FastEMClassifier((3,), alpha=0.15, e_step=Noisy(), max_iter=1)
    with pytest.warns(ConvergenceWarning), pytest.warns(UserWarning, match="only 1 samples"):
        model.fit(X, y)


class Slow(fastem.Enumeration):
    """An engine of the package, changed by a user."""

    name = "slow"


@pytest.mark.parametrize("kind", [Plain, Slow])
@pytest.mark.parametrize("attribute", ["e_step", "e_step_"])
def test_a_model_file_cannot_hold_a_users_engine(kind, attribute, tmp_path):
    path = tmp_path / "model.fem"
    model = fastem.FastEMClassifier((2,), alpha=0.15, e_step="enumeration", max_iter=100, tol=1.0)
    model.fit(X, y).save(path)
    before = path.read_bytes()
    setattr(model, attribute, kind())
    message = rf"cannot hold {attribute} of class {kind.__name__}.*pickle.*fastem\.Enumeration\(\)"
    with pytest.raises(ValueError, match=message):
        model.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(model)).predict_proba(X), model.predict_proba(X)
    )


def test_settings_of_a_users_engine_are_parameters():
    model = fastem.FastEMClassifier((2,), alpha=0.15, e_step=Plain(), max_iter=2, tol=1.0)
    copy = clone(model).set_params(e_step__floor=0.5)
    assert (model.e_step.floor, copy.e_step.floor) == (0.0, 0.5)
    assert pickle.loads(pickle.dumps(copy)).e_step.floor == 0.5
    search = GridSearchCV(model, {"e_step__floor": [0.25]}, cv=2).fit(X[::3], y[::3])
    assert search.best_estimator_.e_step_.floor == 0.25


def test_what_is_fitted_keeps_its_settings():
    engine = fastem.Quadrature(tol=1e-6)
    model = fastem.FastEMClassifier((2,), alpha=0.15, e_step=engine, max_iter=2, tol=1.0).fit(X, y)
    engine.set_params(tol=1e-4)
    assert model.e_step_.tol == 1e-6


@pytest.mark.parametrize("engine", [Plain(), *(kind() for kind in fastem.engines.ENGINES.values())])
def test_engines_can_change_and_have_no_hash(engine):
    with pytest.raises(TypeError, match="unhashable"):
        hash(engine)
    with pytest.raises(ValueError, match="has no setting 'colour'"):
        engine.set_params(colour=1)


def test_errors_of_a_users_engine_reach_the_user():
    with pytest.raises(ValueError, match="Plain is for one hidden layer"):
        fastem.FastEMClassifier((2, 2), alpha=0.15, e_step=Plain()).fit(X, y)


@pytest.mark.parametrize("wrong", [Plain, object(), fastem.Engine, 3, None])
def test_what_is_no_engine_is_refused(wrong):
    with pytest.raises(ValueError, match=r"e_step must be one of .* an instance of fastem.Engine"):
        fastem.FastEMClassifier((2,), alpha=0.15, e_step=wrong).fit(X, y)


def test_an_engine_without_its_methods_cannot_be_made():
    class Nothing(fastem.Engine):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Nothing()


def test_an_unknown_kind_of_statistics_is_refused():
    class Wrong(Plain):
        statistics = "wrong"

    message = r"e_step.statistics must be one of .*'counts'.*got 'wrong' from .*Wrong"
    with pytest.raises(ValueError, match=message):
        fastem.FastEMClassifier((2,), alpha=0.15, e_step=Wrong()).fit(X, y)


@pytest.mark.parametrize("change", [lambda p: p[:3], lambda p: p[:, :2], lambda p: np.nan * p])
def test_a_wrong_prediction_of_a_users_engine_is_refused(change):
    class Wrong(Plain):
        def log_marginal(self, *arguments):
            return change(super().log_marginal(*arguments))

    model = fastem.FastEMClassifier((2,), alpha=0.15, e_step=Wrong(), max_iter=2, tol=1.0).fit(X, y)
    with pytest.raises(ValueError, match=r"Wrong.log_marginal must return .* \(150, 3\)"):
        model.predict_proba(X)
