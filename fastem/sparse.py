"""Sparse features: rows of X of which only the entries that are not zero are stored."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from fastem.kernels import sparse_rows
from fastem.parameters import Array
from fastem.runtime import kernel_array, row_ranges, run, threads_worth

FORM = {"accept_sparse": ["csr", "csc"], "dtype": np.float64, "order": "C"}
"""The form of X that `features_of` takes, as arguments of scikit-learn's ``validate_data``."""

_ROWS_PER_PIECE = 1024
_MOST_PIECES = 16
_SECONDS_PER_PRODUCT = 5e-10
_MOST_FEATURES_WRITTEN_OUT = 8000
_VALUES_PER_BLOCK = 2**20


class SparseFeatures:
    """Rows of sparse features, each minus a shift per column, and perhaps a column of ones.

    The value of an entry that is not stored is ``-shift``. Features can therefore be centred
    although most of their values are not stored. The rows are numbers of stored rows: a choice of
    rows copies no entry. Instances are not changed.

    Parameters
    ----------
    entries : csr_array (n_stored, n_features)
        Float64 in the form of `fastem.runtime.kernel_array`; sorted columns, none of them twice.
    shift : array (n_features,)
    rows : array of int (n_samples,)
    has_ones : bool
        Whether there is a last column of ones.
    largest : array (n_features,)
        Upper bound of the absolute value of an entry plus that of the shift, for every column.
    """

    def __init__(
        self,
        entries: csr_array,
        shift: Array,
        rows: NDArray[np.int64],
        largest: Array,
        *,
        has_ones: bool = False,
    ) -> None:
        self._entries, self._shift, self._rows = entries, shift, rows
        self._largest, self._has_ones = largest, has_ones
        self._arrays = entries.data, entries.indices, entries.indptr, rows

    @classmethod
    def of(cls, X: Any) -> "SparseFeatures":
        """Return the rows of a matrix.

        Parameters
        ----------
        X : CSR or CSC matrix or array (n_samples, n_features)
            Of finite numbers. It is not changed. Its arrays are used if they are float64, sorted
            and without zeros; otherwise they are copied.

        Raises
        ------
        ValueError
            If a column index is out of range, or entries of the same place have an infinite sum.
        """
        try:
            own = type(X)((X.data, X.indices, X.indptr), shape=X.shape)  # the check may cut arrays
            own.check_format(full_check=True)  # the kernels check no column index
        except ValueError as error:
            raise ValueError(f"X is not a valid sparse matrix: {error}.") from error
        csr = own.tocsr()
        index = np.int32 if max(csr.nnz, *csr.shape) < 2**31 else np.int64
        parts = (
            kernel_array(csr.data),
            kernel_array(csr.indices, index),
            kernel_array(csr.indptr, index),
        )
        entries = csr_array(parts, shape=csr.shape, copy=False)
        if not entries.has_canonical_format or not entries.data.all():
            entries = entries.copy()
            with np.errstate(over="ignore"):
                entries.sum_duplicates()
            entries.eliminate_zeros()
        if not np.isfinite(entries.data).all():
            raise ValueError(
                "X contains NaN or infinity; remove or impute such values. A value is the sum of "
                "all entries of its row and column."
            )
        n_samples, n_features = entries.shape
        return cls(entries, np.zeros(n_features), np.arange(n_samples), _sizes(entries)[0])

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return len(self._rows), len(self._shift) + self._has_ones

    @property
    def largest(self) -> Array:
        """Upper bound of the absolute values of every column, (n_inputs,)."""
        return np.append(self._largest, 1.0) if self._has_ones else self._largest

    def __getitem__(self, chosen: Any) -> "SparseFeatures":
        """Return some of the rows, given by numbers, a mask or a slice."""
        rows = np.ascontiguousarray(self._rows[chosen])
        return SparseFeatures(
            self._entries, self._shift, rows, self._largest, has_ones=self._has_ones
        )

    def with_ones(self) -> "SparseFeatures":
        """Return the features with a last column of ones."""
        return SparseFeatures(self._entries, self._shift, self._rows, self._largest, has_ones=True)

    def standardised(self, centre: Array, scale: Array) -> "SparseFeatures":
        """Return ``values / scale - centre / scale``.

        Columns of which every entry is stored are centred entry by entry: the mean of such a column
        can be large compared with its deviation, and their difference would be inexact later.

        Parameters
        ----------
        centre, scale : arrays (n_features,)
        """
        entries = self._own_entries()
        shift = self._shift / scale + centre / scale
        entries.data /= scale[entries.indices]
        is_full = (_sizes(entries)[1] == len(self)) & (len(self) > 0)
        entries.data -= np.where(is_full, shift, 0.0)[entries.indices]
        shift = np.where(is_full, 0.0, shift)
        largest = _sizes(entries)[0] + np.abs(shift)
        return SparseFeatures(
            entries, shift, np.arange(len(self)), largest, has_ones=self._has_ones
        )

    def moments(self, shares: Array, units: Array, *, centred: bool) -> tuple[Array, Array]:
        """Return weighted mean and standard deviation of every column, in given units.

        Parameters
        ----------
        shares : array (n_samples,)
            Weights of the rows; their sum is one.
        units : array (n_features,)
        centred : bool
            Otherwise the mean is zero.

        Returns
        -------
        mean, deviation : arrays (n_features,)
        """
        entries, n_features = self._own_entries(), len(self._shift)
        arrays = entries.data, entries.indices, entries.indptr, np.arange(len(self))
        mean, present = np.empty((2, n_features))
        sparse_rows.fill_means(*arrays, shares, units, mean, present)
        absent = np.maximum(shares.sum() - present, 0.0)
        often = np.flatnonzero(present > 0.5)  # here the difference would be inexact
        numbers = np.full(n_features, -1)
        numbers[often] = np.arange(len(often))
        exact, last = np.zeros(len(often)), np.empty(len(often), dtype=np.int64)
        sparse_rows.fill_absent(*arrays[1:], shares, numbers, last, exact)
        absent[often] = exact
        if not centred:
            mean[:] = 0.0
        squares = absent * mean**2
        sparse_rows.add_squares(*arrays, shares, units, mean, squares)
        return mean, np.sqrt(squares)

    def __matmul__(self, weights: Array) -> Array:
        """Return the product with weights (n_inputs, n_columns), (n_samples, n_columns)."""
        out = np.empty((len(self), np.shape(weights)[1]))
        self.fill_product(weights, 1, out)
        return out

    def fill_product(self, weights: Array, n_threads: int, out: Array) -> None:
        """Overwrite the first columns of ``out`` with the product with weights.

        Parameters
        ----------
        weights : array (n_inputs, n_columns)
        n_threads : int
        out : array (n_samples, at least n_columns)

        Raises
        ------
        ValueError
            If the shapes do not match. Kernels do not check bounds.
        """
        weights = kernel_array(weights)
        n_columns = weights.shape[1]
        if len(weights) != self.shape[1] or len(out) != len(self) or out.shape[1] < n_columns:
            raise ValueError(
                f"The product of {self.shape} features with weights {weights.shape} does not fit "
                f"into an array {out.shape}."
            )
        base = np.empty(n_columns)
        sparse_rows.fill_base(self._shift, weights, base)
        pieces = row_ranges(len(self), _ROWS_PER_PIECE)

        def fill_piece(piece: int, worker: int) -> None:
            sparse_rows.fill_product(*self._arrays, weights, base, *pieces[piece], out)

        run(fill_piece, len(pieces), self._threads(n_columns, n_threads))

    def transposed_product(self, values: Array, n_threads: int) -> Array:
        """Return ``X' values`` (n_inputs, n_columns), for values (n_samples, n_columns)."""
        n_features, n_columns = len(self._shift), values.shape[1]
        # sums of their own for every piece: their memory is a small share of that of the entries
        n_pieces = max(min(self._n_entries // (4 * n_features), _MOST_PIECES), 1)
        pieces = row_ranges(len(self), max(-(-len(self) // n_pieces), 1))
        sums = np.zeros((max(len(pieces), 1), n_features + 1, n_columns))

        def add_piece(piece: int, worker: int) -> None:
            sparse_rows.add_transposed_product(*self._arrays, values, *pieces[piece], sums[piece])

        run(add_piece, len(pieces), self._threads(n_columns, n_threads))
        total = sums[0] if len(sums) == 1 else sums.sum(axis=0)
        total[:-1] -= self._shift[:, None] * total[-1]
        return total if self._has_ones else np.ascontiguousarray(total[:-1])

    def fill_second_moments(self, weights: Array, out: Array) -> None:
        """Overwrite ``out`` (n_inputs, n_inputs) with ``X' diag(weights) X``."""
        sparse_rows.fill_second_moments(
            *self._arrays, weights, self._shift, np.empty(len(self._shift)), out
        )

    def toarray(self) -> Array:
        """Return all values, (n_samples, n_inputs): for few rows."""
        values = self._entries[self._rows].toarray() - self._shift
        return np.hstack([values, np.ones((len(self), 1))]) if self._has_ones else values

    @property
    def is_written_out(self) -> bool:
        """Whether `dense_blocks` takes an acceptable time: the features are not too many."""
        return self.shape[1] <= _MOST_FEATURES_WRITTEN_OUT

    def dense_blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield blocks of rows, and all values of each block: for results that depend on bits."""
        size = max(1, _VALUES_PER_BLOCK // max(self.shape[1], 1))
        for start, stop in row_ranges(len(self), size):
            yield slice(start, stop), self[start:stop].toarray()

    def bytes_of_rows(self) -> Iterator[bytes]:
        """Yield columns and values of the entries of every row, equal for equal rows only."""
        data, columns, starts, rows = self._arrays
        for row in rows:
            own = slice(starts[row], starts[row + 1])
            yield columns[own].tobytes() + data[own].tobytes()

    def coordinates(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
        """Return row, column and value of every stored entry; the ones are not among them."""
        entries = self._own_entries().tocoo()
        return *entries.coords, entries.data

    def _own_entries(self) -> csr_array:
        """Return a copy of the entries of these rows."""
        return self._entries[self._rows]

    @property
    def _n_entries(self) -> int:
        """About the number of entries of these rows."""
        return self._entries.nnz * len(self) // max(self._entries.shape[0], 1)

    def _threads(self, n_columns: int, n_threads: int) -> int:
        seconds = _SECONDS_PER_PRODUCT * (self._n_entries + len(self)) * n_columns
        return threads_worth(seconds, n_threads)


def features_of(X: Any) -> Array | SparseFeatures:
    """Return a matrix of finite numbers as `SparseFeatures` if it is sparse, or else unchanged.

    Parameters
    ----------
    X : array, or CSR or CSC matrix or array (n_samples, n_features)

    Raises
    ------
    ValueError
        As `SparseFeatures.of` does.
    """
    return SparseFeatures.of(X) if issparse(X) else X


def _sizes(entries: csr_array) -> tuple[Array, NDArray[np.int64]]:
    """Return the largest absolute value and the number of the entries of every column."""
    n_samples, n_features = entries.shape
    largest, counts = np.empty(n_features), np.empty(n_features, dtype=np.int64)
    arrays = entries.data, entries.indices, entries.indptr, np.arange(n_samples)
    sparse_rows.fill_column_sizes(*arrays, largest, counts)
    return largest, counts
