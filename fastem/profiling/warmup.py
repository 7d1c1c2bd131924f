"""Compile the kernels for float64 data when the user chooses."""

import numpy as np
from scipy.sparse import csr_array

from fastem.engines import (
    Enumeration,
    Quadrature,
    Sampling,
    gaussian_cdf,
    gaussian_quantiles,
)
from fastem.families import Gaussian
from fastem.m_step import M_STEPS
from fastem.oracle import e_step, row_gradients
from fastem.parameters import Array, Parameters, Shape
from fastem.perceptron import LOSSES, Adam, FeedForward, Layers, Objective, Workspace, rows_of
from fastem.rows import sort_rows
from fastem.solvers import (
    AdamState,
    BatchedNetwork,
    EpochMonitor,
    Extent,
    Monitor,
    Network,
    QuasiNewtonStep,
    draw_start,
    run_adam,
    run_em,
)
from fastem.sparse import features_of


def warmup() -> None:
    """Compile the kernels, or load them from the disk cache.

    Covers double precision and all families of outputs. The first perceptron with float32 data
    compiles further kernels, and so do the first calls of the methods of `fastem.EStep`.

    Call it before you measure times, and before you fork. A fork waits for a kernel that another
    thread compiles, some seconds and at most a minute.
    """
    shape = Shape(n_features=1, hidden_layer_sizes=(2,), n_outputs=2)
    X, y, weights = np.arange(4.0)[:, None], np.array([0, 1, 0, 1]), np.ones(4)
    rows = sort_rows(X, y, weights, shape)
    engine = Enumeration()
    start = draw_start(shape, np.array([2.0, 2.0]), np.random.RandomState(0))
    for m_step in M_STEPS:
        network = Network(rows, shape, engine, m_step, alpha=1.0, learning_rate=0.01, n_threads=1)
        # enough iterations to reach the accelerated ones, which have a kernel of their own
        run_em(network, shape.pack(start), Monitor(tol=0.0), 15, QuasiNewtonStep())
    engine.log_marginal(rows.inputs, start, shape, 1)
    row_gradients(engine, rows, shape, start, 1)  # for the choice of a penalty
    single = Enumeration(precision="mixed").plan(rows, shape, 1)  # EM can begin with it
    single.expect(start).expected_counts()
    # weights so large that every row is computed in log space
    certain = start._replace(hidden=(1e3 * start.hidden[0],), output=1e3 * start.output)
    engine.plan(rows, shape, 1).expect(certain)
    for parameters in (start, certain):
        e_step(X, y, *shape.to_lists(parameters))
    engine.log_marginal(rows.inputs, certain, shape, 1)
    extent = Extent().plus(weights)
    batched = BatchedNetwork(X, y, weights, shape, engine, 2, alpha=1.0, extent=extent, n_threads=1)
    descent = AdamState(0.01, np.random.RandomState(0))
    run_adam(batched, shape.pack(start), EpochMonitor(tol=0.0), 1, descent)
    Quadrature().plan(rows, shape, 1).expect(start)
    _warm_up_three_classes(X, weights)
    _warm_up_numbers(X, weights)
    _warm_up_integrals(X, weights)
    _warm_up_depth(X, y, weights)
    by_sampling = Sampling(n_samples=8, random_state=0)
    by_sampling.plan(rows, shape, 1).expect(start)
    by_sampling.log_marginal(rows.inputs, start, shape, 1)
    _warm_up_sparse_rows(X, y, weights)
    _warm_up_backpropagation(X, np.eye(2)[y], weights)


def _warm_up_three_classes(X: Array, weights: Array) -> None:
    shape = Shape(n_features=1, hidden_layer_sizes=(2,), n_outputs=3)
    rows = sort_rows(X, np.array([0, 1, 2, 0]), weights, shape)
    start = draw_start(shape, np.array([2.0, 1.0, 1.0]), np.random.RandomState(0))
    Quadrature().plan(rows, shape, 1).expect(start)


def _warm_up_numbers(X: Array, weights: Array) -> None:
    """Run E-steps of one Gaussian output: its kernels of sampling differ from those of classes."""
    shape = Shape(n_features=1, hidden_layer_sizes=(2,), n_outputs=1, family=Gaussian())
    rows = sort_rows(X, X, weights, shape)
    start = draw_start(shape, np.array([1.5]), np.random.RandomState(0))
    for engine in (Enumeration(), Sampling(n_samples=8, random_state=0)):
        engine.plan(rows, shape, 1).expect(start)


def _warm_up_integrals(X: Array, weights: Array) -> None:
    """Compile the integrals of one Gaussian output."""
    shape = Shape(n_features=1, hidden_layer_sizes=(2,), n_outputs=1, family=Gaussian())
    rows = sort_rows(X, X / 2.0, weights, shape)
    v, c = np.array([1.0, 0.5]), 0.0
    start = Parameters((np.zeros((2, 2)),), np.append(v, c)[:, None])
    for variance in (1.0, 1e-4):  # with little noise, rows are conditioned on units
        Quadrature().plan(rows, shape, 1).expect(start._replace(variance=np.array([variance])))
    output = v, c, 1.0, Quadrature.tol, 1
    gaussian_cdf(np.zeros((4, 2)), X[:, 0], *output)
    gaussian_quantiles(np.zeros((4, 2)), np.array([0.5]), *output)


def _warm_up_depth(X: Array, labels: np.ndarray, weights: Array) -> None:
    shape = Shape(n_features=1, hidden_layer_sizes=(2, 2), n_outputs=2)
    rows, engine = sort_rows(X, labels, weights, shape), Enumeration()
    start = draw_start(shape, np.array([2.0, 2.0]), np.random.RandomState(0))
    for scale in (1.0, 1e3):  # the second one is computed in log space
        parameters = shape.unpack(scale * shape.pack(start))
        engine.plan(rows, shape, 1).expect(parameters)
        engine.log_marginal(rows.inputs, parameters, shape, 1)


def _warm_up_sparse_rows(X: Array, labels: np.ndarray, weights: Array) -> None:
    """Compile the products and moments of sparse features."""
    shape = Shape(n_features=1, hidden_layer_sizes=(2,), n_outputs=2)
    features = features_of(csr_array(X))
    features.moments(weights / weights.sum(), np.ones(1), centred=True)
    rows = sort_rows(features.standardised(np.zeros(1), np.ones(1)), labels, weights, shape)
    start = shape.pack(draw_start(shape, np.array([2.0, 2.0]), np.random.RandomState(0)))
    network = Network(rows, shape, Enumeration(), "newton", alpha=1.0, n_threads=1)
    network.maximize(start, network.expect(start)[1])


def _warm_up_backpropagation(X: Array, targets: Array, weights: Array) -> None:
    layers = Layers.of([1, 2, 2], ["relu"], "softmax")
    network = FeedForward(layers, Objective(LOSSES["log_loss"], 0.0, 0.0, 1e-16))
    theta, rows = np.ones(layers.n_parameters), rows_of(X, targets, weights)
    work = Workspace.of(layers, len(X), theta.dtype, gathers=True)
    optimizer = Adam(theta, 1e-3, 0.9, 0.999, 1e-8)
    network.train(theta, optimizer, rows, np.arange(len(X)), (0, len(X)), 0, work)
    network.loss(network.outputs(theta, X), targets, weights)
    network.loss_gradient(theta, rows)
