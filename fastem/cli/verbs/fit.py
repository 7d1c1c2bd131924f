"""The verb ``fit`` of the command line: train a network by EM and save it."""

import argparse
from typing import TYPE_CHECKING, Any

from fastem.cli.arguments import ALPHA_HELP, add_cluster_options, add_common, add_options
from fastem.cli.files import check_files
from fastem.cli.interrupts import (
    NOTHING_TO_SAVE,
    begin_ending,
    saved_message,
    saving_on_interrupt,
)
from fastem.cli.messages import INTERRUPTED, notify, print_result
from fastem.cli.reports import report
from fastem.cli.verbs.fit_divided import run_fit_divided
from fastem.cli.verbs.inputs import check_depth, dataset_of, options_of
from fastem.runtime import doing

# Slow imports are inside functions, so that --help and errors appear without delay.
if TYPE_CHECKING:
    import pandas

    from fastem.cli.comparison.fitting import Fit
    from fastem.cli.tables.datasets import Dataset
    from fastem.preparation import Preparation


def add_fit(verbs: Any) -> None:
    """Add the verb to the subparsers of the command line."""
    text = "fit a network by EM on all rows and save it"
    parser = verbs.add_parser("fit", help=text, description=text)
    add_common(parser, target=True, several=True)
    add_cluster_options(parser)
    parser.add_argument("--model", required=True, metavar="FILE", help="file of the saved model")
    auto = "auto chooses the penalty that predicts held-out rows best (default: auto)"
    add_options(parser, f"penalty: {ALPHA_HELP}; {auto}")
    parser.set_defaults(run=_run_fit)


def _run_fit(arguments: argparse.Namespace) -> int:
    from fastem.cli.comparison.fitting import fit_method
    from fastem.cli.comparison.methods import exact_em
    from fastem.cli.tables.datasets import with_names
    from fastem.estimators import save_model

    if arguments.dask is not None or arguments.workers is not None:
        return run_fit_divided(arguments)
    if len(arguments.data) > 1:
        raise ValueError(
            f"{len(arguments.data)} files are given; several files need --workers or --dask"
        )
    (arguments.data,) = arguments.data
    check_files({"DATA": arguments.data}, {"--model": arguments.model})
    dataset = dataset_of(arguments)
    check_depth(arguments, dataset.task)
    with doing("preparing the columns"):
        preparation = _prepare(dataset)
        if preparation is None:
            X, stored = with_names(dataset.X, dataset.feature_names), None
        else:
            X, stored = preparation.features(dataset.X), preparation.to_json()
    method = exact_em(options_of(arguments), dataset.y, dataset.task)
    path = arguments.model
    try:
        with saving_on_interrupt(
            method.estimator, lambda model: save_model(model, path, stored), path
        ):
            fit = fit_method(method, X, dataset.y)
    except KeyboardInterrupt:  # while the kernels compile, or the penalty is chosen
        begin_ending()
        notify(NOTHING_TO_SAVE)
        return INTERRUPTED
    save_model(fit.estimator, path, stored)
    if fit.interrupted:
        notify(saved_message(path))
        return INTERRUPTED
    with doing("evaluating"):
        content = _fit_content(arguments.model, dataset, fit, X)
    if preparation is not None:
        content["preparation"] = _prepared_columns(preparation, dataset.X)
    print_result(content, report.fit_text, arguments.json)
    return 0


def _prepare(dataset: "Dataset") -> "Preparation | None":
    """Return how the columns of a file become features; None for built-in data."""
    if not hasattr(dataset.X, "columns"):
        return None
    from fastem.preparation import prepare

    try:
        return prepare(dataset.X, impute=dataset.impute)
    except ValueError as error:
        raise ValueError(f"{dataset.name}: {error}") from error


def _prepared_columns(preparation: "Preparation", X: "pandas.DataFrame") -> list[dict[str, Any]]:
    """Return what was learned from every column, and the number of its missing values."""
    missing = X.isna().sum()
    return [
        {"column": column.name, "kind": column.kind, "missing": int(missing[column.name])}
        | ({} if column.median is None else {"median": column.median})
        | ({} if column.kind == "number" else {"categories": list(column.categories)})
        for column in preparation.learned
    ]


def _fit_content(path: str, dataset: "Dataset", fit: "Fit", X: Any) -> dict[str, Any]:
    from fastem.cli.comparison.compare import mean_log_loss
    from fastem.cli.comparison.regression import training_figures

    if dataset.task == "class":
        figures = {
            "train_log_loss": mean_log_loss(fit.estimator, X, dataset.y),
            "train_accuracy": float(fit.estimator.score(X, dataset.y)),
        }
    else:
        figures = training_figures(fit.estimator, X, dataset.y, dataset.task)
    return {
        "data": dataset.describe(),
        "compile_seconds": fit.compile_seconds,
        "hidden_layer_sizes": list(fit.hidden_layer_sizes),
        "settings": fit.settings,
        "n_iter": fit.n_iter,
        "converged": fit.converged,
        "seconds": fit.seconds,
        **figures,
        "model": path,
    }
