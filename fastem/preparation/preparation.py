"""From the columns of a table to the features of a model, by transformers of scikit-learn."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from fastem.preparation.raw_columns import KINDS, kinds_of, raw_columns

if TYPE_CHECKING:
    import pandas

_BOOLEANS = ["False", "True"]


class Column(NamedTuple):
    """A column of the table, and what was learned from its training rows.

    Attributes
    ----------
    name : str
    kind : {"number", "text", "boolean"}
    has_gaps : bool
        Whether values were missing.
    median : float or None
        Of a number column, if missing values are imputed; 0 if all values were missing.
    categories : tuple of str
        Sorted; empty for a number column. Those of a boolean column are among "False" and "True".
    """

    name: str
    kind: str
    has_gaps: bool
    median: float | None
    categories: tuple[str, ...]


class Unseen(NamedTuple):
    """Values of one column that did not occur in training.

    Attributes
    ----------
    values : dict of str to int
        Number of rows of every such category.
    n_missing : int
        Number of rows without a value, if no value was missing in training.
    """

    values: dict[str, int]
    n_missing: int


class Preparation:
    """Features of a model from the columns of a table.

    Number columns pass through. Text and boolean columns are one-hot encoded. If missing values
    are imputed, a number column has its median in their place, and an indicator column if values
    were missing in training; a missing text is a category of its own if one was missing in
    training. Categories that did not occur in training have zeros in all columns.

    Parameters
    ----------
    columns : sequence of Column
    impute : bool
        Whether values may be missing.

    Attributes
    ----------
    learned : tuple of Column
    kinds : dict of str to {"number", "text", "boolean"}
        Kinds of the columns of the table, in order, by their names.
    feature_names : list of str

    Raises
    ------
    ValueError
        If two features have the same name.
    """

    def __init__(self, columns: Sequence[Column], impute: bool) -> None:
        self.learned, self._impute = tuple(columns), impute
        self.kinds = {column.name: column.kind for column in columns}
        self.feature_names = _feature_names(columns)
        self._transformer = _new_transformer(self.kinds, impute).fit(_example_table(columns))

    def transformer(self) -> Pipeline:
        """Return the fitted transformer.

        Its first step selects and checks the columns, its second step is a `ColumnTransformer`.
        Both return DataFrames.
        """
        return self._transformer

    def features(self, X: "pandas.DataFrame") -> "pandas.DataFrame":
        """Return the features of the rows of a table.

        Parameters
        ----------
        X : DataFrame (n_rows, any)
            The columns of the model in any order and in any type that holds the right values.
            Other columns are ignored.

        Returns
        -------
        features : DataFrame (n_rows, n_features), float64
            With the index of X.

        Raises
        ------
        ValueError
            If columns are absent or hold values of another kind, or if values are missing and
            missing values are not imputed. The message lists all such columns.
        """
        return self._transformer.transform(X)

    def unseen(self, X: "pandas.DataFrame") -> dict[str, Unseen]:
        """Return the values of a table that did not occur in training, by column.

        Of a number column, only missing values count.

        Raises
        ------
        ValueError
            As `features`.
        """
        frame = raw_columns(X, self.kinds, self._impute)
        found = {}
        for column in self.learned:
            values = {}
            if column.kind != "number":
                counts = frame[column.name].value_counts(sort=False)
                known = set(column.categories)
                values = {str(k): int(n) for k, n in counts.items() if k not in known}
            n_missing = 0 if column.has_gaps else int(frame[column.name].isna().sum())
            if values or n_missing:
                found[column.name] = Unseen(values, n_missing)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the preparation as plain Python values that JSON can store."""
        columns = [c._asdict() | {"categories": list(c.categories)} for c in self.learned]
        return {"impute": self._impute, "columns": columns}

    @classmethod
    def from_json(cls, content: Any) -> "Preparation":
        """Return the preparation that `to_json` has described.

        Raises
        ------
        ValueError
            If the description is damaged.
        """
        try:
            columns = [_column(item, content["impute"]) for item in content["columns"]]
            if not columns or type(content["impute"]) is not bool:
                raise ValueError("no columns, or no choice of imputation")
            if len({column.name for column in columns}) < len(columns):
                raise ValueError("a column occurs twice")
            return cls(columns, content["impute"])
        except Exception as error:  # a damaged description can raise any error
            raise ValueError(f"The preparation of columns is damaged: {error!r}.") from error


