"""Class weights of the networks with stochastic units."""

import pickle

import numpy as np
import pytest
from em_problems import fitted, same_bits
from sklearn.base import clone
from sklearn.utils.class_weight import compute_sample_weight

from fastem import FastEMClassifier, FastMLPClassifier, Sampling

_rng = np.random.default_rng(5)
X = _rng.normal(size=(70, 3))
Y = np.digitize(X[:, 0] + 0.7 * _rng.normal(size=70), [0.2, 1.0])
NAMES = np.array(["pear", "apple", "quince"])[Y]
WEIGHTS = _rng.uniform(0.2, 3.0, size=70)
WEIGHTS[[3, 17, 30]] = 0.0
SETTINGS = [
    {"solver": "em"},
    {"solver": "em", "m_step": "bound", "standardize": False},
    {"solver": "em", "e_step": Sampling(50)},
    {"solver": "lbfgs"},
    {"solver": "adam", "batch_size": 16},
]


def classifier(n_hidden=(3,), **options):
    options = {"alpha": 0.15, "random_state": 0, "max_iter": 6, "n_jobs": 1, **options}
    return FastEMClassifier(n_hidden, **options)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("y", [Y, NAMES], ids=["numbers", "strings"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_class_weights_are_sample_weights(settings, y, weights):
    by_class = dict(zip(np.unique(y).tolist(), (0.5, 3.0, 1.5), strict=True))
    of_row = compute_sample_weight(by_class, y)
    model = fitted(classifier(**settings, class_weight=by_class), X, y, weights)
    product = of_row if weights is None else weights * of_row
    assert same_bits(model, fitted(classifier(**settings), X, y, product))
    assert not same_bits(model, fitted(classifier(**settings), X, y, weights))


@pytest.mark.parametrize("settings", SETTINGS[::4], ids=str)
def test_balanced(settings):
    model = fitted(classifier(**settings, class_weight="balanced"), X, Y)
    same = fitted(classifier(**settings), X, Y, compute_sample_weight("balanced", Y))
    assert same_bits(model, same)


def test_balanced_counts_a_row_of_weight_w_as_w_rows():
    times = np.arange(70) % 3
    options = {"class_weight": "balanced", "max_iter": 3, "tol": 0.0}
    a = fitted(classifier(**options), X, Y, times)
    b = fitted(classifier(**options), np.repeat(X, times, 0), np.repeat(Y, times))
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-10)


def test_balanced_ignores_a_class_without_weight():
    weights = np.where(Y == 2, 0.0, WEIGHTS)
    model = fitted(classifier(class_weight="balanced"), X, Y, weights)
    totals = np.bincount(Y, weights)[:2]
    of_class = np.append(totals.sum() / (2.0 * totals), 0.0)
    assert same_bits(model, fitted(classifier(), X, Y, weights * of_class[Y]))


def test_a_class_that_the_dict_lacks_has_weight_one():
    model = fitted(classifier(class_weight={2: 4.0}), X, Y)
    assert same_bits(model, fitted(classifier(class_weight={0: 1, 1: 1, 2: 4}), X, Y))


@pytest.mark.parametrize("kind", [FastEMClassifier, FastMLPClassifier])
def test_labels_that_are_strings_of_digits(kind):
    y = np.array(["1", "2", "3"])[Y]
    options = {"alpha": 0.15, "max_iter": 3, "random_state": 0}
    model = fitted(kind((2,), class_weight={"1": 1.0, "2": 2.0, "3": 4.0}, **options), X, y)
    same = fitted(kind((2,), **options), X, y, np.array([1.0, 2.0, 4.0])[Y])
    assert same_bits(model, same)


def test_likelihoods_do_not_use_class_weights():
    weighted = fitted(classifier(class_weight="balanced"), X, Y)
    plain = clone(weighted).set_params(class_weight=None)
    plain = fitted(plain, X, Y, compute_sample_weight("balanced", Y))
    for name in ("log_likelihood", "aic", "bic"):
        assert getattr(weighted, name)(X, Y) == getattr(plain, name)(X, Y)
    expected = weighted.predict_log_proba(X)[np.arange(70), Y].sum()
    assert weighted.log_likelihood(X, Y) == pytest.approx(expected, rel=1e-12)


def test_partial_fit():
    model = classifier(solver="adam", class_weight={0: 0.5, 2: 3.0})
    same = classifier(solver="adam")
    for rows in (np.flatnonzero(Y != 1), np.arange(70)):
        model.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
        weights = np.array([0.5, 1.0, 3.0])[Y[rows]]
        same.partial_fit(X[rows], Y[rows], classes=[0, 1, 2], sample_weight=weights)
    assert same_bits(model, same)


def test_balanced_needs_all_rows():
    model = classifier(solver="adam", class_weight="balanced")
    with pytest.raises(ValueError, match="'balanced' is not supported by partial_fit"):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    assert not hasattr(model, "classes_")


def test_warm_start_goes_on():
    by_class = {0: 1.0, 1: 2.0, 2: 0.5}
    whole = fitted(classifier(class_weight=by_class, tol=0.0, max_iter=4), X, Y)
    steps = classifier(class_weight=by_class, tol=0.0, max_iter=2, warm_start=True)
    assert same_bits(fitted(fitted(steps, X, Y), X, Y), whole)


def test_classes_of_weight_zero_are_no_classes():
    message = "only one class, 2"
    with pytest.raises(ValueError, match=message):
        classifier(class_weight={0: 0, 1: 0}).fit(X, Y)
    with pytest.raises(ValueError, match="zero for every row"):
        classifier(class_weight={0: 0, 1: 0, 2: 0}).fit(X, Y)
    with pytest.raises(ValueError, match=r"class_weight, if any.* must be between"):
        classifier(class_weight={0: 1e80}).fit(X, Y, np.full(70, 1e30))


@pytest.mark.parametrize(
    ("value", "message"),
    [("even", "The 'class_weight' parameter of FastEMClassifier must be.*'even'"),
     (2.0, "The 'class_weight' parameter of FastEMClassifier must be.*2.0"),
     ({0: -1.0}, r"class_weight must be finite and >= 0, got \{0: -1.0\}"),
     ({0: np.nan}, "class_weight must be finite"), ({0: np.inf}, "class_weight must be finite"),
     ({0: "a"}, r"class_weight=\{0: 'a'\}.*convert"), ({0: None}, "class_weight=.*None"),
     ({0: 1.0, 7: 2.0}, r"class_weight has weights for \[7\].*none for \[1, 2\]")],
)  # fmt: skip
def test_bad_class_weights(value, message):
    model = classifier(class_weight=value)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")


def test_several_labels_have_no_class_weights():
    y = np.column_stack([Y == 0, Y > 1]).astype(int)
    with pytest.raises(ValueError, match="one label per row; use sample_weight"):
        classifier(class_weight="balanced").fit(X, y)


@pytest.mark.parametrize(
    ("y", "by_class"),
    [(Y, {0: 2.0, 1: 1.0, 2: 1.0}), (Y, {np.int64(0): np.float64(2.0)}), (Y, "balanced"),
     (NAMES, {"pear": 2.0, np.str_("apple"): 3})],
    ids=str,
)  # fmt: skip
def test_save_and_pickle(y, by_class, tmp_path):
    model = fitted(classifier(class_weight=by_class), X, y)
    model.save(tmp_path / "model")
    for read in (FastEMClassifier.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert read.class_weight == by_class
        assert same_bits(fitted(clone(read), X, y), model)
