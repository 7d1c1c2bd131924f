"""On-line learning of digits by a 784-100-100-100-10 network, one row at a time.

The network of the lecture "Deep learning and the multilayer perceptron": logistic, tanh
and logistic hidden units, softmax output, weights drawn with variance 2 / fan-in, one pass
of rate 0.01 over the rows in their order, pixels scaled to 0.01 ... 1. (The lecture has no
intercepts, and aims at 0.99 and 0.01 in the place of 1 and 0.) The accuracy on the test
rows is printed every 2000 rows.

Files have the layout in which MNIST is passed around as CSV: a header line, then a row per
image, the label and its 28 x 28 pixels, 0 ... 255. Without files of your own the script
makes some, of scikit-learn's digits: enlarged to 28 x 28, those to train shifted by a few
pixels every way.

Run: ``python examples/online_digits.py [--train CSV --test CSV]``
"""

import argparse
import tempfile
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from scipy.ndimage import shift, zoom
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fastem import FastMLPClassifier

LAYERS = (784, 100, 100, 100, 10)
SIDE = 28
SHIFTS = (-2, 0, 2)
EVERY = 2000


def enlarge(images):
    """Return 8 x 8 images of values 0 ... 16 as 28 x 28 ones of bytes."""
    factor = SIDE / images.shape[1]
    large = zoom(images * (255.0 / 16.0), (1, factor, factor), order=1)
    return np.clip(large.round(), 0, 255).astype(np.uint8)


def write_csv(path, labels, images):
    """Write labels and images in the layout of MNIST."""
    positions = product(range(1, SIDE + 1), repeat=2)
    header = ",".join(["label", *(f"{row}x{column}" for row, column in positions)])
    table = np.column_stack([labels, images.reshape(len(images), -1)])
    np.savetxt(path, table, fmt="%d", delimiter=",", header=header, comments="")


def make_files(folder, shifts=SHIFTS, seed=0):
    """Write digits to train, one copy for every pair of shifts, and others to test."""
    images, labels = load_digits(return_X_y=True)
    images = enlarge(images.reshape(-1, 8, 8))
    X, X_test, y, y_test = train_test_split(
        images, labels, test_size=0.25, stratify=labels, random_state=seed
    )
    copies = [shift(X, (0, down, right), order=0) for down, right in product(shifts, shifts)]
    X, y = np.concatenate(copies), np.tile(y, len(copies))
    order = np.random.default_rng(seed).permutation(len(y))
    paths = Path(folder) / "train.csv", Path(folder) / "test.csv"
    write_csv(paths[0], y[order], X[order])
    write_csv(paths[1], y_test, X_test)
    return paths


def read_csv(path):
    """Return the images, a row of bytes each, and the labels."""
    table = np.loadtxt(path, dtype=np.uint8, delimiter=",", skiprows=1, ndmin=2)
    return table[:, 1:], table[:, 0]


def scale(images):
    """Return bytes as numbers from 0.01 to 1."""
    return images / 255.0 * 0.99 + 0.01


def build_network(seed=0):
    """Return the lecture's network with the weights that it starts from."""
    rng = np.random.default_rng(seed)
    return FastMLPClassifier(
        LAYERS[1:-1],
        ("logistic", "tanh", "logistic"),
        solver="sgd",
        alpha=0.0,
        batch_size=1,
        learning_rate_init=0.01,
        momentum=0.0,
        shuffle=False,
        coefs_init=[
            rng.normal(scale=np.sqrt(2 / fan_in), size=(fan_in, fan_out))
            for fan_in, fan_out in pairwise(LAYERS)
        ],
        intercepts_init=[np.zeros(n) for n in LAYERS[1:]],
    )


def accuracies(network, train, test, every=EVERY):
    """Yield the number of rows learned from and the accuracy on the test rows."""
    (X, y), (X_test, y_test) = train, test
    X_test = scale(X_test)
    for start in range(0, len(y), every):
        rows = slice(start, start + every)
        network.partial_fit(scale(X[rows]), y[rows], classes=np.arange(LAYERS[-1]))
        yield min(start + every, len(y)), network.score(X_test, y_test)


def main(arguments=None):
    """Train on the given files, or on made ones, and print the accuracy as it rises."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", metavar="CSV")
    parser.add_argument("--test", metavar="CSV")
    given = parser.parse_args(arguments)
    if (given.train is None) != (given.test is None):
        parser.error("--train and --test go together")
    with tempfile.TemporaryDirectory() as folder:
        paths = (given.train, given.test) if given.train else make_files(folder)
        train, test = map(read_csv, paths)
    print(f"{len(train[1])} rows to train, {len(test[1])} to test")
    print(f"{'rows':>7} accuracy")
    for n_rows, accuracy in accuracies(build_network(), train, test):
        print(f"{n_rows:7} {accuracy:8.4f}", flush=True)


if __name__ == "__main__":
    main()
