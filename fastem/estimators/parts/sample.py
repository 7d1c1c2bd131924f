"""A sample of the rows of all parts, for choices that need few rows."""

from typing import Any

import numpy as np

from fastem.estimators.ascent import Problem
from fastem.estimators.parts.divided_rows import DividedRows
from fastem.estimators.parts.problem import PartsProblem
from fastem.estimators.parts.summary import read_part
from fastem.selection import row_numbers_of_part
from fastem.sparse import SparseFeatures


def sample_rows(model: Any, rows: DividedRows, problem: PartsProblem, most: int) -> Problem:
    """Return about so many rows of positive weight, or all rows if there are not more.

    The sample depends on the values of the rows only, and neither on the parts nor on their order.

    Parameters
    ----------
    model : BaseFastEM
        With the labels and the columns that it has learned.
    rows : DividedRows
    problem : PartsProblem
    most : int
    """
    share = min(1.0, most / problem.counts.n_rows)
    found = rows.map("fastem-sample", sample_of_part, model, problem.shape.n_outputs, share)
    X, targets, weights = zip(*[part for part in found if part is not None], strict=True)
    X, targets, weights = map(np.concatenate, (X, targets, weights))
    counts = weights
    if problem.factors is not None:
        weights = weights * problem.factors[targets]
    sample = Problem(problem.shape, problem.engine, X, targets, weights, counts)
    return sample.of_rows(weights > 0.0)


def sample_of_part(
    X: Any, y: Any, sample_weight: Any, model: Any, n_outputs: int, share: float
) -> tuple[Any, ...] | None:
    """Return features, targets and weights of about a share of the rows of positive weight.

    None is returned for a part without rows.
    """
    if X.shape[0] == 0:
        return None
    X, y, weights = read_part(model, X, y, sample_weight, reset=False)
    targets = model._known_targets(y, len(X), n_outputs)
    kept = row_numbers_of_part(X, targets) <= share * 2.0**64
    kept &= weights > 0.0
    X = X[kept].toarray() if isinstance(X, SparseFeatures) else X[kept]
    return X, targets[kept], weights[kept]
