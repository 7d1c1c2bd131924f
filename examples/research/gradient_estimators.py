"""Compare stochastic estimators of a gradient with the exact gradient: bias and deviation.

A network with eight binary hidden units is trained for three iterations of EM on iris. Then the
gradient of the mean log-likelihood ``log p(y|x) = log E p(y|z)`` with respect to the weights and
intercepts of the hidden units is estimated. Expectations are over the hidden states z given x.

Estimators, from S samples ``z ~ p(z|x)`` per row; u is the mean of z, a its log-odds:

- REINFORCE: the mean of ``log p(y|z) (z - u)``. It is an unbiased estimate of the gradient of
  ``E log p(y|z)``. By Jensen's inequality this is a lower bound of ``log p(y|x)``. The gradients
  differ.
- REINFORCE with a baseline: ``log p(y|z)`` less its mean over the other samples of the row. It has
  the same expectation.
- Straight-through: the mean of ``u (1 - u)`` times the derivative of ``log p(y|z)`` by z, as if z
  were continuous and ``dz/da = du/da``. It is an estimate of the gradient of the same lower bound,
  with a bias.
- Importance sampling: ``z - u``, averaged with weights proportional to ``p(y|z)``. It converges to
  the gradient of ``log p(y|x)`` as S grows. For every S it is unbiased for another objective,
  ``E log mean_s p(z_s, y|x) / q(z_s)`` with q held fixed at ``p(z|x)``. This is a lower bound of
  ``log p(y|x)``. With one sample its gradient is zero.
- `fastem.Sampling`: the same in compiled form.

Every estimate is compared with two exact gradients. The first is that of ``log p(y|x)``, from
`fastem.EStep`. The second is that of the estimator's own objective: ``E log p(y|z)``, summed over
all 256 configurations, or ``log p(y|x)``. All figures are in percent of the norm of the first:

- bias: norm of the difference between the expectation of the estimate and the exact gradient;
- deviation: square root of the total variance of an estimate.

Both are measured on repeated estimates and have standard errors. In the picture, bars are two
standard errors. A bias that is less than two standard errors is shown by an upper limit.

Run: ``python examples/gradient_estimators.py [FILE]``; with the name of an image file it also draws
the table.
"""

import sys
import warnings
from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_softmax, softmax
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from fastem import EStep, FastEMClassifier, Sampling

N_HIDDEN = 8
SIZES = (2, 4, 16, 64, 256)
BOUND, LIKELIHOOD = "E log p(y|z)", "log p(y|x)"
OBJECTIVES = {
    "REINFORCE": BOUND,
    "REINFORCE, baseline": BOUND,
    "straight-through": BOUND,
    "importance sampling": LIKELIHOOD,
    "fastem.Sampling": LIKELIHOOD,
}
STYLES = {  # colours that colour-blind readers can distinguish, with different markers
    "REINFORCE": {"color": "#d55e00", "marker": "o", "markersize": 10, "fillstyle": "none"},
    "REINFORCE, baseline": {"color": "#0072b2", "marker": "s", "linestyle": "--", "markersize": 5},
    "straight-through": {"color": "#000000", "marker": "^"},
    "importance sampling": {
        "color": "#009e73",
        "marker": "D",
        "markersize": 9,
        "fillstyle": "none",
    },
    "fastem.Sampling": {"color": "#aa4499", "marker": "x", "linestyle": "--"},
}


class Problem(NamedTuple):
    """Rows and parameters; V and c are the weights and intercepts of the outputs."""

    X: np.ndarray
    y: np.ndarray
    W: np.ndarray
    b: np.ndarray
    V: np.ndarray
    c: np.ndarray

    @property
    def lists(self):
        """Parameters as `EStep` takes them."""
        return [self.W, self.V], [self.b, self.c]

    def gradient(self, by_log_odds):
        """Return the gradient of a mean over rows, as one vector.

        ``by_log_odds`` has its derivatives by the log-odds of the units, (n_samples, n_hidden).
        """
        n = len(self.X)
        return np.concatenate([(self.X.T @ by_log_odds).ravel(), by_log_odds.sum(axis=0)]) / n


