"""Threads, memory, buffers, work in pieces, checks of arrays, files, errors, warnings, reports."""

from fastem.runtime.activity import Activity, Loop, current_activity, doing, watched
from fastem.runtime.arrays import (
    check_kind,
    check_mask,
    detached,
    finite_array,
    kernel_array,
    real_array,
)
from fastem.runtime.buffers import Buffers, Shapes, bytes_of
from fastem.runtime.cores import effective_n_jobs
from fastem.runtime.errors import DivergenceError
from fastem.runtime.files import replacing
from fastem.runtime.lazy import lazy_property
from fastem.runtime.memory import check_memory, fits, format_bytes
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
    blas_of_worker,
    give_lock,
    run,
    single_threaded_blas,
    threads_worth,
    worth_sharing,
)
from fastem.runtime.warn import warn_user

__all__ = [
    "TILE",
    "Activity",
    "Buffers",
    "DivergenceError",
    "HasSettings",
    "Loop",
    "Shapes",
    "blas_for",
    "blas_of_worker",
    "bytes_of",
    "check_kind",
    "check_mask",
    "check_memory",
    "current_activity",
    "cut_by_group",
    "detached",
    "doing",
    "effective_n_jobs",
    "finite_array",
    "fits",
    "format_bytes",
    "give_lock",
    "in_blocks",
    "kernel_array",
    "lazy_property",
    "most_chunks",
    "n_low_bits",
    "real_array",
    "replacing",
    "row_ranges",
    "rows_per_chunk",
    "run",
    "single_threaded_blas",
    "table_slices",
    "threads_worth",
    "warn_user",
    "watched",
    "worth_sharing",
]
