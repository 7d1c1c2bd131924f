"""On-line learning of digits by a 784-100-100-100-10 network, one row at a time.

The network is from the lecture "Deep learning and the multilayer perceptron":

- logistic, tanh and logistic hidden units, softmax output;
- initial weights with variance 2 / fan-in;
- one pass over the rows in their order, with learning rate 0.01;
- pixels scaled to the range from 0.01 to 1.

There are two differences. The lecture has no intercepts, and its targets are 0.99 and 0.01 instead
of 1 and 0. The script prints the accuracy on the test rows every 2000 rows.

Input files have the usual CSV layout of MNIST: a header line, then one line per image with the
label and 28 x 28 pixels from 0 to 255. Without input files the script creates its own from
scikit-learn's digits, enlarged to 28 x 28. The training images are copied several times and shifted
by up to two pixels in each direction.

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
    """Convert 8 x 8 images with values 0 to 16 into 28 x 28 images of bytes."""
    factor = SIDE / images.shape[1]
    large = zoom(images * (255.0 / 16.0), (1, factor, factor), order=1)
    return np.clip(large.round(), 0, 255).astype(np.uint8)


def write_csv(path, labels, images):
    """Write labels and images in the CSV layout of MNIST."""
    positions = product(range(1, SIDE + 1), repeat=2)
    header = ",".join(["label", *(f"{row}x{column}" for row, column in positions)])
    table = np.column_stack([labels, images.reshape(len(images), -1)])
    np.savetxt(path, table, fmt="%d", delimiter=",", header=header, comments="")


def make_files(folder, shifts=SHIFTS, seed=0):
    """Write a training file and a test file; return both paths.

    The training file contains one copy of every training image per pair of shifts.
    """
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
    """Return images, shape (n_images, n_pixels), and labels, shape (n_images,)."""
    table = np.loadtxt(path, dtype=np.uint8, delimiter=",", skiprows=1, ndmin=2)
    return table[:, 1:], table[:, 0]


def scale(images):
    """Convert bytes into numbers from 0.01 to 1."""
    return images / 255.0 * 0.99 + 0.01


def build_network(seed=0):
    """Return the network of the lecture with its initial weights."""
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
    """Yield the number of training rows used so far and the accuracy on the test rows."""
    (X, y), (X_test, y_test) = train, test
    X_test = scale(X_test)
    for start in range(0, len(y), every):
        rows = slice(start, start + every)
        network.partial_fit(scale(X[rows]), y[rows], classes=np.arange(LAYERS[-1]))
        yield min(start + every, len(y)), network.score(X_test, y_test)


def main(arguments=None):
    """Train on the input files, or on generated ones, and print the test accuracy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", metavar="CSV")
    parser.add_argument("--test", metavar="CSV")
    options = parser.parse_args(arguments)
    if (options.train is None) != (options.test is None):
        parser.error("--train and --test must be used together")
    with tempfile.TemporaryDirectory() as folder:
        paths = (options.train, options.test) if options.train else make_files(folder)
        train, test = map(read_csv, paths)
    print(f"{len(train[1])} training rows, {len(test[1])} test rows")
    print(f"{'rows':>7} accuracy")
    for n_rows, accuracy in accuracies(build_network(), train, test):
        print(f"{n_rows:7} {accuracy:8.4f}", flush=True)


if __name__ == "__main__":
    main()
