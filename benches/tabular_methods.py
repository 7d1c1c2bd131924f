"""Methods of benches/tabular.py: each is a function of the number of rows that returns a pipeline.

Categories become columns of zeros and ones. ``handle_unknown="ignore"`` gives zeros for categories
that the training rows lack. Logistic regression and perceptrons have standardised numbers.
"""

from collections.abc import Callable

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, StratifiedKFold, StratifiedShuffleSplit
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastem

ALPHAS = (1e-4, 1e-2, 0.1, 1.0, 5.0, 30.0)
MANY_ROWS = 1000  # above, one held-out split tunes the perceptron, in at most half the epochs
_SCORING = "neg_log_loss"


def on_columns(model: BaseEstimator, scaled: bool = False) -> Pipeline:
    """Return a pipeline that codes categories, scales numbers if required, and fits a model."""
    numbers = StandardScaler() if scaled else "passthrough"
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("categories", categories, make_column_selector(dtype_exclude="number")),
        ]
    )
    return make_pipeline(columns, model)


def em(n_samples: int) -> Pipeline:
    """FastEMClassifier with its defaults."""
    return on_columns(fastem.FastEMClassifier(random_state=0))


def logistic(n_samples: int) -> Pipeline:
    """LogisticRegression with its defaults and enough iterations to converge."""
    return on_columns(LogisticRegression(max_iter=10_000), scaled=True)


def mlp(n_samples: int) -> Pipeline:
    """MLPClassifier with its defaults."""
    return on_columns(MLPClassifier(random_state=0), scaled=True)


def forest(n_samples: int) -> Pipeline:
    """RandomForestClassifier with its defaults."""
    return on_columns(RandomForestClassifier(random_state=0))


def boosting(n_samples: int) -> Pipeline:
    """HistGradientBoostingClassifier with its defaults."""
    return on_columns(HistGradientBoostingClassifier(random_state=0))


def logistic_tuned(n_samples: int) -> Pipeline:
    """Logistic regression; five inner folds choose one of ten penalties."""
    model = LogisticRegressionCV(
        Cs=10,
        l1_ratios=(0.0,),
        cv=StratifiedKFold(5, shuffle=True, random_state=0),
        scoring=_SCORING,
        max_iter=1000,
        use_legacy_attributes=False,
    )
    return on_columns(model, scaled=True)


def mlp_tuned(n_samples: int) -> Pipeline:
    """MLPClassifier; inner folds, or one held-out split of many rows, choose the penalty."""
    inner, max_iter = StratifiedKFold(3, shuffle=True, random_state=0), 1000
    if n_samples > MANY_ROWS:
        inner, max_iter = StratifiedShuffleSplit(1, test_size=0.2, random_state=0), 500
    model = MLPClassifier(max_iter=max_iter, random_state=0)
    search = GridSearchCV(model, {"alpha": ALPHAS}, scoring=_SCORING, cv=inner)
    return on_columns(search, scaled=True)


Method = Callable[[int], Pipeline]
FASTEM: dict[str, Method] = {"em": em}
PEERS: dict[str, Method] = {
    "logistic": logistic,
    "mlp": mlp,
    "forest": forest,
    "boosting": boosting,
    "logistic_tuned": logistic_tuned,
    "mlp_tuned": mlp_tuned,
}
METHODS: dict[str, Method] = {**FASTEM, **PEERS}
BEST_OF = ("logistic_tuned", "mlp_tuned", "forest", "boosting")  # "best peer" is one of these
