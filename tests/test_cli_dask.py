"""``fastem fit`` on the workers of a Dask cluster: its output, its files, and its errors."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import psutil
import pytest
from distributed import LocalCluster

from fastem.cli.command_line import main
from fastem.preparation import load_prepared

pytestmark = pytest.mark.cluster

QUICK = ["--hidden", "1", "--alpha", "1", "--max-iter", "300"]
N_ROWS = 300


def whole_table():
    rng = np.random.default_rng(0)
    width, colour = rng.normal(size=N_ROWS), rng.choice(["red", "blue"], N_ROWS)
    score = 2.0 * width + (colour == "red") + rng.normal(size=N_ROWS)
    gaps = width.copy()
    gaps[rng.random(N_ROWS) < 0.1] = np.nan
    columns = {"row": np.arange(N_ROWS), "width": gaps, "colour": colour}
    return pd.DataFrame(columns | {"label": np.where(score > 0.5, "yes", "no"), "score": score})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("files")
    table = whole_table()
    table.to_csv(path / "all.csv", index=False)
    table.to_parquet(path / "all.parquet", index=False)
    for i, start in enumerate([0, 110, 200]):
        part = table.iloc[start : [110, 200, N_ROWS][i]]
        part.to_csv(path / f"part-{i}.csv", index=False)
        part.to_parquet(path / f"part-{i}.parquet", index=False, row_group_size=50)
    return path


@pytest.fixture(scope="module")
def address():
    settings = {"processes": False, "dashboard_address": ":0", "protocol": "tcp"}
    with LocalCluster(n_workers=1, threads_per_worker=1, **settings) as cluster:
        yield cluster.scheduler_address


def run(capsys, *argv):
    status = main([str(part) for part in argv])
    output = capsys.readouterr()
    return status, output.out, output.err


def fit(capsys, folder, *argv):
    status, out, err = run(capsys, "fit", *argv, *QUICK, "--json")
    assert status == 0, err
    return json.loads(out), err


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_labels(capsys, folder, address, tmp_path, suffix):
    options = ["--drop", "score", "--impute", "--model"]
    local, _ = fit(capsys, folder, folder / f"all.{suffix}", *options, tmp_path / "local.npz")
    files = folder / f"part-*.{suffix}"
    found, err = fit(capsys, folder, files, "--dask", address, *options, tmp_path / "model.npz")
    assert "column 'row' counts the rows and is not used" in err
    assert found["preparation"] == local["preparation"]
    expected = local["data"] | {"name": str(files), "files": 3}
    n_parts = {"csv": 3, "parquet": 7}[suffix]
    assert found["data"] == expected | {"partitions": n_parts}
    assert found["train_log_loss"] == pytest.approx(local["train_log_loss"], rel=1e-4)
    assert found["train_accuracy"] == pytest.approx(local["train_accuracy"], abs=0.01)
    written = []
    for name in ("local", "model"):
        model = tmp_path / f"{name}.npz"
        output = tmp_path / f"{name}.out"
        status, _, err = run(capsys, "predict", model, folder / "all.csv", "--output", output)
        assert status == 0, err
        written.append(pd.read_csv(output)["probability_yes"])
    np.testing.assert_allclose(written[1], written[0], atol=0.01)
    model, preparation = load_prepared(tmp_path / "model.npz")
    features = preparation.features(pd.read_csv(folder / "all.csv"))
    np.testing.assert_allclose(model.predict_proba(features)[:, 1], written[1], rtol=1e-12)


def test_numbers(capsys, folder, address, tmp_path):
    options = ["--target", "score", "--drop", "label", "--impute", "--model"]
    local, _ = fit(capsys, folder, folder / "all.csv", *options, tmp_path / "local.npz")
    paths = [folder / f"part-{i}.parquet" for i in range(3)]
    found, err = fit(capsys, folder, *paths, "--dask", address, *options, tmp_path / "m.npz")
    assert "so the task is regression" in err
    assert found["data"]["y"] == pytest.approx(local["data"]["y"])
    for name in ("train_log_density", "train_rmse", "train_r2"):
        assert found[name] == pytest.approx(local[name], rel=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["part-*.csv", "--target", "none"], "has no column 'none'; name the label column"),
        (["part-*.csv", "--drop", "score"], "has missing values. Columns and how many: 'width'"),
        (["part-*.csv", "--target", "row"], "counts the rows, so it is an index"),
        (["part-*.csv", "--drop", "other"], "argument --drop: "),
        (["part-*.csv", "part-0.csv"], "files are given more than once"),
    ],
)
def test_errors_of_the_table(capsys, folder, address, tmp_path, options, words):
    files = [folder / x if x.startswith("part") else x for x in options]
    model = tmp_path / "model.npz"
    status, out, err = run(capsys, "fit", *files, "--dask", address, "--model", model)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("error: ") == 1
    assert not model.exists()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["none-*.csv"], "no file matches '"),
        (["none.csv"], "no such file: '"),
        (["part-0.csv", "part-0.parquet"], "is a parquet file, and"),
        (["part-0.csv", "other.csv"], "it lacks 'row', 'score' and has also 'more'"),
        (["part-0.csv", "empty.csv"], "empty.csv is empty"),
    ],
)
def test_errors_of_files_come_before_a_cluster(capsys, folder, tmp_path, files, words):
    (folder / "other.csv").write_text("width,colour,label,more\n1.5,red,yes,1\n")
    (folder / "empty.csv").write_text("")
    files = [folder / name for name in files]
    argv = ["fit", *files, "--dask", "tcp://127.0.0.1:9", "--model", tmp_path / "model.npz"]
    status, _, err = run(capsys, *argv)
    assert status == 2
    assert words in err


def test_a_scheduler_that_does_not_answer(capsys, folder, tmp_path, monkeypatch):
    from fastem.cli.cluster import clients

    monkeypatch.setattr(clients, "_SECONDS", 1.0)
    argv = ["fit", folder / "part-*.csv", "--model", tmp_path / "model.npz"]
    start = time.monotonic()
    status, _, err = run(capsys, *argv, "--dask", "tcp://127.0.0.1:9")
    assert time.monotonic() - start < 10.0
    assert status == 2
    assert "no scheduler answers at tcp://127.0.0.1:9 within 1 s" in err


def test_local_workers_listen_on_this_machine_only():
    from fastem.cli.cluster import clients

    def listens(process):
        connections = process.net_connections("tcp")
        return {x.laddr for x in connections if x.status == psutil.CONN_LISTEN}

    this = psutil.Process()
    before = listens(this)  # other clusters of this module
    with clients.client_of(None, 1) as client:
        assert client.dashboard_link
        found = [listens(process) for process in (this, *this.children(recursive=True))]
    assert {address.ip for address in set().union(*found) - before} == {"127.0.0.1"}


def test_options_exclude_each_other(capsys, folder, tmp_path):
    argv = ["fit", folder / "part-0.csv", folder / "part-1.csv", "--model", tmp_path / "m.npz"]
    assert "several files need --workers or --dask" in run(capsys, *argv)[2]
    both = run(capsys, *argv, "--workers", "2", "--dask", "tcp://host:1")
    assert both[0] == 2
    assert "not allowed with argument" in both[2]


def test_workers_of_the_command(folder, tmp_path):
    argv = [folder / "part-*.parquet", "--drop", "score", "--impute", "--workers", "1", *QUICK]
    command = [sys.executable, "-m", "fastem", "fit", *argv, "--model", tmp_path / "model.npz"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "300 rows, 2 features, 2 classes (no, yes)" in done.stdout
    assert "width: " in done.stdout
    assert (tmp_path / "model.npz").exists()


def test_without_dask(folder, tmp_path):
    code = "import sys; sys.modules['distributed'] = None; from fastem.cli.command_line import main"
    argv = ["fit", str(folder / "part-*.csv"), "--workers", "1", "--model", str(tmp_path / "m.npz")]
    code += f"; sys.exit(main({argv!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "pip install 'fastem[dask]'" in done.stderr


def test_an_interrupt_keeps_the_best_iterate(folder, tmp_path):
    model = tmp_path / "model.npz"
    argv = [folder / "part-*.parquet", "--drop", "score", "--impute", "--workers", "1"]
    argv += ["--hidden", "15", "--alpha", "0.001", "--max-iter", "1000000", "--model", model]
    command = [sys.executable, "-m", "fastem", "fit", *map(str, argv)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, bufsize=1
    )
    timer = threading.Timer(60.0, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "fitting on the workers" in line and "iteration" in line:
                os.killpg(process.pid, signal.SIGINT)
                break
        lines += process.stderr
        assert process.wait(timeout=20) == 130, lines
    finally:
        timer.cancel()
        process.stderr.close()
    message = f"fastem: interrupted: the best iterate so far is saved in {model}\n"
    assert message in lines  # the tracker of semaphores of Python may print after it
    assert not any("Traceback" in line for line in lines), "".join(lines)
    assert load_prepared(model)[1] is not None
