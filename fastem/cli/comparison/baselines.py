"""Methods of scikit-learn in a comparison: a linear model and gradient boosting.

Both have the defaults of scikit-learn, with three exceptions. Iterations are enough to converge.
Every linear model has the penalty 1 in the unit of EM (see `methods`): the default of logistic and
of ridge regression, where Poisson regression would have the number of rows. Gradient boosting does
not stop early if a class is too rare for its split of the rows.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.cli.comparison.methods import Method, Options, as_density

_MAX_ITERATIONS = 5000
_PENALTY = 1.0
LINEAR_NAMES = {
    "class": "logistic regression",
    "regression": "ridge regression",
    "count": "Poisson regression",
}
BOOSTING_NAME = "gradient boosting"


def linear_model(options: Options, y: NDArray[Any], task: str = "class") -> Method:
    """Return logistic, ridge or Poisson regression on standardised features.

    Parameters
    ----------
    options : Options
        Not used: the solvers need no random numbers.
    y : array (n_samples,)
        Training targets.
    task : {"class", "regression", "count"}, default="class"
    """
    from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    shown: dict[str, Any] = {"penalty": _PENALTY}
    if task == "class":
        model = LogisticRegression(C=1 / _PENALTY, max_iter=_MAX_ITERATIONS)
        shown |= {"C": model.C, "max_iter": model.max_iter}
    elif task == "count":
        model = PoissonRegressor(alpha=_PENALTY / len(y), max_iter=_MAX_ITERATIONS)
        shown |= {"alpha": model.alpha, "max_iter": model.max_iter}
    else:
        model = Ridge(alpha=_PENALTY)
        shown |= {"alpha": model.alpha}
    estimator, distribution = as_density(make_pipeline(StandardScaler(), model), task)
    return Method(LINEAR_NAMES[task], (), estimator, None, distribution | shown, task=task)


def gradient_boosting(options: Options, y: NDArray[Any], task: str = "class") -> Method:
    """Return gradient boosting of decision trees on histograms.

    Parameters
    ----------
    options : Options
        Only the seed is used.
    y : array (n_samples,)
        Training targets.
    task : {"class", "regression", "count"}, default="class"
    """
    from sklearn.base import clone
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    if task == "class":
        model = HistGradientBoostingClassifier(random_state=options.seed)
        if np.unique(y, return_counts=True)[1].min() < 2:
            model.set_params(early_stopping=False)  # its split needs two rows of every class
    else:
        loss = "poisson" if task == "count" else "squared_error"
        model = HistGradientBoostingRegressor(loss=loss, random_state=options.seed)
    names = "early_stopping", "learning_rate", "max_leaf_nodes", "min_samples_leaf"
    shown = {"max_rounds": model.max_iter} | {name: getattr(model, name) for name in names}
    # The first fit of a process starts the threads of OpenMP.
    rehearsal, _ = as_density(clone(model).set_params(max_iter=1), task)
    estimator, distribution = as_density(model, task)
    return Method(BOOSTING_NAME, (), estimator, rehearsal, distribution | shown, task=task)
