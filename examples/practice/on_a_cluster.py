"""Train on a cluster of worker processes, from nothing: files, cluster, fit, predictions, a model.

The script writes a table to several parquet files, one partition each. It starts a Dask cluster of
two worker processes on this machine, fits the network to all files by exact EM, and predicts all
rows without loading them into this process. Then it saves the model, and opens it without Dask.

The same lines work on a cluster that exists already: pass the address of its scheduler, and files
that its workers can read. The results are the same, to the bit.

Run: ``python examples/on_a_cluster.py [ADDRESS]``
"""

import sys
import tempfile
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
from distributed import Client, LocalCluster

from fastem import FastEMClassifier
from fastem.dask import DaskEMClassifier

N_FILES, ROWS_PER_FILE = 4, 5000
FEATURES = ["width", "height", "weight"]


def write_files(folder):
    """Write a table to parquet files: three features, and labels that depend on two of them."""
    rng = np.random.default_rng(0)
    for number in range(N_FILES):
        table = pd.DataFrame(rng.standard_normal((ROWS_PER_FILE, 3)), columns=FEATURES)
        is_inside = table["width"] ** 2 + table["height"] ** 2 < 1.5
        is_wrong = rng.random(ROWS_PER_FILE) < 0.05
        table["label"] = np.where(is_inside ^ is_wrong, "inside", "outside")
        table.to_parquet(folder / f"part-{number}.parquet")


def fit(client, folder):
    """Return the data frame of all files, and the network that was fitted to it."""
    table = dd.read_parquet(folder / "part-*.parquet")
    model = DaskEMClassifier((6,), random_state=0, client=client)
    return table, model.fit(table[FEATURES], table["label"])


def main(address=None):
    """Run everything in a temporary folder; return the accuracy on all rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder)
        cluster = address or LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
        with Client(cluster) as client:
            table, model = fit(client, folder)
            print(f"{model.n_iter_} iterations, loss {model.loss_:.4f} nats per row")
            predicted = model.predict(table[FEATURES])  # lazy: nothing is computed yet
            accuracy = (predicted == table["label"]).mean().compute()
            print(f"accuracy on all rows {accuracy:.3f}")
            model.save(folder / "model.npz")
        if address is None:
            cluster.close()
        local = FastEMClassifier.load(folder / "model.npz")
        first = pd.read_parquet(folder / "part-0.parquet")
        score = local.score(first[FEATURES], first["label"])
        print(f"accuracy on the first file, without Dask, {score:.3f}")
    return accuracy


if __name__ == "__main__":
    main(*sys.argv[1:2])