def iris(max_iter=3):
    """Return the network after some iterations of EM."""
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    model = FastEMClassifier((N_HIDDEN,), alpha=0.15, max_iter=max_iter, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    (W, V), (b, c) = model.coefs_, model.intercepts_
    return Problem(X, y, W, b, V, c)


def of_e_step(problem, method):
    """Return the gradient of the mean of log p(y|x) from an E-step."""
    sizes = {"hidden_layer_sizes": len(problem.V), "n_classes": len(problem.c)}
    oracle = EStep(problem.X, problem.y, method=method, n_jobs=1, **sizes)
    result = oracle(*problem.lists)
    own = result.coef_gradients[0].ravel(), result.intercept_gradients[0]
    return np.concatenate(own) / len(problem.y)


def of_bound(problem):
    """Return the exact gradient of the mean of E log p(y|z), summed over all configurations."""
    n_hidden = len(problem.V)
    z = (np.arange(2**n_hidden)[:, None] >> np.arange(n_hidden)) % 2
    u = expit(problem.X @ problem.W + problem.b)
    prior = np.prod(np.where(z, u[:, None], 1.0 - u[:, None]), axis=2)
    log_p = log_softmax(z @ problem.V + problem.c, axis=1)[:, problem.y].T
    weights = prior * log_p
    return problem.gradient(weights @ z - weights.sum(axis=1, keepdims=True) * u)


def estimates(problem, z):
    """Return the estimates by name, from the samples z (n_samples, S, n_hidden)."""
    u = expit(problem.X @ problem.W + problem.b)
    log_p = log_softmax(z @ problem.V + problem.c, axis=2)
    expected = np.exp(log_p).mean(axis=1) @ problem.V.T  # mean over samples of E[V_y | z]
    log_p = np.take_along_axis(log_p, problem.y[:, None, None], axis=2)[:, :, 0]
    away, n_samples = z - u[:, None], z.shape[1]
    others = (log_p.sum(axis=1, keepdims=True) - log_p) / (n_samples - 1)

    def weighted(weights):
        return problem.gradient(np.einsum("is,ish->ih", weights, away))

    return {
        "REINFORCE": weighted(log_p / n_samples),
        "REINFORCE, baseline": weighted((log_p - others) / n_samples),
        "straight-through": problem.gradient(u * (1.0 - u) * (problem.V.T[problem.y] - expected)),
        "importance sampling": weighted(softmax(log_p, axis=1)),
    }


def repeat(problem, n_samples, n_repeats, rng):
    """Return repeated estimates by name, each (n_repeats, n_parameters)."""
    u = expit(problem.X @ problem.W + problem.b)
    found = {name: [] for name in OBJECTIVES}
    for _ in range(n_repeats):
        z = (rng.random((len(u), n_samples, u.shape[1])) < u[:, None]).astype(float)
        for name, estimate in estimates(problem, z).items():
            found[name].append(estimate)
        engine = Sampling(n_samples, random_state=int(rng.integers(2**31)))
        found["fastem.Sampling"].append(of_e_step(problem, engine))
    return {name: np.array(values) for name, values in found.items()}


def bias(values, exact):
    """Return the norm of the bias of repeated estimates, and its standard error.

    The squared norm of their mean difference is too large by the variance of the mean. The sum
    ``sum_{r != t} d_r d_t`` of the differences d has no such excess. Its standard error is that of
    the jackknife. A negative sum counts as zero.
    """
    d = values - exact
    n, total, squares = len(d), d.sum(axis=0), np.sum(d**2, axis=1)
    square = (total @ total - squares.sum()) / (n * (n - 1))
    without = np.sum((total - d) ** 2, axis=1) - (squares.sum() - squares)
    without /= (n - 1) * (n - 2)
    error = np.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2))
    norm = np.sqrt(max(square, 0.0))
    return norm, min(error / (2.0 * norm), np.sqrt(error)) if norm > 0.0 else np.sqrt(error)


