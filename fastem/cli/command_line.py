"""The command line: ``python -m fastem``, and its verbs."""

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

from fastem import __version__
from fastem.cli import report
from fastem.cli.arguments import (
    check_plot,
    check_writable,
    hidden_layer_sizes,
    one_of,
    penalty,
    positive,
    seed,
    share,
)
from fastem.cli.profile import add_profile
from fastem.perceptron import HIDDEN_ACTIVATIONS

# Everything heavy is imported where it is used, so that --help and errors come at once.
if TYPE_CHECKING:
    from fastem.cli.comparison import Comparison, Fit
    from fastem.cli.datasets import Table
    from fastem.cli.methods import Settings

_BAD_INPUT, _INTERRUPTED, _BROKEN_PIPE = 2, 130, 141  # the last two are a shell's 128 + signal
_SECONDS_OF_SILENCE = 3.0
_SOLVERS = "lbfgs", "sgd", "adam"
_ACTIVATIONS = tuple(HIDDEN_ACTIVATIONS)
_DATA_HELP = "iris, wine, breast_cancer, digits, or the path of a CSV file with a header"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments, by default those of the process. Without a verb they are those of
        ``compare iris``.

    Returns
    -------
    status : int
        0, or 2 for input that cannot be used (told in one line on stderr), 130 for Ctrl-C,
        141 where the reader of stdout went away.

    Raises
    ------
    SystemExit
        With status 0, after ``--help`` and ``--version``.
    """
    if sys.stdout is None:  # closed by the shell
        _tell("error: standard output is closed")
        return 2
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help", "--version")):
        argv = ["compare", "iris", *argv]
    try:
        arguments = _parser().parse_args(argv)
        with _patience(arguments), _warnings_in_one_line():
            status = arguments.run(arguments)
            sys.stdout.flush()
            return status
    except KeyboardInterrupt:
        _tell("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        _drop_unwritable_stdout()
        return _BROKEN_PIPE
    except (ValueError, OSError, ImportError, MemoryError, ArithmeticError) as error:
        _tell(f"error: {_describe(error)}")
        _drop_unwritable_stdout()
        return _BAD_INPUT


class _Parser(argparse.ArgumentParser):
    """A parser that leaves it to `main` to tell errors, in one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fastem",
        description="Exact EM for neural networks with binary stochastic hidden units.",
        epilog="Without a verb: compare iris.",
    )
    parser.add_argument("--version", action="version", version=f"fastem {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for add in (_add_compare, _add_fit, _add_predict, add_profile):
        add(verbs)
    return parser


def _add_compare(verbs: Any) -> None:
    text = "compare EM with backpropagation on held-out rows"
    parser = verbs.add_parser("compare", help=text, description=text)
    _add_common(parser, target=True)
    _add_settings(parser)
    add = parser.add_argument
    names = ", ".join(_ACTIVATIONS)
    text = f"of backpropagation's hidden units: {names} (default: relu); or one to a hidden layer, "
    text += "as in relu,tanh"
    add("--activation", type=_activation, metavar="NAME", help=text)
    text = "of backpropagation (default: adam)"
    add("--solver", type=_solver, metavar=f"{{{','.join(_SOLVERS)}}}", help=text)
    add("--epochs", type=positive, metavar="N", help="most epochs of backpropagation")
    text = "share of the rows kept for testing (default: %(default)s)"
    add("--test-size", type=share, default=0.25, metavar="SHARE", help=text)
    text = "draw both learning curves into FILE, a .png, .pdf, .svg or the like"
    add("--plot", metavar="FILE", help=text)
    parser.set_defaults(run=_run_compare)


def _add_fit(verbs: Any) -> None:
    text = "fit a network by EM on all rows and save it"
    parser = verbs.add_parser("fit", help=text, description=text)
    _add_common(parser, target=True)
    parser.add_argument("--model", required=True, metavar="FILE", help="where to save the model")
    _add_settings(parser)
    parser.set_defaults(run=_run_fit)


def _add_predict(verbs: Any) -> None:
    text = "write predicted labels and class probabilities as CSV"
    parser = verbs.add_parser("predict", help=text, description=text)
    parser.add_argument("model", metavar="FILE", help="a model saved by fit")
    _add_common(parser, target=False)
    parser.add_argument("--output", metavar="CSV", help="file to write (default: stdout)")
    parser.set_defaults(run=_run_predict)


def _add_common(parser: argparse.ArgumentParser, *, target: bool) -> None:
    parser.add_argument("data", metavar="DATA", help=_DATA_HELP)
    parser.add_argument("--json", action="store_true", help="print the same content as JSON")
    if target:
        text = "label column of a CSV file (default: label); not needed for built-in data"
        parser.add_argument("--target", metavar="COLUMN", help=text)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text = "hidden units, as in 12, or of several layers, as in 12,8 (default: those of EM)"
    add("--hidden", type=hidden_layer_sizes, metavar="SIZES", help=text)
    add("--max-iter", type=positive, metavar="N", help="most iterations of EM")
    add("--alpha", type=penalty, metavar="A", help="L2 penalty (default: each method's own)")
    add("--seed", type=seed, default=0, help="of split and starts (default: %(default)s)")


_solver = one_of(_SOLVERS)


def _activation(text: str) -> str | tuple[str, ...]:
    names = tuple(one_of(_ACTIVATIONS)(name.strip()) for name in text.split(","))
    return names if len(names) > 1 else names[0]


def _check_activations(names: str | tuple[str, ...] | None, sizes: tuple[int, ...]) -> None:
    if isinstance(names, tuple) and len(names) != len(sizes):
        n_layers = f"{len(sizes)} hidden layer{'' if len(sizes) == 1 else 's'}"
        remedy = "name one" if len(sizes) == 1 else f"name one for all, or {len(sizes)}"
        raise ValueError(
            f"argument --activation: {','.join(names)!r} names {len(names)} activations, and the "
            f"networks that are compared have {n_layers} ({report.layers(sizes)}): {remedy}"
        )


def _run_compare(arguments: argparse.Namespace) -> int:
    from fastem.cli.comparison import compare
    from fastem.cli.methods import backpropagation, exact_em
    from fastem.runtime import DivergenceError

    if arguments.plot is not None:
        check_plot(arguments.plot)
    settings = _settings(arguments)
    methods = [exact_em(settings), backpropagation(settings)]
    _check_activations(settings.activation, methods[1].hidden_layer_sizes)
    table = _read_table(arguments)
    try:
        comparison = compare(table, methods, test_size=arguments.test_size, seed=arguments.seed)
    except ValueError as error:
        if isinstance(error.__cause__, DivergenceError):
            raise ValueError(f"{error} Here: another --solver, or a smaller --alpha") from error
        raise
    content = comparison.to_dict()
    try:
        if arguments.plot is not None:
            _plot(comparison, arguments.plot)
            content["plot"] = arguments.plot
    finally:  # the work is done, whatever becomes of its picture
        _print(content, report.comparison_text, arguments.json)
    return 0


def _plot(comparison: "Comparison", path: str) -> None:
    from fastem.plotting import save_loss_curves

    rows = comparison.results
    units = report.layers(rows[0].hidden_layer_sizes)
    sizes = f"{comparison.n_train} rows, {units} hidden units"
    title = f"{Path(comparison.table.name).name}: training loss, {sizes}"
    # each loss holds its own penalty, and whoever looks at the figure alone has to know
    penalties = {row.method: f"{row.method}, alpha {row.settings['alpha']:g}" for row in rows}
    curves = {penalties[name]: estimator for name, estimator in comparison.estimators.items()}
    save_loss_curves(curves, path, title)


def _run_fit(arguments: argparse.Namespace) -> int:
    from fastem.cli.comparison import fit_method
    from fastem.cli.datasets import with_names
    from fastem.cli.methods import exact_em

    check_writable(arguments.model)  # asked before the work, not after it
    if Path(arguments.model).exists() and not Path(arguments.model).is_file():
        raise ValueError(f"cannot write {arguments.model}: it is not a regular file")
    table = _read_table(arguments)
    X = with_names(table.X, table.feature_names)
    fit = fit_method(exact_em(_settings(arguments)), X, table.y)
    fit.estimator.save(arguments.model)
    if fit.interrupted:
        _tell(f"interrupted: the best iterate so far is in {arguments.model}")
        return _INTERRUPTED
    _print(_fit_content(arguments.model, table, fit, X), report.fit_text, arguments.json)
    return 0


def _run_predict(arguments: argparse.Namespace) -> int:
    from fastem.cli.comparison import by_class
    from fastem.cli.datasets import read_features, with_names
    from fastem.estimators import FastEMClassifier

    if arguments.output is not None:
        check_writable(arguments.output)
    model = FastEMClassifier.load(arguments.model)
    names = getattr(model, "feature_names_in_", None)
    X = read_features(arguments.data, names, model.n_features_in_)
    X = X if names is None else with_names(X, names)
    classes, labels = model.classes_.tolist(), model.predict(X).tolist()
    rows = [by_class(classes, row) for row in model.predict_proba(X).tolist()]
    content = {
        "model": arguments.model,
        "data": arguments.data,
        "predictions": [
            {"predicted": label, "probabilities": row}
            for label, row in zip(labels, rows, strict=True)
        ],
    }
    if arguments.output is not None:
        text = report.predictions_csv(content)
        Path(arguments.output).write_text(text, encoding="utf-8", newline="")
        content = {**content, "predictions": len(labels), "output": arguments.output}
    _print(content, report.predict_text, arguments.json)
    return 0


def _read_table(arguments: argparse.Namespace) -> "Table":
    from fastem.cli.datasets import read_table

    table = read_table(arguments.data, arguments.target)
    if table.target is None and arguments.target is not None:
        _tell(f"note: {table.name} has its labels built in, --target is not used")
    return table


def _settings(arguments: argparse.Namespace) -> "Settings":
    from fastem.cli.methods import Settings

    given = vars(arguments)
    own = {name: given.get(name) for name in ("activation", "solver", "epochs")}  # of compare
    shared = arguments.hidden, arguments.max_iter, arguments.alpha, arguments.seed
    return Settings(*shared, **own)


def _fit_content(path: str, table: "Table", fit: "Fit", X: Any) -> dict[str, Any]:
    from fastem.cli.comparison import mean_log_loss

    return {
        "data": table.describe(),
        "compile_seconds": fit.compile_seconds,
        "hidden_layer_sizes": [W.shape[1] for W in fit.estimator.coefs_[:-1]],
        "n_iter": fit.n_iter,
        "converged": fit.converged,
        "seconds": fit.seconds,
        "train_log_loss": mean_log_loss(fit.estimator, X, table.y),
        "train_accuracy": float(fit.estimator.score(X, table.y)),
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
def _patience(arguments: argparse.Namespace) -> Iterator[None]:
    if "progress" in arguments and sys.stderr is not None and sys.stderr.isatty():
        yield  # a line of progress says enough, and would be cut in two
        return
    message = "still at work; the first run also compiles, for some twenty seconds"
    timer = threading.Timer(_SECONDS_OF_SILENCE, _tell, [message])
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
                _tell(f"warning: {message}")


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or "out of memory"


def _tell(message: str) -> None:
    print(f"fastem: {message}", file=sys.stderr)


def _drop_unwritable_stdout() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter flushes once more on exit, and would complain a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
