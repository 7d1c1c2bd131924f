"""The gallery, sections outputs and practice: the examples show what the package really does."""

import numpy as np
import pytest
from gallery import EXAMPLES, run_example
from scipy.integrate import trapezoid

import fastem

pytest.importorskip("matplotlib")


def test_two_branches():
    names, _ = run_example("outputs/two_branches")
    # 1600 rows of one random generator; another processor rounds differently: another optimum
    constant, stochastic, truth = names["scores"].values()
    assert constant + 0.7 < stochastic < truth
    assert truth - stochastic < 0.3
    constant, stochastic, truth = names["mirrored_scores"].values()
    assert constant + 0.4 < stochastic < truth
    for coverage, inside in names["coverages"].items():
        # five standard errors of 400 held-out rows
        assert abs(inside - coverage) < 5.0 * np.sqrt(coverage * (1.0 - coverage) / 400)


def test_one_unit_switches_between_the_branches():
    names, _ = run_example("outputs/two_branches")
    weight = names["sign"] * names["weights_out"][names["switch"]]
    assert weight == pytest.approx(3.0, abs=0.2)
    assert names["sign"] * names["slope"] == pytest.approx(0.5, abs=0.2)  # error of 1200 rows: 0.04
    assert np.abs(names["others"]).max() < 1.5
    assert names["shares"].max() < 2.0


def test_the_branches_have_the_density_of_the_example():
    names, _ = run_example("outputs/two_branches")
    y = np.linspace(-8.0, 8.0, 40001)
    for branches in names["branches"], names["mirrored"]:
        for x in (-3.0, 0.5):
            (p, upper), (q, lower) = branches(x)
            assert p + q == pytest.approx(1.0)
            rows = np.full((len(y), 1), x)
            density = np.exp(names["true_log_density"](rows, y, branches))
            mean = p * upper + q * lower
            variance = names["deviation"](x) ** 2 + p * q * (upper - lower) ** 2
            assert trapezoid(density, y) == pytest.approx(1.0, abs=1e-8)
            assert trapezoid(y * density, y) == pytest.approx(mean, abs=1e-8)
            assert trapezoid((y - mean) ** 2 * density, y) == pytest.approx(variance, abs=1e-8)


def test_counts():
    names, printed = run_example("outputs/counts")
    scores = names["scores"]
    regression, hidden, truth = scores.values()
    assert regression + 1.0 < hidden < truth + 0.005  # 0.005: chance, standard error of 1500 rows
    assert truth - hidden < 0.05
    assert f"hidden units         {hidden:7.3f}" in printed
    dispersions, coverages = names["dispersions"], names["coverages"]
    assert dispersions["Poisson regression"] > 4.0
    assert 0.7 < dispersions["hidden units"] < 1.3
    assert coverages["Poisson regression"] < 0.7
    # whole numbers as limits: at least 0.9, and 0.94 under the true distribution
    assert 0.9 < coverages["hidden units"] < 0.98
    # four times as many calls during an outage
    assert names["factors"].max() == pytest.approx(4.0, abs=0.6)
    posterior, outage = names["posterior"], names["outage"]
    assert posterior[outage].mean() > 0.8
    assert posterior[~outage].mean() < 0.1


def test_rootogram_of_counts():
    names, _ = run_example("outputs/counts")
    rows = len(names["y_test"])
    assert names["observed"].sum() > rows - 10  # nearly all counts are below 60
    for expected in names["expected"].values():
        assert rows - 15 < expected.sum() < rows + 1e-6
    poisson, hidden = (np.abs(x) for x in names["differences"].values())
    assert np.mean(poisson > 1.0) > 0.5
    assert np.mean(hidden > 1.0) < 0.2


def test_counts_are_drawn_from_the_true_distribution_of_the_example():
    names, _ = run_example("outputs/counts")
    hour, y, _ = names["draw"](200_000, np.random.default_rng(1))
    calls, p = names["rates"](hour[:, 0])
    mean = calls * (1.0 + 3.0 * p)
    square = (1.0 + 1.0 / names["SHAPE"]) * calls**2 * (1.0 + 15.0 * p)  # of the rate
    z = (y - mean) / np.sqrt(mean + square - mean**2)
    assert z.mean() == pytest.approx(0.0, abs=0.01)  # four standard errors
    assert np.mean(z**2) == pytest.approx(1.0, abs=0.03)


