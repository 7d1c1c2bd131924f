"""A preparation from partitions is that of the whole table."""

import itertools

import numpy as np
import pandas as pd
import pytest

from fastem.preparation import partitions, prepare, prepare_partitions


def cut(frame, places):
    edges = [0, *sorted(places), len(frame)]
    return [frame.iloc[a:b] for a, b in itertools.pairwise(edges)]


def learn(parts, impute=False):
    def apply(function, *arguments):
        return [function(part, *arguments) for part in parts]

    return prepare_partitions(apply, impute=impute)


def mixed_table(n_rows=900):
    rng = np.random.default_rng(3)
    values = rng.normal(size=n_rows)
    values[rng.random(n_rows) < 0.1] = np.nan
    text = pd.Series(rng.choice(["b", " a", "c ", ""], n_rows), dtype=object)
    flags = pd.Series(rng.choice([True, False], n_rows), dtype=object)
    flags[5] = np.nan
    return pd.DataFrame(
        {
            "values": values,
            "text": text,
            "ties": rng.integers(0, 3, n_rows),
            "flags": flags,
            "whole": rng.integers(-1000, 1000, n_rows).astype(float),
            "nothing": np.nan,
        }
    )


@pytest.mark.parametrize("places", [[], [1], [300, 600], [0, 0, 450, 900], range(1, 60)])
def test_everything_is_that_of_the_whole_table(places):
    table = mixed_table()
    found, n_missing = learn(cut(table, places), impute=True)
    assert found.to_json() == prepare(table, impute=True).to_json()
    assert n_missing["values"] == table["values"].isna().sum()
    assert n_missing["text"] == (table["text"].str.strip() == "").sum()


@pytest.mark.parametrize("most", [9, 20])
@pytest.mark.parametrize("kind", ["spread", "ties", "two", "huge", "tiny"])
@pytest.mark.parametrize("n_rows", [1, 2, 3, 500, 501])
def test_medians_are_exact_with_small_sketches(monkeypatch, most, kind, n_rows):
    monkeypatch.setattr(partitions, "_MOST_VALUES", most)
    rng = np.random.default_rng(n_rows)
    values = {
        "spread": rng.normal(size=n_rows) * 10.0 ** rng.integers(-9, 9, n_rows),
        "ties": rng.integers(0, 5, n_rows).astype(float),
        "two": np.where(rng.random(n_rows) < 0.5, -1.0, 1e12),
        "huge": rng.choice([-8e303, 3e303, 8e303], n_rows),
        "tiny": rng.integers(0, 50, n_rows) * 5e-324,
    }[kind]
    table = pd.DataFrame({"x": values})
    expected = prepare(table, impute=True).learned[0].median
    for places in ([], [n_rows // 3, n_rows // 2], range(0, n_rows, 40)):
        assert learn(cut(table, places), impute=True)[0].learned[0].median == expected


def test_the_kind_is_that_of_all_partitions():
    parts = [
        pd.DataFrame({"a": [1, 2], "b": [None, None], "c": pd.Series([np.nan] * 2, dtype=object)}),
        pd.DataFrame({"a": [0.5, np.nan], "b": ["x", "y"], "c": [True, False]}),
    ]
    found, _ = learn(parts, impute=True)
    assert found.kinds == {"a": "number", "b": "text", "c": "boolean"}
    assert found.to_json() == prepare(pd.concat(parts), impute=True).to_json()


@pytest.mark.parametrize(
    "columns",
    [
        {"a": [1.0, np.nan, 2.0, np.nan], "b": ["x", "y", "", "x"]},
        {"a": [1.0, 2.0, 3.0, 4.0], "b": pd.date_range("2020-01-01", periods=4)},
        {"a": pd.Series([1, 2, "x", "y"], dtype=object)},
        {"a": pd.Series([True, False, 3, 4], dtype=object)},
        {"a": ["b", "c", "b", "c"], "a=b": [1, 2, 3, 4]},
    ],
)
def test_errors_are_those_of_the_whole_table(columns):
    table = pd.DataFrame(columns)
    with pytest.raises(ValueError, match=r"\S") as expected:
        prepare(table)
    with pytest.raises(ValueError, match=r"\S") as found:
        learn(cut(table, [2]))
    assert str(found.value) == str(expected.value)


def test_too_many_categories(monkeypatch):
    monkeypatch.setattr(partitions, "_MOST_CATEGORIES", 3)
    table = pd.DataFrame({"a": list("abcd")})
    with pytest.raises(ValueError, match="'a' has more than 3 different texts"):
        learn(cut(table, [2]))
    with pytest.raises(ValueError, match="'a' has more than 3 different texts"):
        learn([table])
