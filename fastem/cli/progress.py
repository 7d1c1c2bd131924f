"""The display of running work on stderr: a bar on a terminal, otherwise lines."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Protocol, TextIO

from fastem.cli.messages import encodable, overlaid_by, print_line
from fastem.runtime import Activity, watched

# Seconds until the display appears, and between two changes.
_FIRST_LINE, _BETWEEN_LINES = 3.0, 5.0
_FIRST_BAR, _BETWEEN_BARS = 0.5, 0.2
_SECONDS_TO_STOP = 1.0
_BAR_WIDTH = 16


class _Painter(Protocol):
    """Writes the state of the work to a stream."""

    def draw(self, seconds: float, activity: Activity) -> None:
        """Show the state after so many seconds."""

    def clear(self) -> None:
        """Remove what was drawn."""


class Display:
    """Shows what a call does while it runs, and removes the display at the end.

    A thread repeats the current stage with the elapsed time, also while the caller's thread is in a
    long compiled call. If no thread can be started, only reports of the work change the display.

    Attributes
    ----------
    activity : Activity
        Receives the reports of the work.
    """

    def __init__(self) -> None:
        self.activity = Activity()
        self._new_painter: Callable[[], _Painter] | None = None
        self._painter: _Painter | None = None
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._began = self._due = time.monotonic()
        self._pause = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the work of the body, which runs in the calling thread."""
        self._new_painter, first, self._pause = _painter_for(sys.stderr)
        self._due = self._began + first
        thread = None if self._new_painter is None else self._start_thread()
        with watched(self.activity), overlaid_by(self):
            try:
                yield
            finally:
                self._stopped.set()
                self.activity.on_report = None
                self.close()
                if thread is not None:
                    thread.join(_SECONDS_TO_STOP)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Keep the terminal free for other text while the body runs."""
        with self._lock:
            self._clear()
            yield

    def close(self) -> None:
        """Remove the display; give up if another thread uses the terminal for 0.25 s or longer."""
        if self._lock.acquire(timeout=_SECONDS_TO_STOP / 4.0):
            try:
                self._stopped.set()
                self._clear()
            finally:
                self._lock.release()

    def _start_thread(self) -> threading.Thread | None:
        thread = threading.Thread(target=self._repeat, name="fastem display", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # a limit on threads
            self.activity.on_report = self._draw_if_due
            return None
        return thread

    def _repeat(self) -> None:
        while not self._stopped.wait(max(self._due - time.monotonic(), 0.0)):
            self._draw_if_due()

    def _draw_if_due(self) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        with self._lock:
            self._due = now + self._pause
            if self._stopped.is_set():
                return
            try:
                if self._painter is None:
                    self._painter = self._new_painter()
                self._painter.draw(now - self._began, self.activity)
            except Exception:  # the work does not depend on a display that cannot be written
                self._stopped.set()

    def _clear(self) -> None:
        if self._painter is not None:
            with suppress(Exception):
                self._painter.clear()


def _painter_for(
    stream: TextIO | None,
) -> tuple[Callable[[], _Painter] | None, float, float]:
    """Return what makes a painter, the seconds until it begins, and those between changes."""
    if stream is None:  # the shell closed it
        return None, 0.0, 0.0
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return partial(_bar, stream), _FIRST_BAR, _BETWEEN_BARS
    return partial(_Lines, stream), _FIRST_LINE, _BETWEEN_LINES


def _bar(stream: TextIO) -> _Painter:
    """Return a bar in the last line of a terminal; without the package rich, a line of text."""
    try:
        return _RichBar(stream)
    except ImportError:
        return _PlainLine(stream)


def _stages_within(width: int, activity: Activity) -> str:
    """Return the stages in words, without the outer ones if the text is too wide."""
    stages = activity.stages or ("working",)
    text = ", ".join(stages)
    while len(text) > width and len(stages) > 1:
        stages = stages[1:]
        text = f"..., {', '.join(stages)}"
    return text


class _Lines:
    """Lines of text, for files and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def draw(self, seconds: float, activity: Activity) -> None:
        print_line(f"fastem: {seconds:.0f} s: {activity.text() or 'working'}", self._stream)

    def clear(self) -> None:
        """Do nothing: lines stay."""


class _PlainLine:
    """One line of text that is overwritten. It needs no control sequences."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._length = stream, 0

    def draw(self, seconds: float, activity: Activity) -> None:
        most, loop = shutil.get_terminal_size().columns - 1, activity.loop
        text = f"{seconds:.0f} s" if loop is None else f"{seconds:.0f} s, {loop.text()}"
        text = f"{text}: {_stages_within(most - len(text) - 2, activity)}"[:most]
        print_line(f"\r{text.ljust(self._length)}", self._stream, end="")
        self._length = len(text)

    def clear(self) -> None:
        if self._length > 0:
            print_line(f"\r{' ' * self._length}\r", self._stream, end="")
        self._length = 0


class _RichBar:
    """A bar that shows the share of the current loop; beside it, the time, stage and figures."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        self._stream = stream
        narrow = Column(no_wrap=True)
        wide = Column(no_wrap=True, overflow="crop", ratio=1)
        self._progress = Progress(
            TextColumn("{task.fields[elapsed]}", markup=False, table_column=narrow),
            BarColumn(_BAR_WIDTH),
            TextColumn("{task.description}", markup=False, table_column=wide),
            console=Console(file=stream, force_terminal=True),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            expand=True,
        )
        self._progress.add_task("", total=None, elapsed="")

    def draw(self, seconds: float, activity: Activity) -> None:
        task, loop = self._progress.tasks[0], activity.loop
        # `update` takes None as "no change"
        task.total = None if loop is None else loop.last
        done = 0 if loop is None else loop.number
        width = self._progress.console.width - _BAR_WIDTH - len(f"{seconds:.0f} s") - 2
        lines = _stages_within(width, activity)
        if loop is not None:
            lines += f"\n{loop.text()}"
        self._progress.update(
            task.id,
            completed=done,
            description=encodable(lines, self._stream),
            elapsed=f"{seconds:.0f} s",
        )
        self._progress.start()
        self._progress.refresh()

    def clear(self) -> None:
        self._progress.stop()