def prepare(X: "pandas.DataFrame", *, impute: bool = False) -> Preparation:
    """Choose how columns become features, and learn medians and categories from training rows.

    Parameters
    ----------
    X : DataFrame (n_rows, n_columns)
        Columns of numbers, text or booleans.
    impute : bool, default=False
        Whether values may be missing.

    Returns
    -------
    preparation : Preparation

    Raises
    ------
    ValueError
        If columns are of another kind, or if values are missing and ``impute`` is False: the
        message lists all such columns. If two features would have the same name.
    """
    kinds = kinds_of(X)
    frame = raw_columns(X, kinds, impute)
    # As arrays: names that occur twice are refused below.
    transformer = _new_transformer(kinds, impute)[-1].set_output(transform="default")
    with np.errstate(over="ignore"):  # an infinite median is refused below
        fitted = transformer.fit(frame).named_transformers_
    numbers, texts = _by_kind(kinds)
    medians, categories, columns = {}, {}, []
    if numbers and impute:
        medians = dict(zip(numbers, fitted["number"].statistics_, strict=True))
    if texts:
        categories = dict(zip(texts, fitted["category"].categories_, strict=True))
    has_gaps = frame.isna().any()
    for name, kind in kinds.items():
        median = float(medians[name]) if name in medians else None
        if median is not None and not np.isfinite(median):
            raise ValueError(f"The median of column {name!r} is not finite. Rescale this column.")
        found = tuple(value for value in categories.get(name, ()) if isinstance(value, str))
        columns.append(Column(name, kind, bool(has_gaps[name]), median, found))
    return Preparation(columns, impute)


