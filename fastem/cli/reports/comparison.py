"""The text of a comparison, made from the same content as its JSON."""

import math
import statistics
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from fastem.cli.comparison.baselines import BOOSTING_NAME, LINEAR_NAMES
from fastem.cli.messages import counted
from fastem.cli.reports.layout import (
    MAX_CLASSES_IN_COLUMNS,
    aligned,
    compile_line,
    data_line,
    format_of,
)

_N_PREDICTIONS = 5
_WIDTH = 100
_NOTE_OF_DIFFERENCE = "minus EM: test loss minus that of EM; negative is better than EM"
_TREES = "many small decision trees, each of which corrects the errors of those before it"
_LINEAR = {
    "class": "a linear model of the classes",
    "regression": "a linear model",
    "count": "a linear model of the logarithm of the mean count",
}


def comparison_text(content: dict[str, Any]) -> str:
    """Return a comparison as text: rows, table of the methods, predictions, result in words."""
    data, predictions = content["data"], content["predictions"][:_N_PREDICTIONS]
    is_class = "classes" in data
    reference = content["methods"][0]["method"]
    of_split = " of the first split" if data["splits"] > 1 else ""
    return "\n".join(
        [
            data_line(data),
            _split_line(data),
            compile_line(content),
            "",
            _table(content),
            *_column_notes(content),
            "",
            *(_method_text(row, data) for row in content["methods"]),
            *_plot_lines(content),
            "",
            f"predictions of {reference} for {counted(len(predictions), 'test row')}{of_split}",
            _class_predictions(data["classes"], predictions)
            if is_class
            else _number_predictions(data, predictions),
            "",
            _result_line(content),
        ]
    )


def _split_line(data: dict[str, Any]) -> str:
    n_splits, seeds = data["splits"], data["seeds"]
    parts = f"{counted(data['train'], 'row')} for training, {data['test']} for testing"
    drawn = f"seed {seeds[0]}" if n_splits == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    times = "" if n_splits == 1 else f"{n_splits} times: "
    share = ", stratified by class" if "classes" in data else ""
    text = f"split    {times}{parts}, drawn at random ({drawn}){share}"
    return textwrap.fill(text, _WIDTH, subsequent_indent=9 * " ")


def _table(content: dict[str, Any]) -> str:
    data = content["data"]
    header = ["method", "test loss", "minus EM"]
    if "classes" in data:
        header += ["test accuracy", "train loss"]
    else:
        header += ["deviance" if data["task"] == "count" else "RMSE", "coverage", "width"]
    rows = []
    for row in content["methods"]:
        errors, difference = row["standard_errors"], row["test_loss_minus_EM"]
        loss = "test_log_loss"
        if "classes" in data:
            more = [
                _with_error(row["test_accuracy"], errors["test_accuracy"]),
                f"{row['train_log_loss']:.4f}",
            ]
        else:
            is_count, in_unit = data["task"] == "count", format_of(data)
            loss = "test_log_probability" if is_count else "test_log_density"
            error, as_text = ("test_deviance", _figure) if is_count else ("test_rmse", in_unit)
            more = [
                _with_error(row[error], errors[error], as_text),
                f"{row['test_coverage']:.4f}",
                in_unit(row["test_width"]),
            ]
        minus = "-"
        if difference is not None:
            minus = _with_error(difference["mean"], difference["standard_error"], _signed)
        first = _with_error(row["test_loss"], errors[loss])
        rows.append([row["method"], first, minus, *more, f"{row['seconds']:.4f}"])
    return aligned([[*header, "seconds"], *rows])


def _with_error(
    value: float, error: float | None, as_text: Callable[[float], str] | None = None
) -> str:
    as_text = as_text or _figure
    return as_text(value) + ("" if error is None else f" +- {as_text(error).removeprefix('+')}")


def _figure(value: float) -> str:
    size = abs(value)
    return f"{value:{'.4f' if size < 1e3 else '.1f' if size < 1e6 else '.4g'}}"


def _signed(value: float) -> str:
    text = _figure(abs(value))
    return text if float(text) == 0.0 else ("-" if value < 0 else "+") + text


