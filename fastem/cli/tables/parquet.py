"""Read tables in the format parquet."""

import io
from typing import TYPE_CHECKING

from fastem.cli.tables.headers import STORED_INDEX, check_names

if TYPE_CHECKING:
    import pandas


def read_parquet(source: str, data: bytes) -> "pandas.DataFrame":
    """Return the columns of a parquet file with their types.

    Parameters
    ----------
    source : str
        Name of the source in messages.
    data : bytes
        Content of the file.

    Returns
    -------
    frame : DataFrame (n_samples, n_columns)
        An index that pandas has stored is a column.

    Raises
    ------
    ValueError
        If the file is damaged, has no rows, or has several columns of one name.
    ImportError
        If pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ImportError(
            f"{source} is a parquet file, which needs pyarrow: pip install pyarrow"
        ) from None
    try:
        table = ParquetFile(io.BytesIO(data)).read()
        names = [str(name).strip() for name in table.column_names]
        check_names(source, names)
        frame = table.rename_columns(names).to_pandas(ignore_metadata=True)
    except (ArrowException, OSError) as error:
        raise ValueError(f"{source} cannot be read as a parquet file: {error}") from error
    frame.columns = names
    if STORED_INDEX in names:  # pandas stores it behind the columns
        frame = frame[[STORED_INDEX, *(name for name in names if name != STORED_INDEX)]]
    if not len(frame):
        raise ValueError(f"{source} has no rows")
    return frame
