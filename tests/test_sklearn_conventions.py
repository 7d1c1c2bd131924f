"""scikit-learn's own checks, with nothing expected to fail."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from fastem import FastEMClassifier


@parametrize_with_checks([FastEMClassifier((3,), n_jobs=1)])
def test_scikit_learn_accepts_the_estimator(estimator, check):
    check(estimator)
