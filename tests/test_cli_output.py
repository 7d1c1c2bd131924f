"""The command line as a process: encodings, closed streams, broken pipes, files, and Ctrl-C."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from fastem import FastEMClassifier
from fastem.cli import interrupts
from fastem.cli.command_line import main
from fastem.cli.interrupts import ending_on_interrupt, saving_on_interrupt
from fastem.cli.messages import print_data, print_line, print_text, with_options
from fastem.cli.progress import Display
from fastem.runtime import watched

pytest.importorskip("pandas")

QUICK = ["--hidden", "2", "--max-iter", "3", "--alpha", "1"]
PROGRAM = "import sys; from fastem.cli import run; sys.exit(run())"
ROWS = [f"{i % 7},{(3 * i) % 5},{'naïve' if i % 2 else 'café'}" for i in range(40)]
posix = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")


@pytest.fixture(scope="module")
def accents(tmp_path_factory):
    """A folder with a table that has accents in its name, its columns and labels; and a model."""
    folder = tmp_path_factory.mktemp("été")
    path = folder / "données.csv"
    path.write_text("\n".join(["größe,höhe,label", *ROWS]) + "\n", encoding="utf-8")
    assert main(["fit", str(path), "--model", str(folder / "modèle.npz"), *QUICK]) == 0
    return folder


def start(*argv, program=PROGRAM, **options):
    """Start the program with the default handler of Ctrl-C, which jobs in the background ignore."""
    env = {**os.environ, **options.pop("env", {})}
    program = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {program}"
    command = [sys.executable, "-c", program, *map(str, argv)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(command, env=env, **options)


def run(*argv, **options):
    """Return status, stdout and stderr of the program as bytes."""
    with start(*argv, **options) as process:
        try:
            out, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, out, err


# --- encodings ----------------------------------------------------------------------------


def test_text_escapes_what_the_stream_cannot_encode(accents, monkeypatch):
    def in_ascii(*argv):
        """Return status, stdout and stderr of a call whose streams have the encoding ASCII."""
        streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            status = main([str(part) for part in argv])
        return status, *(stream.buffer.getvalue() for stream in streams)

    table, model = accents / "données.csv", accents / "new.npz"
    status, out, err = in_ascii("fit", table, "--model", model, *QUICK)
    assert status == 0, err
    assert rb"(caf\xe9, na\xefve)" in out
    status, out, err = in_ascii("compare", table, *QUICK, "--epochs", "2")
    assert status == 0, err
    assert rb"caf\xe9" in out
    status, out, err = in_ascii("predict", model, table, "--output", accents / "ö.csv")
    assert status == 0, err
    assert out.endswith(b"\\xf6.csv\n")
    assert "café" in (accents / "ö.csv").read_text("utf-8")
    status, out, err = in_ascii("fit", "nö.csv", "--model", model)
    assert (status, out) == (2, b"")
    assert err.startswith(rb"fastem: error: no such file or data set: 'n\xf6.csv'")


def test_predictions_are_utf_8_in_every_locale(accents):
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    status, out, err = run("predict", accents / "modèle.npz", accents / "données.csv", env=env)
    assert status == 0, err
    rows = list(csv.DictReader(io.StringIO(out.decode("utf-8"))))
    assert len(rows) == 40
    assert {row["predicted"] for row in rows} <= {"café", "naïve"}
    assert "probability_café" in rows[0]
    assert b"\r" not in out


def test_json_is_ascii(accents, capsys):
    model, table = str(accents / "modèle.npz"), str(accents / "données.csv")
    for argv in (["predict", model, table], ["compare", table, *QUICK, "--epochs", "2"]):
        assert main([*argv, "--json"]) == 0
        out = capsys.readouterr().out
        assert out.isascii()
        assert "naïve" in str(json.loads(out))


@pytest.mark.usefixtures("short_timings")
def test_figures_with_accents_in_their_names(accents, capsys):
    pytest.importorskip("matplotlib")
    table, figure = str(accents / "données.csv"), accents / "figüre.png"
    assert main(["compare", table, *QUICK, "--epochs", "2", "--plot", str(figure)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    argv = ["--hidden", "1,2", "--samples", "20", "--plot", str(figure)]
    assert main(["profile", *argv, "--json", str(accents / "zahlen_ö.json")]) == 0
    assert "figüre.png" in capsys.readouterr().out


def test_a_line_that_cannot_be_encoded():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    print_line("é € \udcff", stream)
    stream.seek(0)
    assert stream.buffer.read() == "é \\u20ac \\udcff\n".encode("latin-1")


# --- streams ------------------------------------------------------------------------------


def shell(command):
    """Run the program, named FASTEM in a command of the shell; return status and both outputs."""
    env = {**os.environ, "PROGRAM": PROGRAM}
    command = command.replace("FASTEM", f'"{sys.executable}" -c "$PROGRAM"')
    done = subprocess.run(["sh", "-c", command], env=env, capture_output=True, timeout=120)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@posix
def test_closed_streams(tmp_path):
    fit = f"FASTEM fit iris --model {tmp_path}/m.npz {' '.join(QUICK)}"
    closed = b"fastem: error: standard output is closed\n"
    assert shell(f"{fit} >&-") == (2, b"", closed)
    assert shell(f"{fit} >&- 2>&-") == (2, b"", b"")
    status, out, err = shell(f"{fit} <&- 2>&-")
    assert (status, err) == (0, b"")
    assert out.startswith(b"data     iris")


@posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_full_disks(tmp_path):
    fit = f"FASTEM fit iris --model {tmp_path}/m.npz {' '.join(QUICK)}"
    status, _, err = shell(f"{fit} >/dev/full")
    assert status == 2
    assert err.endswith(b"fastem: error: No space left on device\n")
    status, _, err = shell(f"{fit} 2>/dev/full")
    assert (status, err) == (0, b"")


@posix
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_broken_pipes(accents, stream):
    reader, writer = os.pipe()
    os.close(reader)  # the reader has closed the pipe before the first line
    argv = ["predict", accents / "modèle.npz", accents / "données.csv"]
    if stream == "stderr":
        argv = ["fit", "no.csv", "--model", accents / "x.npz"]
    status, out, err = run(*argv, **{stream: writer})
    os.close(writer)
    assert status == 141
    assert not out
    assert not err


# --- files --------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_timings")
@pytest.mark.parametrize("option", ["--output", "--json", "--plot", "--model"])
def test_a_failed_write_leaves_the_old_file(accents, monkeypatch, capsys, option):
    suffix = {"--output": ".csv", "--json": ".json", "--plot": ".png", "--model": ".npz"}[option]
    path = accents / f"old{suffix}"
    path.write_bytes(b"old")
    argv = {
        "--output": ["predict", str(accents / "modèle.npz"), str(accents / "données.csv")],
        "--json": ["profile", "--hidden", "1", "--samples", "20", "--engine", "enumeration"],
        "--plot": ["profile", "--hidden", "1", "--samples", "20", "--engine", "enumeration"],
        "--model": ["fit", "iris", *QUICK],
    }[option]

    def full(one, other):
        raise OSError(28, "No space left on device", str(other))

    before = set(accents.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert main([*argv, option, str(path)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert path.read_bytes() == b"old"
    assert set(accents.iterdir()) == before


# --- Ctrl-C -------------------------------------------------------------------------------

# More than the second that the program promises: the machine may be busy with other tests.
MOST_SECONDS = 5.0


def interrupt(process, after):
    """Press Ctrl-C; return the status, the seconds until the end, and stderr."""
    try:
        time.sleep(after)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, time.monotonic() - began, err.decode()


@posix
@pytest.mark.parametrize("after", [0.2, 3.0])
def test_ctrl_c_during_compilation(tmp_path, after):
    env = {"NUMBA_CACHE_DIR": str(tmp_path)}
    ready = "print('ready', file=sys.stderr, flush=True)"
    program = PROGRAM.replace("sys.exit", f"{ready}; sys.exit")
    with start("fit", "iris", "--model", tmp_path / "m.npz", env=env, program=program) as process:
        assert process.stderr.readline() == b"ready\n"
        status, seconds, err = interrupt(process, after)
    assert status == 130
    assert seconds < MOST_SECONDS
    assert err.endswith(f"fastem: {interrupts.NOTHING_TO_SAVE}\n")
    assert "Traceback" not in err
    assert not (tmp_path / "m.npz").exists()


STUCK = """
import os, signal, sys, time, warnings
import fastem.cli.verbs.fit
from fastem import FastEMClassifier
from fastem.cli.comparison import fitting
from fastem.cli import run
from fastem.solvers import Network

