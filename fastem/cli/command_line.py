"""The command line ``fastem``: its parser, its verbs, and how it reports errors."""

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from fastem._version import __version__
from fastem.cli.interrupts import begin_ending
from fastem.cli.messages import BAD_INPUT, BROKEN_PIPE, INTERRUPTED, notify, with_options
from fastem.cli.progress import Display
from fastem.cli.verbs.compare import add_compare
from fastem.cli.verbs.fit import add_fit
from fastem.cli.verbs.predict import add_predict
from fastem.cli.verbs.profile import add_profile


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
        stdout or stderr is a pipe that its reader has closed.

    Raises
    ------
    SystemExit
        With status 0 after ``--help`` and ``--version``.
    """
    return run_command(sys.argv[1:] if argv is None else argv, Display())


def run_command(argv: Sequence[str], display: Display) -> int:
    """Run the command line, and show the work on a display; see `main`."""
    try:
        if sys.stdout is None:  # the shell closed it
            notify("error: standard output is closed")
            return BAD_INPUT
        return _run_verb(list(argv), display)
    except BrokenPipeError:
        _drop_unwritable_streams()
        return BROKEN_PIPE


def _run_verb(argv: list[str], display: Display) -> int:
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help", "--version")):
        argv = ["compare", "iris", *argv]
    try:
        try:
            arguments = _parser().parse_args(argv)
        finally:  # --help and --version have printed their text, and exit
            sys.stdout.flush()
        with display.running(), _warnings_in_one_line():
            status = arguments.run(arguments)
            sys.stdout.flush()
            return status
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        raise
    except Exception as error:
        if begin_ending():  # code may replace KeyboardInterrupt by another error
            return _interrupted()
        if not isinstance(error, _ERRORS_OF_INPUT):
            raise
        notify(f"error: {_describe(error)}")
        _drop_unwritable_streams()
        return BAD_INPUT


_REPORTED_BY_THE_VERB = "The fit was interrupted"
_ERRORS_OF_INPUT = ValueError, OSError, ImportError, MemoryError, ArithmeticError


def _interrupted() -> int:
    begin_ending()
    notify("interrupted")
    return INTERRUPTED


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
def _warnings_in_one_line() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for message in dict.fromkeys(" ".join(str(w.message).split()) for w in caught):
                if not message.startswith(_REPORTED_BY_THE_VERB):
                    notify(f"warning: {with_options(message)}")


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or "out of memory"


def _drop_unwritable_streams() -> None:
    """Discard what stdout and stderr cannot write: the interpreter would try again on exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            with suppress(OSError):  # a stream in memory has no number
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