def deviation(values):
    """Return the square root of the total variance of repeated estimates, and its error."""
    n = len(values)
    squares = np.sum((values - values.mean(axis=0)) ** 2, axis=1) * n / (n - 1)
    root = np.sqrt(squares.mean())
    return root, squares.std() / np.sqrt(n) / (2.0 * root)


def measure(problem, sizes, n_repeats, seed=0):
    """Return rows (name, S, own bias, bias, deviation); figures are (percent, error) pairs."""
    rng = np.random.default_rng(seed)
    exact = {LIKELIHOOD: of_e_step(problem, "enumeration"), BOUND: of_bound(problem)}
    percent, rows = 100.0 / np.linalg.norm(exact[LIKELIHOOD]), []
    for n_samples in sizes:
        for name, values in repeat(problem, n_samples, n_repeats, rng).items():
            figures = (
                bias(values, exact[OBJECTIVES[name]]),
                bias(values, exact[LIKELIHOOD]),
                deviation(values),
            )
            rows.append((name, n_samples, *(percent * np.array(pair) for pair in figures)))
    distance = percent * np.linalg.norm(exact[BOUND] - exact[LIKELIHOOD])
    return rows, distance


def draw(rows, distance, path):
    """Draw bias and deviation against the number of samples; bars are two standard errors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    titles = "Bias against the gradient of log p(y|x)", "Standard deviation of an estimate"
    for ax, column, title in zip(axes, (3, 4), titles, strict=True):
        for name, style in STYLES.items():
            own = [row for row in rows if row[0] == name]
            sizes = np.array([row[1] for row in own])
            values, errors = np.array([row[column] for row in own]).T
            clear = values > 2.0 * errors
            shown = np.where(clear, values, np.nan)
            ax.errorbar(sizes, shown, yerr=2.0 * errors, capsize=4, label=name, **style)
            limits = (values + 2.0 * errors)[~clear]
            ax.plot(sizes[~clear], limits, "v", fillstyle="none", color=style["color"])
        ax.set(title=title, xlabel="samples per row", xscale="log", yscale="log")
        ax.set_xticks(sizes, labels=map(str, sizes))
        ticks = [1, 2, 5, 10, 20, 50, 100, 200]
        ax.set_yticks(ticks, labels=[f"{tick} %" for tick in ticks])
        ax.set_ylim(1.0, 300.0)
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    axes[0].axhline(distance, color="0.4", linestyle=":", zorder=0)
    axes[0].text(sizes[-1], 1.12 * distance, f"exact gradient of {BOUND}", ha="right")
    axes[0].text(sizes[0], 1.2, "triangle: upper limit")
    axes[0].set_ylabel("percent of the norm of the exact gradient")
    axes[1].legend(frameon=False)
    figure.savefig(path, dpi=110)
    print(path)


def main(path=None, sizes=SIZES, n_repeats=300):
    """Print bias and deviation of every estimator, and draw them if a path is given."""
    problem = iris()
    rows, distance = measure(problem, sizes, n_repeats)
    print(f"{len(problem.y)} rows, {N_HIDDEN} hidden units, {n_repeats} repetitions;")
    print("percent of the norm of the exact gradient of log p(y|x), with standard errors")
    print(f"the exact gradients of {BOUND} and {LIKELIHOOD} differ by {distance:.1f} %")
    heads = "bias (own)", "bias (log p)", "deviation"
    print(f"{'estimator':19} {'objective':12} {'S':>3} " + " ".join(f"{x:>15}" for x in heads))
    for name, n_samples, *figures in rows:
        cells = " ".join(f"{value:7.2f} +- {error:4.2f}" for value, error in figures)
        print(f"{name:19} {OBJECTIVES[name]:12} {n_samples:3} {cells}")
    if path is not None:
        try:
            draw(rows, distance, path)
        except ImportError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:2])
