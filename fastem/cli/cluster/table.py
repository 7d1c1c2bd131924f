"""A table in partitions: the checks of a table in one file, and its features and targets."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.cli.cluster.files import Files
from fastem.cli.cluster.partitions import (
    ColumnPart,
    TablePart,
    describe_part,
    features_of,
    targets_of,
    typed_part,
)
from fastem.cli.messages import listed, notify
from fastem.cli.tables.columns import MOST_CATEGORIES
from fastem.cli.tables.datasets import DEFAULT_TARGET, Dataset, dropped_columns
from fastem.cli.tables.labels import targets
from fastem.cli.tables.reading import TableOptions
from fastem.cli.tables.table import feature_errors_of
from fastem.preparation import Preparation, prepare_partitions


class DividedTable(NamedTuple):
    """A checked table in partitions.

    Attributes
    ----------
    dataset : Dataset
        Its X has the right shape and no values.
    preparation : Preparation
    n_missing : dict of str to int
    features, targets : list of Delayed
        DataFrame (n_rows, n_features) and array (n_rows,) of every partition.
    lengths : list of int
    """

    dataset: Dataset
    preparation: Preparation
    n_missing: dict[str, int]
    features: list[Any]
    targets: list[Any]
    lengths: list[int]


class _Shape(NamedTuple):
    shape: tuple[int, int]


def prepare_table(
    client: Any, files: Files, target: str | None, task: str | None, table: TableOptions
) -> DividedTable:
    """Check the columns of all partitions, and learn how they become features.

    The target column is read into the memory of this process. All other columns stay on the
    workers.

    Raises
    ------
    ValueError
        As `read_dataset`.
    """
    wanted = DEFAULT_TARGET if target is None else target.strip()
    names = _feature_names(files, wanted, table)
    parts: list[TablePart] = _apply(client, files.parts)(
        describe_part, names, wanted, table.mark, files.typed
    )
    lengths = [part.n_rows for part in parts]
    kinds, errors = _kinds(files.name, names, parts, table)
    try:
        y, task = targets(files.name, wanted, _joined_target(parts), task, table.mark)
    except ValueError as error:
        errors.insert(0, str(error))
    if errors:
        raise ValueError(". ".join(errors))
    for name in _counting(parts, names):
        if len(kinds) > 1:
            notify(f"note: column {name!r} counts the rows and is not used as a feature")
            del kinds[name]
        else:
            notify(f"note: column {name!r} counts the rows; it is used because no other is left")
    from dask import delayed

    typed = [delayed(typed_part)(part, kinds, table.mark) for part in files.parts]
    try:
        preparation, n_missing = prepare_partitions(_apply(client, typed), impute=table.impute)
    except ValueError as error:
        raise ValueError(f"{files.name}: {error}") from error
    _check_identifiers(files.name, preparation, n_missing, len(y))
    stored = preparation.to_json()
    features = [delayed(features_of)(p, kinds, table.mark, stored) for p in files.parts]
    ys = [delayed(targets_of)(part, wanted, y.dtype.str, table.mark) for part in files.parts]
    X = _Shape((len(y), len(kinds)))
    dataset = Dataset(files.name, X, y, list(kinds), wanted, task, table.impute)
    return DividedTable(dataset, preparation, n_missing, features, ys, lengths)


def _apply(client: Any, parts: Sequence[Any]) -> Callable[..., list[Any]]:
    """Return a function that applies another one to all partitions, on the workers."""
    from fastem.dask import Rounds

    rounds = Rounds(client)

    def apply(function: Callable[..., Any], *arguments: Any) -> list[Any]:
        stage = f"fastem-{function.__name__.strip('_').replace('_', '-')}"
        return rounds.run(stage, function, [(part,) for part in parts], *arguments)

    return apply


def _feature_names(files: Files, wanted: str, table: TableOptions) -> list[str]:
    if wanted not in files.names:
        raise ValueError(
            f"{files.name} has no column {wanted!r}; name the label column with --target. Its "
            f"columns are {listed(files.names)}"
        )
    names = [name for name in files.names if name != wanted]
    dropped = dropped_columns(files.name, table.drop, names, wanted)
    names = [name for name in names if name not in dropped]
    if not names:
        raise ValueError(f"{files.name} has no column except the label {wanted!r}")
    return names


def _joined_target(parts: Sequence[TablePart]) -> Any:
    import pandas as pd

    return pd.concat([part.target.astype(object) for part in parts], ignore_index=True)


def _kinds(
    source: str, names: Sequence[str], parts: Sequence[TablePart], table: TableOptions
) -> tuple[dict[str, str], list[str]]:
    """Return the kinds of the columns in the whole table, and what is wrong with them."""
    kinds, problems, missing = {}, {}, []
    n_rows, above = sum(part.n_rows for part in parts), [0]
    for part in parts:
        above.append(above[-1] + part.n_rows)
    for name in names:
        own = [part.columns[name] for part in parts]
        kinds[name], problem = _kind(own)
        if problem:
            problems[name] = problem
        n_missing = n_rows - sum(column.n_given for column in own)
        if n_missing:
            first = next(
                n + c.first_missing for n, c in zip(above, own, strict=False) if c.first_missing
            )
            missing.append((name, n_missing, first))
    return kinds, feature_errors_of(source, missing, n_rows, problems, table.impute, table.mark)


def _kind(parts: Sequence[ColumnPart]) -> tuple[str, str]:
    """Return the kind of a column in the whole table, and its problem or an empty string."""
    for number, part in enumerate(parts, start=1):
        if part.problem:
            return part.kind, f"{part.problem} of partition {number} of {len(parts)}"
    n_rows: dict[str, int] = {}
    for part in parts:
        if part.kind != "empty":
            n_rows[part.kind] = n_rows.get(part.kind, 0) + part.n_given
    if len(n_rows) <= 1:
        return next(iter(n_rows), "number"), ""
    if 2 * n_rows.get("number", 0) >= sum(n_rows.values()):
        other = next(i for i, part in enumerate(parts, start=1) if part.kind in ("text", "boolean"))
        return "text", f"is not numeric in partition {other} of {len(parts)}"
    return "text", ""


def _counting(parts: Sequence[TablePart], names: Sequence[str]) -> list[str]:
    """Return columns that are 0, 1, 2, ... or 1, 2, 3, ... over all partitions."""
    found = []
    for name in names:
        following: float | None = None
        for part in parts:
            ends = part.columns[name].ends
            if part.n_rows == 0:
                continue
            is_next = ends is not None and (
                ends[0] == following if following is not None else ends[0] in (0.0, 1.0)
            )
            if not is_next:
                break
            following = ends[1] + 1.0
        else:
            if following is not None and following > 3:
                found.append(name)
    return found


def _check_identifiers(
    source: str, preparation: Preparation, n_missing: dict[str, int], n_rows: int
) -> None:
    """Raise ValueError if most rows of a text column have different texts."""
    for column in preparation.learned:
        n_given, n = n_rows - n_missing[column.name], len(column.categories)
        if column.kind == "text" and n > MOST_CATEGORIES and 2 * n > n_given:
            raise ValueError(
                f"{source}: column {column.name!r} has {n} different texts in {n_given} rows, like "
                "names or identifiers; leave it out with --drop"
            )


def target_array(table: DividedTable) -> NDArray[Any]:
    """Return the targets as one Dask array, in the partitions of the table."""
    import dask.array as da

    dtype = table.dataset.y.dtype
    return da.concatenate(
        [
            da.from_delayed(part, (n,), dtype=dtype)
            for part, n in zip(table.targets, table.lengths, strict=True)
        ]
    )


def feature_collection(table: DividedTable) -> Any:
    """Return the features as one Dask DataFrame."""
    import dask.dataframe as dd
    import pandas as pd

    meta = pd.DataFrame(np.empty((0, len(table.preparation.feature_names))))
    meta.columns = table.preparation.feature_names
    return dd.from_delayed(table.features, meta=meta, verify_meta=False)
