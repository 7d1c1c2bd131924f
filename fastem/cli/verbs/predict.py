"""The verb ``predict`` of the command line: predictions of a saved model as CSV."""

import argparse
from pathlib import Path
from typing import Any

from fastem.cli import report
from fastem.cli.arguments import add_common
from fastem.cli.files import check_files
from fastem.cli.messages import print_data, print_result
from fastem.runtime import doing


def add_predict(verbs: Any) -> None:
    """Add the verb to the subparsers of the command line."""
    text = "write predicted labels and class probabilities as CSV; for numbers and counts, write "
    text += "mean, standard deviation and two quantiles (0.05 and 0.95)"
    parser = verbs.add_parser("predict", help=text, description=text)
    parser.add_argument("model", metavar="FILE", help="a model that fit has saved")
    add_common(parser, target=False)
    parser.add_argument("--output", metavar="CSV", help="output file (default: stdout)")
    parser.set_defaults(run=_run_predict)


def _run_predict(arguments: argparse.Namespace) -> int:
    from fastem.cli.comparison import class_predictions
    from fastem.cli.datasets import read_features, with_names
    from fastem.cli.regression import number_predictions
    from fastem.estimators import load_model

    inputs = {"FILE": arguments.model, "DATA": arguments.data}
    check_files(inputs, {"--output": arguments.output})
    model = load_model(arguments.model)
    is_classifier = hasattr(model, "classes_")
    if len(model.intercepts_[-1]) > 1 and model.family_.name != "categorical":
        raise ValueError(
            f"{arguments.model} predicts {len(model.intercepts_[-1])} targets per row, and the "
            f"command line writes one; use {type(model).__name__}.load in Python"
        )
    names = getattr(model, "feature_names_in_", None)
    with doing(f"reading {arguments.data}"):
        X = read_features(arguments.data, names, model.n_features_in_)
    X = X if names is None else with_names(X, names)
    with doing("predicting"):
        predictions = (class_predictions if is_classifier else number_predictions)(model, X)
    content = {"model": arguments.model, "data": arguments.data, "predictions": predictions}
    if arguments.output is not None:
        text = report.predictions_csv(content)
        Path(arguments.output).write_text(text, encoding="utf-8", newline="")
        n_rows = len(content["predictions"])
        content = {**content, "predictions": n_rows, "output": arguments.output}
    elif not arguments.json:
        print_data(report.predictions_csv(content))
        return 0
    print_result(content, report.predict_text, arguments.json)
    return 0
