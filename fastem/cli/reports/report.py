"""Texts of the command line, made from the same content as its JSON."""

import csv
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from fastem.cli.messages import counted
from fastem.cli.reports.layout import aligned, compile_line, data_line, format_of, layers

_MAX_PARTS = 12  # of the line about columns


def fit_text(content: dict[str, Any]) -> str:
    """Return the result of a fit as text."""
    end = "converged" if content["converged"] else "stopped before convergence"
    return "\n".join(
        [
            data_line(content["data"]),
            *_columns_lines(content.get("preparation", [])),
            *([compile_line(content)] if "compile_seconds" in content else []),
            f"fit      {layers(content['hidden_layer_sizes'])} hidden units, "
            f"{counted(content['n_iter'], 'iteration')}, {end}, {content['seconds']:.4f} s",
            f"penalty  {_penalty(content['settings'])}",
            f"train    {_training_figures(content)}",
            f"model    {content['model']}",
        ]
    )


def _penalty(settings: dict[str, Any]) -> str:
    if settings["alpha"] != "auto":
        return f"{settings['penalty']:g}"
    few = "fixed, because there are too few rows to choose one"
    origin = "chosen on held-out rows" if settings["penalty_chosen"] else few
    return f"{settings['penalty']:.3g} ({origin})"


def _columns_lines(columns: Sequence[dict[str, Any]]) -> list[str]:
    """Return how the columns of a file became features, in one line."""
    if not columns:
        return []
    numbers = [column for column in columns if column["kind"] == "number"]
    parts = [counted(len(numbers), "number")] if numbers else []
    for column in columns:
        name, missing = column["column"], column["missing"]
        if column["kind"] == "number" and missing:
            values = counted(missing, "missing value")
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
    rmse = format_of(content["data"])(content["train_rmse"])
    density = f"log density {content['train_log_density']:.4f} nats per row"
    return f"{density}, RMSE {rmse}, R^2 {content['train_r2']:.4f}"


def predict_text(content: dict[str, Any]) -> str:
    """Return the name of the file that has the predictions."""
    return f"{content['predictions']} predictions written to {content['output']}"


def write_predictions(predictions: Iterable[dict[str, Any]], file: TextIO) -> None:
    """Write predictions as CSV: kept columns first, then labels and probabilities, or numbers."""
    writer = csv.writer(file, lineterminator="\n")
    header: list[str] | None = None
    for row in predictions:
        values = dict(row)
        kept, probabilities = values.pop("kept", {}), values.pop("probabilities", {})
        if header is None:
            header = [*kept, *values, *(f"probability_{k}" for k in probabilities)]
            writer.writerow(header)
        writer.writerow([*kept.values(), *values.values(), *probabilities.values()])


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
            aligned([header, *rows]),
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
