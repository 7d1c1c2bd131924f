"""
A fit on a cluster
==================

Rows that do not fit on one machine are divided into partitions, here files. The statistics of an
E-step are sums over rows: the sums of the partitions add up to those of all rows. A fit on a
cluster therefore finds the same network as a fit on one machine.

This example starts a small cluster of processes on your machine with Dask. You fit a network to
four files, compare the fit with a local one, predict all rows on the workers, and load the saved
model without Dask.
"""

# %%
# The files
# ---------
# There are four parquet files with 5000 rows each. The label is "inside" if the point with the
# coordinates width and height is inside a triangle, otherwise "outside". 5 % of the labels are
# wrong.

import atexit
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import dask.dataframe as dd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from distributed import Client

from fastem import FastEMClassifier
from fastem.dask import DaskEMClassifier

FEATURES = ["width", "height", "weight"]
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
rng = np.random.default_rng(0)
for number in range(4):
    rows = pd.DataFrame(rng.standard_normal((5000, 3)), columns=FEATURES)
    width, height = rows["width"], rows["height"]
    is_inside = (width > -1.0) & (height > -1.0) & (width + height < 1.0)
    is_wrong = rng.random(5000) < 0.05
    rows["label"] = np.where(is_inside ^ is_wrong, "inside", "outside")
    rows.to_parquet(folder / f"part-{number}.parquet")

# %%
# The cluster
# -----------
# A cluster consists of one scheduler and some workers, which are processes on any machines. On real
# machines you run ``dask scheduler`` once and ``dask worker`` on each of them. The cell below does
# this here, with two workers of one thread. The workers find the scheduler through a file.
#
# If you already have a cluster, leave out this cell, and use
# ``Client("tcp://address-of-scheduler")``.


def start(*arguments):
    """Start a command of Dask as a process that ends at the latest with this program."""
    command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
    command += ["--scheduler-file", str(folder / "scheduler.json")]
    quiet = {**os.environ, "DASK_LOGGING__DISTRIBUTED": "error"}
    process = subprocess.Popen(command, env=quiet)
    atexit.register(process.kill)
    return process


processes = [start("scheduler", "--port", "0", "--idle-timeout", "600")]
processes += [
    start("worker", "--nthreads", "1", "--no-nanny", "--death-timeout", "60") for _ in range(2)
]
client = Client(scheduler_file=str(folder / "scheduler.json"))
client.wait_for_workers(2, timeout=120)
print(f"workers: {len(client.scheduler_info()['workers'])}")

# %%
# The fit
# -------
# ``read_parquet`` reads no rows yet. In every iteration, the parameters are sent to the workers,
# and the workers return sums over their rows.

table = dd.read_parquet(folder / "part-*.parquet")
model = DaskEMClassifier((4,), alpha=0.1, random_state=0, client=client)
model.fit(table[FEATURES], table["label"])
print(f"{table.npartitions} partitions, {model.n_iter_} iterations")
print(f"loss {model.loss_:.4f} nats per row")

# %%
# Predictions are lazy, too. The workers compare them with the labels of their own rows, and return
# the numbers from which the accuracy is computed.

predicted = model.predict(table[FEATURES])
accuracy = (predicted == table["label"]).mean().compute()
print(f"accuracy on all rows {accuracy:.3f}")

# %%
# We save the model and end the cluster. The file is one of the estimator for one machine.

model.save(folder / "model.npz")
client.close()
for process in reversed(processes):
    process.terminate()
    process.wait(timeout=60)

# %%
# The same fit on one machine
# ---------------------------
# These 20 000 rows fit into memory. The local fit with the same M-step has the same losses, up to
# rounding: sums are added in another order.

rows = pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("part-*.parquet"))])
local = FastEMClassifier((4,), alpha=0.1, m_step="bound", random_state=0)
local.fit(rows[FEATURES], rows["label"])
difference = abs(local.loss_ - model.loss_)
print(f"difference of the losses of both fits: {difference:.0e} nats per row")

loaded = FastEMClassifier.load(folder / "model.npz")
print(f"accuracy of the loaded model {loaded.score(rows[FEATURES], rows['label']):.3f}")
temporary.cleanup()

# %%
# The losses are equal. An iteration on the cluster takes longer than one on one machine, because
# numbers are sent between processes. For so few rows, this is most of its time. A cluster is useful
# if the rows do not fit into memory, or if an iteration takes much longer than this difference.
#
# The guide has more on clusters: :doc:`/guide/clusters`.

figure, axes = plt.subplots(1, 2, figsize=(8.0, 3.8), layout="constrained")
for name, fit, style in (("cluster", model, "-"), ("one machine", local, ":")):
    axes[0].plot(fit.loss_curve_, style, linewidth=3, label=name)
    milliseconds = 1000.0 * np.diff(fit.loss_curve_seconds_)
    axes[1].plot(range(1, len(fit.loss_curve_)), milliseconds, style, linewidth=2)
axes[0].set(xlabel="iteration", ylabel="loss (nats per row)", title="Loss")
axes[1].set(xlabel="iteration", ylabel="milliseconds", title="Time of an iteration", yscale="log")
axes[0].legend()
for ax in axes:
    ax.grid(alpha=0.3)
plt.show()
