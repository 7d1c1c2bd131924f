"""scikit-learn's own checks. Only a check that cannot hold is expected to fail."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastem import FastEMClassifier, FastEMRegressor

# With labels that are noise, the hidden units have no effect.
NO_EFFECT = "ignore:The fit predicts the same for every row"
ADAM = {"solver": "adam", "learning_rate_init": 0.05, "n_jobs": 1}
CLASSIFIER = {"alpha": 0.15, "tol": 1e-3}
REGRESSOR = {"alpha": 0.5, "tol": 1e-2, "variance_floor": 0.05}


@pytest.mark.filterwarnings(NO_EFFECT)
@parametrize_with_checks(
    [
        FastEMClassifier((3,), alpha=0.15, n_jobs=1),
        FastEMClassifier((3,), **CLASSIFIER, **ADAM),
        FastEMRegressor((3,), alpha=0.5, n_jobs=1),
        FastEMRegressor((3,), **REGRESSOR, **ADAM),
    ]
)
def test_scikit_learn_accepts_the_estimator(estimator, check):
    check(estimator)


_BATCHES_DIFFER = {
    f"check_sample_weight_equivalence_on_{form}_data": "a repeated row is in several batches"
    for form in ("dense", "sparse")
}


@pytest.mark.filterwarnings(NO_EFFECT)
@parametrize_with_checks(
    [
        FastEMClassifier((3,), **CLASSIFIER, **ADAM, batch_size=10),
        FastEMRegressor((3,), **REGRESSOR, **ADAM, batch_size=10),
    ],
    expected_failed_checks=lambda _: _BATCHES_DIFFER,
)
def test_scikit_learn_accepts_mini_batches(estimator, check):
    check(estimator)
