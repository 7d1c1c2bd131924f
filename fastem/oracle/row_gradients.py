"""Gradients of ``log p(y_i | x_i)`` of every row, and their products with a vector."""

from collections.abc import Callable, Iterator

import numpy as np

from fastem.engines import Engine, Enumeration
from fastem.oracle.flat_vectors import flat_gradient, split_vector
from fastem.oracle.moments import Enumerated, Tile, tables_in_use
from fastem.oracle.scores import ClassScores, FamilyScores
from fastem.oracle.upper_layers import buffers_above, functions_above, network_above
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows
from fastem.runtime import bytes_of, check_memory


def row_gradients(
    engine: Engine, rows: TrainingRows, shape: Shape, parameters: Parameters, n_threads: int
) -> Array:
    """Return the gradient of ``log p(y | x)`` of every row, (n_samples, n_parameters).

    Parameters
    ----------
    engine : Engine
    rows : TrainingRows
    shape : Shape
        Without intercepts, it must have classes and one hidden layer.
    parameters : Parameters
    n_threads : int

    Raises
    ------
    ValueError
        If memory is too small, before anything large is allocated.
    """
    _check_memory(engine, rows, shape, n_threads, shape.n_parameters)
    if not isinstance(engine, Enumeration):
        return np.concatenate([*_one_by_one(engine, rows, shape, parameters)])
    return _enumerated(rows, shape, parameters, n_threads)


def row_products(
    engine: Engine,
    rows: TrainingRows,
    shape: Shape,
    parameters: Parameters,
    vector: Array,
    n_threads: int,
) -> Array:
    """Return the product of every row's gradient with a vector (n_parameters,), (n_samples,)."""
    _check_memory(engine, rows, shape, n_threads, 1)
    if not isinstance(engine, Enumeration):
        rows_of = _one_by_one(engine, rows, shape, parameters)
        return np.array([(gradient @ vector)[0] for gradient in rows_of])
    return _enumerated_products(rows, shape, parameters, vector, n_threads)


def _check_memory(
    engine: Engine, rows: TrainingRows, shape: Shape, n_threads: int, n_columns: int
) -> None:
    """Raise ValueError if a matrix of so many columns, and tables, do not fit into memory."""
    n_samples, g = len(rows.weights), shape.n_outputs
    declared = [{"gradients": (n_samples, n_columns)}]
    if isinstance(engine, Enumeration):
        declared += tables_in_use(shape, n_samples, 1 + g + shape.n_variances, n_threads)
        declared += buffers_above(shape, 1 + g, n_columns, n_threads)
    if n_columns > 1:
        subject = f"A gradient of {shape.n_parameters} parameters for each of {n_samples} rows"
        remedy = "Use vector=... for products with a vector, or fewer rows at a time."
    else:
        subject = f"hidden_layer_sizes={shape.hidden_layer_sizes}"
        remedy = "Use fewer hidden units."
    check_memory(subject, "for gradients of rows", remedy, bytes_of(*declared))


def _one_by_one(
    engine: Engine, rows: TrainingRows, shape: Shape, parameters: Parameters
) -> Iterator[Array]:
    """Yield the gradient of every row, (1, n_parameters), from an E-step of that row alone."""
    plan = None
    for i in range(len(rows.weights)):
        own = _single_row(rows, i)
        if plan is None:
            plan = engine.plan(own, shape, 1)
        else:
            plan.rebind(own)
        statistics = plan.expect(parameters, i)
        yield flat_gradient(statistics, parameters.variance)[None]
    if plan is None:
        yield np.empty((0, shape.n_parameters))


def _single_row(rows: TrainingRows, i: int) -> TrainingRows:
    starts, targets = rows.class_starts, rows.targets
    return TrainingRows(
        rows.inputs[i : i + 1],
        np.ones(1),
        None if starts is None else (starts > i).astype(np.int64),
        np.zeros(1, dtype=np.int64),
        None if targets is None else targets[i : i + 1],
    )


