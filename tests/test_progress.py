"""Reports of running work, and their display on stderr."""

import copy
import io
import json
import re
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from child_process import LIST_SIGNATURES

from fastem import FastEMClassifier, FastEMRegressor, FastMLPClassifier
from fastem.cli import progress
from fastem.cli.command_line import main
from fastem.cli.messages import notify
from fastem.cli.progress import Display
from fastem.estimators import rehearsal_for
from fastem.runtime import Activity, Loop, current_activity, doing, watched

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
y = (X[:, 0] * X[:, 1] > 0).astype(int)


class Recorder(Activity):
    """An activity that stores its text after every report."""

    def __init__(self):
        super().__init__()
        self.texts = []
        self.on_report = lambda: self.texts.append(self.text())


def texts_of(estimator, targets=y):
    """Return what a fit reports."""
    recorder = Recorder()
    with watched(recorder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, targets)
    assert recorder.stages == ()
    assert recorder.loop is None or not isinstance(estimator, FastEMClassifier) or recorder.texts
    return recorder.texts


# --- reports ------------------------------------------------------------------------------


def test_stages_are_nested_and_end_with_their_body():
    recorder = Recorder()
    with watched(recorder):
        with doing("fitting"), doing("fold 1 of 2"):
            recorder.iterate(Loop("iteration", 3, 200, loss=0.25, unit="nats"))
        with pytest.raises(ZeroDivisionError), doing("predicting"):
            raise ZeroDivisionError
    assert recorder.texts == [
        "fitting",
        "fitting, fold 1 of 2",
        "fitting, fold 1 of 2, iteration 3 of at most 200, loss 0.2500 nats",
        "fitting",
        "",
        "predicting",
        "",
    ]


def test_words_of_a_loop():
    assert Loop("measurement", 2, 4, may_end_earlier=False).text() == "measurement 2 of 4"
    assert Loop("epoch", 2, None, loss=1.0).text() == "epoch 2, loss 1.0000"


def test_nobody_watches_outside_and_in_other_threads():
    seen = []
    with watched(Activity()):
        thread = threading.Thread(target=lambda: seen.append(current_activity()))
        thread.start()
        thread.join()
        with watched(None):
            seen.append(current_activity())
    assert [*seen, current_activity()] == [None, None, None]
    with doing("fitting"):
        assert current_activity() is None


@pytest.mark.parametrize(
    ("options", "step", "limit"),
    [
        ({"max_iter": 4}, "iteration", 4),
        ({"max_iter": 4, "solver": "lbfgs"}, "iteration", 4),
        ({"max_iter": 3, "solver": "adam", "learning_rate_init": 0.01}, "epoch", 3),
        ({"max_iter": 3, "solver": "adam"}, "epoch", 3),
    ],
)
def test_every_iteration_of_em_is_reported(options, step, limit):
    model = FastEMClassifier((2,), alpha=1.0, tol=0.0, random_state=0, **options)
    texts = texts_of(model)
    numbers = range(1, limit + 1)
    curve = [f"loss {loss:.4f} nats" for loss in model.loss_curve_[1:]]
    wanted = [f"{step} {i} of at most {limit}, {x}" for i, x in zip(numbers, curve, strict=True)]
    if step == "iteration":
        assert texts == wanted
    else:  # the entries of the curve are recorded as they were reported, the last one may be kept
        assert [text.split(", loss")[0] for text in texts] == [x.split(", loss")[0] for x in wanted]


def test_a_schedule_of_epochs_limits_the_loop():
    texts = texts_of(FastEMClassifier((2,), alpha=1.0, solver="adam", random_state=0))
    last = int(re.search(r"of at most (\d+)", texts[0])[1])
    assert texts[-1].startswith(f"epoch {last} of at most {last}, ")


def test_starts_are_reported():
    model = FastEMClassifier((2,), alpha=1.0, max_iter=40, tol=0.0, n_init=3, random_state=0)
    texts = texts_of(model)
    starts = [text for text in texts if re.fullmatch(r"start \d of 3", text)]
    assert starts[:3] == ["start 1 of 3", "start 2 of 3", "start 3 of 3"]
    assert any(re.match(r"start \d of 3, iteration 3\d of at most 40, loss", t) for t in texts)


