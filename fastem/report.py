"""What the command line prints: the content of a JSON document, as text."""

import csv
import io
from collections.abc import Sequence
from typing import Any

_MOST_CLASSES_IN_COLUMNS = 10
_FIGURES = "seconds", "train_log_loss", "test_log_loss", "test_accuracy"


def comparison_text(content: dict[str, Any]) -> str:
    """Return a comparison in words: the data, a table of the methods, and some predictions."""
    data, methods = content["data"], content["methods"]
    header = "method", "hidden", "iterations", "seconds", "train loss", "test loss", "test accuracy"
    rows = [
        [
            row["method"],
            str(row["n_hidden"]),
            f"{row['n_iter']}{'' if row['converged'] else '*'}",
            *(f"{row[figure]:.4f}" for figure in _FIGURES),
        ]
        for row in methods
    ]
    early = "" if all(row["converged"] for row in methods) else "; * stopped before convergence"
    parts = f"{data['train']} rows to train on, {data['test']} to test on"
    return "\n".join(
        [
            _data_line(data),
            f"split    {parts}, stratified, seed {data['seed']}",
            _compile_line(content),
            "",
            _aligned([header, *rows]),
            f"loss: mean log-loss in nats{early}",
            *(f"{row['method']}: {_settings(row['settings'])}" for row in methods),
            *([f"learning curves written to {content['plot']}"] if "plot" in content else []),
            "",
            f"{len(content['predictions'])} test rows, and what {methods[0]['method']} predicts",
            _predictions_table(data["classes"], content["predictions"]),
        ]
    )


def _settings(settings: dict[str, Any]) -> str:
    solver = settings.get("solver")
    own = [] if solver is None else [f"{settings['activation']} units", solver]
    turns = "epochs" if solver in ("sgd", "adam") else "iterations"
    limit = f"at most {settings['max_iter']} {turns}"
    return ", ".join([*own, f"alpha {settings['alpha']:g}", limit])


def _predictions_table(classes: Sequence[Any], predictions: Sequence[dict[str, Any]]) -> str:
    few = len(classes) <= _MOST_CLASSES_IN_COLUMNS
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
    """Return what a fit did, in words."""
    end = "converged" if content["converged"] else "stopped before convergence"
    return "\n".join(
        [
            _data_line(content["data"]),
            _compile_line(content),
            f"fit      {content['n_hidden']} hidden units, {content['n_iter']} iterations, {end}, "
            f"{content['seconds']:.4f} s",
            f"train    log-loss {content['train_log_loss']:.4f} nats, "
            f"accuracy {content['train_accuracy']:.4f}",
            f"model    {content['model']}",
        ]
    )


def predict_text(content: dict[str, Any]) -> str:
    """Return predictions as CSV, or where they were written."""
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


def _data_line(data: dict[str, Any]) -> str:
    classes = data["classes"]
    listed = ", ".join(map(str, classes[:_MOST_CLASSES_IN_COLUMNS]))
    dots = ", ..." if len(classes) > _MOST_CLASSES_IN_COLUMNS else ""
    sizes = f"{data['rows']} rows, {data['features']} features, {len(classes)} classes"
    return f"data     {data['name']}: {sizes} ({listed}{dots})"


def _compile_line(content: dict[str, Any]) -> str:
    seconds = content["compile_seconds"]
    return f"compile  {seconds:.2f} s to compile and warm up, not part of the seconds below"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)
