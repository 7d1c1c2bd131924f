"""A program as users write it, for a type checker in strict mode: it is checked and never run."""

# What the settings of the package leave out of strict mode:
# mypy: disallow-subclassing-any, disallow-untyped-calls, disallow-untyped-decorators
# mypy: warn-return-any

import os
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastem
from fastem import (
    Backpropagation,
    Bernoulli,
    Categorical,
    DensityDisplay,
    DivergenceError,
    Engine,
    Enumeration,
    EStep,
    Expectations,
    Family,
    FastEMClassifier,
    FastEMRegressor,
    FastMLPClassifier,
    FastMLPRegressor,
    Gaussian,
    HiddenUnitsDisplay,
    Inference,
    LossCurveDisplay,
    PenaltyDisplay,
    Poisson,
    Quadrature,
    Sampling,
    ScalingDisplay,
    ScalingProfile,
)
from fastem.dask import DaskEMClassifier, DaskEMRegressor
from fastem.engines import Plan
from fastem.parameters import Parameters, Shape
from fastem.rows import TrainingRows

Float64 = NDArray[np.float64]


def classify(X: Float64, y: NDArray[np.int64], labels: list[str]) -> None:
    model = FastEMClassifier(hidden_layer_sizes=(8,), alpha=0.1, random_state=0)
    assert_type(model.fit(X, y), FastEMClassifier)
    assert_type(model.fit(X.tolist(), labels, sample_weight=[1.0, 2.0]), FastEMClassifier)
    assert_type(model.fit(X, y, X_val=X, y_val=y), FastEMClassifier)
    assert_type(model.partial_fit(X, y, classes=[0, 1, 2]), FastEMClassifier)
    assert_type(model.predict(X), NDArray[Any])
    assert_type(model.predict_proba(X), Float64)
    assert_type(model.predict_log_proba(X), Float64)
    assert_type(model.transform(X), Float64)
    assert_type(model.posterior(X, y), Float64)
    assert_type(model.score(X, y), float)
    assert_type(model.log_likelihood(X, y), float)
    assert_type(model.aic(X, y) - model.bic(X, y, sample_weight=np.ones(2)), float)
    assert_type(model.sample(X, random_state=0), tuple[NDArray[Any], Float64])
    assert_type(model.coefs_, list[Float64])
    assert_type(model.intercepts_[-1], Float64)
    assert_type(model.classes_, NDArray[Any])
    assert_type(model.family_, Categorical | Bernoulli)
    assert_type(model.e_step_, Engine)
    assert_type(model.alpha_path_["alpha"], NDArray[Any])
    assert_type(model.loss_curve_[-1] - model.loss_, float)
    assert_type(model.validation_loss_curve_, list[float] | None)
    assert_type(model.converged_, bool)


def settings() -> list[FastEMClassifier]:
    engines: list[Engine] = [Enumeration(precision="mixed"), Quadrature(tol=1e-8), Sampling(100)]
    models = [FastEMClassifier(5, e_step=engine) for engine in engines]
    weights = [np.zeros((2, 3)), np.zeros((3, 2))]
    return [
        *models,
        FastEMClassifier("auto", e_step="quadrature", class_weight="balanced", n_jobs=2),
        FastEMClassifier((4, 3), class_weight={"a": 1.0, "b": 2.0}, solver="adam", batch_size=32),
        FastEMClassifier(3, coefs_init=weights, random_state=np.random.RandomState(0)),
    ]


def regress(X: Float64, y: Float64, wants_std: bool) -> None:
    model = FastEMRegressor((5,), family="poisson", variance_floor=0.01)
    assert_type(model.fit(X, y), FastEMRegressor)
    assert_type(model.partial_fit(X, y), FastEMRegressor)
    assert_type(model.predict(X), Float64)
    assert_type(model.predict(X, return_std=True), tuple[Float64, Float64])
    assert_type(model.predict(X, wants_std), Float64 | tuple[Float64, Float64])
    assert_type(model.predict_interval(X, coverage=0.9), Float64)
    assert_type(model.predict_quantile(X, [0.05, 0.95]), Float64)
    assert_type(model.predict_cdf(X, y), Float64)
    assert_type(model.log_density(X, y), Float64)
    assert_type(model.score(X, y), float)
    assert_type(model.sample(X), tuple[Float64, Float64])
    assert_type(model.variance_, Float64)
    assert_type(model.family_, fastem.IndependentOutputs)
    families: list[Family] = [Bernoulli(), Categorical(), Gaussian(), Poisson()]
    assert_type(FastEMRegressor(family=families[2]), FastEMRegressor)


def store(model: FastEMClassifier, path: os.PathLike[str]) -> None:
    model.save(path)
    assert_type(FastEMClassifier.load("model.npz"), FastEMClassifier)
    assert_type(FastEMRegressor.load(path), FastEMRegressor)
    fastem.load_pipeline(path).predict(np.zeros((1, 2)))
    fastem.to_onnx(model, np.zeros((1, 2)), dtype=np.float64)


def perceptrons(X: Float64, y: NDArray[np.int64]) -> None:
    classifier = FastMLPClassifier((50, 20), activation=["relu", "tanh"], class_weight="balanced")
    assert_type(classifier.fit(X, y), FastMLPClassifier)
    assert_type(classifier.partial_fit(X, y, classes=[0, 1]), FastMLPClassifier)
    assert_type(classifier.predict(X), NDArray[Any])
    assert_type(classifier.predict_proba(X), NDArray[np.floating[Any]])
    assert_type(classifier.coefs_, list[NDArray[np.floating[Any]]])
    regressor = FastMLPRegressor(hidden_layer_sizes=[30], loss="poisson", solver="lbfgs")
    assert_type(regressor.fit(X, y), FastMLPRegressor)
    assert_type(regressor.partial_fit(X, y), FastMLPRegressor)
    assert_type(regressor.predict(X), NDArray[np.floating[Any]])
    assert_type(regressor.score(X, y), float)
    assert_type(regressor.best_loss_, float | None)


