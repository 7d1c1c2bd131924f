"""The verb compare: repeated splits, standard errors, the methods of scikit-learn, the text."""

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import gammaln
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from fastem.cli.command_line import main
from fastem.cli.comparison import compare as comparison
from fastem.cli.comparison.baselines import gradient_boosting, linear_model
from fastem.cli.comparison.fitting import one_thread_if_small
from fastem.cli.comparison.methods import Options, exact_em
from fastem.cli.comparison.regression import number_figures, with_deviation
from fastem.cli.comparison.splits import split_rows
from fastem.cli.comparison.summaries import corrected_standard_error, paired_difference, verdict
from fastem.cli.reports.comparison import comparison_text
from fastem.cli.tables.datasets import Dataset

QUICK = ["--hidden", "2", "--alpha", "0.15", "--max-iter", "10", "--epochs", "10"]
OPTIONS = Options((2,), max_iter=5, alpha=0.15, epochs=5)


def succeed(capsys, *argv):
    status = main([str(part) for part in argv])
    output = capsys.readouterr()
    assert status == 0, output.err
    return output.out


def as_json(capsys, *argv):
    return json.loads(succeed(capsys, *argv, "--json"))


def data_of(X, y, task="class"):
    names = [f"x{j}" for j in range(X.shape[1])]
    return Dataset("data", X, y, names, None, task)


def table(path, y, *, scale=1.0):
    """Write a CSV file with two features and the targets."""
    x = np.random.default_rng(0).normal(size=(len(y), 2)) * scale
    rows = [f"{a:.5g},{b:.5g},{label}" for (a, b), label in zip(x, y, strict=True)]
    path.write_text("\n".join(["a,b,label", *rows]) + "\n")
    return str(path)


# --- standard errors ------------------------------------------------------------------------


def plain_variance(values):
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def test_standard_error_over_splits_is_corrected_for_shared_rows():
    values = np.random.default_rng(0).normal(size=7).tolist()
    expected = ((1 / 7 + 25 / 75) * plain_variance(values)) ** 0.5
    assert corrected_standard_error(values, 75, 25) == pytest.approx(expected, rel=1e-12)
    assert corrected_standard_error(values[:1], 75, 25) is None
    assert corrected_standard_error([2.0, 2.0], 75, 25) == 0.0


@pytest.mark.parametrize("factor", [1e-300, 1e300])
def test_standard_error_of_extreme_values(factor):
    values = np.array([1.0, -2.0, 0.5])
    expected = corrected_standard_error(values, 3, 1) * factor
    assert corrected_standard_error(values * factor, 3, 1) == pytest.approx(expected, rel=1e-12)


def test_paired_difference():
    rng = np.random.default_rng(1)
    losses, reference = rng.normal(size=(4, 30)), rng.normal(size=(4, 30))
    means = [sum(a - b) / 30 for a, b in zip(losses, reference, strict=True)]
    mean, error = paired_difference(list(losses), list(reference), 90)
    assert mean == pytest.approx(sum(means) / 4)
    assert error == pytest.approx(((1 / 4 + 30 / 90) * plain_variance(means)) ** 0.5)
    mean, error = paired_difference([losses[0]], [reference[0]], 90)  # over its test rows
    rows = (losses[0] - reference[0]).tolist()
    assert mean == pytest.approx(means[0])
    assert error == pytest.approx((plain_variance(rows) / 30) ** 0.5)
    assert paired_difference([losses[0, :1]], [reference[0, :1]], 90)[1] is None


def test_verdict():
    losses = {"EM": 1.0, "b": 0.8, "c": 1.5}
    differences = {"b": (-0.2, 0.05), "c": (0.5, 0.4)}
    found = verdict(losses, differences, "EM", 5)
    assert (found["lowest_test_loss"], found["compared_with"]) == ("b", "EM")
    assert (found["difference"], found["standard_error"]) == (0.2, 0.05)
    assert found["limit"] == pytest.approx(2.7764451)  # quantile of t with 4 degrees of freedom
    assert found["may_be_chance"] is False
    assert verdict(losses, differences | {"b": (-0.2, 0.1)}, "EM", 5)["may_be_chance"] is True
    found = verdict(losses | {"b": 1.2}, {"b": (0.2, None), "c": (0.5, 0.4)}, "EM", 1)
    assert (found["lowest_test_loss"], found["compared_with"]) == ("EM", "b")
    assert found["limit"] is found["may_be_chance"] is None


# --- splits -----------------------------------------------------------------------------------

