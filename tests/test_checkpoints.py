"""Checkpoints: a fit that is continued from one equals a fit that was not stopped, to the bit."""

import errno
import json
import subprocess
import sys

import numpy as np
import pytest
from checkpoint_problems import (
    MAX_ITER,
    Recording,
    StoppedError,
    StoppingAt,
    attributes,
    case,
    continued,
    fit,
    stopped,
)

import fastem
from fastem import FastEMClassifier, FastEMRegressor
from fastem.estimators import checkpoints, load_model
from fastem.estimators.checkpoints import Checkpoints, read_checkpoint, write_checkpoint
from fastem.estimators.model_files import read_model, write_model
from fastem.solvers import DampedStep, Monitor, QuasiNewtonStep

EXACT = ["quasi-newton", "plain", "damped", "gaussian", "converges", "coarse", "coarse, converges"]


def assert_same_run(got, whole):
    for name, expected in whole.items():
        np.testing.assert_array_equal(got[name], expected, err_msg=name)


@pytest.fixture(scope="module")
def runs():
    """The fits that are not stopped, with the phase of every iteration."""
    found = {}
    for name in [*EXACT, "lbfgs"]:
        recording = Recording()
        found[name] = fit(*case(name), recording), recording.phases
    return found


@pytest.fixture
def path(tmp_path):
    stopped("quasi-newton", tmp_path / "checkpoint", 9)
    return tmp_path / "checkpoint"


# Continued runs


def stops(name, whole, phases):
    """Return the iterations to stop at: of every phase, and at its borders."""
    last = len(whole["history"]) - 1
    coarse_end = sum(phases)
    return sorted({1, 4, 7, 8, 15, last, coarse_end, coarse_end + 1} & set(range(1, last + 1)))


@pytest.mark.parametrize("name", EXACT)
def test_a_continued_run_equals_one_that_was_not_stopped(name, runs, tmp_path):
    whole, phases = runs[name]
    for at in stops(name, whole, phases):
        stopped(name, tmp_path / "checkpoint", at)
        assert_same_run(continued(name, tmp_path / "checkpoint"), whole)


@pytest.mark.parametrize("name", ["quasi-newton", "gaussian", "coarse, converges"])
def test_rows_in_parts(name, tmp_path):
    recording = Recording()
    whole = fit(*case(name), recording, in_parts=True)
    assert any(recording.phases) == name.startswith("coarse")
    for at in stops(name, whole, recording.phases):
        stopped(name, tmp_path / "checkpoint", at, in_parts=True)
        got = continued(name, tmp_path / "checkpoint", in_parts=True)
        assert_same_run(got, whole)


def test_the_cases_have_all_phases(runs):
    assert not any(runs["quasi-newton"][1])
    assert all(runs["coarse"][1])
    phases = runs["coarse, converges"][1]
    assert phases == sorted(phases, reverse=True)
    assert 5 < sum(phases) < len(phases) - 1
    assert runs["converges"][0]["converged"]


def test_it_may_continue_in_another_process(runs, tmp_path):
    stops = {"quasi-newton": 12, "plain": 5, "damped": 5, "gaussian": 9, "coarse": 10}
    for name, at in stops.items():
        stopped(name, tmp_path / f"{name}.checkpoint", at)
    code = "import sys, checkpoint_problems; checkpoint_problems.continue_all(sys.argv[1])"
    environment_path = ":".join(sys.path)
    subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        check=True, timeout=120, env={"PYTHONPATH": environment_path},
    )  # fmt: skip
    for name in stops:
        with np.load(tmp_path / f"{name}.npz") as got:
            assert_same_run(got, runs[name][0])


def test_a_run_may_be_stopped_again_and_again(runs, tmp_path):
    name, path = "quasi-newton", tmp_path / "checkpoint"
    stopped(name, path, 3)
    for at in range(4, MAX_ITER):
        _, X, y = case(name)
        model, ascent = read_checkpoint(FastEMClassifier, path)
        model._ascent = ascent
        with pytest.raises(StoppedError):
            fit(model, X, y, StoppingAt(path, model, at))
    assert_same_run(continued(name, path), runs[name][0])


def test_max_iter_counts_all_iterations(path):
    assert len(continued("quasi-newton", path, max_iter=11)["history"]) == 12
    assert len(continued("quasi-newton", path, max_iter=9)["history"]) == 10
    assert len(continued("quasi-newton", path, max_iter=5)["history"]) == 10


def test_lbfgs_continues_from_the_iterate(runs, tmp_path):
    whole, _ = runs["lbfgs"]
    stopped("lbfgs", tmp_path / "checkpoint", 9)
    got = continued("lbfgs", tmp_path / "checkpoint")
    np.testing.assert_array_equal(got["history"][:10], whole["history"][:10])
    assert len(got["history"]) == len(whole["history"])
    assert (np.diff(got["history"]) >= 0.0).all()
    assert len(continued("lbfgs", tmp_path / "checkpoint", max_iter=9)["history"]) == 10


