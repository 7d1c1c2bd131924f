r"""
Gradient estimators against the exact gradient
==============================================

Networks with binary hidden units are often trained with *estimated* gradients, because the sum
over all hidden states is considered too expensive. With eight hidden units the sum has only 256
terms, so :class:`fastem.EStep` computes the gradient exactly. Here it is a reference for three
common estimators: REINFORCE, straight-through and importance sampling. The example measures their
bias, which more repetitions do not reduce, and their standard deviation.

Notation: :math:`z` are the hidden states, :math:`a` their log-odds given :math:`x`, and
:math:`u = 1 / (1 + e^{-a})` their means.
"""

# %%
# A network in the middle of its training
# ---------------------------------------
# Three iterations of EM on iris give a network that already has some structure, while its gradient
# is still far from zero. All gradients below are those of a mean over the 150 rows, with respect to
# the weights ``W`` and intercepts ``b`` of the hidden units.

import warnings
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit, log_softmax, softmax
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from fastem import EStep, FastEMClassifier, Sampling


class Problem(NamedTuple):
    """Rows and parameters; V and c are the weights and intercepts of the outputs."""

    X: np.ndarray
    y: np.ndarray
    W: np.ndarray
    b: np.ndarray
    V: np.ndarray
    c: np.ndarray

    def gradient(self, by_log_odds):
        """Return one vector from the derivatives by the log-odds, (n_samples, n_hidden)."""
        return np.append((self.X.T @ by_log_odds).ravel(), by_log_odds.sum(axis=0)) / len(self.y)


