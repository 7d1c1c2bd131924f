"""Columns of tables as features: against loops in plain Python, and through model files."""

import json
import math
import pickle
import re
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from fastem import FastEMClassifier, FastEMRegressor, load_pipeline
from fastem.estimators import load_model, read_preparation, save_model
from fastem.preparation import Preparation, Unseen, load_prepared, prepare

NAN = math.nan


def is_missing(value):
    return value is None or value is pd.NA or value != value


def objects(values):
    return pd.Series(values, dtype=object)


def trimmed(values):
    """Return values with text without blanks around it; empty text is missing."""
    return [(v.strip() or NAN) if isinstance(v, str) else v for v in values]


def slow_features(train, table, impute):
    """Return {name of feature: values} for columns {name: list}, by loops."""
    train, table = ({name: trimmed(values) for name, values in t.items()} for t in (train, table))
    features, indicators, encoded = {}, {}, {}
    for name, values in train.items():
        present = sorted(value for value in values if not is_missing(value))
        has_gaps = len(present) < len(values)
        if not any(isinstance(value, str | bool) for value in present):
            middle = present[(len(present) - 1) // 2], present[len(present) // 2]
            median = sum(middle) / 2
            features[name] = [median if is_missing(v) else float(v) for v in table[name]]
            if impute and has_gaps:
                indicators[f"{name} missing"] = [float(is_missing(v)) for v in table[name]]
            continue
        for category in sorted(set(present)):
            encoded[f"{name}={category}"] = [float(v == category) for v in table[name]]
        if has_gaps:
            encoded[f"{name} missing"] = [float(is_missing(v)) for v in table[name]]
    return features | indicators | encoded


def as_frame(table):
    """Return columns {name: list} as the command line reads them."""
    columns = {}
    for name, values in table.items():
        present = [value for value in values if not is_missing(value)]
        if all(isinstance(value, bool) for value in values):
            columns[name] = pd.Series(values, dtype=bool)
        elif any(isinstance(value, str | bool) for value in present):
            columns[name] = objects(values)
        else:
            columns[name] = pd.Series(values, dtype=np.float64)
    return pd.DataFrame(columns)


def random_table(rng, n_rows, share_missing, extra=()):
    def gaps(values):
        holes = rng.random(n_rows) < share_missing
        return [NAN if hole else value for hole, value in zip(holes, values, strict=True)]

    letters = ["a", " b", "b ", "é", "x=y", "10", "9", *["\t"] * (share_missing > 0), *extra]
    return {
        "age": gaps(rng.integers(5, size=n_rows).astype(float).tolist()),
        "colour": gaps(rng.choice(letters, n_rows).tolist()),
        "width": gaps(rng.normal(size=n_rows).tolist()),
        "smoker": gaps(rng.choice([True, False], n_rows).tolist()),
        "kind": gaps(rng.choice(["first", "second"], n_rows).tolist()),
    }


def assert_features(preparation, train, table, impute):
    got = preparation.features(as_frame(table))
    wanted = slow_features(train, table, impute)
    assert list(got.columns) == preparation.feature_names == list(wanted)
    assert preparation.transformer().get_feature_names_out().tolist() == list(wanted)
    assert set(got.dtypes) == {np.dtype(np.float64)}
    np.testing.assert_array_equal(got.to_numpy(), np.column_stack(list(wanted.values())))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("impute", [False, True])
def test_features_equal_those_of_loops(seed, impute):
    rng = np.random.default_rng(seed)
    share = 0.2 * impute
    train = random_table(rng, 25 + seed, share)
    new = random_table(rng, 40, share, extra=["new", "other"])
    preparation = prepare(as_frame(train), impute=impute)
    assert list(preparation.kinds) == list(train)
    assert_features(preparation, train, train, impute)
    assert_features(preparation, train, new, impute)
    stored = json.loads(json.dumps(preparation.to_json(), allow_nan=False))
    restored = Preparation.from_json(stored)
    assert restored.to_json() == preparation.to_json() == stored
    assert_features(restored, train, new, impute)


NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False, width=64), st.just(NAN))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(NUMBERS, min_size=1, max_size=12), st.lists(st.text("ab \n\"'é\U0001f600"), min_size=1)
)
def test_medians_and_categories_come_back_exactly(numbers, texts):
    n_rows = max(len(numbers), len(texts))
    X = pd.DataFrame(
        {
            "x": [numbers[i % len(numbers)] for i in range(n_rows)],
            "t": objects([texts[i % len(texts)] for i in range(n_rows)]),
        }
    )
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    with np.errstate(over="ignore"):
        [median] = imputer.fit(X[["x"]]).statistics_
    if not np.isfinite(median):
        with pytest.raises(ValueError, match="median of column 'x' is not finite"):
            prepare(X, impute=True)
        return
    preparation = prepare(X, impute=True)
    restored = Preparation.from_json(json.loads(json.dumps(preparation.to_json())))
    [x, t] = restored.learned
    categories = {text.strip() for text in texts} - {""}
    assert (x.median, t.categories) == (median, tuple(sorted(categories)))
    gaps = pd.DataFrame({"x": [NAN], "t": objects([texts[0]])})
    assert restored.features(gaps)["x"].tolist() == [median]


