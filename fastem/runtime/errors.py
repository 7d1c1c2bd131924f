"""Errors that several rooms of the package raise."""


class DivergenceError(ValueError, FloatingPointError):
    """Training diverged: the weights or the objective are no longer finite numbers.

    All three estimators raise it. Code that catches `ValueError` or `FloatingPointError`
    catches it too.

    See Also
    --------
    fastem.FastEMClassifier.fit : Leaves the estimator as it was before the call.
    fastem.FastMLPClassifier.fit : Keeps the last finite weights.

    Examples
    --------
    >>> from fastem import DivergenceError
    >>> issubclass(DivergenceError, ValueError), issubclass(DivergenceError, FloatingPointError)
    (True, True)
    """