signal.signal(signal.SIGINT, signal.default_int_handler)
expect, calls = Network.expect, []

def stuck(self, theta, draw=0):
    calls.append(1)
    while len(calls) > {n}:  # swallows Ctrl-C, as a compiler may; or a call that takes long
        try:
            print("stuck", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            pass
    return expect(self, theta, draw)

fitting._rehearse = lambda *arguments: None
Network.expect = stuck
sys.exit(run())
"""


def start_stuck(n_calls, *argv):
    """Start the program, whose E-step after some others never ends; wait until it is reached."""
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK.format(n=n_calls), *map(str, argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    return process


@posix
@pytest.mark.parametrize("n_calls", [0, 5])
def test_ctrl_c_in_a_call_that_does_not_end(tmp_path, n_calls):
    path = tmp_path / "m.npz"
    argv = "fit", "iris", "--model", path, "--hidden", "3", "--alpha", "1"
    with start_stuck(n_calls, *argv) as process:
        status, seconds, err = interrupt(process, 0.0)
    assert status == 130
    assert seconds < MOST_SECONDS
    assert "Traceback" not in err
    if n_calls == 0:
        assert err.endswith(f"fastem: {interrupts.NOTHING_TO_SAVE}\n")
        assert not path.exists()
        return
    assert err.endswith(f"fastem: interrupted: the best iterate so far is saved in {path}\n")
    model = FastEMClassifier.load(path)
    assert 0 < model.n_iter_ < 5
    assert [W.shape for W in model.coefs_] == [(4, 3), (3, 3)]


@posix
def test_a_second_ctrl_c_ends_at_once(tmp_path):
    argv = "fit", "iris", "--model", tmp_path / "m.npz", "--hidden", "3", "--alpha", "1"
    with start_stuck(3, *argv) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        status, _, err = interrupt(process, 0.0)
    assert status == 130
    assert "Traceback" not in err


@posix
def test_ctrl_c_is_ignored_in_the_background(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        n_threads = threading.active_count()
        with ending_on_interrupt(Display()):
            assert threading.active_count() == n_threads
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_program_works_without_threads(monkeypatch, capsys):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    hook = sys.unraisablehook
    with ending_on_interrupt(Display()):
        assert main(["compare", "iris", *QUICK, "--epochs", "2"]) == 0
    assert sys.unraisablehook is hook
    assert "Traceback" not in capsys.readouterr().err


def test_nothing_global_is_left_by_a_call_in_a_process(capsys):
    hooks = sys.unraisablehook, sys.excepthook, signal.getsignal(signal.SIGINT)
    assert main(["compare", "iris", *QUICK, "--epochs", "2"]) == 0
    assert (sys.unraisablehook, sys.excepthook, signal.getsignal(signal.SIGINT)) == hooks
    assert signal.set_wakeup_fd(-1) == -1
    assert not [t for t in threading.enumerate() if t.name in ("fastem display", "fastem Ctrl-C")]
    capsys.readouterr()


def test_without_a_watch_nothing_is_prepared_for_saving():
    display = Display()
    with watched(display.activity), saving_on_interrupt(None, None, "m.npz"):
        assert display.activity.kept is None
    assert not interrupts.begin_ending()


# --- words --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (
            "The fit did not converge in 1 iterations. Increase max_iter or tol, or increase "
            "alpha, which makes the optimum better determined.",
            "The fit did not converge in 1 iteration. Increase --max-iter, or increase --alpha, "
            "which makes the optimum better determined.",
        ),
        (
            "with alpha=2 the hidden units are indistinguishable and have no effect. Use a smaller "
            "alpha, more starts (n_init), or another random_state.",
            "with alpha=2 the hidden units are indistinguishable and have no effect. Use a smaller "
            "--alpha or another --seed.",
        ),
        ("in 11 iterations", "in 11 iterations"),
        (
            "e_step='auto' falls back to sampling for hidden_layer_sizes=(50, 8): no exact engine. "
            "Use e_step='sampling' to get them without this warning, or use fewer hidden units.",
            "EM falls back to sampling for --hidden 50,8: no exact engine. For exact results, use "
            "fewer units (--hidden).",
        ),
        (
            "The noise variance of output 0 is at its lower bound, variance_floor=1e-06 times the "
            "variance of y. Decrease variance_floor in the first case; use fewer hidden units, or "
            "increase alpha or variance_floor, in the second.",
            "The noise variance of output 0 is at its lower bound, 1e-06 times the variance of y. "
            "In the second case, use fewer units (--hidden) or a larger --alpha.",
        ),
        (
            "the estimates are noisy. Increase n_samples or alpha, or use an exact engine such as "
            "fastem.Enumeration() if it fits into memory.",
            "the estimates are noisy. Use a larger --alpha, or fewer units (--hidden).",
        ),
        (
            "no step increased the objective. Use a smaller learning_rate_init than 0.01.",
            "no step increased the objective. Use another --seed.",
        ),
    ],
)
def test_warnings_name_options_of_the_command_line(message, wanted):
    assert with_options(message) == wanted


class Short(io.RawIOBase):
    """An unbuffered stream that takes a part of the bytes per call, and then no more."""

    def __init__(self, room):
        self.room, self.taken = room, b""

    def writable(self):
        return True

    def write(self, data):
        part = bytes(data[: min(7, self.room - len(self.taken))])
        self.taken += part
        return len(part) or None


@pytest.mark.parametrize("write", [print_data, print_text])
def test_unbuffered_streams_get_all_bytes(monkeypatch, write):
    text = "café\n" * 20
    for room in (1000, 50):
        raw = Short(room)
        stream = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
        monkeypatch.setattr(sys, "stdout", stream)
        if room == 1000:
            write(text)
            assert raw.taken.decode().rstrip() == text.rstrip()
        else:
            with pytest.raises(BlockingIOError):
                write(text)