def test_several_labels():
    names, _ = run_example("outputs/several_labels")
    independent, chain, hidden, truth = names["scores"].values()
    assert independent + 0.1 < chain < hidden < truth
    assert truth - hidden < 0.03
    assert min(names["criteria"], key=names["criteria"].get) == 2
    assert sorted(names["matches"]) == [0, 1]  # a unit for every fault
    assert names["correlations"].max(axis=1).min() > 0.7


def test_correlation_of_labels_is_that_of_all_hidden_states():
    names, _ = run_example("outputs/several_labels")
    model, X = names["model"], names["X_test"]
    u, V, c = model.transform(X), model.coefs_[1], model.intercepts_[1]
    states = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    prior = np.prod(np.where(states, u[:, None], 1.0 - u[:, None]), axis=2)
    given = 1.0 / (1.0 + np.exp(-(states @ V + c)))
    marginal = prior @ given
    np.testing.assert_allclose(marginal, model.predict_proba(X), atol=1e-12)
    joint = np.einsum("ns,sk,sl->kl", prior, given, given)
    covariance = joint - marginal.T @ marginal
    variance = (marginal * (1.0 - marginal)).sum(axis=0)
    exact = covariance / np.sqrt(np.outer(variance, variance))
    pairs = names["pairs"]
    # 40 000 drawn rows: five standard errors
    np.testing.assert_allclose(names["predicted"][pairs], exact[pairs], atol=5 / np.sqrt(40_000))
    assert np.corrcoef(names["observed"][pairs], exact[pairs])[0, 1] > 0.9


def test_a_crack_given_other_labels_agrees_with_drawn_labels():
    names, _ = run_example("outputs/several_labels")
    drawn, _ = names["model"].sample(np.zeros((400_000, 2)), random_state=1)
    crack = names["crack"]
    for others, probability in names["given_others"].items():
        wanted = [int(name in others) for name in names["DEFECTS"]]
        rows = np.all(np.delete(drawn == wanted, crack, axis=1), axis=1)
        error = np.sqrt(probability * (1.0 - probability) / rows.sum())
        assert abs(drawn[rows, crack].mean() - probability) < 5.0 * error


def test_digits():
    names, printed = run_example("outputs/digits_hidden_units")
    accuracy = float(printed.splitlines()[0].split()[-1])
    assert accuracy > 0.95
    assert len(names["wrong"]) == round(450 * (1.0 - accuracy))
    assert names["certain"] > 0.8
    assert names["difference"].min() > 1.5  # states, between the most similar codes
    assert names["predicted"] != names["true"]
    assert names["surprise"].max() > 0.5


def test_class_probabilities_of_digits_with_a_clamped_unit():
    names, _ = run_example("outputs/digits_hidden_units")
    model, unit, row = names["model"], names["unit"], names["row"]
    X, given_class = names["X_test"][[row]], names["given_class"]
    # the law of total probability
    assert names["p"] @ given_class == pytest.approx(names["u"], abs=1e-12)
    for state, probability in ((1.0, names["if_on"]), (0.0, names["if_off"])):
        coefs, intercepts = [x.copy() for x in model.coefs_], [x.copy() for x in model.intercepts_]
        coefs[0][:, unit], intercepts[0][unit] = 0.0, 60.0 * (2.0 * state - 1.0)
        of_class = [fastem.e_step(X, [k], coefs, intercepts) for k in range(10)]
        expected = [result.log_likelihood[0] for result in of_class]
        np.testing.assert_allclose(probability, np.exp(expected), rtol=1e-6, atol=1e-12)
    # the state of one unit changes the class
    assert names["if_off"].argmax() != names["if_on"].argmax()