def test_plain_numbers_stay_as_they_are():
    X = pd.DataFrame({"b": [0.1, -0.0, 1e308], "a": [5e-324, 2.0, 3.0]}, index=[7, 7, 1])
    for impute in (False, True):
        features = prepare(X, impute=impute).features(X)
        pd.testing.assert_frame_equal(features, X, check_exact=True)
        assert np.signbit(features["b"].to_numpy()[1])


def test_kinds():
    X = pd.DataFrame({"n": [1, 2], "t": ["1", "x"], "b": [True, False]})
    preparation = prepare(X)
    assert [preparation.kinds[name] for name in X] == ["number", "text", "boolean"]
    assert preparation.feature_names == ["n", "t=1", "t=x", "b=False", "b=True"]


def test_missing_values_of_a_complete_training_table():
    X = pd.DataFrame({"x": [1.0, 2.0, 9.0], "t": ["a", "b", "a"]})
    gaps = pd.DataFrame({"x": [NAN, 4.0], "t": objects([None, "c"])})
    preparation = prepare(X, impute=True)
    assert preparation.features(gaps).to_numpy().tolist() == [[2.0, 0.0, 0.0], [4.0, 0.0, 0.0]]
    assert preparation.unseen(gaps) == {"x": Unseen({}, 1), "t": Unseen({"c": 1}, 1)}
    assert preparation.unseen(X) == {}


def test_text_only():
    X = pd.DataFrame({"t": objects(["a", NAN, "b"])})
    preparation = prepare(X, impute=True)
    assert preparation.feature_names == ["t=a", "t=b", "t missing"]
    assert preparation.features(X).to_numpy().tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_a_column_without_values():
    X = pd.DataFrame({"x": [NAN, NAN], "t": objects([NAN, None]), "y": [1.0, 2.0]})
    preparation = prepare(X, impute=True)
    assert preparation.features(X).to_numpy().tolist() == [[0, 1, 1, 1], [0, 2, 1, 1]]
    new = pd.DataFrame({"x": [3.0], "t": ["a"], "y": [5.0]})
    assert preparation.features(new).to_numpy().tolist() == [[3, 5, 0, 0]]


NUMBER_TYPES = {
    "Int64": lambda v: pd.array([None if is_missing(x) else int(x) for x in v], dtype="Int64"),
    "Float64": lambda v: pd.array([None if is_missing(x) else x for x in v], dtype="Float64"),
    "object": lambda v: objects([None if is_missing(x) else x for x in v]),
    "decimal": lambda v: objects([pd.NA if is_missing(x) else Decimal(x) for x in v]),
    "category": lambda v: pd.Series(v).astype("category"),
    "float32": lambda v: np.array(v, dtype=np.float32),
}
TEXT_TYPES = {
    "string": lambda v: pd.array([None if is_missing(x) else x for x in v], dtype="string"),
    "category": lambda v: objects(v).astype("category"),
    "None": lambda v: objects([None if is_missing(x) else x for x in v]),
    "pd.NA": lambda v: objects([pd.NA if is_missing(x) else x for x in v]),
}
BOOLEAN_TYPES = {
    "boolean": lambda v: pd.array([None if is_missing(x) else x for x in v], dtype="boolean"),
    "float": lambda v: np.array(v, dtype=float),
    "category": lambda v: objects(v).astype("category"),
    "numpy": lambda v: objects([x if is_missing(x) else np.bool_(x) for x in v]),
    "Int8": lambda v: pd.array([None if is_missing(x) else int(x) for x in v], dtype="Int8"),
}


