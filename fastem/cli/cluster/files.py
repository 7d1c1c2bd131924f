"""The files of a divided table, and their partitions as delayed frames."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastem.cli.messages import listed
from fastem.cli.tables.headers import (
    FIRST_UNNAMED,
    STORED_INDEX,
    check_format,
    check_names,
    column_names,
)
from fastem.cli.tables.reading import TableOptions, read_lines
from fastem.cli.tables.sources import BUILT_IN, PARQUET, STANDARD_INPUT

if TYPE_CHECKING:
    import pandas

_HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 26  # of text in one partition
_COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ\0")


class Files(NamedTuple):
    """Files with the same columns.

    Attributes
    ----------
    name : str
        The files in messages, as they were given.
    paths : list of str
    names : list of str
        Names of the columns, as in the first file.
    parts : list of Delayed
        One DataFrame each, with these names. Columns of text files are text.
    typed : bool
        Whether the files have types.
    """

    name: str
    paths: list[str]
    names: list[str]
    parts: list[Any]
    typed: bool


def paths_of(given: Sequence[str]) -> list[str]:
    """Return the files of paths and patterns; those of a pattern in natural order.

    Raises
    ------
    ValueError
        If a pattern has no match, or a path is no file.
    """
    found: list[str] = []
    for text in given:
        if text in BUILT_IN or text == STANDARD_INPUT:
            raise ValueError(f"{text} is not a file; --dask and --workers need files")
        if Path(text).is_file():
            matches = [text]
        elif glob.has_magic(text):
            matches = sorted(
                filter(lambda path: Path(path).is_file(), glob.glob(text)), key=_natural
            )
            if not matches:
                raise ValueError(f"no file matches {text!r}")
        else:
            raise ValueError(f"no such file: {text!r}")
        found += matches
    twice = sorted({path for path in found if found.count(path) > 1}) if len(found) < 1000 else []
    if twice:
        raise ValueError(f"files are given more than once: {listed(twice)}")
    return [str(Path(path).resolve()) for path in found]


def _natural(path: str) -> list[Any]:
    """Return a key that sorts part-2 before part-10."""
    return [(int(x), "") if x.isdigit() else (-1, x) for x in re.split("([0-9]+)", path)]


def open_files(given: Sequence[str], table: TableOptions) -> Files:
    """Check that all files have the same type and columns, and return their partitions.

    A row group of a parquet file is a partition; so are 64 MiB of a CSV file.

    Raises
    ------
    ValueError
        If files cannot be read, or differ in type or columns.
    """
    paths, name = paths_of(given), " ".join(given)
    heads = []
    for path in paths:
        with open(path, "rb") as file:
            heads.append(file.read(_HEAD_BYTES))
        if not heads[-1]:
            raise ValueError(f"{path} is empty")
        if heads[-1].startswith(_COMPRESSED):
            raise ValueError(f"{path} is compressed; decompress it, or write parquet files")
    typed = [head.startswith(PARQUET) for head in heads]
    if any(typed) != all(typed):
        raise ValueError(
            f"{paths[typed.index(True)]} is a parquet file, and {paths[typed.index(False)]} is "
            "not; give files of one type"
        )
    if typed[0]:
        return _parquet(name, paths)
    return _text(name, paths, heads, table)


def _check_same(paths: Sequence[str], columns: Sequence[list[str]]) -> None:
    """Raise ValueError if a file has other columns than the first one."""
    first = columns[0]
    for path, names in zip(paths, columns, strict=True):
        lacking = [name for name in first if name not in names]
        more = [name for name in names if name not in first]
        if lacking or more:
            lacks = f"lacks {listed(list(map(repr, lacking)))}" if lacking else ""
            has = f"has also {listed(list(map(repr, more)))}" if more else ""
            what = " and ".join(filter(None, (lacks, has)))
            raise ValueError(f"{path} has other columns than {paths[0]}: it {what}")


def _parquet(name: str, paths: list[str]) -> Files:
    from dask import delayed
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    columns, pieces = [], []
    for path in paths:
        try:
            with ParquetFile(path) as file:
                names = [str(column).strip() for column in file.schema_arrow.names]
                pieces += [
                    (path, group)
                    for group in range(file.num_row_groups)
                    if file.metadata.row_group(group).num_rows
                ]
        except (ArrowException, OSError) as error:
            raise ValueError(f"{path} cannot be read as a parquet file: {error}") from error
        check_names(path, names)
        columns.append(names)
    _check_same(paths, columns)
    if not pieces:
        raise ValueError(f"{name} has no rows")
    kept = [column for column in columns[0] if column not in ("", STORED_INDEX, FIRST_UNNAMED)]
    parts = [delayed(_row_group, pure=True)(*piece, kept) for piece in pieces]
    return Files(name, paths, kept, parts, True)


def _row_group(path: str, group: int, names: list[str]) -> "pandas.DataFrame":
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        table = file.read_row_group(group, use_threads=False)
    table = table.rename_columns([str(name).strip() for name in table.column_names])
    return table.select(names).to_pandas(ignore_metadata=True)


def _text(name: str, paths: list[str], heads: list[bytes], table: TableOptions) -> Files:
    import dask.dataframe as dd

    columns = []
    for path, head in zip(paths, heads, strict=True):
        check_format(path, head)
        if len(head) == _HEAD_BYTES:  # without the last line, which may be cut
            head = head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1] or head
        lines = read_lines(path, head, table)
        columns.append(column_names(lines, table.header))
        if len(columns) > 1 and columns[0] == columns[-1]:
            continue
        _check_same([paths[0], path], [columns[0], columns[-1]])
        if columns[0] != columns[-1]:
            raise ValueError(f"{path} has the columns of {paths[0]} in another order")
        separator = lines.sep
    frame = dd.read_csv(
        paths,
        sep=separator,
        header=None if table.header is False else 0,
        dtype=object,
        keep_default_na=False,
        na_values=[""],
        encoding=table.encoding or "utf-8",
        skipinitialspace=False,
        blocksize=_BLOCK_BYTES,
        sample=_HEAD_BYTES,
    )
    named = [j for j, column in enumerate(columns[0]) if column and column != FIRST_UNNAMED]
    kept = [columns[0][j] for j in named]
    from dask import delayed

    parts = [delayed(_named)(part, named, kept) for part in frame.to_delayed()]
    return Files(name, paths, kept, parts, False)


def _named(frame: "pandas.DataFrame", places: list[int], names: list[str]) -> "pandas.DataFrame":
    frame = frame.iloc[:, places].astype(object)
    frame.columns = names
    return frame