FIGURES = {
    "iris": ["train_log_loss", "test_log_loss", "test_accuracy"],
    "diabetes": ["test_log_density", "test_rmse", "test_coverage", "test_width"],
}


@pytest.mark.parametrize("data", FIGURES)
def test_splits(capsys, data):
    """Every split is the only split of its seed; means and standard errors are computed again."""
    content = as_json(capsys, "compare", data, "--seed", "3", "--splits", "3", *QUICK)
    single = [as_json(capsys, "compare", data, "--seed", s, *QUICK) for s in (3, 4, 5)]
    assert (content["data"]["splits"], content["data"]["seeds"]) == (3, [3, 4, 5])
    for name in ("predictions", "learning_curves"):
        assert content[name] == single[0][name]
    assert content["standard_errors_of"] == "splits"
    assert single[0]["standard_errors_of"] == "test rows"
    n_train, n_test = content["data"]["train"], content["data"]["test"]
    factor = (1 / 3 + n_test / n_train) ** 0.5
    reference = np.array([x["methods"][0]["test_loss"] for x in single])
    for i, row in enumerate(content["methods"]):
        for k, split in enumerate(row["splits"]):
            own = single[k]["methods"][i]
            for figure in [*FIGURES[data], "n_iter", "converged", "hidden_layer_sizes"]:
                assert split[figure] == own[figure]
            assert split["seed"] == 3 + k
        for figure in FIGURES[data]:
            values = np.array([split[figure] for split in row["splits"]])
            assert row[figure] == pytest.approx(values.mean())
            error = factor * np.std(values, ddof=1)
            assert row["standard_errors"][figure] == pytest.approx(error, abs=1e-12)
            assert single[0]["methods"][i]["standard_errors"][figure] is None
        difference = np.array([x["methods"][i]["test_loss"] for x in single]) - reference
        if i == 0:
            assert row["test_loss_minus_EM"] is None
        else:
            assert row["test_loss_minus_EM"] == {
                "mean": pytest.approx(difference.mean()),
                "standard_error": pytest.approx(factor * np.std(difference, ddof=1)),
            }
        assert row["seconds"] == np.median([split["seconds"] for split in row["splits"]])
    assert len({str(x["predictions"]) for x in single}) == 3


def test_seeds_of_splits_wrap_around(capsys):
    argv = ["compare", "iris", "--splits", "2", "--seed", 2**32 - 1, *QUICK]
    assert as_json(capsys, *argv)["data"]["seeds"] == [2**32 - 1, 0]