@pytest.mark.parametrize(
    ("column", "convert"),
    [("age", f) for f in NUMBER_TYPES.values()]
    + [("colour", f) for f in TEXT_TYPES.values()]
    + [("smoker", f) for f in BOOLEAN_TYPES.values()],
)
def test_other_types_with_the_same_values(column, convert):
    table = random_table(np.random.default_rng(3), 30, 0.2)
    X = as_frame(table)
    other = X.assign(**{column: convert(table[column])})
    assert other[column].dtype != X[column].dtype or convert in {
        TEXT_TYPES["None"], TEXT_TYPES["pd.NA"], BOOLEAN_TYPES["numpy"],
    }  # fmt: skip
    preparation = prepare(X, impute=True)
    pd.testing.assert_frame_equal(preparation.features(other), preparation.features(X))
    if convert not in {BOOLEAN_TYPES["float"], BOOLEAN_TYPES["Int8"]}:  # numbers in training
        assert prepare(other, impute=True).to_json() == preparation.to_json()


def test_booleans_as_integers_and_other_columns():
    X = pd.DataFrame({"b": [True, False, True], "x": [1.0, 2.0, 3.0]})
    other = pd.DataFrame({"x": [1, 2, 3], "when": pd.Timestamp(0), "b": [1, 0, 1]})
    preparation = prepare(X)
    pd.testing.assert_frame_equal(preparation.features(other), preparation.features(X))


@pytest.mark.parametrize("values", [[1, True, 0], [1.0, True, False], [Decimal(1), 1.0, 0]])
def test_objects_of_several_types_that_are_all_numbers(values):
    X = pd.DataFrame({"b": [True, False, True], "x": [1.0, 2.0, 3.0]})
    mixed = pd.DataFrame({"b": objects(values), "x": objects(values)})
    plain = pd.DataFrame({"b": [True, bool(values[1]), False], "x": [1.0, float(values[1]), 0.0]})
    preparation = prepare(X)
    pd.testing.assert_frame_equal(preparation.features(mixed), preparation.features(plain))


@pytest.mark.parametrize("convert", [pd.to_datetime, pd.to_timedelta])
def test_missing_dates_are_missing_values_of_any_kind(convert):
    X = {"b": objects([True, False, None]), "x": [1.0, 2.0, NAN], "t": objects(["a", "b", None])}
    preparation = prepare(pd.DataFrame(X), impute=True)
    missing = pd.DataFrame(dict.fromkeys("bxt", convert([None, None])))
    wanted = pd.DataFrame(dict.fromkeys("bxt", objects([None, None])))
    pd.testing.assert_frame_equal(preparation.features(missing), preparation.features(wanted))


class OtherTable:
    """A table of another library: named columns that become arrays."""

    def __init__(self, frame):
        self.frame, self.columns = frame, list(frame.columns)

    def __getitem__(self, name):
        return self.frame[name].to_numpy()


def test_tables_of_other_libraries():
    X = as_frame(random_table(np.random.default_rng(0), 20, 0.2))
    preparation = prepare(X, impute=True)
    pd.testing.assert_frame_equal(preparation.features(OtherTable(X)), preparation.features(X))
    with pytest.raises(ValueError, match=r"must be a pandas DataFrame .* got ndarray"):
        preparation.features(X.to_numpy())


# Refused tables

TABLE = pd.DataFrame({"x": [1.0, 2.0], "t": ["a", "b"], "b": [True, False], "z": [3.0, 4.0]})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": ["1.5", "2"]}, ["'x' has '1.5' in row 1, which is not a finite number"]),
        ({"x": [1.0, np.inf]}, ["'x' has inf in row 2, which is not a finite number"]),
        ({"x": objects([1, 10**400])}, ["'x' has 10"]),
        ({"x": pd.to_datetime(["2020-01-01"] * 2)}, ["'x' has Timestamp"]),
        ({"x": [1j, 2.0]}, ["'x' has 1j"]),
        ({"t": [7, 8]}, ["'t' has 7 in row 1, which is not text (read this column as text)"]),
        ({"t": objects(["a", True])}, ["'t' has True in row 2"]),
        ({"b": [0, 2]}, ["'b' has 2 in row 2, which is not True or False"]),
        ({"b": ["True", "no"]}, ["'b' has 'True' in row 1, which is not True or False"]),
        ({"x": ["q", "r"], "z": objects([1, "s"])},
         ["'x' has 'q' in row 1", "'z' has 's' in row 2"]),
        ({"x": [1.0, NAN], "t": objects([None, None]), "b": objects([NAN, True])},
         ["'x' (1, the first in row 2)", "'t' (2, the first in row 1)", "'b' (1,", "--impute"]),
    ],
)  # fmt: skip
def test_refused_values_name_all_columns(change, words):
    with pytest.raises(ValueError, match=r"Columns hold|missing") as caught:
        prepare(TABLE).features(TABLE.assign(**change))
    assert all(word in str(caught.value) for word in words)