def test_the_choice_of_the_penalty_is_reported():
    texts = texts_of(FastEMClassifier((2,), random_state=0))
    assert "choosing the penalty, 2 units, alpha 0.15, fold 5 of 5" in texts
    assert any(
        re.match(r"choosing .* fold 2 of 5, iteration \d+ of at most 100, ", t) for t in texts
    )
    assert re.match(r"iteration \d+ of at most 500, loss ", texts[-1])


def test_the_choice_of_the_noise_and_the_starting_values_are_reported():
    texts = texts_of(FastEMRegressor((2,), alpha=1.0, random_state=0), X[:, 0] + y)
    choice = "choosing the lower bound of the noise variance"
    assert any(t.startswith(f"{choice}, noise variance at least 0.7, iteration") for t in texts)
    texts = texts_of(FastEMRegressor((2,), alpha=1.0, variance_floor=0.1, random_state=0), y)
    assert any(t.startswith("noise variance at least 0.12, iteration ") for t in texts)


@pytest.mark.parametrize(("solver", "step"), [("adam", "epoch"), ("lbfgs", "iteration")])
def test_perceptrons_report(solver, step):
    model = FastMLPClassifier((2,), solver=solver, max_iter=3, random_state=0)
    texts = texts_of(model)
    curve = enumerate(model.loss_curve_, start=1)
    assert texts == [f"{step} {i} of at most 3, loss {loss:.4f}" for i, loss in curve]


def test_watching_changes_no_result():
    models = [FastEMClassifier((3,), random_state=0) for _ in range(2)]
    models[0].fit(X, y)
    texts_of(models[1])
    for one, other in zip(models[0].coefs_, models[1].coefs_, strict=True):
        np.testing.assert_array_equal(one, other)


def test_snapshots_are_those_of_the_estimator_and_of_the_lowest_loss(monkeypatch):
    monkeypatch.setattr("fastem.runtime.activity._SECONDS_BETWEEN_SNAPSHOTS", 0.0)
    activity, model = Activity(), FastEMClassifier((2,), alpha=1.0, random_state=0)
    activity.kept = model
    with watched(activity):
        FastEMClassifier((2,), alpha=1.0, random_state=0).fit(X, y)
        assert activity.snapshot is None
        model.fit(X, y)
    saved = copy.copy(model)
    vars(saved).update(activity.snapshot)
    assert saved.loss_ == model.loss_
    np.testing.assert_array_equal(saved.predict_proba(X), model.predict_proba(X))
    activity.offer(model, lambda: {"loss_": model.loss_ + 1.0})
    assert activity.snapshot["loss_"] == model.loss_


def test_snapshots_are_rare():
    activity, calls = Activity(), []
    activity.kept = activity

    def fitted():
        calls.append(1)
        return {"loss_": 1.0}

    for _ in range(1000):
        activity.offer(activity, fitted)
    assert len(calls) == 1


