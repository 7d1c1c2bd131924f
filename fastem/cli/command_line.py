"""The command line ``fastem``: its parser, its verbs, and how it reports errors."""

import argparse
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from fastem._version import __version__
from fastem.cli.messages import BAD_INPUT, BROKEN_PIPE, INTERRUPTED, notify
from fastem.cli.verbs.compare import add_compare
from fastem.cli.verbs.fit import add_fit
from fastem.cli.verbs.predict import add_predict
from fastem.cli.verbs.profile import add_profile

_SECONDS_OF_SILENCE = 3.0


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
        notify("error: standard output is closed")
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
        notify("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_unwritable_stdout()
        return BROKEN_PIPE
    except (ValueError, OSError, ImportError, MemoryError, ArithmeticError) as error:
        notify(f"error: {_describe(error)}")
        _drop_unwritable_stdout()
        return BAD_INPUT


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
    for add in (add_compare, add_fit, add_predict, add_profile):
        add(verbs)
    return parser


@contextmanager
def _notice_of_long_work(arguments: argparse.Namespace) -> Iterator[None]:
    if "progress" in arguments and sys.stderr is not None and sys.stderr.isatty():
        yield  # the verb shows its own progress in one line of the terminal
        return
    message = "still working; the first run on a machine also compiles the kernels"
    timer = threading.Timer(_SECONDS_OF_SILENCE, notify, [message])
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
                notify(f"warning: {message}")


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or "out of memory"


def _drop_unwritable_stdout() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter flushes again on exit and would report the error twice.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