def _precise(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 1e-3 else _figure(value)


def _column_notes(content: dict[str, Any]) -> list[str]:
    data = content["data"]
    if "classes" in data:
        notes = [
            "test loss: how badly the predicted probabilities agree with the classes of the test "
            "rows (mean log-loss); lower is better",
            _NOTE_OF_DIFFERENCE,
            "test accuracy: share of the test rows whose most probable class is right; higher is "
            "better",
            "train loss: the same loss on the training rows; a much lower value than the test "
            "loss shows overfitting",
        ]
    else:
        is_count = data["task"] == "count"
        what, of = ("probability", "counts") if is_count else ("density", "numbers")
        error = "RMSE: typical size of the error of the predicted mean"
        if is_count:
            error = "deviance: error of the predicted mean (mean Poisson deviance)"
        ideal = "0.9 or more, because counts are whole" if is_count else "0.9"
        notes = [
            f"test loss: how badly the predicted distributions agree with the {of} of the test "
            f"rows (minus the mean log {what}); lower is better",
            _NOTE_OF_DIFFERENCE,
            f"{error}; lower is better",
            "coverage: share of the test rows whose true value lies in the predicted 90 % "
            f"interval; best is {ideal}",
            "width: mean width of this interval; narrower is better at the same coverage",
        ]
    if data["splits"] == 1:
        notes.append("seconds: time to train; lower is better")
        notes.append("+-: standard error, from the differences of the single test rows")
    else:
        notes.append("seconds: time to train, median of the splits; lower is better")
        notes.append(
            f"All other columns are means of the {data['splits']} splits. +-: standard error of "
            "the mean, corrected because the splits share rows (Nadeau and Bengio, 2003); few "
            "splits give only a rough value."
        )
    for label, number in content["classes_without_training_rows"].items():
        notes.append(
            f"Class {label} has no training row in {counted(number, 'split')}: all methods give "
            "it the probability 0 there, which counts as a loss of 36."
        )
    return [_wrapped(note) for note in notes]


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="    ", break_on_hyphens=False)


def _method_text(row: dict[str, Any], data: dict[str, Any]) -> str:
    """Return what a method is, and how it was trained."""
    settings, name = row["settings"], row["method"]
    if name == BOOSTING_NAME:
        what = _TREES
    elif name in LINEAR_NAMES.values():
        what = _LINEAR[data.get("task", "class")]
    elif "solver" in settings:
        kinds = settings["activation"]
        kinds = kinds if isinstance(kinds, str) else " and ".join(kinds)
        what = f"a usual neural network {_units(row)} ({kinds}), "
        what += f"trained by gradient steps ({settings['solver']})"
    else:
        verb = "is" if row["hidden_layer_sizes"] == [1] else "are"
        what = f"a neural network {_units(row)} that {verb} on or off at random, trained by "
        is_sampled = settings["e_step"] == "sampling"
        what += "EM with sampled states" if is_sampled else "the exact EM algorithm"
    parts = [what]
    if "distribution" in settings:
        parts.append(f"predicts a {_distribution(row, format_of(data))}")
    return _wrapped(f"{name}: {'; '.join([*parts, *_penalty(row), *_training(row)])}")


def _units(row: dict[str, Any]) -> str:
    sizes = row["hidden_layer_sizes"]
    differ = any(run["hidden_layer_sizes"] != sizes for run in row["splits"])
    where = " in the first split" if differ else ""
    if len(sizes) == 1:
        return f"with {counted(sizes[0], 'hidden unit')}{where}"
    return f"with hidden layers of {' and '.join(map(str, sizes))} units{where}"


def _distribution(row: dict[str, Any], in_unit: Callable[[float], str]) -> str:
    settings = [run["settings"] for run in row["splits"]]
    text, name = settings[0]["distribution"], "standard_deviation"
    if name in settings[0]:
        seconds = statistics.median(x[f"{name}_seconds"] for x in settings)
        text += f" {_range([x[name] for x in settings], in_unit)}, from "
        text += f"{settings[0][f'{name}_from']} of the training rows ({seconds:.2f} s more)"
    return text


def _range(values: Sequence[float], as_text: Callable[[float], str]) -> str:
    low, high = as_text(min(values)), as_text(max(values))
    return low if low == high else f"{low} to {high}"