# --- the display --------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """Let the display appear at once."""
    for name in ("_FIRST_LINE", "_FIRST_BAR"):
        monkeypatch.setattr(progress, name, 0.0)
    for name in ("_BETWEEN_LINES", "_BETWEEN_BARS"):
        monkeypatch.setattr(progress, name, 0.05)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def use(stream, monkeypatch):
    """Let a stream be stderr. Not in a fixture: pytest sets its own stderr before the test."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return stream


def wait_for(stream, text, times=1):
    """Wait until a text was written so many times."""
    until = time.monotonic() + 20.0
    while stream.getvalue().count(text) < times:
        assert time.monotonic() < until, stream.getvalue()[-500:]
        time.sleep(0.01)


@pytest.mark.usefixtures("quick")
def test_lines_repeat_the_stage_while_nothing_is_reported(monkeypatch):
    stream = use(io.StringIO(), monkeypatch)
    display, line = Display(), " s: fitting, iteration 31 of at most 200, loss 0.2312 nats\n"
    with display.running(), doing("fitting"):
        display.activity.iterate(Loop("iteration", 31, 200, loss=0.23118, unit="nats"))
        wait_for(stream, line, 3)
    assert all(re.match(r"fastem: \d+ s: ", found) for found in stream.getvalue().splitlines())
    n = len(stream.getvalue())
    time.sleep(0.1)
    assert len(stream.getvalue()) == n


def test_short_work_shows_nothing(monkeypatch):
    terminal = use(Terminal(), monkeypatch)
    with Display().running(), doing("fitting"):
        pass
    assert terminal.getvalue() == ""
    stream = use(io.StringIO(), monkeypatch)
    with Display().running(), doing("fitting"):
        pass
    assert stream.getvalue() == ""


def test_times_of_lines():
    first, between = progress._FIRST_LINE, progress._BETWEEN_LINES
    assert (first, between) == (3.0, 5.0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("has_rich", [False, True])
def test_a_terminal_is_clean_at_the_end_and_during_messages(monkeypatch, has_rich):
    terminal = use(Terminal(), monkeypatch)
    if has_rich:
        pytest.importorskip("rich")
    else:
        for name in ("rich", "rich.console"):
            monkeypatch.setitem(sys.modules, name, None)
    display = Display()
    with display.running():
        display.activity.enter("EM", "fitting")
        display.activity.iterate(Loop("iteration", 31, 200, loss=0.23118, unit="nats"))
        wait_for(terminal, "iteration 31 of at most 200, loss 0.2312 nats")
        with display.hidden():
            notify("note: a message")
            before = screen_of(terminal.getvalue())
        assert before[-2:] == ["fastem: note: a message", ""]
    assert screen_of(terminal.getvalue()) == ["fastem: note: a message", ""]


def screen_of(text):
    """Return the lines that a terminal shows; enough of its control sequences for the display."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part.startswith("\x1b"):
            if part.endswith("A"):
                row -= int(part[2:-1] or 1)
            elif part == "\x1b[2K":
                lines[row] = ""
        else:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + part + line[column + len(part) :]
            column += len(part)
    while len(lines) > 1 and lines[-1].strip() == "" and row < len(lines) - 1:
        lines.pop()
    return [line.rstrip() for line in lines]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("is_terminal", [False, True])
def test_without_threads_reports_change_the_display(monkeypatch, is_terminal):
    terminal = use(Terminal(), monkeypatch)

    def start(self):
        raise RuntimeError("can't start new thread")

    terminal.isatty = lambda: is_terminal
    monkeypatch.setattr(threading.Thread, "start", start)
    display = Display()
    with display.running(), doing("fitting"):
        display.activity.iterate(Loop("iteration", 1, 200))
    assert "fitting" in terminal.getvalue()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [BrokenPipeError, OSError, ValueError])
def test_work_goes_on_if_the_display_cannot_be_written(monkeypatch, error):
    class Broken(io.StringIO):
        calls = 0

        def write(self, text):
            Broken.calls += 1
            raise error

    monkeypatch.setattr(sys, "stderr", Broken())
    with Display().running(), doing("fitting"):
        until = time.monotonic() + 20.0
        while Broken.calls == 0 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.1)
    assert Broken.calls == 1


def test_no_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with Display().running(), doing("fitting"):
        notify("note: nobody reads this")


