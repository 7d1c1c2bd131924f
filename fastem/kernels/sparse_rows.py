"""Sparse rows (CSR): products, second moments, and moments of columns.

The value of row i in column j is the stored entry, or 0.0 if there is none, minus ``shift[j]``.
``rows[i]`` is the position of row i among the stored rows. Stored columns of a row are sorted, and
none occurs twice.
"""

from fastem.kernels._jit import jit


@jit
def fill_base(shift, weights, base):
    """Fill ``base`` with the product of a row without entries, and of a one if there is a weight.

    Parameters
    ----------
    shift : array (n_features,)
    weights : array (n_features, n_columns) or (n_features + 1, n_columns)
        The last row is for a column of ones.
    base : array (n_columns,)
        Overwritten.
    """
    n_features = shift.size
    base[:] = 0.0
    for j in range(n_features):
        if shift[j] != 0.0:
            for h in range(base.size):
                base[h] -= shift[j] * weights[j, h]
    if weights.shape[0] > n_features:
        for h in range(base.size):
            base[h] += weights[n_features, h]


@jit
def fill_product(data, columns, starts, rows, weights, base, start, stop, out):
    """Fill the product of the rows ``start:stop`` with weights.

    Parameters
    ----------
    data, columns, starts, rows : arrays
    weights : array (n_features, n_columns) or (n_features + 1, n_columns)
    base : array (n_columns,)
        Filled by `fill_base`.
    start, stop : int
    out : array (n_samples, at least n_columns)
        The first ``n_columns`` columns of the rows are overwritten.
    """
    n_columns = base.size
    for i in range(start, stop):
        for h in range(n_columns):
            out[i, h] = base[h]
        for entry in range(starts[rows[i]], starts[rows[i] + 1]):
            x, j = data[entry], columns[entry]
            for h in range(n_columns):
                out[i, h] += x * weights[j, h]


@jit
def add_transposed_product(data, columns, starts, rows, values, start, stop, out):
    """Add the products of the entries of the rows ``start:stop`` with values, and the values.

    Parameters
    ----------
    data, columns, starts, rows : arrays
    values : array (n_samples, n_columns)
    start, stop : int
    out : array (n_features + 1, n_columns)
        Modified in place. Values are added to its last row. The shift is not subtracted.
    """
    n_columns, last = values.shape[1], out.shape[0] - 1
    for i in range(start, stop):
        for entry in range(starts[rows[i]], starts[rows[i] + 1]):
            x, j = data[entry], columns[entry]
            for h in range(n_columns):
                out[j, h] += x * values[i, h]
        for h in range(n_columns):
            out[last, h] += values[i, h]


@jit
def fill_second_moments(data, columns, starts, rows, weights, shift, sums, out):
    """Fill ``X' diag(weights) X``.

    Parameters
    ----------
    data, columns, starts, rows : arrays
    weights : array (n_samples,)
    shift : array (n_features,)
    sums : array (n_features,)
        Scratch.
    out : array (n_inputs, n_inputs)
        Overwritten. ``n_inputs`` is ``n_features``, or one more for a last column of ones. Costs
        a multiplication for every pair of entries of a row, and ``O(n_features**2)``.
    """
    n_features, total = shift.size, 0.0
    out[:] = 0.0
    sums[:] = 0.0
    for i in range(rows.size):
        first = starts[rows[i]]
        total += weights[i]
        for a in range(first, starts[rows[i] + 1]):
            x, j = weights[i] * data[a], columns[a]
            sums[j] += x
            for b in range(first, a + 1):
                out[j, columns[b]] += x * data[b]
    for j in range(n_features):
        for k in range(j + 1):
            moved = shift[k] * (sums[j] - total * shift[j]) + shift[j] * sums[k]
            out[j, k] = out[k, j] = out[j, k] - moved
    if out.shape[0] > n_features:
        for j in range(n_features):
            out[n_features, j] = out[j, n_features] = sums[j] - total * shift[j]
        out[n_features, n_features] = total


@jit
def fill_column_sizes(data, columns, starts, rows, largest, counts):
    """Fill the largest absolute value and the number of the entries of every column.

    Parameters
    ----------
    data, columns, starts, rows : arrays
    largest : array (n_features,)
    counts : array of int (n_features,)
        Both are overwritten.
    """
    largest[:] = 0.0
    counts[:] = 0
    for i in range(rows.size):
        for entry in range(starts[rows[i]], starts[rows[i] + 1]):
            j = columns[entry]
            largest[j] = max(largest[j], abs(data[entry]))
            counts[j] += 1


@jit
def fill_means(data, columns, starts, rows, shares, units, means, present):
    """Fill weighted means of the entries, and the summed weight of the rows that have an entry.

    Parameters
    ----------
    data, columns, starts, rows : arrays
    shares : array (n_samples,)
        Weights.
    units : array (n_features,)
        Entries are divided by the unit of their column.
    means, present : arrays (n_features,)
        Overwritten.
    """
    means[:] = 0.0
    present[:] = 0.0
    for i in range(rows.size):
        for entry in range(starts[rows[i]], starts[rows[i] + 1]):
            j = columns[entry]
            means[j] += shares[i] * (data[entry] / units[j])
            present[j] += shares[i]


@jit
def add_squares(data, columns, starts, rows, shares, units, means, squares):
    """Add weighted squared deviations of the entries from the means, (n_features,).

    The other arguments are those of `fill_means`.
    """
    for i in range(rows.size):
        for entry in range(starts[rows[i]], starts[rows[i] + 1]):
            j = columns[entry]
            difference = data[entry] / units[j] - means[j]
            squares[j] += shares[i] * difference * difference


@jit
def fill_absent(columns, starts, rows, shares, numbers, last, absent):
    """Fill the summed weight of the rows that have no entry in a column.

    Parameters
    ----------
    columns, starts, rows : arrays
    shares : array (n_samples,)
        Weights.
    numbers : array of int (n_features,)
        Position of a column in ``absent``, or -1.
    last : array of int (n_columns,)
        Scratch.
    absent : array (n_columns,)
        Overwritten. Costs ``n_samples n_columns`` additions at most.
    """
    absent[:] = 0.0
    last[:] = -1
    for i in range(rows.size):
        for entry in range(starts[rows[i]], starts[rows[i] + 1]):
            k = numbers[columns[entry]]
            if k >= 0:
                last[k] = i
        for k in range(absent.size):
            if last[k] != i:
                absent[k] += shares[i]