def _penalty(row: dict[str, Any]) -> list[str]:
    if "penalty" not in row["settings"]:
        return []
    settings = [run["settings"] for run in row["splits"]]
    values = _range([x["penalty"] for x in settings], lambda value: f"{value:.3g}")
    text = f"penalty on large weights: {values}"
    if settings[0].get("alpha") == "auto":
        chosen = all(x["penalty_chosen"] for x in settings)
        few = "fixed, because there are too few rows to choose one"
        text += f" ({'chosen on held-out training rows' if chosen else few})"
    return [text]


def _training(row: dict[str, Any]) -> list[str]:
    """Return after how many iterations the training ended, and why."""
    settings, n_iter, runs = row["settings"], row["n_iter"], row["splits"]
    if n_iter is None:
        return ["solved in one step"]
    noun = "epoch" if settings.get("solver") in ("sgd", "adam") else "iteration"
    median = " (median)" if len({run["n_iter"] for run in runs}) > 1 else ""
    if row["converged"] is None:
        return [f"{counted(n_iter, 'round')} of trees{median}"]
    if row["converged"]:
        return [f"converged after {counted(n_iter, noun)}{median}"]
    early = sum(not run["converged"] for run in runs)
    where = "" if len(runs) == 1 else f" in {early} of {len(runs)} splits"
    text = f"not yet converged at the limit of {counted(settings['max_iter'], noun)}{where}"
    if "e_step" in settings:
        return [f"{text}; --max-iter allows more"]
    return [f"{text}; --epochs allows more" if "solver" in settings else text]


def _plot_lines(content: dict[str, Any]) -> list[str]:
    if "plot" not in content:
        return []
    lines = [f"learning curves written to {content['plot']}"]
    drawn = {curve["method"] for curve in content["learning_curves"]}
    penalties = [row["settings"]["penalty"] for row in content["methods"] if row["method"] in drawn]
    if not math.isclose(min(penalties), max(penalties)):
        lines.append(
            "the curves do not contain the penalties, which differ between the methods; "
            "--alpha sets one for both"
        )
    return lines


def _class_predictions(classes: Sequence[Any], predictions: Sequence[dict[str, Any]]) -> str:
    few = len(classes) <= MAX_CLASSES_IN_COLUMNS
    rows = [["true", "predicted", *([f"P({k})" for k in classes] if few else ["most probable"])]]
    for row in predictions:
        by_class = row["probabilities"]
        if few:
            cells = [f"{p:.4f}" for p in by_class.values()]
        else:
            best = sorted(by_class, key=by_class.get, reverse=True)[:3]
            cells = [", ".join(f"{k} {by_class[k]:.4f}" for k in best)]
        rows.append([str(row["label"]), str(row["predicted"]), *cells])
    return aligned(rows)


def _number_predictions(data: dict[str, Any], predictions: Sequence[dict[str, Any]]) -> str:
    in_unit = format_of(data)
    exact = (lambda value: f"{value:.0f}") if data["task"] == "count" else in_unit
    header = ["true", "predicted", "5 % quantile", "95 % quantile"]
    rows = [
        [exact(x["true"]), in_unit(x["predicted"]), exact(x["q05"]), exact(x["q95"])]
        for x in predictions
    ]
    return aligned([header, *rows], n_left=0)


def _result_line(content: dict[str, Any]) -> str:
    result = content["result"]
    best, other = result["lowest_test_loss"], result["compared_with"]
    other = f"the next, {other}," if best == content["methods"][0]["method"] else other
    text = f"Result: {best} has the lowest test loss. The difference to {other} is "
    text += _with_error(result["difference"], result["standard_error"], _precise)
    if result["may_be_chance"] is None:
        return _wrapped(f"{text}, from a single test row.")
    limit = f"{result['limit']:.1f} standard errors"
    is_single = content["data"]["splits"] == 1
    number = content["data"]["test"] if is_single else content["data"]["splits"]
    few = f"{number} {'test rows' if is_single else 'splits'}"
    if result["may_be_chance"]:
        text += f". It can be chance: with {few}, differences up to {limit} can (5 % level)."
    else:
        text += f". It is hardly chance: with {few}, chance rarely exceeds {limit} (5 % level)."
    if is_single:
        text += " Other training rows can change the order: --splits 10 tries ten splits."
    return _wrapped(text)
