"""Compare methods on the same rows: losses on training and test rows, and time of the fit."""

import statistics
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from fastem.cli.comparison.baselines import gradient_boosting, linear_model
from fastem.cli.comparison.fitting import Fit, fit_method, named_errors, one_thread_if_small
from fastem.cli.comparison.methods import Method, Options, backpropagation, exact_em
from fastem.cli.comparison.regression import number_figures, number_predictions, with_deviation
from fastem.cli.comparison.splits import Split, split_rows
from fastem.cli.comparison.summaries import corrected_standard_error, paired_difference, verdict
from fastem.cli.tables.datasets import Dataset
from fastem.parameters import Array
from fastem.plotting import final_step, loss_curve
from fastem.runtime import doing

METHODS = (exact_em, backpropagation, linear_model, gradient_boosting)
N_PREDICTIONS = 10
_SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
_PENALTY_UNIT = (
    "half the sum of squared weights (of standardised features, without intercepts) times the "
    "penalty, against the summed log-likelihood of the training rows in nats"
)
_PENALTY_INSTEAD = (
    "; except for EM, against half the summed squared errors of the standardised target"
)


class Run(NamedTuple):
    """One method on one split.

    Attributes
    ----------
    fit : Fit
        Its estimator is None except for the first split.
    figures : dict of str to float
        Losses and errors; log-losses and log densities are means in nats.
    losses : array (n_test,)
        Minus the log probability, or log density, of every test row, in nats.
    """

    fit: Fit
    figures: dict[str, float]
    losses: Array