X, y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
model = FastEMClassifier((8,), alpha=0.15, max_iter=3, random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # we stop early on purpose
    model.fit(X, y)
problem = Problem(
    X, y, model.coefs_[0], model.intercepts_[0], model.coefs_[1], model.intercepts_[1]
)

# %%
# The exact gradient of the likelihood
# ------------------------------------
# An :class:`~fastem.EStep` returns the gradient of the total of :math:`\log p(y|x)`. With
# ``method="enumeration"`` it is exact. With :class:`fastem.Sampling` it is an estimate by
# importance sampling.


def likelihood_gradient(problem, method="enumeration"):
    """Return the gradient of the mean of log p(y|x)."""
    oracle = EStep(
        problem.X,
        problem.y,
        hidden_layer_sizes=len(problem.V),
        n_classes=len(problem.c),
        method=method,
        n_jobs=1,
    )
    result = oracle([problem.W, problem.V], [problem.b, problem.c])
    total = np.append(result.coef_gradients[0].ravel(), result.intercept_gradients[0])
    return total / len(problem.y)


exact = likelihood_gradient(problem)
print(f"{len(exact)} parameters, norm of the exact gradient {np.linalg.norm(exact):.4f}")

# %%
# The exact gradient of the bound
# -------------------------------
# Some estimators do not estimate this gradient. Their objective is the mean of the *conditional*
# log-likelihood over the hidden states,
#
# .. math:: E_{z|x} \log p(y|z) \;\le\; \log E_{z|x}\, p(y|z) = \log p(y|x).
#
# By Jensen's inequality it is a lower bound. Its gradient is another vector. We sum it over all 256
# states.


def bound_gradient(problem):
    """Return the exact gradient of the mean of E log p(y|z)."""
    m = len(problem.V)
    z = (np.arange(2**m)[:, None] >> np.arange(m)) % 2  # every hidden state
    u = expit(problem.X @ problem.W + problem.b)
    prior = np.prod(np.where(z, u[:, None], 1.0 - u[:, None]), axis=2)
    log_p = log_softmax(z @ problem.V + problem.c, axis=1)[:, problem.y].T
    weights = prior * log_p
    return problem.gradient(weights @ z - weights.sum(axis=1, keepdims=True) * u)


bound = bound_gradient(problem)
distance = 100.0 * np.linalg.norm(bound - exact) / np.linalg.norm(exact)
print(f"the gradient of the bound differs by {distance:.1f} % of the norm of the exact gradient")

# %%
# The estimators
# --------------
# All of them use the same :math:`S` samples :math:`z_s \sim p(z|x)` of every row.
#
# * **REINFORCE**: the mean of :math:`\log p(y|z_s)\,(z_s - u)`. It is unbiased for the bound.
# * **REINFORCE with a baseline**: :math:`\log p(y|z_s)` minus its mean over the other samples of
#   the row. The expectation is the same.
# * **Straight-through**: :math:`u (1 - u)` times the derivative of :math:`\log p(y|z)` by
#   :math:`z`, as if :math:`z` were continuous. It is biased for the bound, too.
# * **Importance sampling**: :math:`z_s - u`, averaged with weights proportional to
#   :math:`p(y|z_s)`. It converges to the gradient of :math:`\log p(y|x)` as :math:`S` grows.


def estimates(problem, z):
    """Return the estimates by name, from samples z (n_samples, S, n_hidden)."""
    u = expit(problem.X @ problem.W + problem.b)
    log_p = log_softmax(z @ problem.V + problem.c, axis=2)
    mean_output = np.exp(log_p).mean(axis=1) @ problem.V.T
    log_p = np.take_along_axis(log_p, problem.y[:, None, None], axis=2)[:, :, 0]
    away, S = z - u[:, None], z.shape[1]
    baseline = (log_p.sum(axis=1, keepdims=True) - log_p) / (S - 1)

    def weighted(weights):
        return problem.gradient(np.einsum("is,ish->ih", weights, away))

    return {
        "REINFORCE": weighted(log_p / S),
        "REINFORCE, baseline": weighted((log_p - baseline) / S),
        "straight-through": problem.gradient(
            u * (1.0 - u) * (problem.V.T[problem.y] - mean_output)
        ),
        "importance sampling": weighted(softmax(log_p, axis=1)),
    }


# %%
# Bias and standard deviation
# ---------------------------
# Both are measured on repeated estimates, as norms of vectors. The squared norm of a mean is too
# large by the variance of the mean. ``bias`` therefore sums the products of *different*
# repetitions, :math:`\sum_{r \ne t} d_r \cdot d_t`, which has no such excess. Its standard error is
# that of the jackknife. A negative sum counts as zero.


def bias(values, exact):
    """Return the norm of the bias of repeated estimates, and its standard error."""
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


# %%
# The measurement
# ---------------
# We repeat every estimate 400 times, for 2 to 64 samples per row. ``fastem.Sampling`` is the
# compiled importance sampling of this package, with random numbers of its own.

SIZES, N_REPEATS = (2, 4, 16, 64), 400
rng = np.random.default_rng(0)
u = expit(X @ problem.W + problem.b)
percent = 100.0 / np.linalg.norm(exact)
results = {}
for S in SIZES:
    found = {}
    for _ in range(N_REPEATS):
        z = (rng.random((len(u), S, u.shape[1])) < u[:, None]).astype(float)
        engine = Sampling(S, random_state=int(rng.integers(2**31)))
        one = estimates(problem, z) | {"fastem.Sampling": likelihood_gradient(problem, engine)}
        for name, estimate in one.items():
            found.setdefault(name, []).append(estimate)
    for name, values in found.items():
        values = np.array(values)
        results[name, S] = {
            "bias against log p(y|x)": percent * np.array(bias(values, exact)),
            "bias against the bound": percent * np.array(bias(values, bound)),
            "standard deviation": percent * np.array(deviation(values)),
        }

for quantity in results["REINFORCE", 2]:
    print(f"\n{quantity}, in % of the norm of the exact gradient (standard error)")
    print(f"{'samples per row':20}" + "".join(f"{S:>14}" for S in SIZES))
    for name in found:
        cells = ("{:.1f} ({:.1f})".format(*results[name, S][quantity]) for S in SIZES)
        print(f"{name:20}" + "".join(f"{cell:>14}" for cell in cells))

# %%
# The picture
# -----------
# Bars are two standard errors. A bias that is less than two standard errors is shown by a triangle
# at its upper limit.

STYLES = {
    "REINFORCE": ("#d55e00", "o", "-"),
    "REINFORCE, baseline": ("#0072b2", "s", "--"),
    "straight-through": ("#000000", "^", "-"),
    "importance sampling": ("#009e73", "D", "-"),
    "fastem.Sampling": ("#aa4499", "x", "--"),
}
figure, axes = plt.subplots(1, 2, figsize=(8, 4.8), sharex=True, sharey=True, layout="constrained")
for ax, quantity in zip(axes, ("bias against log p(y|x)", "standard deviation"), strict=True):
    for name, (color, marker, line) in STYLES.items():
        values, errors = np.array([results[name, S][quantity] for S in SIZES]).T
        clear = values > 2.0 * errors
        shown = np.where(clear, values, np.nan)
        style = {"color": color, "fillstyle": "none"}
        ax.errorbar(
            SIZES,
            shown,
            2.0 * errors,
            capsize=4,
            label=name,
            marker=marker,
            linestyle=line,
            **style,
        )
        limits = np.where(clear, np.nan, values + 2.0 * errors)
        ax.plot(SIZES, limits, "v", **style)
    ax.set(title=quantity.capitalize(), xlabel="samples per row", xscale="log", yscale="log")
    ax.set_xticks(SIZES, labels=map(str, SIZES))
    ticks = [1, 2, 5, 10, 20, 50, 100, 200]
    ax.set_yticks(ticks, labels=[f"{tick} %" for tick in ticks])
    ax.set_ylim(1.0, 300.0)
    ax.minorticks_off()
    ax.grid(alpha=0.3)
axes[0].axhline(distance, color="0.4", linestyle=":", zorder=0)
axes[0].text(SIZES[-1], 1.2 * distance, "exact gradient of the bound", ha="right")
axes[0].set_ylabel("% of the norm of the exact gradient")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()

# %%
# Results
# -------
# * REINFORCE has no measurable bias against the bound, but the gradient of the bound is not the
#   gradient of the likelihood. More samples do not change that.
# * Straight-through has the smallest standard deviation. Its bias does not depend on the number of
#   samples, and it is larger than the standard deviation for every size shown here.
# * Importance sampling is biased with few samples. The bias falls about as :math:`1 / S`, the
#   standard deviation as :math:`1 / \sqrt S`.
#
# To judge an estimator of your own, add it to ``estimates``. To test it without noise, sum it over
# all hidden states, each with its prior probability.
#
# .. seealso:: Guide: :doc:`/guide/oracle`. Theory: :doc:`/theory/sampling`.
