"""Steps of pipelines that skl2onnx does not convert, or not as scikit-learn evaluates them."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from fastem.estimators import FastEMClassifier, FastEMRegressor
from fastem.onnx.nodes import Nodes


class HiddenUnits(TransformerMixin, BaseEstimator):
    """Method `transform` of a fitted model as a transformer: the first layer's probabilities.

    In a pipeline, skl2onnx cannot distinguish a model that transforms from one that predicts.

    Parameters
    ----------
    model : FastEMClassifier or FastEMRegressor
    """

    def __init__(self, model: FastEMClassifier | FastEMRegressor) -> None:
        check_is_fitted(model)
        self.model = model
        self.n_features_in_ = model.n_features_in_

    @property
    def n_outputs(self) -> int:
        """Number of units of the first hidden layer."""
        return len(self.model.intercepts_[0])

    def append(self, nodes: Nodes, inputs: list[str]) -> str:
        """Return P(Z_h = 1 | x), a float64 tensor (n_samples, n_hidden)."""
        X = nodes.cast(inputs[0], np.float64)
        coefs, intercepts = self.model.coefs_[0], self.model.intercepts_[0]
        return nodes.logistic(nodes.affine(X, coefs, intercepts))


class Imputed(TransformerMixin, BaseEstimator):
    """A fitted `SimpleImputer` of numbers; ONNX Runtime has the operator Imputer in float32 only.

    Parameters
    ----------
    imputer : SimpleImputer
    """

    def __init__(self, imputer: SimpleImputer) -> None:
        self.imputer = imputer
        self.n_features_in_ = imputer.n_features_in_

    @staticmethod
    def supports(imputer: SimpleImputer) -> bool:
        """Whether all columns are numbers that stay columns, and NaN is the missing value."""
        values = np.asarray(imputer.statistics_)
        is_number = values.dtype.kind == "f" and bool(np.isfinite(values).all())
        is_nan = isinstance(imputer.missing_values, float) and np.isnan(imputer.missing_values)
        return is_number and is_nan and not imputer.add_indicator

    @property
    def n_outputs(self) -> int:
        """Number of columns."""
        return len(self.imputer.statistics_)

    def append(self, nodes: Nodes, inputs: list[str]) -> str:
        """Return the columns, a float64 tensor (n_samples, n_columns)."""
        return _imputed(nodes, nodes.cast(inputs[0], np.float64), self.imputer)


class Columns(TransformerMixin, BaseEstimator):
    """The step "preparation" of `load_pipeline`: columns of a table become features.

    Parameters
    ----------
    preparation : Pipeline
        Its first step selects the columns by their kinds, its second step is a `ColumnTransformer`.

    Attributes
    ----------
    kinds : dict of str to {"number", "text", "boolean"}
        The input of a number column is real. The other inputs are text: booleans are "True" and
        "False", and a missing value is the empty text.
    """

    def __init__(self, preparation: Pipeline) -> None:
        self.preparation = preparation
        (_, columns), (_, features) = preparation.steps
        self.kinds = columns.kw_args["kinds"]
        self._branches = features.named_transformers_

    @property
    def n_outputs(self) -> int:
        """Number of features."""
        return len(self.preparation.get_feature_names_out())

    def append(self, nodes: Nodes, inputs: list[str]) -> str:
        """Return the features, a float64 tensor (n_samples, n_features)."""
        named = list(zip(self.kinds.values(), inputs, strict=True))
        numbers = [nodes.cast(x, np.float64) for kind, x in named if kind == "number"]
        texts = [x for kind, x in named if kind != "number"]
        features = []
        if numbers:
            raw = nodes.add("Concat", *numbers, axis=1)
            has_median = isinstance(self._branches["number"], SimpleImputer)
            features.append(_imputed(nodes, raw, self._branches["number"]) if has_median else raw)
            if has_median:
                found = self._branches["missing"].steps[0][1].features_
                chosen = nodes.add("Gather", raw, nodes.constant(found), axis=1)
                features.append(nodes.cast(nodes.add("IsNaN", chosen), np.float64))
        if texts:
            encoder = self._branches["category"]
            pairs = zip(texts, encoder.categories_, strict=True)
            features += [_one_hot(nodes, text, categories) for text, categories in pairs]
        return nodes.add("Concat", *features, axis=1)


def _imputed(nodes: Nodes, values: str, imputer: SimpleImputer) -> str:
    """Return float64 values with statistics in place of NaN."""
    statistics = nodes.constant(np.asarray(imputer.statistics_, dtype=np.float64))
    return nodes.add("Where", nodes.add("IsNaN", values), statistics, values)


def _one_hot(nodes: Nodes, text: str, categories: np.ndarray) -> str:
    """Return one float64 column per category; zeros for other texts."""
    keys = [value if isinstance(value, str) else "" for value in categories]
    positions = list(range(len(keys)))
    position = nodes.add(
        "LabelEncoder", text, op_domain="ai.onnx.ml", op_version=2,
        keys_strings=keys, values_int64s=positions, default_int64=-1,
    )  # fmt: skip
    return nodes.cast(nodes.add("Equal", position, nodes.constant(np.array(positions))), np.float64)


STEPS = (HiddenUnits, Imputed, Columns)
