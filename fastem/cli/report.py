"""Texts of the command line, made from the same content as its JSON."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

_MAX_CLASSES_IN_COLUMNS = 10
_MAX_PARTS = 12  # of the line about columns
_FIGURES = "seconds", "train_log_loss", "test_log_loss", "test_accuracy"
_PENALTY = "penalty A: A/2 times the squared weights, against the summed training log-likelihood"
_INSTEAD = "  (of backpropagation: against half the summed squared errors of standardised y)"


def comparison_text(content: dict[str, Any]) -> str:
    """Return a comparison as text: the data, a table of the methods, and some predictions."""
    data, methods = content["data"], content["methods"]
    header = "method", "hidden", "iterations", "seconds", "train loss", "test loss", "test accuracy"
    rows = [
        [
            row["method"],
            layers(row["hidden_layer_sizes"]),
            f"{row['n_iter']}{'' if row['converged'] else '*'}",
            *(f"{row[figure]:.4f}" for figure in _FIGURES),
        ]
        for row in methods
    ]
    early = "" if all(row["converged"] for row in methods) else "; *: stopped before convergence"
    parts = f"{data['train']} training rows, {data['test']} test rows"
    return "\n".join(
        [
            _data_line(data),
            f"split    {parts}, stratified, seed {data['seed']}",
            _compile_line(content),
            "",
            _aligned([header, *rows]),
            f"loss: mean log-loss in nats, without the penalty{early}",
            *(f"{row['method']}: {_settings(row['settings'])}" for row in methods),
            _PENALTY,
            *_plot_lines(content),
            "",
            f"predictions of {methods[0]['method']} for {len(content['predictions'])} test rows",
            _predictions_table(data["classes"], content["predictions"]),
        ]
    )


def numbers_text(content: dict[str, Any]) -> str:
    """Return a comparison for numbers or counts as text, with the parts of `comparison_text`."""
    data, methods = content["data"], content["methods"]
    in_unit, is_count = _format_of(data), data["task"] == "count"
    log_name = "log probability" if is_count else "log density"
    error, what = "RMSE", "root mean squared error"
    ideal = "the ideal is 0.90"
    if is_count:
        error, what = "deviance", "mean Poisson deviance"
        ideal += ", or more where counts are small"
    header = "method", "hidden", "iterations", "seconds", log_name, error, "coverage", "width"
    rows = [
        [
            row["method"],
            layers(row["hidden_layer_sizes"]),
            f"{row['n_iter']}{'' if row['converged'] else '*'}",
            f"{row['seconds']:.4f}",
            _figure(row["test_log_probability" if is_count else "test_log_density"]),
            _figure(row["test_deviance"]) if is_count else in_unit(row["test_rmse"]),
            f"{row['test_coverage']:.4f}",
            in_unit(row["test_width"]),
        ]
        for row in methods
    ]
    unit = "" if is_count else ", with y in its own unit"
    notes = [
        f"{log_name}: mean over the test rows in nats{unit}; higher is better",
        f"{error}: {what} of the predicted means, on the test rows; lower is better",
        f"coverage: share of test rows with y in the 90 % interval; {ideal}",
        "width: mean width of this interval",
    ]
    if not all(row["converged"] for row in methods):
        notes.append("*: stopped before convergence")
    sizes = f"{data['train']} training rows, {data['test']} test rows"
    return "\n".join(
        [
            _data_line(data),
            f"split    {sizes}, seed {data['seed']}",
            _compile_line(content),
            "",
            _aligned([header, *rows]),
            *notes,
            *(line for row in methods for line in _density_lines(row, in_unit)),
            _PENALTY,
            *([] if is_count else [_INSTEAD]),
            "",
            f"predictions of {methods[0]['method']} for {len(content['predictions'])} test rows",
            _numbers_table(content["predictions"], in_unit, is_count),
        ]
    )


def _density_lines(row: dict[str, Any], in_unit: Callable[[float], str]) -> list[str]:
    settings = row["settings"]
    density = settings["distribution"]
    if "standard_deviation" in settings:
        seconds = settings["standard_deviation_seconds"]
        density += (
            f" {in_unit(settings['standard_deviation'])}, from "
            f"{settings['standard_deviation_from']} of the training rows ({seconds:.4f} s more)"
        )
    return [f"{row['method']}: {text}" for text in (density, _settings(settings))]


def _numbers_table(
    predictions: Sequence[dict[str, Any]], in_unit: Callable[[float], str], is_count: bool
) -> str:
    exact = (lambda value: f"{value:.0f}") if is_count else in_unit
    header = ["true", "predicted", "5 % quantile", "95 % quantile"]
    rows = [
        [exact(x["true"]), in_unit(x["predicted"]), exact(x["q05"]), exact(x["q95"])]
        for x in predictions
    ]
    return _aligned([header, *rows], n_left=0)


def _figure(value: float) -> str:
    return f"{value:{'.4f' if abs(value) < 1e6 else '.4g'}}"


def _format_of(data: dict[str, Any]) -> Callable[[float], str]:
    """Return a format of numbers in the unit of y: their deviation has four digits."""
    place = math.floor(math.log10(data["y"]["standard_deviation"]))
    decimals = f".{max(0, 3 - place)}f" if -6 <= place <= 9 else ".4g"
    return lambda value: f"{value:{decimals if abs(value) < 1e15 else '.4g'}}"


def _plot_lines(content: dict[str, Any]) -> list[str]:
    if "plot" not in content:
        return []
    lines = [f"learning curves written to {content['plot']}"]
    penalties = [row["settings"]["penalty"] for row in content["methods"]]
    if not math.isclose(min(penalties), max(penalties)):
        lines.append(
            "the curves do not contain the penalties, which differ between the methods; "
            "--alpha sets one for both"
        )
    return lines


def layers(values: str | Sequence[Any]) -> str:
    """Return sizes or activations of hidden layers from first to last: ``12-8``, ``relu-tanh``."""
    return values if isinstance(values, str) else "-".join(map(str, values))


def _settings(settings: dict[str, Any]) -> str:
    solver = settings.get("solver")
    own = [] if solver is None else [f"{layers(settings['activation'])} units", solver]
    steps = "epochs" if solver in ("sgd", "adam") else "iterations"
    return ", ".join([*own, _penalty(settings), f"at most {settings['max_iter']} {steps}"])


def _penalty(settings: dict[str, Any]) -> str:
    text = f"penalty {settings['penalty']:.3g}"
    if settings["alpha"] == "auto":
        few = "fixed, because there are too few rows to choose one"
        return f"{text} ({'chosen on held-out rows' if settings['penalty_chosen'] else few})"
    text = f"penalty {settings['penalty']:g}"
    if settings["alpha"] != settings["penalty"]:
        text += f" (alpha={settings['alpha']:g} of the estimator)"
    return text


def _predictions_table(classes: Sequence[Any], predictions: Sequence[dict[str, Any]]) -> str:
    few = len(classes) <= _MAX_CLASSES_IN_COLUMNS
    rows = [["label", "predicted", *([f"P({k})" for k in classes] if few else ["most probable"])]]
    for row in predictions:
        by_class = row["probabilities"]
        if few:
            cells = [f"{p:.4f}" for p in by_class.values()]
        else:
            best = sorted(by_class, key=by_class.get, reverse=True)[:3]
            cells = [", ".join(f"{k} {by_class[k]:.4f}" for k in best)]
        rows.append([str(row["label"]), str(row["predicted"]), *cells])
    return _aligned(rows)


def fit_text(content: dict[str, Any]) -> str:
    """Return the result of a fit as text."""
    end = "converged" if content["converged"] else "stopped before convergence"
    return "\n".join(
        [
            _data_line(content["data"]),
            *_columns_lines(content.get("preparation", [])),
            _compile_line(content),
            f"fit      {layers(content['hidden_layer_sizes'])} hidden units, "
            f"{content['n_iter']} iterations, {end}, {content['seconds']:.4f} s",
            f"penalty  {_penalty(content['settings']).removeprefix('penalty ')}",
            f"train    {_training_figures(content)}",
            f"model    {content['model']}",
        ]
    )


def _columns_lines(columns: Sequence[dict[str, Any]]) -> list[str]:
    """Return how the columns of a file became features, in one line."""
    if not columns:
        return []
    numbers = [column for column in columns if column["kind"] == "number"]
    parts = [f"{len(numbers)} number{'' if len(numbers) == 1 else 's'}"] if numbers else []
    for column in columns:
        name, missing = column["column"], column["missing"]
        if column["kind"] == "number" and missing:
            values = f"{missing} missing value{'' if missing == 1 else 's'}"
            parts.append(f"{name}: {values} imputed by the median {column['median']:.6g}")
        elif column["kind"] != "number":
            n = len(column["categories"])
            categories = f"{n} categor{'y' if n == 1 else 'ies'}"
            kind = "boolean" if column["kind"] == "boolean" else categories
            parts.append(f"{name} ({kind}{f', {missing} missing' if missing else ''})")
    more = len(parts) - _MAX_PARTS
    shown = ", ".join(parts[:_MAX_PARTS])
    return [f"columns  {shown}{f' and {more} more' if more > 0 else ''}"]


def _training_figures(content: dict[str, Any]) -> str:
    if "train_log_loss" in content:
        loss, accuracy = content["train_log_loss"], content["train_accuracy"]
        return f"log-loss {loss:.4f} nats, accuracy {accuracy:.4f}"
    if "train_d2" in content:
        return (
            f"log probability {content['train_log_probability']:.4f} nats per row, mean Poisson "
            f"deviance {content['train_deviance']:.4f}, D^2 {content['train_d2']:.4f}"
        )
    rmse = _format_of(content["data"])(content["train_rmse"])
    density = f"log density {content['train_log_density']:.4f} nats per row"
    return f"{density}, RMSE {rmse}, R^2 {content['train_r2']:.4f}"


def predict_text(content: dict[str, Any]) -> str:
    """Return predictions as CSV, or the name of the file that has them."""
    if "output" in content:
        return f"{content['predictions']} predictions written to {content['output']}"
    return predictions_csv(content).removesuffix("\n")


def predictions_csv(content: dict[str, Any]) -> str:
    """Return predicted labels and class probabilities, or numbers and their spread, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    predictions = content["predictions"]
    if "probabilities" not in predictions[0]:
        writer.writerows([list(predictions[0]), *(row.values() for row in predictions)])
        return text.getvalue()
    writer.writerow(["predicted", *(f"probability_{k}" for k in predictions[0]["probabilities"])])
    writer.writerows([row["predicted"], *row["probabilities"].values()] for row in predictions)
    return text.getvalue()