def test_the_split_is_that_of_scikit_learn():
    X, y = load_iris(return_X_y=True)
    (split,) = split_rows(data_of(X, y), 0.3, 1, 7)
    expected = train_test_split(X, y, test_size=0.3, random_state=7, stratify=y)
    for own, other in zip(split[1:], expected, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize(
    ("y", "task", "test_size", "words"),
    [
        ([0, 1, 2] * 50, "class", 0.99, "leaves 1 of 150 rows for training; both parts need at "
         "least 3, the number of classes: use a --test-size from 0.02 to 0.98"),
        ([0, 1, 2] * 50, "class", 0.999, "leaves 0 of 150 rows for training"),
        ([0, 1, 2] * 50, "class", 0.001, "leaves 1 of 150 rows for testing"),
        ([*range(9)] * 2, "class", 0.4, "use a --test-size from 0.5 to 0.5"),
        ([0] * 98 + [1] * 2, "class", 0.9, "all training rows have the class '0'"),
        ([0, 0, 1], "class", 0.5, "class '1' has only one row"),
        (np.arange(50.0), "regression", 0.9, "leaves 5 of 50 rows for training; a comparison of "
         "regressions needs at least 10: use a --test-size of at most 0.8"),
        (np.arange(9.0), "count", 0.25, "leaves 6 of 9 rows for training; a comparison of "
         "regressions needs at least 10: use a table with more rows"),
        (np.arange(200.0) == 7, "count", 0.9, "all training rows have the target 0"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_split(y, task, test_size, words):
    y = np.asarray(y) if task == "class" else np.asarray(y, dtype=np.float64)
    dataset = data_of(np.arange(len(y), dtype=np.float64)[:, None], y, task)
    with pytest.raises(ValueError, match=r"^data: ") as caught:
        list(split_rows(dataset, test_size, 3, 0))
    assert words in str(caught.value)


@pytest.mark.parametrize(("n_rows", "n_classes"), [(6, 3), (7, 3), (150, 3), (1001, 500)])
def test_the_recommended_test_sizes_work(n_rows, n_classes):
    y = np.sort(np.arange(n_rows) % n_classes)
    dataset = data_of(np.zeros((n_rows, 1)), y)
    with pytest.raises(ValueError, match="--test-size") as caught:
        list(split_rows(dataset, 1 - 1e-6, 1, 0))
    low, high = (float(word) for word in str(caught.value).split(" from ")[1].split(" to "))
    for test_size in (low, high):
        assert len(list(split_rows(dataset, test_size, 1, 0))) == 1


def test_raw_columns_are_prepared_with_the_training_rows():
    pandas = pytest.importorskip("pandas")
    from fastem.preparation import prepare

    rng = np.random.default_rng(0)
    numbers = np.where(rng.random(40) < 0.2, np.nan, rng.normal(size=40))
    texts = np.array(["a", "b", "c"], dtype=object)[rng.integers(3, size=40)]
    X = pandas.DataFrame({"number": numbers, "text": texts})
    y = np.arange(40) % 2
    dataset = SimpleNamespace(name="data", X=X, y=y, task="class", impute=True)
    first, second = split_rows(dataset, 0.25, 2, 0)
    for split in (first, second):
        rows = np.arange(40)
        train, test = train_test_split(rows, test_size=0.25, random_state=split.seed, stratify=y)
        preparation = prepare(X.iloc[train], impute=True)
        for own, part in ((split.X_train, train), (split.X_test, test)):
            assert own.flags.c_contiguous
            np.testing.assert_array_equal(own, preparation.features(X.iloc[part]).to_numpy())
    assert not np.isnan(second.X_train).any()


# --- methods of scikit-learn ------------------------------------------------------------------


@pytest.fixture
def one_thread():
    """Use one thread in scikit-learn, whose threads are slow on busy cores."""
    with threadpool_limits(1):
        yield


@pytest.mark.usefixtures("one_thread")
def test_baselines_of_classes(capsys):
    content = as_json(capsys, "compare", "iris", *QUICK)
    X, y = load_iris(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, random_state=0, stratify=y)
    scale = StandardScaler().fit(X)
    linear = LogisticRegression(max_iter=5000).fit(scale.transform(X), y)
    trees = HistGradientBoostingClassifier(random_state=0).fit(X, y)
    found = linear.predict_proba(scale.transform(X_test)), trees.predict_proba(X_test)
    for row, probabilities in zip(content["methods"][2:], found, strict=True):
        assert row["test_log_loss"] == pytest.approx(log_loss(y_test, probabilities), rel=1e-9)
        assert row["test_loss"] == pytest.approx(row["test_log_loss"], rel=1e-12)
        assert row["test_accuracy"] == np.mean(np.argmax(probabilities, axis=1) == y_test)
    linear_row, trees_row = content["methods"][2:]
    assert (linear_row["n_iter"], linear_row["converged"]) == (linear.n_iter_[0], True)
    assert (trees_row["n_iter"], trees_row["converged"]) == (100, None)


def fitted(make, X, y, task):
    method = make(Options(seed=0), y, task)
    return method.estimator.fit(X, y)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("make", [linear_model, gradient_boosting])
def test_baselines_of_numbers(make):
    X, y = load_diabetes(return_X_y=True)
    X_test, y_test, X, y = X[:90], y[:90], X[90:], y[90:]

    def predict(rows, new):
        if make is gradient_boosting:
            return HistGradientBoostingRegressor(random_state=0).fit(X[rows], y[rows]).predict(new)
        scale = StandardScaler().fit(X[rows])
        return Ridge().fit(scale.transform(X[rows]), y[rows]).predict(scale.transform(new))

    folds = KFold(5, shuffle=True, random_state=0).split(X)
    errors = np.concatenate([y[test] - predict(train, X[test]) for train, test in folds])
    deviation = np.sqrt(np.mean(errors**2))
    mean = predict(np.arange(len(y)), X_test)
    log = -0.5 * ((y_test - mean) / deviation) ** 2 - np.log(deviation * np.sqrt(2 * np.pi))
    density = fitted(make, X, y, "regression")
    assert density.estimate_deviation(X, y, 0) == "5-fold cross-validation"
    figures, losses = number_figures(density, X_test, y_test, "regression")
    tolerance = 1e-9 if make is linear_model else 1e-3  # histograms of the standardised target
    assert density.deviation_ == pytest.approx(deviation, rel=tolerance)
    np.testing.assert_allclose(-losses, log, rtol=tolerance, atol=0.1 * tolerance)
    assert figures["test_log_density"] == -np.mean(losses)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("make", [linear_model, gradient_boosting])
def test_baselines_of_counts(make):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2)) * [1.0, 100.0]
    y = rng.poisson(np.exp(X[:, 0])).astype(float)
    if make is linear_model:  # the penalty is 1 against the summed log-likelihood
        Z = StandardScaler().fit_transform(X)
        rate = PoissonRegressor(alpha=1 / 200, max_iter=5000).fit(Z, y).predict(Z)
    else:
        model = HistGradientBoostingRegressor(loss="poisson", random_state=0)
        rate = model.fit(X, y).predict(X)
    losses = rate - y * np.log(rate) + gammaln(y + 1)
    density = fitted(make, X, y, "count")
    np.testing.assert_allclose(number_figures(density, X, y, "count")[1], losses, rtol=1e-9)


def test_boosting_of_a_class_with_one_row():
    """Its early stopping would split the rows, which needs two rows of every class."""
    y = np.arange(10_001) % 2
    assert gradient_boosting(OPTIONS, y).estimator.early_stopping == "auto"
    y[0] = 2
    estimator = gradient_boosting(OPTIONS, y).estimator
    assert estimator.early_stopping is False
    X = np.random.default_rng(0).normal(size=(len(y), 1))
    assert estimator.set_params(max_iter=1).fit(X, y).classes_.tolist() == [0, 1, 2]


def test_deviation_is_only_estimated_where_it_is_needed():
    fit = SimpleNamespace(estimator=object())
    assert with_deviation(fit, None, None, 0) is fit


def test_small_tables_use_one_thread_in_scikit_learn():
    y = np.arange(10) % 2
    pools = [pool["num_threads"] for pool in threadpool_info()]
    small, large = np.zeros((10, 2)), np.zeros((500_000, 2))
    for method, X, expected in [
        (gradient_boosting(OPTIONS, y), small, [1] * len(pools)),
        (linear_model(OPTIONS, y), small, [1] * len(pools)),
        (linear_model(OPTIONS, y), large, pools),
        (exact_em(OPTIONS, y), small, pools),
    ]:
        with one_thread_if_small(method, X):
            assert [pool["num_threads"] for pool in threadpool_info()] == expected
    assert [pool["num_threads"] for pool in threadpool_info()] == pools


def test_learning_curves_are_those_of_the_networks(capsys):
    content = as_json(capsys, "compare", "iris", "--splits", "2", *QUICK)
    assert [x["method"] for x in content["learning_curves"]] == ["EM", "backpropagation"]


# --- extreme rows -----------------------------------------------------------------------------


def test_probabilities_of_zero_have_the_loss_of_scikit_learn():
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]])
    model = SimpleNamespace(
        classes_=np.array(["a", "b"]), predict_proba=lambda X: probabilities[: len(X)]
    )
    y = np.array(["b", "a", "a"])
    expected = log_loss(y, probabilities, labels=["a", "b"])
    assert comparison.mean_log_loss(model, np.zeros((3, 1)), y) == pytest.approx(expected)
    # a class that the model does not have, before and after its own in order
    for other in ("A", "c"):
        loss = comparison.mean_log_loss(model, np.zeros((1, 1)), np.array([other]))
        assert loss == pytest.approx(-np.log(np.finfo(float).eps))