@pytest.mark.usefixtures("quick")
def test_a_dumb_terminal_has_lines(monkeypatch):
    terminal = use(Terminal(), monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    with Display().running(), doing("fitting"):
        wait_for(terminal, " s: fitting\n")
    assert "\x1b" not in terminal.getvalue()


@pytest.mark.usefixtures("quick")
def test_comparison_names_method_stage_and_iteration(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(Display, "_start_thread", report_everything)
    options = ["--hidden", "2", "--max-iter", "3", "--epochs", "2", "--alpha", "1"]
    assert main(["compare", "iris", *options, "--splits", "2"]) == 0
    lines = [line.split(" s: ", 1)[-1] for line in capsys.readouterr().err.splitlines()]
    for line in (
        "reading iris",
        "split 1 of 2, EM, compiling the kernels (needed once on a machine)",
        "split 2 of 2, EM, fitting",
        "split 2 of 2, EM, evaluating",
        "predicting",
    ):
        assert line in lines
    split = "split 1 of 2"
    assert any(x.startswith(f"{split}, EM, fitting, iteration 3 of at most 3, loss") for x in lines)
    assert any(x.startswith(f"{split}, backpropagation, fitting, epoch 2 of") for x in lines)


def report_everything(self):
    """Draw at every report; in place of `Display._start_thread`."""
    self.activity.on_report = self._draw_if_due


def test_fit_and_predict_name_their_stages(capsys, monkeypatch, tmp_path):
    stages = []
    monkeypatch.setattr(Activity, "_report", lambda self: stages.append(self.stages))
    path = str(tmp_path / "model.npz")
    options = ["--hidden", "2", "--max-iter", "3", "--alpha", "1"]
    assert main(["fit", "iris", "--model", path, *options]) == 0
    assert [s for s in dict.fromkeys(stages) if s] == [
        ("reading iris",),
        ("preparing the columns",),
        ("compiling the kernels (needed once on a machine)",),
        ("fitting",),
        ("evaluating",),
    ]
    stages.clear()
    assert main(["predict", path, "iris"]) == 0
    assert [s for s in dict.fromkeys(stages) if s] == [("reading iris",), ("predicting",)]
    capsys.readouterr()


def test_messages_do_not_go_to_stdout_if_stderr_is_closed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["fit", "no.csv", "--model", "m.npz"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("quick")
def test_a_terminal_without_unicode(monkeypatch):
    pytest.importorskip("rich")
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream.isatty = lambda: True
    stream.getvalue = lambda: stream.buffer.getvalue().decode("ascii")
    use(stream, monkeypatch)
    with Display().running(), doing(f"reading {'é' * 100}.csv"):
        wait_for(stream, r"reading \xe9\xe9")
    assert screen_of(stream.getvalue()) == [""]


# --- the rehearsal before a fit -------------------------------------------------------------


def rehearsal_of(n_samples, n_classes, n_units, **options):
    X = np.arange(4.0 * n_samples).reshape(n_samples, 4) % 7
    estimator = FastEMClassifier((n_units,), random_state=0, **options)
    found = rehearsal_for(estimator, X, np.arange(n_samples) % n_classes)
    assert not hasattr(estimator, "n_features_in_")
    return found


def test_a_rehearsal_has_few_units_and_the_methods_of_the_fit():
    parameters, n_rows = rehearsal_of(75, 7, 24)
    assert parameters["hidden_layer_sizes"] == (12,)
    assert (parameters["solver"], parameters["e_step"].name) == ("adam", "sampling")
    assert n_rows == 0
    parameters, n_rows = rehearsal_of(150, 3, 10, alpha=1.0)
    assert parameters["hidden_layer_sizes"] == (10,)
    assert (parameters["solver"], parameters["m_step"]) == ("em", "newton")
    assert "alpha" not in parameters
    # large problems use other kernels than small ones
    parameters, n_rows = rehearsal_of(5000, 4, 20, solver="em")
    assert (parameters["hidden_layer_sizes"], n_rows) == ((13,), 1000)


COMPILED_LATER = """
import sys
import numpy as np
from fastem.cli.comparison import fitting, methods
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X, y = rng.normal(size=(2000, 3)), rng.integers(4, size=2000)
options = methods.Options(hidden_layer_sizes=(14,), max_iter=6, alpha=1.0)
method = methods.exact_em(options, y, "class")
fitting._rehearse(method, X, y)
before = signatures()
method.estimator.fit(X, y)
print(json.dumps([name for name, found in signatures().items() if found != before[name]]))
"""


def test_a_fit_compiles_nothing_after_its_rehearsal():
    done = subprocess.run(
        [sys.executable, "-c", LIST_SIGNATURES + COMPILED_LATER],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
