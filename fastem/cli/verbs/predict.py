"""The verb ``predict`` of the command line: predictions of a saved model, and their evaluation."""

import argparse
import io
from collections.abc import Iterable
from typing import Any

from fastem.cli.arguments import add_common
from fastem.cli.files import check_files
from fastem.cli.messages import print_data, print_result
from fastem.cli.reports import report
from fastem.cli.reports.evaluation import evaluation_text
from fastem.cli.tables.sources import shown_name
from fastem.cli.verbs.inputs import table_options_of
from fastem.runtime import doing, replacing


def add_predict(verbs: Any) -> None:
    """Add the verb to the subparsers of the command line."""
    text = "write predicted labels and class probabilities as CSV; for numbers and counts, write "
    text += "mean, standard deviation and two quantiles (0.05 and 0.95). With --target, evaluate "
    text += "the predictions"
    parser = verbs.add_parser("predict", help=text, description=text)
    add = parser.add_argument
    add("model", metavar="FILE", help="a model that fit has saved")
    add_common(parser, target=False)
    add("--output", metavar="CSV", help="output file (default: stdout)")
    text = "column of DATA that is the first column of the output, as it is written"
    add("--id", metavar="COLUMN", help=text)
    text = "columns of DATA, separated by commas, that follow in the output, as they are written"
    add("--keep", metavar="COLUMNS", action="append", default=[], help=text)
    text = "column of DATA with the true labels, numbers or counts: evaluate the predictions, and "
    text += "write the predictions themselves to --output only. Built-in data has its own targets; "
    text += "give any name"
    add("--target", metavar="COLUMN", help=text)
    parser.set_defaults(run=_run_predict)


def _run_predict(arguments: argparse.Namespace) -> int:
    from fastem.cli.predictions import (
        OutputColumns,
        evaluate_rows,
        predict_rows,
        read_prediction_rows,
        read_saved_model,
    )

    inputs = {"FILE": arguments.model, "DATA": arguments.data}
    check_files(inputs, {"--output": arguments.output})
    saved = read_saved_model(arguments.model)
    others = OutputColumns(
        _stripped(arguments.id), tuple(arguments.keep), _stripped(arguments.target)
    )
    with doing(f"reading {shown_name(arguments.data)}"):
        rows = read_prediction_rows(saved, arguments.data, table_options_of(arguments), others)
    content = {"model": arguments.model, "data": arguments.data, "predictions": len(rows.X)}
    if arguments.output is not None:
        content["output"] = arguments.output
        with doing("predicting"), replacing(arguments.output) as file:
            text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
            report.write_predictions(predict_rows(saved, rows), text)
            text.detach()  # the file is still to be closed
    if rows.y is not None:
        with doing("evaluating"):
            content |= {"target": others.target, "evaluation": evaluate_rows(saved, rows)}
        print_result(content, evaluation_text, arguments.json)
    elif arguments.output is not None:
        print_result(content, report.predict_text, arguments.json)
    else:
        _print_predictions(content, predict_rows(saved, rows), arguments.json)
    return 0


def _print_predictions(
    content: dict[str, Any], predictions: Iterable[dict[str, Any]], as_json: bool
) -> None:
    text = io.StringIO()
    with doing("predicting"):
        if as_json:
            content["predictions"] = list(predictions)
        else:
            report.write_predictions(predictions, text)
    if as_json:
        print_result(content, report.predict_text, as_json)
    else:
        print_data(text.getvalue())


def _stripped(name: str | None) -> str | None:
    """Return the name of a column without blanks around it, as they are read from tables."""
    return None if name is None else name.strip()
