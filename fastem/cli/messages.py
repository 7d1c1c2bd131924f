"""What the command line prints: results on stdout, one-line messages on stderr."""

import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, BinaryIO, Protocol, TextIO

BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 2, 130, 141  # the last two are 128 + signal
MOST_LISTED = 12
_LONGEST = 80


class Overlay(Protocol):
    """Something on the terminal that must be removed while other text is printed."""

    def hidden(self) -> AbstractContextManager[None]:
        """Return a context in which the terminal is free for other text."""


_overlay: ContextVar[Overlay | None] = ContextVar("overlay", default=None)


@contextmanager
def overlaid_by(overlay: Overlay) -> Iterator[None]:
    """Remove an overlay from the terminal during every message that this thread prints."""
    token = _overlay.set(overlay)
    try:
        yield
    finally:
        _overlay.reset(token)


def notify(message: str) -> None:
    """Print a message in one line on stderr, at once.

    Raises
    ------
    BrokenPipeError
        If stderr is a pipe that its reader has closed.
    """
    try:
        with _terminal():
            print_line(f"fastem: {message}", sys.stderr)
    except BrokenPipeError:
        raise
    except OSError:
        pass  # there is no other place for the message


def print_result(
    content: dict[str, Any], as_text: Callable[[dict[str, Any]], str], as_json: bool
) -> None:
    """Print a result as text, or as JSON in ASCII characters."""
    print_text(json.dumps(content, indent=2, allow_nan=False) if as_json else as_text(content))


def print_text(text: str) -> None:
    """Print text on stdout."""
    with _terminal():
        print_line(text, sys.stdout)


def print_data(text: str) -> None:
    """Print data for other programs: UTF-8 whatever the locale, unless stdout is a terminal.

    Parameters
    ----------
    text : str
        With its last line break.
    """
    stream = sys.stdout
    with _terminal():
        if stream is None or stream.isatty() or not hasattr(stream, "buffer"):
            print_line(text, stream, end="")
            return
        stream.flush()
        _write(stream.buffer, text.encode("utf-8", "backslashreplace"))


def print_line(text: str, stream: TextIO | None, end: str = "\n") -> None:
    """Print text at once; characters that the stream cannot encode are escaped.

    A stream that the shell has closed is None; nothing is printed then.
    """
    if stream is None:
        return
    text = f"{encodable(text, stream)}{end}"
    if isinstance(getattr(stream, "buffer", None), io.RawIOBase):
        stream.flush()
        _write(stream.buffer, text.replace("\n", os.linesep).encode(stream.encoding))
    else:
        print(text, end="", file=stream, flush=True)


def _write(stream: BinaryIO | io.RawIOBase, data: bytes) -> None:
    """Write all bytes. With PYTHONUNBUFFERED, a stream may write a part of them per call.

    Raises
    ------
    OSError
        If the stream cannot take all bytes.
    """
    rest = memoryview(data)
    while rest:
        n_written = stream.write(rest)
        if n_written is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        rest = rest[n_written:]
    stream.flush()


def encodable(text: str, stream: TextIO) -> str:
    """Return text in which characters that the stream cannot encode are escaped."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def with_options(message: str) -> str:
    """Replace parameters in a warning of an estimator by options of the command line."""
    for pattern, replacement in _OPTIONS.items():
        message = re.sub(pattern, replacement, message)
    return message


_OPTIONS: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"\be_step='auto' falls back\b": "EM falls back",
    r"\bhidden_layer_sizes=\(([\d, ]+)\)": lambda match: (
        f"--hidden {match[1].strip(',').replace(' ', '')}"
    ),
    r"\bUse e_step='sampling' to get them without this warning, or use fewer hidden units\.": (
        "For exact results, use fewer units (--hidden)."
    ),
    r"\bIncrease n_samples or alpha, or use an exact engine such as .* if it fits into memory\.": (
        "Use a larger --alpha, or fewer units (--hidden)."
    ),
    r"\bvariance_floor=(\S+) times\b": r"\1 times",
    r"\bDecrease variance_floor in the first case; .* in the second\.": (
        "In the second case, use fewer units (--hidden) or a larger --alpha."
    ),
    r"\bUse a smaller learning_rate_init than .*\.$": "Use another --seed.",
    r"\bUse solver='em', standardize=True, or other starting values\.": "Use another --seed.",
    r"\bmax_iter or tol\b": "--max-iter",  # there is no option for the tolerance
    r"\ba (smaller|larger) alpha, more starts \(n_init\),": r"a \1 alpha",
    r"\b(a (?:smaller|larger)|[Ii]ncrease) alpha\b": r"\1 --alpha",
    r"\banother random_state\b": "another --seed",
    r"\b1 iterations\b": "1 iteration",
}


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(items: Sequence[str]) -> str:
    """Return the first items, shortened if they are long, and the number of the others."""
    short = [x if len(x) <= _LONGEST else f"{x[:_LONGEST]}..." for x in items[:MOST_LISTED]]
    shown = ", ".join(short)
    more = len(items) - MOST_LISTED
    return shown + (f" and {more} more" if more > 0 else "")


def _terminal() -> AbstractContextManager[None]:
    overlay = _overlay.get()
    return nullcontext() if overlay is None else overlay.hidden()