def test_penalty_path():
    names, _ = run_example("practice/penalty_and_calibration")
    path, on_new_rows = names["path"], np.array(names["on_new_rows"])
    assert names["model"].alpha_ == path["alpha"][np.nanargmax(path["cross_validation"])]
    # cross-validation finds the best penalty for new rows, or its neighbour
    assert abs(int(on_new_rows.argmax()) - int(np.nanargmax(path["cross_validation"]))) <= 1
    assert np.all(np.diff(path["training"]) < 0.0)
    assert on_new_rows[0] < on_new_rows.max() - 0.3


def test_calibration():
    names, _ = run_example("practice/penalty_and_calibration")
    results = names["results"]
    _, loss, error = results["exact EM, 8 units"]
    assert 0.6 < loss < 0.75  # the frequencies of the classes alone have log 3 = 1.1
    assert error < 0.08
    (smallest,) = (name for name in results if "alpha" in name)
    for name in (smallest, "perceptron, 100 units"):  # overfitted
        assert results[name][1] > loss + 0.3
        assert results[name][2] > 0.09
    assert 0.6 < results["perceptron, 8 units"][1] < 0.8
    assert results["perceptron, 8 units"][2] < 0.08
    assert results["logistic regression"][0] < results["exact EM, 8 units"][0] - 0.05
    assert results["logistic regression"][2] < 0.06
    assert names["best"] == "exact EM, 8 units"


def test_calibration_error():
    names, _ = run_example("practice/penalty_and_calibration")
    first = np.repeat([0.2, 0.7], 50) + 1e-9 * np.arange(100)  # ten bins of ten rows
    positive = np.concatenate([np.arange(50) % 10 < 2, np.arange(50) % 10 < 7])
    labels, probability = (np.stack([x, 1 - x], axis=1) for x in (positive, first))
    assert names["calibration_error"](labels == 1, probability) == pytest.approx(0.0, abs=1e-7)
    probability += [0.1, -0.1]
    assert names["calibration_error"](labels == 1, probability) == pytest.approx(0.1)


def test_grid_search_over_a_pipeline_with_text_columns():
    pytest.importorskip("pandas")
    names, _ = run_example("practice/text_columns_and_grid_search")
    table, search, scores = names["table"], names["search"], names["scores"]
    assert table[names["TEXT"] + names["NUMBERS"]].isna().to_numpy().sum() == 11  # to be imputed
    # the picture has the scores in the right cells
    for params, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        row = names["SIZES"].index(params["fastemclassifier__hidden_layer_sizes"])
        column = names["PENALTIES"].index(params["fastemclassifier__alpha"])
        assert scores[row, column] == score
    assert search.best_score_ > -0.27
    # 1.05 nats: the frequencies of the species alone; one unit and large penalties are worse
    assert scores[0].max() < search.best_score_ - 0.1
    assert scores[:, -1].max() < search.best_score_ - 0.3
    test, probability = names["test"], names["probability"]
    assert np.mean(search.predict(test) == test["species"]) > 0.8
    for loss in names["log_loss"](test["species"], probability), names["own_loss"]:
        assert loss < 0.4
    # Gentoo penguins are heavier: only the other two species are confused
    wrong = test[search.predict(test) != test["species"]]
    assert "Gentoo" not in set(wrong["species"])
    assert set(wrong["island"]) == {"Dream"}
    assert names["predictions"].shape == (len(names["new"]), 3)
    np.testing.assert_allclose(names["predictions"].sum(axis=1), 1.0, atol=0.02)  # rounded


def test_the_table_is_found_without_the_path_of_the_script(monkeypatch, tmp_path):
    pytest.importorskip("pandas")
    find = run_example("practice/text_columns_and_grid_search")[0]["find"]
    table = find("penguins.csv")
    assert table == EXAMPLES / "penguins.csv"
    monkeypatch.delitem(find.__globals__, "__file__")  # as in a notebook
    for folder in EXAMPLES / "practice", EXAMPLES, EXAMPLES.parent:
        monkeypatch.chdir(folder)
        assert find("penguins.csv") == table
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"other\.csv is not in .* Copy it"):
        find("other.csv")
