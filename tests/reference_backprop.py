"""The slow truth about deterministic networks: one row at a time, and derivatives by complex step.

Nothing of the package is imported. All functions take complex parameters too: where a function
has pieces, the real part chooses. So the derivative of the loss in a direction is the imaginary
part after a step of ``1e-200 i``, exact to rounding, and central differences check that.
"""

from typing import NamedTuple

import numpy as np

HIDDEN = ("identity", "logistic", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout")
PAIRS = (
    ("log_loss", "softmax"), ("log_loss", "logistic"),
    ("squared_error", "identity"), ("squared_error", "logistic"), ("squared_error", "softmax"),
    ("squared_error", "exp"), ("poisson", "exp"), ("absolute_error", "identity"),
    ("absolute_error", "logistic"), ("absolute_error", "softmax"), ("absolute_error", "exp"),
)  # fmt: skip
TINY = 1e-200


class Net(NamedTuple):
    """Parameters in three lists, one entry per layer; slopes are None but for prelu."""

    coefs: list
    intercepts: list
    slopes: list
    hidden: tuple
    output: str

    def arrays(self):
        return [*self.coefs, *self.intercepts, *(s for s in self.slopes if s is not None)]

    def moved(self, step, directions):
        """Add ``step * direction`` to every array."""
        left = list(directions)
        parts = []
        for arrays in (self.coefs, self.intercepts, self.slopes):
            parts.append([None if a is None else a + step * left.pop(0) for a in arrays])
        return Net(*parts, self.hidden, self.output)


def draw_net(rng, widths, hidden, output, scale=1.0):
    """Random parameters; hidden activations are a name or one per layer."""
    hidden = (hidden,) * (len(widths) - 2) if isinstance(hidden, str) else tuple(hidden)
    coefs, intercepts, slopes = [], [], []
    for n_in, n_units, name in zip(widths[:-1], widths[1:], [*hidden, output], strict=True):
        n_columns = 2 * n_units if name == "maxout" else n_units
        coefs.append(scale / np.sqrt(n_in) * rng.normal(size=(n_in, n_columns)))
        intercepts.append(scale * rng.normal(size=n_columns))
        slopes.append(rng.uniform(-0.5, 0.9, size=n_units) if name == "prelu" else None)
    return Net(coefs, intercepts, slopes[:-1], hidden, output)


def draw_targets(rng, loss, output, n_samples, n_outputs):
    """Targets off every output's value, soft where the loss takes soft ones."""
    if loss == "poisson":
        targets = rng.poisson(1.5, size=(n_samples, n_outputs)).astype(float)
        targets[0, 0] = 0.0
        return targets
    if loss == "log_loss" and output == "softmax":
        return rng.dirichlet(np.ones(n_outputs), size=n_samples)
    if loss == "log_loss":
        return rng.uniform(size=(n_samples, n_outputs))
    return rng.normal(size=(n_samples, n_outputs))


def sigmoid(a):
    a = np.asarray(a)
    e = np.exp(np.where(a.real >= 0, -a, a))
    return np.where(a.real >= 0, 1.0 / (1.0 + e), e / (1.0 + e))


def hidden_values(name, a, slopes):
    """Values of one layer for one row."""
    if name == "maxout":
        first, second = np.split(a, 2)
        return np.where(first.real >= second.real, first, second)
    positive = a.real > 0
    if name == "elu":
        return np.where(positive, a, np.exp(np.where(positive, 0.0, a)) - 1.0)
    return {
        "identity": lambda: a,
        "logistic": lambda: sigmoid(a),
        "tanh": lambda: 2.0 * sigmoid(2.0 * a) - 1.0,
        "relu": lambda: np.where(positive, a, 0.0),
        "leaky_relu": lambda: np.where(positive, a, 0.1 * a),
        "prelu": lambda: np.where(positive, a, slopes * a),
    }[name]()


def output_values(name, a):
    if name == "softmax":
        e = np.exp(a - a[np.argmax(a.real)])
        return e / e.sum()
    return {"identity": lambda: a, "logistic": lambda: sigmoid(a), "exp": lambda: np.exp(a)}[name]()


def output_of(net, x):
    for W, b, name, slopes in zip(
        net.coefs, net.intercepts, [*net.hidden, None], [*net.slopes, None], strict=True
    ):
        a = x @ W + b
        x = output_values(net.output, a) if name is None else hidden_values(name, a, slopes)
    return x


def outputs(net, X):
    """(n_samples, n_outputs), a row at a time."""
    return np.array([output_of(net, x) for x in X])


def loss_of(loss, output, o, t):
    """Loss of one row, summed over outputs; 0 log 0 is 0."""
    if loss == "squared_error":
        return 0.5 * np.sum((o - t) ** 2)
    if loss == "absolute_error":
        return np.sum((o - t) * np.sign((o - t).real))
    if loss == "poisson":
        return np.sum([b - a + (a * np.log(a / b) if a > 0 else 0.0) for a, b in zip(t, o)])  # noqa: B905
    both = np.sum((1.0 - t) * np.log(1.0 - o)) if output == "logistic" else 0.0
    return -np.sum(t * np.log(o)) - both


def total_loss(net, X, targets, loss, alpha=0.0, weights=None):
    """Weighted mean over rows, and half alpha times the squared coefs per unit weight."""
    weights = np.ones(len(X)) if weights is None else weights
    total = 0.0
    for o, t, w in zip(outputs(net, X), targets, weights, strict=True):
        total = total + w * loss_of(loss, net.output, o, t)
    squares = sum(np.sum(W**2) for W in net.coefs)
    return (total + 0.5 * alpha * squares) / np.sum(weights)


def derivative(net, directions, *args):
    """Derivative of `total_loss` along directions, one array for each of ``net.arrays()``."""
    return float(np.imag(total_loss(net.moved(1j * TINY, directions), *args)) / TINY)


def difference(net, directions, *args, step=1e-5):
    """The same by central differences."""
    ahead, behind = (total_loss(net.moved(s, directions), *args) for s in (step, -step))
    return float((ahead - behind) / (2.0 * step))


def gradients(net, *args):
    """One array of derivatives for each of ``net.arrays()``, an entry at a time."""
    found = [np.zeros_like(a) for a in net.arrays()]
    directions = [np.zeros_like(a) for a in net.arrays()]
    for array, direction in zip(found, directions, strict=True):
        for index in np.ndindex(array.shape):
            direction[index] = 1.0
            array[index] = derivative(net, directions, *args)
            direction[index] = 0.0
    return found