def test_other_rows_are_an_ordinary_warm_start(tmp_path):
    """The iterations of the checkpoint do not count, and neither does its convergence."""
    model, X, y = case("converges")
    last = len(fit(model, X, y)["history"]) - 1
    stopped("converges", tmp_path / "checkpoint", last)
    model, model._ascent = read_checkpoint(FastEMClassifier, tmp_path / "checkpoint")
    assert model._ascent.monitor.converged
    got = fit(model.set_params(max_iter=6, tol=0.0), X[::2], y[::2])
    assert len(got["history"]) == 7


# What a checkpoint is


def test_a_checkpoint_is_a_model_file(path):
    _, X, y = case("quasi-newton")
    expected = case("quasi-newton")[0].set_params(max_iter=9)
    fit(expected, X, y)
    for model in (
        FastEMClassifier.load(path), load_model(path), read_checkpoint(FastEMClassifier, path)[0]
    ):  # fmt: skip
        np.testing.assert_equal(attributes(model), attributes(expected))
        np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


def test_everything_of_the_ascent_comes_back(tmp_path):
    model, X, y = case("quasi-newton")
    fit(model, X, y)
    write_checkpoint(tmp_path / "checkpoint", model, model._ascent)
    _, ascent = read_checkpoint(FastEMClassifier, tmp_path / "checkpoint")
    monitor, expected = ascent.monitor, model._ascent.monitor
    for name in ("tol", "scale", "history", "penalties", "seconds", "converged"):
        assert getattr(monitor, name) == getattr(expected, name)
    assert monitor.before_correction is None
    np.testing.assert_equal(ascent.standardization, model._ascent.standardization)
    np.testing.assert_equal(ascent.optimizer.memory(), model._ascent.optimizer.memory())
    assert ascent.is_running


def test_the_file_has_plain_arrays(path):
    with np.load(path, allow_pickle=False) as content:
        assert all(content[name].dtype.kind in "biufU" for name in content.files)


def test_equal_checkpoints_have_equal_bytes_of_memory(tmp_path):
    """Slots without a secant are not uninitialised memory."""
    for name in ("one", "two"):
        stopped("quasi-newton", tmp_path / name, 4)
    one, two = (read_model(tmp_path / name)[1] for name in ("one", "two"))
    np.testing.assert_array_equal(
        one["checkpoint_memory_secants"], two["checkpoint_memory_secants"]
    )
    assert np.isfinite(one["checkpoint_memory_secants"]).all()


# Unusable files


def test_truncated_files(path, tmp_path):
    content = path.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9, 0.999):
        (tmp_path / "part").write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match="damaged or not a fastem model"):
            read_checkpoint(FastEMClassifier, tmp_path / "part")


def test_files_that_are_no_checkpoints(path, tmp_path):
    model, X, y = case("quasi-newton")
    fit(model, X, y)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"not a checkpoint.*load.*warm_start=True"):
        read_checkpoint(FastEMClassifier, tmp_path / "model")
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    with pytest.raises(ValueError, match="not a fastem model"):
        read_checkpoint(FastEMClassifier, tmp_path / "arrays.npz")
    with pytest.raises(ValueError, match="holds a FastEMClassifier, not a FastEMRegressor"):
        read_checkpoint(FastEMRegressor, path)
    with pytest.raises(FileNotFoundError):
        read_checkpoint(FastEMClassifier, tmp_path / "missing")


def changed(path, change):
    """Change header and arrays of a file."""
    header, arrays = read_model(path)
    change(header, arrays)
    del header["format"], header["format_version"]
    write_model(path, json.loads(json.dumps(header)), arrays)
    return path


def set_in_checkpoint(name, value):
    return lambda header, arrays: header["checkpoint"].update({name: value})


def set_array(name, function):
    def change(header, arrays):
        arrays[f"checkpoint_{name}"] = function(arrays[f"checkpoint_{name}"])

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_in_checkpoint("optimizer", "Magic"), set_in_checkpoint("optimizer", []),
        set_in_checkpoint("tol", None), set_in_checkpoint("before_correction", "x"),
        lambda header, arrays: header["checkpoint"].pop("scale"),
        lambda header, arrays: arrays.pop("checkpoint_theta"),
        lambda header, arrays: arrays.pop("checkpoint_memory_counts"),
        lambda header, arrays: arrays.pop("checkpoint_memory_last"),
        set_array("theta", lambda theta: theta[:-1]), set_array("theta", lambda theta: theta + 1.0),
        set_array("theta", lambda theta: theta[None]), set_array("theta", lambda theta: theta + 0j),
        set_array("scale", lambda scale: scale[:-1]),
        set_array("history", lambda values: values[1:]),
        set_array("history", lambda values: values[None]),
        set_array("memory_counts", lambda counts: counts + 100),
        set_array("memory_secants", lambda secants: secants[:, :, 1:]),
        set_array("memory_last", lambda last: last[:, 1:]),
    ],
)  # fmt: skip
def test_damaged_checkpoints(change, path):
    with pytest.raises(ValueError, match="damaged checkpoint"):
        read_checkpoint(FastEMClassifier, changed(path, change))