def test_refused_columns_are_all_named():
    preparation = prepare(TABLE)
    with pytest.raises(ValueError, match="lacks columns of the model: 'x', 'b'"):
        preparation.features(TABLE[["z", "t"]])
    twice = pd.concat([TABLE, TABLE[["z"]]], axis=1)
    with pytest.raises(ValueError, match="occur twice: 'z'"):
        preparation.features(twice)
    with pytest.raises(ValueError, match="occur twice: 'z'"):
        prepare(twice)
    dates = pd.to_datetime(["2020-01-01"] * 2)
    with pytest.raises(ValueError, match=r"'d' \(datetime64\), 'm' \(mixed-integer\)"):
        prepare(TABLE.assign(d=dates, m=objects([1, "a"])))
    with pytest.raises(ValueError, match="must be text"):
        prepare(pd.DataFrame({0: [1.0]}))
    with pytest.raises(ValueError, match=r"missing in 'x' .*, 't' "):
        prepare(pd.DataFrame({"x": [1.0, NAN], "t": objects([None, "a"])}))


@pytest.mark.parametrize(
    "columns",
    [
        {"t": ["red", "blue"], "t=red": [1.0, 2.0]},
        {"x": [NAN, 1.0], "x missing": [0.0, 1.0]},
        {"a": ["b=c", "d"], "a=b": ["c", "d"]},
    ],
)
def test_a_clash_of_names_is_refused(columns):
    with pytest.raises(ValueError, match="Several features would have the same name: '"):
        prepare(pd.DataFrame(columns), impute=True)


def test_a_column_with_the_name_of_an_indicator_of_scikit_learn():
    X = pd.DataFrame({"missingindicator_x": [NAN, 1.0], "x": [1.0, 2.0]})
    names = ["missingindicator_x", "x", "missingindicator_x missing"]
    assert prepare(X, impute=True).feature_names == names


# Model files


def fitted(X, y, impute=True, kind=FastEMClassifier, **options):
    preparation = prepare(X, impute=impute)
    options = {"alpha": 1.0, "max_iter": 10, "random_state": 0} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return preparation, kind((2,), **options).fit(preparation.features(X), y)


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(1)
    X = as_frame(random_table(rng, 60, 0.15))
    y = np.array(["no", "yes"])[rng.integers(2, size=60)]
    preparation, model = fitted(X, y)
    path = tmp_path / "model.npz"
    save_model(model, path, preparation.to_json())
    new = as_frame(random_table(rng, 50, 0.3, extra=["new"]))
    return path, preparation, model, X, y, new


def plain_pipeline(numbers, texts):
    """Return the same pipeline as a user of scikit-learn writes it."""
    features = ColumnTransformer(
        [
            ("number", SimpleImputer(strategy="median", add_indicator=True), numbers),
            ("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
        ]
    )
    return Pipeline([("features", features), ("model", FastEMClassifier((2,)))])


def trimmed_frame(frame):
    index = frame.index
    return frame.apply(lambda x: objects(trimmed(x)).set_axis(index) if x.dtype == object else x)


def test_the_file_equals_the_pipeline_bit_for_bit(saved):
    path, preparation, model, X, y, new = saved
    pipeline = load_pipeline(path)
    assert list(pipeline.named_steps) == ["preparation", "model"]
    by_hand = plain_pipeline(["age", "width"], ["colour", "smoker", "kind"])
    by_hand.set_params(model=clone(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        by_hand.fit(trimmed_frame(X), y)
    for table in (X, new, new[::-1][list(new)[::-1]]):
        wanted = model.predict_proba(preparation.features(table))
        np.testing.assert_array_equal(pipeline.predict_proba(table), wanted)
        clean = trimmed_frame(table)
        np.testing.assert_array_equal(by_hand.predict_proba(clean), wanted)
        np.testing.assert_array_equal(pipeline.predict(table), by_hand.predict(clean))


def test_numbers_through_the_file(tmp_path):
    rng = np.random.default_rng(2)
    X = as_frame(random_table(rng, 40, 0.1))
    preparation, model = fitted(X, rng.normal(size=40), kind=FastEMRegressor)
    save_model(model, tmp_path / "m", preparation.to_json())
    pipeline = load_pipeline(tmp_path / "m")
    wanted = model.predict(preparation.features(X), return_std=True)
    np.testing.assert_array_equal(pipeline.predict(X, return_std=True), wanted)


def test_the_file_without_its_preparation(saved, tmp_path):
    path, preparation, model, X, _, _ = saved
    features = preparation.features(X)
    for loaded in (FastEMClassifier.load(path), load_model(path)):
        np.testing.assert_array_equal(loaded.predict_proba(features), model.predict_proba(features))
    model.save(tmp_path / "plain")
    assert read_preparation(tmp_path / "plain") is None
    assert load_prepared(tmp_path / "plain")[1] is None
    pipeline = load_pipeline(tmp_path / "plain")
    assert list(pipeline.named_steps) == ["model"]
    np.testing.assert_array_equal(pipeline.predict(features), model.predict(features))
    with pytest.raises(FileNotFoundError):
        load_pipeline(tmp_path / "none")


def test_the_preparation_in_the_file_is_json(saved):
    path, preparation, *_ = saved
    with np.load(path, allow_pickle=False) as content:
        assert json.loads(str(content["header"]))["preparation"] == preparation.to_json()


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*arguments, **options)


def test_the_pipeline_can_be_fitted_again(saved):
    path, _, _, X, y, new = saved
    pipeline = load_pipeline(path)
    again = quiet(clone(pipeline).fit, X, y)
    np.testing.assert_array_equal(again.predict_proba(new), pipeline.predict_proba(new))
    scores = quiet(cross_val_score, pipeline, X, y, cv=3)
    assert np.isfinite(scores).all()
    rare = X.assign(colour=objects(["a"] * 59 + ["only"]))  # in one fold only
    assert quiet(clone(pipeline).fit, rare, y).score(rare, y) >= 0.0
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(pipeline)).predict_proba(new), pipeline.predict_proba(new)
    )