class Comparison(NamedTuple):
    """Result of `compare`.

    Attributes
    ----------
    dataset : Dataset
        All rows, before the split.
    n_train, n_test : int
        Rows in both parts of every split.
    seeds : list of int
        One per split.
    runs : dict of str to list of Run
        By the names of the methods: one run per split.
    predictions : list of dict
        Predictions of the first method for the first test rows of the first split.
    untrained_classes : dict of str to int
        Classes without training rows in some splits, and the numbers of these splits.
    """

    dataset: Dataset
    n_train: int
    n_test: int
    seeds: list[int]
    runs: dict[str, list[Run]]
    predictions: list[dict[str, Any]]
    untrained_classes: dict[str, int]

    @property
    def estimators(self) -> dict[str, Any]:
        """Fitted estimators of the first split, by the names of their methods."""
        return {name: runs[0].fit.estimator for name, runs in self.runs.items()}

    @property
    def networks(self) -> dict[str, Any]:
        """Those `estimators` that have recorded a loss curve."""
        return {
            name: estimator
            for name, estimator in self.estimators.items()
            if hasattr(final_step(estimator), "loss_curve_")
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain Python values that JSON can store.

        Figures of a method are means over the splits; ``seconds`` and ``n_iter`` are medians;
        ``converged`` is whether all fits converged. Hidden units and settings are those of the
        first split. ``splits`` contains all of them for every split.
        """
        n_splits = len(self.seeds)
        sizes = {"train": self.n_train, "test": self.n_test}
        seeds = {"seed": self.seeds[0], "splits": n_splits, "seeds": self.seeds}
        fits = [run.fit for runs in self.runs.values() for run in runs]
        differences = self._differences()
        losses = {
            name: float(np.mean([np.mean(run.losses) for run in runs]))
            for name, runs in self.runs.items()
        }
        reference = next(iter(self.runs))
        unit = _PENALTY_UNIT + ("" if self.dataset.task != "regression" else _PENALTY_INSTEAD)
        n_values = n_splits if n_splits > 1 else self.n_test
        return {
            "data": self.dataset.describe() | sizes | seeds,
            "compile_seconds": sum(fit.compile_seconds for fit in fits),
            "methods": [
                self._summary(name, losses[name], differences.get(name)) for name in self.runs
            ],
            "standard_errors_of": "splits" if n_splits > 1 else "test rows",
            "result": verdict(losses, differences, reference, n_values),
            "penalty_unit": unit,
            "classes_without_training_rows": self.untrained_classes,
            "predictions": self.predictions,
            "learning_curves": learning_curves(self.networks),
        }

    def _differences(self) -> dict[str, tuple[float, float | None]]:
        """Return differences of test losses to the first method, with their standard errors."""
        losses = {name: [run.losses for run in runs] for name, runs in self.runs.items()}
        (_, reference), *others = losses.items()
        return {name: paired_difference(x, reference, self.n_train) for name, x in others}

    def _summary(
        self, name: str, loss: float, difference: tuple[float, float | None] | None
    ) -> dict[str, Any]:
        runs = self.runs[name]
        columns = {figure: [run.figures[figure] for run in runs] for figure in runs[0].figures}
        keys = "mean", "standard_error"
        rows = [
            {
                "seed": seed,
                "hidden_layer_sizes": list(run.fit.hidden_layer_sizes),
                "n_iter": run.fit.n_iter,
                "converged": run.fit.converged,
                "seconds": run.fit.seconds,
                **run.figures,
                "settings": run.fit.settings,
            }
            for seed, run in zip(self.seeds, runs, strict=True)
        ]
        first = rows[0]
        counts = [row["n_iter"] for row in rows]
        verdicts = [row["converged"] for row in rows]
        return {
            "method": name,
            "hidden_layer_sizes": first["hidden_layer_sizes"],
            "n_iter": None if counts[0] is None else round(statistics.median(counts)),
            "converged": None if verdicts[0] is None else all(verdicts),
            "seconds": statistics.median(row["seconds"] for row in rows),
            "test_loss": loss,
            **{figure: statistics.fmean(values) for figure, values in columns.items()},
            "standard_errors": {
                figure: corrected_standard_error(values, self.n_train, self.n_test)
                for figure, values in columns.items()
            },
            "test_loss_minus_EM": difference and dict(zip(keys, difference, strict=True)),
            "settings": first["settings"],
            "splits": rows,
        }


def compare(
    dataset: Dataset, options: Options, *, test_size: float = 0.25, n_splits: int = 1
) -> Comparison:
    """Fit every method on the same training rows, and evaluate it on the same test rows.

    Parameters
    ----------
    dataset : Dataset
    options : Options
        Options of the networks; its seed is also the seed of the first split.
    test_size : float
        Share of the rows for testing, stratified by class.
    n_splits : int
        Number of random splits. Split k has the seed ``options.seed + k`` and is the same as
        the only split with this seed.

    Returns
    -------
    comparison : Comparison

    Raises
    ------
    ValueError
        If the rows cannot be split, or if a method rejects them or diverges. Then the message
        starts with the name of the method.
    KeyboardInterrupt
        After Ctrl-C, also if the estimator itself only stops early.
    """
    seeds: list[Any]
    runs: dict[str, Any]
    untrained: dict[str, Any]
    seeds, runs, untrained = [], {}, {}
    for split in split_rows(dataset, test_size, n_splits, options.seed):
        own = options._replace(seed=split.seed)
        for make in METHODS:
            method = make(own, split.y_train, dataset.task)
            number = f"split {len(seeds) + 1} of {n_splits}"
            with doing(number) if n_splits > 1 else nullcontext():
                run = _run(method, split)
            if run.fit.hidden_layer_sizes:  # "auto": all networks have the units of the first
                own = own._replace(hidden_layer_sizes=run.fit.hidden_layer_sizes)
            if seeds:
                run = run._replace(fit=run.fit._replace(estimator=None))
            runs.setdefault(method.name, []).append(run)
        if not seeds:
            first = split
        seeds.append(split.seed)
        if dataset.task == "class":
            for label in np.setdiff1d(dataset.y, split.y_train).tolist():
                untrained[str(label)] = untrained.get(str(label), 0) + 1
    estimator = next(iter(runs.values()))[0].fit.estimator
    with doing("predicting"):
        predictions = _predictions(dataset, estimator, first)
    return Comparison(
        dataset=dataset,
        n_train=len(first.y_train),
        n_test=len(first.y_test),
        seeds=seeds,
        runs=runs,
        predictions=predictions,
        untrained_classes=untrained,
    )


def _run(method: Method, split: Split) -> Run:
    """Fit and evaluate one method on one split."""
    task = method.task
    with named_errors(method), one_thread_if_small(method, split.X_train):
        fit = fit_method(method, split.X_train, split.y_train)
        if fit.interrupted:
            raise KeyboardInterrupt
        with doing("evaluating"):
            if task == "class":
                return Run(fit, *_class_figures(fit.estimator, split))
            fit = with_deviation(fit, split.X_train, split.y_train, split.seed)
            return Run(fit, *number_figures(fit.estimator, split.X_test, split.y_test, task))


def _class_figures(estimator: Any, split: Split) -> tuple[dict[str, float], Array]:
    losses = _log_losses(estimator, split.X_test, split.y_test)
    return {
        "train_log_loss": mean_log_loss(estimator, split.X_train, split.y_train),
        "test_log_loss": float(np.mean(losses)),
        "test_accuracy": float(estimator.score(split.X_test, split.y_test)),
    }, losses


def _predictions(dataset: Dataset, estimator: Any, split: Split) -> list[dict[str, Any]]:
    """Return true values and predictions of the first test rows."""
    shown = slice(N_PREDICTIONS)
    truth = split.y_test[shown].tolist()
    if dataset.task != "class":
        rows = number_predictions(estimator, split.X_test[shown])
        return [{"true": y, **row} for y, row in zip(truth, rows, strict=True)]
    rows = list(class_predictions(estimator, split.X_test[shown]))
    names = list(map(str, np.unique(dataset.y).tolist()))
    for row in rows:  # a class without training rows has the probability 0
        found = row["probabilities"]
        row["probabilities"] = {name: found.get(name, 0.0) for name in names}
    return [{"label": y, **row} for y, row in zip(truth, rows, strict=True)]


def learning_curves(estimators: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the recorded losses of fitted estimators, by the names of their methods.

    ``loss`` contains the penalty, and ``data_loss`` does not.
    """
    curves = []
    for name, estimator in estimators.items():
        record = loss_curve(estimator)
        # L-BFGS may end at its starting point
        first = int(record.iterations[0]) if record.iterations.size else None
        curve = {"method": name, "first_iteration": first, "loss": record.objective.tolist()}
        if record.data is not None:
            curve["data_loss"] = record.data.tolist()
        curves.append(curve)
    return curves


def class_predictions(model: Any, X: Any) -> Iterator[dict[str, Any]]:
    """Yield the predicted class and the probability of every class for every row.

    Parameters
    ----------
    model : FastEMClassifier
    X : array or DataFrame (n_samples, n_features)
    """
    names, probabilities = [str(k) for k in model.classes_.tolist()], model.predict_proba(X)
    for label, row in zip(model.predict(X).tolist(), probabilities, strict=True):
        yield {
            "predicted": label,
            "probabilities": dict(zip(names, row.tolist(), strict=True)),
        }


def mean_log_loss(estimator: Any, X: Any, y: Any) -> float:
    """Return the mean of ``-log p(y_i | x_i)``, in nats.

    Probabilities below 2.2e-16 count as 2.2e-16, as in scikit-learn's ``log_loss``: a row has a
    loss of at most 36 nats. A class that the estimator was not trained on has the probability 0.
    """
    return float(np.mean(_log_losses(estimator, X, y)))


def _log_losses(estimator: Any, X: Any, y: Any) -> Array:
    """Return ``-log p(y_i | x_i)`` of every row, in nats."""
    probabilities, classes = estimator.predict_proba(X), estimator.classes_
    columns = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    chosen = np.where(classes[columns] == y, probabilities[np.arange(len(columns)), columns], 0.0)
    return -np.log(np.clip(chosen, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY))