def reference_values(
    X: Float64, y: NDArray[np.int64], coefs: list[Float64], intercepts: tuple[Float64, Float64]
) -> None:
    result = fastem.e_step(X, y, coefs, intercepts, method="quadrature")
    assert_type(result, Expectations)
    assert_type(result.log_likelihood, Float64)
    assert_type(result.hidden_posterior, Float64)
    assert_type(result.coef_gradients, list[Float64])
    assert_type(result.variance_gradient, Float64 | None)
    fastem.e_step([[0.0]], [1], [[[1.0]], [[1.0, 2.0]]], [[0.0], [0.0, 0.0]])
    fastem.e_step(X, X, coefs, intercepts, family=Gaussian(), variance=1.0)
    oracle = EStep(X, y, hidden_layer_sizes=(6, 2), n_classes=3, n_jobs=1)
    assert_type(oracle(coefs, intercepts), Expectations)
    assert_type(oracle(coefs, intercepts, out=result), Expectations)
    assert_type(oracle.row_gradients(coefs, intercepts, vector=X[0]), Float64)
    assert_type(oracle.input_gradient(coefs, intercepts), Float64)
    assert_type(oracle.information(coefs, intercepts), Float64)
    assert_type(
        oracle.hessian_product(coefs, intercepts, oracle.flatten(coefs, intercepts)), Float64
    )
    assert_type(oracle.class_log_probability(coefs, intercepts), Float64)
    assert_type(oracle.layer_posteriors(coefs, intercepts), list[Float64])
    assert_type(oracle.pair_moments(coefs, intercepts, summed=True), Float64)
    assert_type(oracle.posterior_entropy(coefs, intercepts), Float64)
    assert_type(oracle.posterior_divergence(coefs, intercepts), Float64)
    assert_type(oracle.evidence_bound(X, coefs, intercepts), Float64)
    assert_type(oracle.most_probable(coefs, intercepts), tuple[NDArray[np.int8], Float64])
    assert_type(oracle.sample_posterior(coefs, intercepts, n_samples=2), NDArray[np.int8])
    oracle.rebind(X, y)
    gradient = fastem.backpropagate(X, X, coefs, intercepts, activation=("tanh",))
    assert_type(gradient, Backpropagation)
    assert_type(gradient.coef_gradients, list[Float64])


def uncertainty(model: FastEMClassifier | FastEMRegressor, X: Float64, y: Float64) -> None:
    inference = Inference(model, X, y)
    assert_type(inference.standard_error(X, scale="link"), Float64)
    assert_type(inference.interval(X), Float64)
    assert_type(inference.summary().effects, Float64)
    refits = fastem.bootstrap(model, X, y, n_resamples=20, random_state=0)
    assert_type(refits.interval(X, coverage=0.9), Float64)
    assert_type(refits.standard_error(X), Float64)
    assert_type(refits.replicates(X), Float64)
    test = fastem.likelihood_ratio_test(model, X, y)
    assert_type(test.p_value + test.statistic, float)
    assert_type(test.null_statistics, Float64)


def displays(model: FastEMClassifier, density: FastEMRegressor, X: Float64, y: Float64) -> None:
    assert_type(LossCurveDisplay.from_estimator(model, curve="data"), LossCurveDisplay)
    assert_type(LossCurveDisplay.from_estimator(model).plot(), LossCurveDisplay)
    assert_type(HiddenUnitsDisplay.from_estimator(model, X, y), HiddenUnitsDisplay)
    assert_type(PenaltyDisplay.from_estimator(model), PenaltyDisplay)
    assert_type(DensityDisplay.from_estimator(density, X, y), DensityDisplay)
    profile = fastem.profile_scaling(range(4, 9), [1000], engines=["enumeration"])
    assert_type(profile, ScalingProfile)
    assert_type(profile.rows[0].seconds, float)
    assert_type(ScalingDisplay.from_results([profile]), ScalingDisplay)
    fastem.warmup()


def clusters(X: Any, y: Any) -> None:
    classifier = DaskEMClassifier((8,), checkpoint="fit.npz", timeout=60.0)
    assert_type(classifier.fit(X, y), DaskEMClassifier)
    assert_type(classifier.partial_fit(X, y, classes=[0, 1]), DaskEMClassifier)
    assert_type(classifier.to_local(), FastEMClassifier)
    assert_type(classifier.to_local().classes_, NDArray[Any])
    regressor = DaskEMRegressor(family="gaussian")
    assert_type(regressor.fit(X, y, sample_weight=y), DaskEMRegressor)
    assert_type(regressor.to_local().predict_interval(np.zeros((1, 2))), Float64)
    regressor.save("model.npz")


class Halved(Engine):
    """An engine of a user's own."""

    name = "halved"

    def plan(self, rows: TrainingRows, shape: Shape, n_threads: int) -> Plan:
        return Enumeration().plan(rows, shape, n_threads)

    def log_marginal(
        self, inputs: Float64, parameters: Parameters, shape: Shape, n_threads: int
    ) -> Float64:
        return 0.5 * Enumeration().log_marginal(inputs, parameters, shape, n_threads)


def own_engine(X: Float64, y: NDArray[np.int64]) -> str:
    try:
        return repr(FastEMClassifier((3,), e_step=Halved()).fit(X, y).e_step_)
    except DivergenceError as error:
        return f"{fastem.__version__}: {error}"