def test_the_pipeline_and_set_output(saved):
    path, preparation, _, X, _, _ = saved
    step = load_pipeline(path).set_output(transform="pandas")[:1]
    pd.testing.assert_frame_equal(step.transform(X), preparation.features(X))
    assert step.get_feature_names_out().tolist() == preparation.feature_names
    step.set_output(transform="default")
    np.testing.assert_array_equal(step.transform(X), preparation.features(X).to_numpy())


def test_the_pipeline_refuses_what_the_preparation_refuses(saved):
    path, _, _, X, _, _ = saved
    pipeline = load_pipeline(path)
    with pytest.raises(ValueError, match="lacks columns of the model: 'age', 'kind'"):
        pipeline.predict(X.drop(columns=["age", "kind"]))
    with pytest.raises(ValueError, match="'width' has 'wide' in row 1"):
        pipeline.predict(X.assign(width="wide"))
    with pytest.raises(ValueError, match="got ndarray"):
        pipeline.predict(X.to_numpy())


def rewrite(path, preparation):
    with np.load(path, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    header = json.loads(str(arrays.pop("header")))
    header["preparation"] = preparation
    with open(path, "wb") as file:
        np.savez(file, header=np.array(json.dumps(header)), **arrays)


def places(content, path=()):
    """Yield the path of every value inside JSON values."""
    items = enumerate(content) if isinstance(content, list) else ()
    for key, value in content.items() if isinstance(content, dict) else items:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(content, path, value):
    content = json.loads(json.dumps(content))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if value == "delete":
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return content


JUNK = [
    "delete",
    None,
    [],
    {},
    "text",
    -1,
    1.5,
    True,
    False,
    [1],
    ["b", "a"],
    [" a"],
    [""],
    1e400,
    "os",
]


def test_damaged_preparations(saved):
    path, preparation, *_ = saved
    good = preparation.to_json()
    damaged = [[], 0, "text", {}, False, {"impute": True, "columns": []}]
    damaged += [changed(good, place, junk) for place in places(good) for junk in JUNK]
    refused, n_equal = [], 0
    for content in damaged:
        try:
            restored = Preparation.from_json(content)
        except ValueError as error:
            refused += [content] * ("is damaged" in str(error))
        else:
            n_equal += restored.to_json() == content
            rows = restored.features(as_frame({name: [NAN] for name in restored.kinds}))
            assert np.isfinite(rows.to_numpy()).all()
    assert len(refused) > 300
    assert len(refused) + n_equal == len(damaged)
    for content in [*refused[::20], changed(good, ("columns", 0, "name"), "other")]:
        rewrite(path, content)
        with pytest.raises(ValueError, match=r"model.npz' is damaged: "):
            load_pipeline(path)
        assert FastEMClassifier.load(path).n_features_in_ == len(preparation.feature_names)
    rewrite(path, good)
    load_pipeline(path)


def test_a_preparation_for_another_model(saved, tmp_path):
    path, _, model, X, _, _ = saved
    other = prepare(X.drop(columns="age"), impute=True)
    save_model(model, path, other.to_json())
    with pytest.raises(ValueError, match=re.escape("are not those of its model")):
        load_pipeline(path)
