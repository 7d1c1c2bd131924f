"""How work is cut into pieces: by the size of the data only.

Results are added up piece by piece, so they do not depend on the number of threads.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

TILE = 256  # rows that a kernel handles at once: four half tables of m = 16 fit a 2 MiB cache
_MAX_CHUNKS = 32
_MAX_CHUNK_BYTES = 2**28
_MAX_SLICES = 16
_SLICE_ENTRIES = 2**14
_ROWS_AT_ONCE = 2**14  # of predictions; a multiple of TILE and of other blocks of rows
_VALUES_AT_ONCE = 2**22


class Chunk(NamedTuple):
    """A range of sorted rows, with sums over configurations of its own for every group in it.

    Attributes
    ----------
    start, stop : int
        Rows ``start:stop``.
    group : int
        Group of the first row.
    sums : slice
        The sums of the groups of this chunk among those of all chunks.
    """

    start: int
    stop: int
    group: int
    sums: slice


class Chunks(NamedTuple):
    """How the rows of an E-step are cut.

    Attributes
    ----------
    pieces : list of Chunk
    group_starts : array (n_groups + 1,)
        Sums ``group_starts[k]:group_starts[k + 1]`` of all chunks are of group k.
    """

    pieces: list[Chunk]
    group_starts: np.ndarray


def n_low_bits(n_hidden: int) -> int:
    """Return the number of units that index the columns of a table over configurations."""
    return n_hidden // 2


def row_ranges(n_samples: int, size: int) -> list[tuple[int, int]]:
    """Cut rows into ranges (start, stop) of equal size; the last range may be shorter."""
    return [(start, min(start + size, n_samples)) for start in range(0, n_samples, size)]


def in_blocks(function: Callable[..., Any], *arrays: Any, width: int = 1) -> Any:
    """Apply a function to blocks of rows; return its results in the order of the rows.

    The memory that the function needs is bounded, although the number of rows is not.

    Parameters
    ----------
    function : callable
        Takes a block of every array. Returns an array (n_rows, ...), or a tuple of such arrays,
        which must not depend on the rows of other blocks.
    *arrays : array, sparse matrix or SparseFeatures (n_samples, ...)
    width : int, default=1
        Largest number of values per row that the function holds in memory. Blocks have fewer rows
        if it is large.

    Returns
    -------
    results : array (n_samples, ...) or tuple of such arrays
    """
    n_samples = arrays[0].shape[0]
    n_rows = TILE * max(1, min(_ROWS_AT_ONCE, _VALUES_AT_ONCE // width) // TILE)
    if n_samples < 2 * n_rows:
        return function(*arrays)
    results: list[np.ndarray] = []
    # the last block is the largest: a few rows of their own may be rounded in another way
    starts = range(0, n_samples - n_rows + 1, n_rows)
    for start in starts:
        rows = slice(start, n_samples if start == starts[-1] else start + n_rows)
        found = function(*(array[rows] for array in arrays))
        parts = found if isinstance(found, tuple) else (found,)
        if not results:
            results = [np.empty((n_samples, *part.shape[1:]), part.dtype) for part in parts]
        for result, part in zip(results, parts, strict=True):
            result[rows] = part
    return tuple(results) if isinstance(found, tuple) else results[0]


def table_slices(n_high: int, n_low: int) -> list[tuple[int, int]]:
    """Cut a table over configurations into ranges (start, stop) of high parts."""
    step = -(-n_high // min(_MAX_SLICES, max(1, n_high * n_low // _SLICE_ENTRIES)))
    return [(start, start + step) for start in range(0, n_high, step)]


def _most_full_chunks(n_hidden: int) -> int:
    return max(1, min(_MAX_CHUNKS, _MAX_CHUNK_BYTES // (8 * 2**n_hidden)))


def rows_per_chunk(n_samples: int, n_hidden: int) -> int:
    """Return the rows of a chunk: tables of at most 32 chunks, and at most 256 MiB of them."""
    most = _most_full_chunks(n_hidden)
    n_tiles = -(-n_samples // TILE)
    return TILE * max(1, -(-n_tiles // most))


def most_chunks(n_samples: int, n_hidden: int, n_groups: int) -> int:
    """Return the largest number of sums that the chunks of `cut_by_group` have together."""
    # This holds for fewer rows too: a plan can be rebound to fewer rows, and smaller chunks then
    # do not make their number larger.
    return n_groups + min(-(-n_samples // TILE), _most_full_chunks(n_hidden))


def cut_by_group(group_starts: np.ndarray, n_hidden: int, *, is_small: bool = False) -> Chunks:
    """Cut the rows into chunks.

    Parameters
    ----------
    group_starts : array of int (n_groups + 1,)
        Rows ``group_starts[k]:group_starts[k + 1]`` are in group k: one class, or similar targets.
    n_hidden : int
    is_small : bool, default=False
        Whether one chunk takes all groups, because there is too little work to share. Otherwise
        every chunk is of one group.

    Returns
    -------
    chunks : Chunks
    """
    n_groups, n_samples = len(group_starts) - 1, int(group_starts[-1])
    if is_small and n_samples > 0:
        whole = Chunk(0, n_samples, 0, slice(0, n_groups))
        return Chunks([whole], np.arange(n_groups + 1))
    rows = rows_per_chunk(n_samples, n_hidden)
    pieces: list[Chunk]
    pieces, sums_starts = [], [0]
    for k in range(n_groups):
        first = int(group_starts[k])
        for start, stop in row_ranges(int(group_starts[k + 1]) - first, rows):
            own = slice(len(pieces), len(pieces) + 1)
            pieces.append(Chunk(first + start, first + stop, k, own))
        sums_starts.append(len(pieces))
    return Chunks(pieces, np.array(sums_starts))
