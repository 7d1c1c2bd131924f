"""How work is cut: everything once, in order, and within what was announced."""

import numpy as np
import pytest

from fastem.runtime import pieces


@pytest.mark.parametrize("size", [1, 7, 256])
@pytest.mark.parametrize("n_samples", [0, 1, 7, 255, 256, 257, 1000])
def test_row_ranges(n_samples, size):
    ranges = pieces.row_ranges(n_samples, size)
    assert [i for start, stop in ranges for i in range(start, stop)] == list(range(n_samples))
    assert all(stop - start == size for start, stop in ranges[:-1])


@pytest.mark.parametrize("n_hidden", range(1, 25))
def test_slices_of_a_table(n_hidden):
    n_low = 2 ** pieces.n_low_bits(n_hidden)
    n_high = 2**n_hidden // n_low
    slices = pieces.table_slices(n_high, n_low)
    assert [i for start, stop in slices for i in range(start, stop)] == list(range(n_high))
    assert len({stop - start for start, stop in slices}) == 1
    assert len(slices) <= 16
    assert len(slices) == 1 or n_low * n_high // len(slices) >= 2**14


@pytest.mark.parametrize("n_hidden", [1, 12, 20, 26])
@pytest.mark.parametrize(
    "sizes", [(0, 0), (1, 0, 3), (256, 257), (100, 9000, 1), (40_000, 3), (8192,)], ids=str
)
def test_chunks_of_rows(sizes, n_hidden):
    class_starts = np.concatenate([[0], np.cumsum(sizes)])
    chunks = pieces.cut_by_group(class_starts, n_hidden)
    ranges = [(chunk.start, chunk.stop) for chunk in chunks.pieces]
    assert [chunk.sums for chunk in chunks.pieces] == [slice(i, i + 1) for i in range(len(ranges))]
    assert [i for start, stop in ranges for i in range(start, stop)] == list(range(sum(sizes)))
    for k, n_rows in enumerate(sizes):
        own = slice(*chunks.group_starts[k : k + 2])
        assert {chunk.group for chunk in chunks.pieces[own]} <= {k}
        assert sum(stop - start for start, stop in ranges[own]) == n_rows
    assert len(ranges) <= pieces.most_chunks(sum(sizes), n_hidden, len(sizes))
    others = len(ranges) - len(sizes)
    assert others <= 32
    assert others <= 1 or others * 8 * 2**n_hidden <= 2**28
    whole = pieces.cut_by_group(class_starts, n_hidden, is_small=True)
    assert whole.pieces == [pieces.Chunk(0, sum(sizes), 0, slice(0, len(sizes)))][: sum(sizes)]
    if whole.pieces:
        assert whole.group_starts.tolist() == list(range(len(sizes) + 1))