def test_other_formats_and_versions(path):
    changed(path, set_in_checkpoint("version", 2))
    with pytest.raises(ValueError, match=r"checkpoint format 2.*reads format 1.*warm_start=True"):
        read_checkpoint(FastEMClassifier, path)
    changed(path, lambda header, arrays: header.update(checkpoint="old"))
    with pytest.raises(ValueError, match="checkpoint format 'old'"):
        read_checkpoint(FastEMClassifier, path)


def test_another_version_of_the_package_warns(path):
    changed(path, lambda header, arrays: header.update(fastem_version="0.0.1"))
    with pytest.warns(UserWarning, match=r"written by fastem 0\.0\.1"):
        read_checkpoint(FastEMClassifier, path)


def test_what_a_checkpoint_cannot_hold(tmp_path):
    model, X, y = case("quasi-newton")
    fit(model.set_params(early_stopping=True), X, y)
    with pytest.raises(ValueError, match="held-out rows"):
        write_checkpoint(tmp_path / "checkpoint", model, model._ascent)
    fit(model.set_params(early_stopping=False, warm_start=True, solver="adam"), X, y)
    with pytest.raises(ValueError, match="exact E-steps on all rows; got steps of kind AdamState"):
        write_checkpoint(tmp_path / "checkpoint", model, model._ascent)
    assert not (tmp_path / "checkpoint").exists()


# The writer


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(checkpoints.time, "perf_counter", lambda: self.now)


@pytest.fixture
def offered(monkeypatch, tmp_path):
    """Return a function that offers an iterate; it returns whether a file was written."""
    model, X, y = case("quasi-newton")
    fit(model, X, y)
    path, clock = tmp_path / "checkpoint", Clock(monkeypatch)
    writer = Checkpoints(path, 60.0, model)

    def offer(seconds):
        clock.now += seconds
        path.unlink(missing_ok=True)
        writer.offer(model._ascent, dict, is_coarse=False)
        return path.exists()

    return offer


def test_the_time_between_checkpoints(offered):
    assert [offered(seconds) for seconds in (0.0, 59.0, 1.0, 30.0, 29.9, 0.2)] == [
        True, False, True, False, False, True,
    ]  # fmt: skip


def _full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_later_checkpoint_that_fails_does_not_end_the_fit(offered, monkeypatch):
    assert offered(0.0)
    monkeypatch.setattr(checkpoints, "write_model", _full)
    with pytest.warns(UserWarning, match=r"iteration 24 could not be written: .*No space"):
        assert not offered(60.0)
    assert not offered(30.0)  # nothing is tried: warnings are errors


def test_a_first_checkpoint_that_fails_ends_the_fit(offered, monkeypatch):
    monkeypatch.setattr(checkpoints, "write_model", _full)
    with pytest.raises(OSError, match="No space"):
        offered(0.0)


@pytest.mark.parametrize("seconds", [-1.0, np.nan, "60", None, True])
def test_seconds_that_are_no_time(seconds, tmp_path):
    with pytest.raises(ValueError, match="checkpoint_seconds must be a number from 0 on, got"):
        Checkpoints(tmp_path / "checkpoint", seconds, FastEMClassifier())


def test_paths_that_cannot_be_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        Checkpoints(tmp_path / "missing" / "checkpoint", 60.0, FastEMClassifier())
    with pytest.raises(IsADirectoryError, match="is a folder"):
        Checkpoints(tmp_path, 60.0, FastEMClassifier())


def test_a_reader_finds_a_whole_file_when_the_writer_is_killed(tmp_path):
    path = tmp_path / "checkpoint"
    code = "import sys, checkpoint_problems; checkpoint_problems.write_forever(sys.argv[1])"
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    ) as writer:  # fmt: skip
        try:
            assert writer.stdout.readline() == b"ready\n"
            before, n_files = None, 0
            while n_files < 20:
                read_checkpoint(FastEMClassifier, path)
                n_files += (now := path.stat().st_ino) != before
                before = now
        finally:
            writer.kill()
            writer.wait(timeout=30)
    read_checkpoint(FastEMClassifier, path)


# The memory of the steps


def test_the_memory_of_new_steps(tmp_path):
    step, restored = QuasiNewtonStep(n_plain=3), QuasiNewtonStep()
    restored.restore(step.memory())
    np.testing.assert_equal(restored.memory(), step.memory())
    assert step.memory().keys() == {"counts"}


def test_a_memory_is_a_copy():
    model, X, y = case("quasi-newton")
    fit(model, X, y)
    step, restored = model._ascent.optimizer, QuasiNewtonStep()
    memory = step.memory()
    restored.restore(memory)
    memory["secants"][:] = 0.0
    np.testing.assert_equal(restored.memory(), step.memory())


def test_every_kind_of_step_is_named(tmp_path):
    model, X, y = case("damped")
    fit(model, X, y)
    write_checkpoint(tmp_path / "checkpoint", model, model._ascent)
    _, ascent = read_checkpoint(FastEMClassifier, tmp_path / "checkpoint")
    assert type(ascent.optimizer) is DampedStep
    assert type(ascent.monitor) is Monitor
    assert fastem.__version__ == read_model(tmp_path / "checkpoint")[0]["fastem_version"]
