"""Threads, memory, buffers, the cutting of work, checks of arrays, errors and warnings."""

from fastem.runtime.arrays import (
    check_kind,
    check_mask,
    detached,
    finite_array,
    kernel_array,
    real_array,
)
from fastem.runtime.buffers import Buffers, Shapes, bytes_of
from fastem.runtime.errors import DivergenceError
from fastem.runtime.memory import check_memory, fits
from fastem.runtime.pieces import (
    TILE,
    cut_by_group,
    in_blocks,
    most_chunks,
    n_low_bits,
    row_ranges,
    rows_per_chunk,
    table_slices,
)
from fastem.runtime.settings import HasSettings
from fastem.runtime.threads import (
    blas_for,
    effective_n_jobs,
    run,
    single_threaded_blas,
    threads_worth,
    worth_sharing,
)
from fastem.runtime.warn import warn_user

__all__ = [
    "TILE",
    "Buffers",
    "DivergenceError",
    "HasSettings",
    "Shapes",
    "blas_for",
    "bytes_of",
    "check_kind",
    "check_mask",
    "check_memory",
    "cut_by_group",
    "detached",
    "effective_n_jobs",
    "finite_array",
    "fits",
    "in_blocks",
    "kernel_array",
    "most_chunks",
    "n_low_bits",
    "real_array",
    "row_ranges",
    "rows_per_chunk",
    "run",
    "single_threaded_blas",
    "table_slices",
    "threads_worth",
    "warn_user",
    "worth_sharing",
]
