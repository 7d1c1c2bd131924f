"""The command line ``fastem``: its parser, its verbs, and how it reports errors."""

import argparse
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fastem._version import __version__
from fastem.cli import report
from fastem.cli.arguments import ALPHA_HELP, add_common, add_options, one_of, positive, share
from fastem.cli.files import check_files
from fastem.cli.profile import add_profile
from fastem.perceptron import HIDDEN_ACTIVATIONS

# Slow imports are inside functions, so that --help and errors appear without delay.
if TYPE_CHECKING:
    from fastem.cli.comparison import Comparison
    from fastem.cli.datasets import Dataset
    from fastem.cli.fitting import Fit
    from fastem.cli.methods import Options

_BAD_INPUT, _INTERRUPTED, _BROKEN_PIPE = 2, 130, 141  # the last two are 128 + signal
_SECONDS_OF_SILENCE = 3.0
_SOLVERS = "lbfgs", "sgd", "adam"
_ACTIVATIONS = tuple(HIDDEN_ACTIVATIONS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments, by default those of the process. Without a verb they are arguments of
        ``compare iris``.

    Returns
    -------
    status : int
        0 for success; 2 for unusable input, with one line on stderr; 130 after Ctrl-C; 141 if
        stdout is a pipe that its reader has closed.

    Raises
    ------
    SystemExit
        With status 0 after ``--help`` and ``--version``.
    """
    if sys.stdout is None:  # the shell closed it
        _notify("error: standard output is closed")
        return 2
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help", "--version")):
        argv = ["compare", "iris", *argv]
    try:
        arguments = _parser().parse_args(argv)
        with _notice_of_long_work(arguments), _warnings_in_one_line():
            status = arguments.run(arguments)
            sys.stdout.flush()
            return status
    except KeyboardInterrupt:
        _notify("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        _drop_unwritable_stdout()
        return _BROKEN_PIPE
    except (ValueError, OSError, ImportError, MemoryError, ArithmeticError) as error:
        _notify(f"error: {_describe(error)}")
        _drop_unwritable_stdout()
        return _BAD_INPUT


class _Parser(argparse.ArgumentParser):
    """A parser that raises its errors; `main` reports them in one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fastem",
        description="Exact EM for neural networks with stochastic binary hidden units.",
        epilog="The default verb is: compare iris.",
    )
    parser.add_argument("--version", action="version", version=f"fastem {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for add in (_add_compare, _add_fit, _add_predict, add_profile):
        add(verbs)
    return parser


def _add_compare(verbs: Any) -> None:
    text = "compare EM with backpropagation on held-out rows"
    parser = verbs.add_parser("compare", help=text, description=text)
    add_common(parser, target=True)
    default = "auto for EM, and alpha=0.0001 of the perceptron for backpropagation"
    numbers = "for numbers, backpropagation has half the squared errors of the standardised target "
    numbers += "in place of the log-likelihood"
    text = f"penalty of both methods: {ALPHA_HELP}; {numbers}; auto: EM chooses the penalty that "
    text += "predicts held-out training rows best, and backpropagation keeps its default "
    text += f"(default: {default})"
    add_options(parser, text)
    add = parser.add_argument
    names = ", ".join(_ACTIVATIONS)
    text = f"activation of the perceptron: {names} (default: relu), or one for every hidden layer, "
    text += "for example relu,tanh"
    add("--activation", type=_activation, metavar="NAME", help=text)
    text = "solver of the perceptron (default: adam)"
    add("--solver", type=_solver, metavar=f"{{{','.join(_SOLVERS)}}}", help=text)
    add(
        "--epochs",
        type=positive,
        metavar="N",
        help="maximum number of epochs of the perceptron, or of iterations of lbfgs",
    )
    text = "share of the rows for testing (default: %(default)s)"
    add("--test-size", type=share, default=0.25, metavar="SHARE", help=text)
    text = "write a figure of both learning curves to FILE; its suffix (.png, .pdf, .svg, ...) "
    text += "selects the format; for classes only, because other losses are defined differently"
    add("--plot", metavar="FILE", help=text)
    parser.set_defaults(run=_run_compare)


def _add_fit(verbs: Any) -> None:
    text = "fit a network by EM on all rows and save it"
    parser = verbs.add_parser("fit", help=text, description=text)
    add_common(parser, target=True)
    parser.add_argument("--model", required=True, metavar="FILE", help="file of the saved model")
    auto = "auto chooses the penalty that predicts held-out rows best (default: auto)"
    add_options(parser, f"penalty: {ALPHA_HELP}; {auto}")
    parser.set_defaults(run=_run_fit)


def _add_predict(verbs: Any) -> None:
    text = "write predicted labels and class probabilities as CSV; for numbers and counts, write "
    text += "mean, standard deviation and two quantiles (0.05 and 0.95)"
    parser = verbs.add_parser("predict", help=text, description=text)
    parser.add_argument("model", metavar="FILE", help="a model that fit has saved")
    add_common(parser, target=False)
    parser.add_argument("--output", metavar="CSV", help="output file (default: stdout)")
    parser.set_defaults(run=_run_predict)


_solver = one_of(_SOLVERS)


def _activation(text: str) -> str | tuple[str, ...]:
    names = tuple(one_of(_ACTIVATIONS)(name.strip()) for name in text.split(","))
    return names if len(names) > 1 else names[0]


def _check_activations(names: str | tuple[str, ...] | None, sizes: tuple[int, ...] | str) -> None:
    n_layers = 1 if isinstance(sizes, str) else len(sizes)
    if isinstance(names, tuple) and len(names) != n_layers:
        layers = f"{n_layers} hidden layer{'' if n_layers == 1 else 's'}"
        remedy = "give one" if n_layers == 1 else f"give one for all, or {n_layers}"
        raise ValueError(
            f"argument --activation: {','.join(names)!r} has {len(names)} activations, but the "
            f"networks have {layers} ({report.layers(sizes)}): {remedy}"
        )


def _run_compare(arguments: argparse.Namespace) -> int:
    from fastem.cli.methods import hidden_layer_sizes

    check_files({"DATA": arguments.data}, {"--plot": arguments.plot})
    options = _options(arguments)
    dataset = _read_dataset(arguments)
    _check_activations(options.activation, hidden_layer_sizes(options, dataset.task))
    if dataset.task != "class":
        return _run_compare_numbers(arguments, dataset, options)
    from fastem.cli.comparison import compare

    comparison = compare(dataset, options, test_size=arguments.test_size)
    content = comparison.to_dict()
    try:
        if arguments.plot is not None:
            _plot(comparison, arguments.plot)
            content["plot"] = arguments.plot
    finally:  # print the results even if the figure cannot be written
        _print(content, report.comparison_text, arguments.json)
    return 0


def _run_compare_numbers(
    arguments: argparse.Namespace, dataset: "Dataset", options: "Options"
) -> int:
    from fastem.cli.regression import compare_numbers

    if arguments.plot is not None:
        raise ValueError(
            f"--plot works for classes only, and the task of {dataset.name} is {dataset.task}: "
            "the losses of EM and backpropagation are then defined differently"
        )
    content = compare_numbers(dataset, options, test_size=arguments.test_size)
    _print(content, report.numbers_text, arguments.json)
    return 0


def _plot(comparison: "Comparison", path: str) -> None:
    from fastem.plotting import save_loss_curves

    rows = comparison.results
    units = report.layers(rows[0].hidden_layer_sizes)
    sizes = f"{comparison.n_train} rows, {units} hidden units"
    title = f"{Path(comparison.dataset.name).name}: training loss, {sizes}"
    save_loss_curves(comparison.estimators, path, title)


def _run_fit(arguments: argparse.Namespace) -> int:
    from fastem.cli.datasets import with_names
    from fastem.cli.fitting import fit_method
    from fastem.cli.methods import exact_em

    check_files({"DATA": arguments.data}, {"--model": arguments.model})
    dataset = _read_dataset(arguments)
    X = with_names(dataset.X, dataset.feature_names)
    method = exact_em(_options(arguments), len(dataset.y), dataset.task)
    fit = fit_method(method, X, dataset.y)
    fit.estimator.save(arguments.model)
    if fit.interrupted:
        _notify(f"interrupted: the best iterate so far is saved in {arguments.model}")
        return _INTERRUPTED
    _print(_fit_content(arguments.model, dataset, fit, X), report.fit_text, arguments.json)
    return 0


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
    X = read_features(arguments.data, names, model.n_features_in_)
    X = X if names is None else with_names(X, names)
    content = {
        "model": arguments.model,
        "data": arguments.data,
        "predictions": (class_predictions if is_classifier else number_predictions)(model, X),
    }
    if arguments.output is not None:
        text = report.predictions_csv(content)
        Path(arguments.output).write_text(text, encoding="utf-8", newline="")
        n_rows = len(content["predictions"])
        content = {**content, "predictions": n_rows, "output": arguments.output}
    _print(content, report.predict_text, arguments.json)
    return 0


def _read_dataset(arguments: argparse.Namespace) -> "Dataset":
    from fastem.cli.datasets import are_counts, read_dataset, reason_to_regress

    dataset = read_dataset(arguments.data, arguments.target, arguments.task)
    if dataset.target is None and arguments.target is not None:
        _notify(f"note: {dataset.name} is built-in data with its own labels; --target is ignored")
    if dataset.target is not None and arguments.task is None and dataset.task == "regression":
        other = "--task class is for labels"
        if are_counts(dataset.y):
            other = f"--task count is for counts, {other}"
        _notify(
            f"note: column {dataset.target!r} has {reason_to_regress(dataset.y)}, so the task is "
            f"regression; {other}"
        )
    return dataset


def _options(arguments: argparse.Namespace) -> "Options":
    from fastem.cli.methods import Options

    given = vars(arguments)
    # fit does not have these options of compare
    own = {name: given.get(name) for name in ("activation", "solver", "epochs")}
    shared = arguments.hidden, arguments.max_iter, arguments.alpha, arguments.seed
    return Options(*shared, **own)


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


def _print(
    content: dict[str, Any], as_text: Callable[[dict[str, Any]], str], as_json: bool
) -> None:
    if as_json:
        print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(as_text(content))


@contextmanager
def _notice_of_long_work(arguments: argparse.Namespace) -> Iterator[None]:
    if "progress" in arguments and sys.stderr is not None and sys.stderr.isatty():
        yield  # the verb shows its own progress in one line of the terminal
        return
    message = "still working; the first run on a machine also compiles the kernels"
    timer = threading.Timer(_SECONDS_OF_SILENCE, _notify, [message])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for message in dict.fromkeys(" ".join(str(w.message).split()) for w in caught):
                _notify(f"warning: {message}")


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or "out of memory"


def _notify(message: str) -> None:
    print(f"fastem: {message}", file=sys.stderr)


def _drop_unwritable_stdout() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter flushes again on exit and would report the error twice.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
