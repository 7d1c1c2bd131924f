"""How work is cut into pieces: by the size of the data only.

Results are added up piece by piece, so they do not depend on the number of threads.
"""

from typing import NamedTuple

import numpy as np

TILE = 256  # rows that a kernel handles at once: four half tables of m = 16 fit a 2 MiB cache
_MAX_CHUNKS = 32
_MAX_CHUNK_BYTES = 2**28
_MAX_SLICES = 16
_SLICE_ENTRIES = 2**14


class Chunks(NamedTuple):
    """Ranges of sorted rows, each of one group and with its own sums over configurations.

    Attributes
    ----------
    row_starts, row_stops, groups : lists, one entry per chunk
    group_starts : array (n_groups + 1,)
        Chunks ``group_starts[k]:group_starts[k + 1]`` are of group k.
    """

    row_starts: list[int]
    row_stops: list[int]
    groups: list[int]
    group_starts: np.ndarray


def n_low_bits(n_hidden: int) -> int:
    """Return the number of units that index the columns of a table over configurations."""
    return n_hidden // 2


def row_ranges(n_samples: int, size: int) -> list[tuple[int, int]]:
    """Cut rows into ranges (start, stop) of equal size; the last range may be shorter."""
    return [(start, min(start + size, n_samples)) for start in range(0, n_samples, size)]


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
    """Return the largest number of chunks that `cut_by_group` makes, for any targets."""
    # This holds for fewer rows too: a plan can be rebound to fewer rows, and smaller chunks then
    # do not make their number larger.
    return n_groups + min(-(-n_samples // TILE), _most_full_chunks(n_hidden))


def cut_by_group(group_starts: np.ndarray, n_hidden: int) -> Chunks:
    """Cut the rows of every group into chunks.

    Parameters
    ----------
    group_starts : array of int (n_groups + 1,)
        Rows ``group_starts[k]:group_starts[k + 1]`` are in group k: one class, or similar targets.
    n_hidden : int

    Returns
    -------
    chunks : Chunks
    """
    rows = rows_per_chunk(int(group_starts[-1]), n_hidden)
    starts, stops, groups, chunk_starts = [], [], [], [0]
    for k in range(len(group_starts) - 1):
        first = int(group_starts[k])
        for start, stop in row_ranges(int(group_starts[k + 1]) - first, rows):
            starts.append(first + start)
            stops.append(first + stop)
            groups.append(k)
        chunk_starts.append(len(starts))
    return Chunks(starts, stops, groups, np.array(chunk_starts))
