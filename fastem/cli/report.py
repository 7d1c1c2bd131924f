"""Texts of the command line, made from the same content as its JSON."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

_MAX_CLASSES_IN_COLUMNS = 10
_FIGURES = "seconds", "train_log_loss", "test_log_loss", "test_accuracy"
_PENALTY = "penalty A: A/2 times the squared weights, against the summed training log-likelihood"


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


def _plot_lines(content: dict[str, Any]) -> list[str]:
    if "plot" not in content:
        return []
    lines = [f"learning curves written to {content['plot']}"]
    penalties = [row["settings"]["penalty"] for row in content["methods"]]
    if not math.isclose(min(penalties), max(penalties)):
        lines.append("the curves include different penalties; --alpha sets one for both methods")
    return lines


def layers(values: str | Sequence[Any]) -> str:
    """Return sizes or activations of hidden layers from first to last: ``12-8``, ``relu-tanh``."""
    return values if isinstance(values, str) else "-".join(map(str, values))


def _settings(settings: dict[str, Any]) -> str:
    solver = settings.get("solver")
    own = [] if solver is None else [f"{layers(settings['activation'])} units", solver]
    steps = "epochs" if solver in ("sgd", "adam") else "iterations"
    penalty = f"penalty {settings['penalty']:g}"
    if settings["alpha"] != settings["penalty"]:
        penalty += f" (alpha={settings['alpha']:g} of the estimator)"
    return ", ".join([*own, penalty, f"at most {settings['max_iter']} {steps}"])


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
            _compile_line(content),
            f"fit      {layers(content['hidden_layer_sizes'])} hidden units, "
            f"{content['n_iter']} iterations, {end}, {content['seconds']:.4f} s",
            f"train    log-loss {content['train_log_loss']:.4f} nats, "
            f"accuracy {content['train_accuracy']:.4f}",
            f"model    {content['model']}",
        ]
    )


def predict_text(content: dict[str, Any]) -> str:
    """Return predictions as CSV, or the name of the file that has them."""
    if "output" in content:
        return f"{content['predictions']} predictions written to {content['output']}"
    return predictions_csv(content).removesuffix("\n")


def predictions_csv(content: dict[str, Any]) -> str:
    """Return predicted labels and class probabilities as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    predictions = content["predictions"]
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
    classes = data["classes"]
    listed = ", ".join(map(str, classes[:_MAX_CLASSES_IN_COLUMNS]))
    dots = ", ..." if len(classes) > _MAX_CLASSES_IN_COLUMNS else ""
    sizes = f"{data['rows']} rows, {data['features']} features, {len(classes)} classes"
    return f"data     {data['name']}: {sizes} ({listed}{dots})"


def _compile_line(content: dict[str, Any]) -> str:
    seconds = content["compile_seconds"]
    return f"compile  {seconds:.2f} s to compile and warm up, not included in the seconds below"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text: first column left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)