def scaling_text(content: dict[str, Any]) -> str:
    """Return a profile of E-steps as text: a table of times, and how they grow."""
    first = content["rows"][0]
    header = "engine", "n", "m", "configurations", "time", "ns/config", "dgemm share", "memory"
    rows = [
        [
            row["engine"],
            str(row["n_samples"]),
            str(row["n_hidden"]),
            str(row["n_configs"]),
            _in_units(row["seconds"], [(1.0, "s"), (1e-3, "ms"), (1e-6, "us")]),
            f"{row['ns_per_configuration']:.3g}",
            "-" if row["share_of_dgemm"] is None else f"{row['share_of_dgemm']:.2f}",
            _in_units(row["bytes"], [(2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")]),
        ]
        for row in content["rows"]
    ]
    return "\n".join(
        [
            f"exact E-steps with gradients: n rows, m hidden units, {first['n_classes']} classes, "
            f"{first['n_threads']} thread(s)",
            "",
            _aligned([header, *rows]),
            "",
            "time: minimum of several runs; ns/config: nanoseconds per row and configuration",
            "dgemm share: rate of 6 n 2^m flops relative to a matrix product on the same threads",
            *_growth_lines(content),
            *(
                f"{' and '.join(x['engines'])} take equal time at n = {x['n_samples']}, "
                f"m = {x['n_hidden']:.1f}"
                for x in content["crossings"]
            ),
            *_skipped_lines(content["skipped"]),
        ]
    )


def _growth_lines(content: dict[str, Any]) -> list[str]:
    few = "not fitted, fewer than three sizes take ten times the overhead"
    lines = []
    for fit in content["by_hidden"]:
        text = few
        if (slope := fit["slope"]) is not None:
            value = f"{slope['value']:.3f} +- {slope['standard_error']:.3f}"
            text = f"{value} doublings of time per hidden unit, from m = {_ranges(slope['sizes'])}"
        lines.append(f"growth of {fit['engine']} at n = {fit['n_samples']}: {text}")
    for fit in content["by_samples"]:
        if (slope := fit["slope"]) is not None:
            value = f"{slope['value']:.3f} +- {slope['standard_error']:.3f}"
            sizes = ", ".join(map(str, slope["sizes"]))
            text = f"time is proportional to n^({value}), from n = {sizes}"
            lines.append(f"growth of {fit['engine']} at m = {fit['n_hidden']}: {text}")
    without = [fit["n_hidden"] for fit in content["by_samples"] if fit["slope"] is None]
    if without:
        lines.append(f"growth with n at m = {_ranges(sorted(set(without)))}: {few}")
    return lines


def _skipped_lines(skipped: Sequence[dict[str, Any]]) -> list[str]:
    """Return one line for every engine and number of rows, with the first reason."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for skip in skipped:
        groups.setdefault((skip["engine"], skip["n_samples"]), []).append(skip)
    return [
        f"skipped: {engine}, n = {n}, m = {_ranges([x['n_hidden'] for x in group])}: "
        f"{group[0]['reason']}"
        for (engine, n), group in groups.items()
    ]


def _ranges(numbers: Sequence[int]) -> str:
    """Return ascending integers as text, for example ``4-6, 10``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _in_units(value: float, units: Sequence[tuple[float, str]]) -> str:
    """Return a value in the largest unit that is not above it, or in the smallest unit."""
    size, name = next((unit for unit in units if value >= unit[0]), units[-1])
    number = value / size  # up to 1023 for bytes
    return (f"{number:#.3g}".removesuffix(".") if number < 999.5 else f"{number:.0f}") + f" {name}"


def _data_line(data: dict[str, Any]) -> str:
    sizes = f"{data['rows']} rows, {data['features']} features"
    if "y" in data:
        kind = "counts" if data["task"] == "count" else "numbers"
        names = "minimum", "maximum", "mean", "standard_deviation"
        low, high, mean, deviation = (f"{data['y'][name]:.4g}" for name in names)
        target = f"{kind} from {low} to {high} (mean {mean}, standard deviation {deviation})"
        return f"data     {data['name']}: {sizes}, {target}"
    classes = data["classes"]
    listed = ", ".join(map(str, classes[:_MAX_CLASSES_IN_COLUMNS]))
    dots = ", ..." if len(classes) > _MAX_CLASSES_IN_COLUMNS else ""
    return f"data     {data['name']}: {sizes}, {len(classes)} classes ({listed}{dots})"


def _compile_line(content: dict[str, Any]) -> str:
    seconds = content["compile_seconds"]
    return f"compile  {seconds:.2f} s to compile and warm up, not included in the seconds below"


def _aligned(rows: Sequence[Sequence[str]], n_left: int = 1) -> str:
    """Return a table as text: the first ``n_left`` columns left-aligned, others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < n_left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)