def _enumerated(rows: TrainingRows, shape: Shape, parameters: Parameters, n_threads: int) -> Array:
    upper = _upper_gradients(shape, parameters, n_threads)
    source = Enumerated(rows, shape, parameters, n_threads)
    gradients = np.empty((len(rows.weights), shape.n_parameters))
    n_below = shape.n_inputs * shape.first
    m = shape.first
    fill_above = _filler(source, upper)

    def fill(tile: Tile, chunk: int) -> None:
        own = gradients[tile.start : tile.stop]
        first = fill_above(tile, own[:, n_below:])
        delta = first[:m] - tile.probability
        np.multiply(
            tile.inputs[:, :, None],
            delta.T[:, None],
            out=own[:, :n_below].reshape(-1, shape.n_inputs, m),
        )

    source.run(fill, 2.0 * (1 + shape.n_outputs))
    return gradients


def _filler(source: Enumerated, upper: Array | None) -> Callable[..., Array]:
    """Return a function that fills the gradients above a layer and returns ``E[(z, 1)]``."""
    if upper is not None:

        def fill_deep(tile: Tile, out: Array) -> Array:
            out[:] = tile.means(upper[tile.group]).T
            return tile.first_moments()[0]

        return fill_deep
    if source.shape.has_classes:
        scores = ClassScores(source)
        n_inputs = source.shape.output_shape[0]  # the moments include one for the intercept

        def fill_classes(tile: Tile, out: Array) -> Array:
            moments = tile.first_moments(scores.factors(tile.group))
            residuals = scores.residuals(tile.group, moments)[:, :n_inputs]
            out[:] = residuals.transpose(2, 1, 0).reshape(len(out), -1)
            return moments[0]

        return fill_classes
    family, variances = FamilyScores(source), source.parameters.variance

    def fill_family(tile: Tile, out: Array) -> Array:
        moments = tile.first_moments(family.factors(tile.group))
        residuals, squares = family.residuals(tile, moments)
        n_weights = residuals.shape[0] * residuals.shape[1]
        out[:, :n_weights] = residuals.transpose(2, 1, 0).reshape(len(out), -1)
        if len(variances) > 0:
            out[:, n_weights:] = 0.5 * (squares[:, -1].T - 1.0 / variances)
        return moments[0]

    return fill_family


def _enumerated_products(
    rows: TrainingRows, shape: Shape, parameters: Parameters, vector: Array, n_threads: int
) -> Array:
    direction = split_vector(vector, shape)
    upper = _upper_products(shape, parameters, vector, n_threads)
    source = Enumerated(rows, shape, parameters, n_threads)
    products = np.empty(len(rows.weights))
    m, family = shape.first, None
    if upper is None and shape.has_classes:
        classes = ClassScores(source)
        upper = np.array([classes.directional(k, direction.output) for k in range(shape.n_outputs)])
    elif upper is None:
        family = FamilyScores(source)
        groups = range(len(source.groups.references))
        change = direction.output, direction.variance
        upper = np.array([family.directional(k, *change) for k in groups])

    def fill(tile: Tile, chunk: int) -> None:
        own = products[tile.start : tile.stop]
        first = tile.first_moments()[0]
        log_odds = tile.inputs @ direction.hidden[0]
        own[:] = tile.means(upper[tile.group][None])[0]
        own += ((first[:m] - tile.probability).T * log_odds).sum(axis=1)
        if family is not None:
            own += family.directional_rest(tile, direction.output, direction.variance, first)

    source.run(fill, 3.0)
    return products


def _upper_gradients(shape: Shape, parameters: Parameters, n_threads: int) -> Array | None:
    """Return gradients of ``log P(y | configuration)`` by all weights above the first layer.

    Returns
    -------
    gradients : array (n_classes, n_weights_above, n_high, n_low) or None
        None if the outputs are above the first layer.
    """
    if shape.depth == 1:
        return None
    gradients = _enumerated(*network_above(shape, parameters), n_threads)
    return functions_above(gradients.T, shape)


def _upper_products(
    shape: Shape, parameters: Parameters, vector: Array, n_threads: int
) -> Array | None:
    """Return products of these gradients with a vector, (n_classes, n_high, n_low), or None."""
    if shape.depth == 1:
        return None
    own = vector[shape.n_inputs * shape.first :]
    products = _enumerated_products(*network_above(shape, parameters), own, n_threads)
    return functions_above(products[None], shape)[:, 0]