def test_a_class_without_training_rows(capsys, tmp_path):
    path = table(tmp_path / "a.csv", [0, 1] * 49 + [2] * 2)
    argv = ["compare", path, "--test-size", "0.9", "--splits", "2", *QUICK]
    content = as_json(capsys, *argv)
    assert content["classes_without_training_rows"] == {"2": 2}
    for row in content["predictions"]:
        assert list(row["probabilities"]) == ["0", "1", "2"]
        assert row["probabilities"]["2"] == 0.0
    for row in content["methods"]:
        assert row["test_log_loss"] > 2 / 90 * 36.0
    text = " ".join(succeed(capsys, *argv).split())
    assert "Class 2 has no training row in 2 splits: all methods give it the probability 0" in text


@pytest.mark.parametrize("exponent", [-1000, 1000])
def test_features_of_extreme_size(exponent):
    """The unit of a feature does not matter; squares would overflow, or become 0."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), np.arange(60) % 2
    X[:, 0] += y
    usual, extreme = (
        comparison.compare(data_of(np.ldexp(X, [e, 0]), y), OPTIONS).to_dict()
        for e in (0, exponent)
    )
    for row, other in zip(usual["methods"], extreme["methods"], strict=True):
        assert other["test_loss"] == pytest.approx(row["test_loss"], rel=1e-9)


def test_an_extreme_target_has_finite_figures(capsys, tmp_path):
    y = np.sin(np.arange(60.0))
    y[[3, 5, 30]] = 1e90
    path = table(tmp_path / "a.csv", y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = as_json(capsys, "compare", path, "--task", "regression", *QUICK)
    assert content["result"]["standard_error"] > 0.0


# --- text -------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [["iris"], ["diabetes"], ["digits", "--task", "count"]])
@pytest.mark.parametrize("n_splits", [1, 2])
def test_the_text_explains_every_column_in_short_lines(capsys, argv, n_splits):
    text = succeed(capsys, "compare", *argv, "--splits", n_splits, *QUICK)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 110
    rule = next(i for i, line in enumerate(lines) if line.startswith("---"))
    header = [part for part in lines[rule - 1].split("  ") if part.strip()][1:]
    for column in header:
        assert any(line.startswith(f"{column.strip()}: ") for line in lines)
    for row in lines[rule + 1 : rule + 5]:
        name = row.split("  ")[0]
        assert any(line.startswith(f"{name}: a ") or f"{name}: many" in line for line in lines)
    words = " ".join(text.split())
    assert ("2 times: " in words) == (n_splits == 2)
    assert ("Nadeau and Bengio, 2003" in words) == (n_splits == 2)
    assert ("from the differences of the single test rows" in words) == (n_splits == 1)
    assert text.rstrip().rpartition("\n\n")[2].startswith("Result: ")


@pytest.fixture(scope="module")
def content():
    dataset = data_of(*load_iris(return_X_y=True))
    return comparison.compare(dataset, OPTIONS, n_splits=2).to_dict()


def result_of(content, **result):
    changed = content | {"result": content["result"] | result}
    return " ".join(comparison_text(changed).rpartition("Result: ")[2].split())


def test_the_result_in_words(content):
    other = {"lowest_test_loss": "logistic regression", "compared_with": "EM"}
    numbers = {"difference": 0.0123, "standard_error": 0.015, "limit": 2.78}
    assert result_of(content, **other, **numbers, may_be_chance=True) == (
        "logistic regression has the lowest test loss. The difference to EM is 0.0123 +- 0.0150. "
        "It can be chance: with 2 splits, differences up to 2.8 standard errors can (5 % level)."
    )
    own = {"lowest_test_loss": "EM", "compared_with": "gradient boosting"}
    numbers["standard_error"] = 1e-5
    assert result_of(content, **own, **numbers, may_be_chance=False) == (
        "EM has the lowest test loss. The difference to the next, gradient boosting, is 0.0123 +- "
        "1e-05. It is hardly chance: with 2 splits, chance rarely exceeds 2.8 standard errors "
        "(5 % level)."
    )
    numbers |= {"standard_error": None, "limit": None, "may_be_chance": None}
    assert result_of(content, **own, **numbers).endswith("is 0.0123, from a single test row.")


def test_one_iteration_is_in_the_singular(capsys):
    argv = ["--hidden", "1", "--alpha", "0.1", "--max-iter", "1", "--epochs", "1"]
    words = " ".join(succeed(capsys, "compare", "iris", *argv).split())
    assert "with 1 hidden unit that is on or off" in words
    assert "at the limit of 1 iteration; " in words
    assert "at the limit of 1 epoch; " in words


def test_ranges_over_splits(capsys):
    argv = ["compare", "iris", "--hidden", "2", "--epochs", "5", "--splits", "2"]
    content = as_json(capsys, *argv)
    settings = [split["settings"]["penalty"] for split in content["methods"][0]["splits"]]
    low, high = f"{min(settings):.3g}", f"{max(settings):.3g}"
    expected = low if low == high else f"{low} to {high}"
    words = " ".join(succeed(capsys, *argv).split())
    assert f"penalty on large weights: {expected} (chosen on held-out training rows)" in words
    assert "limit of 5 epochs in 2 of 2 splits; --epochs allows more" in words


def test_sampled_units_are_not_exact(content):
    em, *others = content["methods"]
    sampled = em | {"settings": em["settings"] | {"e_step": "sampling"}}
    assert "trained by the exact EM algorithm" in " ".join(comparison_text(content).split())
    words = " ".join(comparison_text(content | {"methods": [sampled, *others]}).split())
    assert "trained by EM with sampled states" in words


def test_the_help_names_the_options_of_the_networks(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "--solver and --epochs concern the two networks, EM and backpropagation, only" in words
    assert "--splits N" in words
