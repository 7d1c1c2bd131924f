"""The enumeration engine: exact sums over all ``2**m`` hidden configurations."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from fastem.engines.base import Engine, check_classes, check_depth, quadrature_serves
from fastem.engines.configuration_tables import (
    LOG_TABLES,
    ConfigurationTable,
    buffers_of_tables,
    halves,
    table_of_layer,
)
from fastem.engines.enumeration_plan import (
    SECONDS_PER_FLOP,
    EnumerationPlan,
    buffers_of_plan,
    buffers_of_sums,
    seconds_of_rows,
)
from fastem.engines.grouping import most_groups
from fastem.engines.row_tables import buffers_of_row_table
from fastem.kernels import enumeration, log_space
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows, check_log_odds, largest_inputs
from fastem.runtime import (
    TILE,
    Buffers,
    Shapes,
    blas_for,
    bytes_of,
    check_memory,
    most_chunks,
    n_low_bits,
    row_ranges,
    run,
    threads_worth,
)

PRECISIONS = "auto", "double", "mixed"

_MOST_UNITS = 60  # beyond the memory of any machine


def _temporaries(shape: Shape, n_threads: int) -> Shapes:
    """Declare the arrays that an E-step allocates to redo rows in log space."""
    p, m, g = shape.n_inputs, shape.first, shape.n_outputs
    return {
        "log_tables": (min(LOG_TABLES, n_threads), *halves(m)),
        "gradients": (g + 3, p, m),
    }


def _prediction_buffers(shape: Shape, n_samples: int, n_threads: int) -> Shapes:
    """Declare the arrays that `log_marginal` allocates beside the tables."""
    m, tile = shape.first, min(n_samples, TILE)
    n_workers = min(n_threads, len(row_ranges(n_samples, TILE)))
    return {
        "workspaces": (n_workers, enumeration.workspace_size(m, n_low_bits(m), tile)),
        "scratch": (n_workers, enumeration.scratch_size(m, tile)),
        "out": (n_samples, shape.n_outputs),
    }


def _prediction_temporaries(shape: Shape, n_samples: int) -> Shapes:
    """Declare the arrays that `log_marginal` allocates to redo rows in log space."""
    return {
        "log_table": halves(shape.first),
        "coefs_T": (shape.first, shape.n_inputs),
        "of_class": (n_samples,),
    }


def _check_memory(n_bytes: Callable[[Shape, int, int], int], shape: Shape, *sizes: int) -> None:
    """Raise ValueError, before anything is allocated, if the tables do not fit into memory."""
    largest = max(shape.hidden_layer_sizes)
    if largest > _MOST_UNITS:
        needed = math.inf, f"more than 2**{largest} bytes"
    else:
        needed = (n_bytes(shape, *sizes),)
    check_memory(
        f"hidden_layer_sizes={shape.hidden_layer_sizes}",
        f"for exact enumeration of 2**{largest} hidden configurations",
        "Use fewer hidden units: one unit less halves the memory. Or use "
        + ("fastem.Quadrature() or " if quadrature_serves(shape) else "")
        + "fastem.Sampling(), which estimates.",
        *needed,
    )


@dataclass
class Enumeration(Engine):
    """Exact E-step by enumeration of the ``2**m`` configurations of a hidden layer.

    Parameters
    ----------
    precision : {"auto", "double", "mixed"}, default="auto"
        Precision of the sums over configurations.

        - "double": float64.
        - "mixed": float32, about 1.8 times as fast for 14 units or more. Probabilities of the
          hidden units are computed in float64 and then rounded. The relative error of ``p(y|x)``
          and of posterior probabilities above 1e-30 is at most ``1e-7 (m + 8)``, because all terms
          are positive. Rows with ``p(y|x) < 1e-25`` are summed in float64 in log space. If these
          are more than 1/32 of the rows, the whole E-step is in float64. So are the methods of
          `fastem.EStep` other than its call.
        - "auto": float64, except that EM begins in float32 if an E-step takes long enough to gain
          from it. It ends in float64, at an optimum of the same objective.

        Fits are in float64 except for this first phase of EM. "mixed" has the phase for problems of
        any size. Predictions are always in float64.

    Notes
    -----
    Cost: ``6 n 2**m`` flops in matrix products and ``O(n 2**(m / 2) + g 2**m)`` other operations,
    with m units in the first layer. Each pair of neighbouring layers adds
    ``8 g 2**(m + m_above)`` flops, which does not depend on n.

    Memory: about ``(2 g + chunks + threads + 2) 2**m`` numbers, never ``n 2**m``. Chunks of
    rows sum into tables of their own; there are at most g chunks plus as many as fit into
    256 MiB. The last 2 tables are for rows that are redone in log space.

    Examples
    --------
    >>> import fastem
    >>> model = fastem.FastEMClassifier(e_step=fastem.Enumeration())
    """

    name: ClassVar[str] = "enumeration"
    statistics: ClassVar[str] = "counts"
    precision: str = "auto"

    def seconds(self, shape: Shape, n_samples: int) -> float:
        """Estimate the time of an E-step on one thread, in seconds."""
        if max(shape.hidden_layer_sizes) > _MOST_UNITS:
            return math.inf
        if not shape.has_classes:
            return math.inf if shape.depth > 1 else seconds_of_rows(shape, n_samples)
        # The time to fill tables is left out on purpose: with it, "auto" would choose
        # differently for a few rows of the same data.
        pairs = pairwise(shape.hidden_layer_sizes)
        upper = 8 * shape.n_outputs * SECONDS_PER_FLOP * sum(2.0 ** (a + b) for a, b in pairs)
        return seconds_of_rows(shape, n_samples) + upper

    def bytes_needed(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of a plan for ``n_samples`` rows, in bytes.

        The memory of the rows themselves is not counted.
        """
        n_chunks = most_chunks(n_samples, shape.first, most_groups(shape, n_samples))
        tile = min(n_samples, TILE)
        own = buffers_of_plan(shape, n_samples, n_chunks, tile, n_threads)
        sums = buffers_of_sums(shape, n_chunks, n_chunks, tile, n_threads)
        tables = buffers_of_row_table(shape, n_samples, n_threads)
        n_bytes = bytes_of(own, sums, _temporaries(shape, n_threads), *tables)
        if self.precision == "mixed" or (self.precision == "auto" and shape.has_classes):
            rounded = {"tables": (most_groups(shape, n_samples), *halves(shape.first))}
            n_bytes += bytes_of(rounded, dtype=np.float32)
        return n_bytes

    def bytes_to_predict(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of `log_marginal` for ``n_samples`` rows, in bytes."""
        return bytes_of(
            _prediction_buffers(shape, n_samples, n_threads),
            _prediction_temporaries(shape, n_samples),
            *buffers_of_tables(shape, n_threads, predicts_only=True),
        )

    def plan(self, rows: TrainingRows, shape: Shape, n_threads: int) -> EnumerationPlan:
        """Prepare exact E-steps on the given rows.

        Raises
        ------
        ValueError
            If the precision is unknown, or if the tables exceed the available memory, before
            anything is allocated.
        """
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, got {self.precision!r}.")
        check_depth(shape)
        _check_memory(self.bytes_needed, shape, len(rows.weights), n_threads)
        return EnumerationPlan(rows, shape, n_threads, self.precision)

    def log_marginal(
        self, inputs: Array, parameters: Parameters, shape: Shape, n_threads: int
    ) -> Array:
        """Return ``log p(y = k | x)`` for every row and class.

        Parameters
        ----------
        inputs : array (n_samples, n_inputs)
        parameters : Parameters
        shape : Shape
        n_threads : int

        Returns
        -------
        log_marginal : array (n_samples, n_classes), nats

        Raises
        ------
        ValueError
            If the tables exceed the available memory.
        FloatingPointError
            If inputs times weights overflow.
        """
        n_samples = len(inputs)
        check_classes(shape)
        _check_memory(self.bytes_to_predict, shape, n_samples, n_threads)
        check_log_odds(largest_inputs(inputs), parameters.hidden[0])
        table = table_of_layer(shape, 0, n_threads)
        hidden = np.ascontiguousarray(parameters.hidden[0])
        pieces, tile = row_ranges(n_samples, TILE), min(n_samples, TILE)
        flops = n_samples * shape.n_outputs * 2 * 2.0**shape.first
        n_threads = threads_worth(flops * SECONDS_PER_FLOP, n_threads)
        arrays = Buffers().allocate(_prediction_buffers(shape, n_samples, n_threads))
        n_redo = np.zeros(len(pieces), dtype=np.int64)

        def fill_piece(piece: int, worker: int) -> None:
            n_redo[piece] = enumeration.fill_log_marginal(
                inputs, hidden, table.values, *pieces[piece], tile, arrays.workspaces[worker],
                arrays.scratch[worker], arrays.out,
            )  # fmt: skip

        # the table of a deep network is a product over the configurations of all layers
        n_multiplications = max(tile, sum(shape.hidden_layer_sizes)) * shape.n_outputs
        n_multiplications *= 2.0 ** sum(shape.hidden_layer_sizes)
        with blas_for(max(n_multiplications, tile * hidden.size)):
            table.fill(parameters)
            run(fill_piece, len(pieces), n_threads)
        if n_redo.any():
            _redo_log_marginal(inputs, np.ascontiguousarray(hidden.T), table, arrays.out)
        return arrays.out


def _redo_log_marginal(
    inputs: Array, coefs_T: Array, table: ConfigurationTable, out: Array
) -> None:
    """Overwrite the marked entries of ``out`` (n_samples, n_classes), summed in log space."""
    for k in range(out.shape[1]):
        marked = np.flatnonzero(np.isneginf(out[:, k]))
        if len(marked) > 0:
            of_class = out[:, k].copy()  # kernels are compiled for contiguous arrays
            log_space.redo_log_marginal(inputs, coefs_T, table.log_table(k), marked, of_class)
            out[:, k] = of_class