def _by_kind(kinds: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the names of the columns that stay numbers, and of those that are encoded."""
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    return numbers, [name for name, kind in kinds.items() if kind != "number"]


def _new_transformer(kinds: Mapping[str, str], impute: bool) -> Pipeline:
    # Imported here, because these modules would take a sixth of the time of ``import fastem``.
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import MissingIndicator, SimpleImputer

    n_numbers = len(_by_kind(kinds)[0])
    # By position, because a search for names takes seconds for thousands of columns.
    numbers, texts = slice(0, n_numbers), slice(n_numbers, len(kinds))
    branches: list[tuple[str, Any, slice]] = []
    if n_numbers and not impute:
        branches.append(("number", "passthrough", numbers))
    elif n_numbers:
        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        indicator = MissingIndicator(error_on_new=False)
        as_float = FunctionTransformer(
            np.asarray, kw_args={"dtype": np.float64}, feature_names_out="one-to-one"
        )
        branches.append(("number", imputer, numbers))
        branches.append(("missing", make_pipeline(indicator, as_float), numbers))
    if n_numbers < len(kinds):
        encoder = OneHotEncoder(
            handle_unknown="ignore", sparse_output=False, feature_name_combiner=_category_name
        )
        branches.append(("category", encoder, texts))
    columns = FunctionTransformer(
        raw_columns, kw_args={"kinds": kinds, "impute": impute}, feature_names_out=_names_of_kinds
    )
    features = ColumnTransformer(branches, verbose_feature_names_out=_feature_name)
    steps = [("columns", columns), ("features", features)]
    return Pipeline(steps).set_output(transform="pandas")


def _names_of_kinds(transformer: FunctionTransformer, names: Any) -> list[str]:
    numbers, texts = _by_kind(transformer.kw_args["kinds"])
    return numbers + texts


def _category_name(column: str, category: Any) -> str:
    return f"{column}={category}" if isinstance(category, str) else f"{column} missing"


def _feature_name(branch: str, name: str) -> str:
    if branch == "missing":
        return f"{name.removeprefix('missingindicator_')} missing"
    return name


def _feature_names(columns: Sequence[Column]) -> list[str]:
    """Return the names that the transformer gives to its features, if each occurs once."""
    numbers = [column for column in columns if column.kind == "number"]
    names = [column.name for column in numbers]
    names += [f"{column.name} missing" for column in numbers if column.has_gaps]
    for column in columns:
        if column.kind != "number":
            names += [_category_name(column.name, value) for value in _categories(column)]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        listed = ", ".join(map(repr, twice))
        raise ValueError(
            f"Several features would have the same name: {listed}. A category is named "
            "column=category, and an indicator of missing values 'column missing'. Rename a column."
        )
    if any("\0" in name for name in names):
        raise ValueError("A category contains a NUL character. Remove it from the table.")
    return names


def _categories(column: Column) -> list[Any]:
    return [*column.categories, *([np.nan] if column.has_gaps else [])]


def _example_table(columns: Sequence[Column]) -> "pandas.DataFrame":
    """Return a small table: transformers fitted to it have the given medians and categories.

    The number of rows is odd, and a number column with missing values has two of them. Its median
    is then one of its values. The mean of two values could overflow.
    """
    import pandas as pd

    n_rows = max(3, *(len(column.categories) + column.has_gaps for column in columns))
    n_rows += n_rows % 2 == 0
    numbers = [column for column in columns if column.kind == "number"]
    medians = [0.0 if column.median is None else column.median for column in numbers]
    values = np.tile(np.array(medians, dtype=np.float64), (n_rows, 1))
    values[:2, [column.has_gaps for column in numbers]] = np.nan
    texts = {}
    for column in columns:
        if column.kind != "number":
            distinct = _categories(column)
            cycle = [distinct[i % len(distinct)] for i in range(n_rows)]
            if column.kind == "boolean":
                cycle = [value if value is np.nan else value == "True" for value in cycle]
            texts[column.name] = pd.Series(cycle, dtype=object)
    table = pd.DataFrame(values, columns=[column.name for column in numbers])
    return pd.concat([table, pd.DataFrame(texts, index=table.index)], axis=1)


def _column(item: Mapping[str, Any], impute: bool) -> Column:
    """Return a column from its description; raise ValueError if it is impossible."""
    column = Column(**{**item, "categories": tuple(item["categories"])})
    name, kind, has_gaps, median, categories = column
    if type(name) is not str or kind not in KINDS or type(has_gaps) is not bool:
        raise ValueError(f"column {name!r} has wrong types")
    if has_gaps and not impute:
        raise ValueError(f"column {name!r} has gaps, which are not imputed")
    if (median is None) == (kind == "number" and impute):
        raise ValueError(f"column {name!r} has the median {median}")
    if median is not None and not (type(median) is float and np.isfinite(median)):
        raise ValueError(f"column {name!r} has the median {median}")
    if type(item["categories"]) is not list or any(type(c) is not str for c in categories):
        raise ValueError(f"column {name!r} has categories that are not text")
    if any(not category or category != category.strip() for category in categories):
        raise ValueError(f"column {name!r} has categories with blanks around them, or empty ones")
    if sorted(set(categories)) != list(categories):
        raise ValueError(f"the categories of column {name!r} are not sorted or occur twice")
    if (kind == "number") == bool(categories or (has_gaps and kind != "number")):
        raise ValueError(f"column {name!r} has {len(categories)} categories")
    if kind == "boolean" and not set(categories) <= set(_BOOLEANS):
        raise ValueError(f"column {name!r} has categories that are not booleans")
    return column
