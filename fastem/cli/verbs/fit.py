"""The verb ``fit`` of the command line: train a network by EM and save it."""

import argparse
from typing import TYPE_CHECKING, Any

from fastem.cli import report
from fastem.cli.arguments import ALPHA_HELP, add_common, add_options
from fastem.cli.files import check_files
from fastem.cli.interrupts import saved_message, saving_on_interrupt
from fastem.cli.messages import INTERRUPTED, notify, print_result
from fastem.cli.verbs.inputs import dataset_of, options_of

# Slow imports are inside functions, so that --help and errors appear without delay.
if TYPE_CHECKING:
    from fastem.cli.datasets import Dataset
    from fastem.cli.fitting import Fit


def add_fit(verbs: Any) -> None:
    """Add the verb to the subparsers of the command line."""
    text = "fit a network by EM on all rows and save it"
    parser = verbs.add_parser("fit", help=text, description=text)
    add_common(parser, target=True)
    parser.add_argument("--model", required=True, metavar="FILE", help="file of the saved model")
    auto = "auto chooses the penalty that predicts held-out rows best (default: auto)"
    add_options(parser, f"penalty: {ALPHA_HELP}; {auto}")
    parser.set_defaults(run=_run_fit)


def _run_fit(arguments: argparse.Namespace) -> int:
    from fastem.cli.datasets import with_names
    from fastem.cli.fitting import fit_method
    from fastem.cli.methods import exact_em

    check_files({"DATA": arguments.data}, {"--model": arguments.model})
    dataset = dataset_of(arguments)
    X = with_names(dataset.X, dataset.feature_names)
    method = exact_em(options_of(arguments), len(dataset.y), dataset.task)
    path = arguments.model
    with saving_on_interrupt(method.estimator, lambda model: model.save(path), path):
        fit = fit_method(method, X, dataset.y)
    fit.estimator.save(path)
    if fit.interrupted:
        notify(saved_message(path))
        return INTERRUPTED
    print_result(_fit_content(arguments.model, dataset, fit, X), report.fit_text, arguments.json)
    return 0


def _fit_content(path: str, dataset: "Dataset", fit: "Fit", X: Any) -> dict[str, Any]:
    from fastem.cli.comparison import mean_log_loss
    from fastem.cli.regression import training_figures

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
