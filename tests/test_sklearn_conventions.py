"""scikit-learn's own checks. Only a check that cannot hold is expected to fail."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from fastem import FastEMClassifier, FastEMRegressor


@parametrize_with_checks(
    [
        FastEMClassifier((3,), alpha=0.15, n_jobs=1),
        FastEMClassifier((3,), alpha=0.15, solver="adam", n_jobs=1),
        FastEMRegressor((3,), alpha=0.5, n_jobs=1),
        FastEMRegressor((3,), alpha=0.5, solver="adam", variance_floor=0.05, n_jobs=1),
    ]
)
def test_scikit_learn_accepts_the_estimator(estimator, check):
    check(estimator)


_BATCHES_DIFFER = {
    f"check_sample_weight_equivalence_on_{form}_data": "a repeated row is in several batches"
    for form in ("dense", "sparse")
}


@parametrize_with_checks(
    [
        FastEMClassifier((3,), alpha=0.15, solver="adam", batch_size=10, n_jobs=1),
        FastEMRegressor(
            (3,), alpha=0.5, solver="adam", batch_size=10, variance_floor=0.05, n_jobs=1
        ),
    ],
    expected_failed_checks=lambda _: _BATCHES_DIFFER,
)
def test_scikit_learn_accepts_mini_batches(estimator, check):
    check(estimator)
