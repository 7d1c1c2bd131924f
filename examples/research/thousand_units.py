r"""
A thousand hidden units, exactly
================================

A network with :math:`m` binary hidden units has :math:`2^m` hidden states. Enumeration sums over
all of them, so twenty units are about its limit. With two classes the sum is also a
one-dimensional integral. :class:`fastem.Quadrature` evaluates this integral in a time that is
*linear* in :math:`m`. It estimates the error of every row, and raises an error if it cannot reach
its tolerance.

The example shows that both engines return the same numbers for up to 16 units. It measures how
their times grow, and fits a network with 1000 hidden units.
"""

# %%
# The size of the sum
# -------------------
# With two classes, :math:`p(y|z)` depends on the hidden state only through one number, the
# difference of the two logits, :math:`S = d_0 + \sum_h d_h z_h`. The marginal probability is
# :math:`p(y|x) = E[\sigma(S)]`. The characteristic function of :math:`S` is a product of
# :math:`m` factors. This product replaces the sum over :math:`2^m` states.

import timeit

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from sklearn.datasets import make_moons
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.metrics import log_loss

from fastem import EStep, FastEMClassifier, Quadrature

print(f"number of hidden states of 1000 units: about 10^{len(str(2**1000)) - 1}")

# %%
# The same numbers
# ----------------
# We draw networks with 4 to 16 hidden units, and compare log-likelihoods, posteriors and gradients
# of both engines. The tolerance of quadrature is :math:`10^{-10}`.

X, y = make_moons(100, noise=0.2, random_state=0)
rng = np.random.default_rng(0)


def random_network(m):
    """Return coefs and intercepts of a network with m hidden units."""
    coefs = [rng.normal(size=(2, m)), rng.normal(size=(m, 2)) / np.sqrt(m)]
    return coefs, [rng.normal(size=m), np.zeros(2)]


def largest_difference(m):
    """Return the largest difference of the two engines on a random network with m units.

    Gradients are divided by their norm.
    """
    network = random_network(m)
    found = []
    for method in ("enumeration", "quadrature"):
        result = EStep(X, y, hidden_layer_sizes=m, method=method)(*network)
        gradient = np.concatenate([part.ravel() for part in result.coef_gradients])
        norm = np.linalg.norm(gradient)
        found.append((result.log_likelihood, result.hidden_posterior, gradient / norm))
    return max(np.abs(a - b).max() for a, b in zip(*found, strict=True))


differences = {m: largest_difference(m) for m in (4, 8, 12, 16)}
for m, difference in differences.items():
    print(f"{m:2} units: largest difference {difference:.0e}")

# %%
# Time against the number of units
# --------------------------------
# We time E-steps with gradients, and take the minimum of three calls. A straight line through the
# logarithms has the power of :math:`m` as its slope. The output weights above are divided by
# :math:`\sqrt m`, so that the logits have the same spread for every :math:`m`: a larger spread
# needs more points of quadrature.


def seconds(m, method):
    """Return the time of an E-step on a random network with m units."""
    oracle = EStep(X, y, hidden_layer_sizes=m, method=method, random_state=0)
    network = random_network(m)
    oracle(*network)  # compiles the kernels
    return min(timeit.repeat(lambda: oracle(*network), number=1, repeat=3))


enumeration = {m: seconds(m, "enumeration") for m in (6, 8, 10, 12, 14, 16)}
quadrature = {m: seconds(m, "quadrature") for m in (16, 64, 250, 500, 1000)}
sampling = {m: seconds(m, "sampling") for m in (6, 16, 64, 250, 1000)}

large = np.array([64, 250, 500, 1000])
power, _ = np.polyfit(np.log(large), np.log([quadrature[m] for m in large]), 1)
print(f"quadrature: time proportional to m^{power:.2f}; 1000 units in {quadrature[1000]:.3f} s")

per_state = enumeration[16] / 2**16
years = np.log10(per_state) + 1000 * np.log10(2) - np.log10(3600 * 24 * 365)
print(f"enumeration at the rate measured for 16 units: 10^{years:.0f} years for 1000 units")

# %%
# Both axes are logarithmic. A straight line is a power of :math:`m`. The curve of enumeration bends
# upwards, because its time doubles with every unit. ``fastem.Sampling`` with 500 samples per row is
# linear in :math:`m`, too, but it returns estimates. Quadrature takes about the same time, and its
# results are exact up to the tolerance.

figure, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
ax.loglog(enumeration.keys(), enumeration.values(), "o-", color="#d55e00", label="enumeration")
sizes = np.linspace(16, 28)
ax.loglog(sizes, per_state * 2**sizes, ":", color="#d55e00", label="doubling with every unit")
ax.loglog(quadrature.keys(), quadrature.values(), "s-", color="#0072b2", label="quadrature")
ax.loglog(sampling.keys(), sampling.values(), "^--", color="#009e73", label="sampling")
ax.set_xticks([6, 10, 16, 28, 64, 250, 1000], labels=["6", "10", "16", "28", "64", "250", "1000"])
ax.minorticks_off()
ax.set(xlabel="hidden units", ylabel="time of an E-step (seconds)", title="100 rows, two classes")
ax.grid(alpha=0.3)
ax.legend()
plt.show()

# %%
# A fit with 1000 units
# ---------------------
# A fit does not need ten digits, so we pass an engine with a larger tolerance. With
# ``e_step="auto"`` the fit selects quadrature by itself, with the default tolerance.
#
# On this small table the large network does not predict new rows better than six units. The
# example shows that the number of units is a free choice with this engine, not that more units are
# better.

X_new, y_new = make_moons(500, noise=0.2, random_state=1)
models = {
    m: FastEMClassifier((m,), e_step=e_step, alpha=0.15, tol=1e-3, random_state=0).fit(X, y)
    for m, e_step in ((6, "enumeration"), (1000, Quadrature(tol=1e-6)))
}
log_losses = {m: log_loss(y_new, model.predict_proba(X_new)) for m, model in models.items()}
for m, model in models.items():
    print(f"{m:4} units: {model.n_iter_} iterations, log-loss of new rows {log_losses[m]:.3f} nats")

# %%
# The probability of the red class, by both networks:

colours = ListedColormap(["#2166ac", "#b2182b"])
figure, axes = plt.subplots(
    1, 2, figsize=(8.0, 3.8), sharex=True, sharey=True, layout="constrained"
)
for ax, (m, model) in zip(axes, models.items(), strict=True):
    display = DecisionBoundaryDisplay.from_estimator(
        model,
        X,
        ax=ax,
        response_method="predict_proba",
        grid_resolution=30,
        cmap="RdBu_r",
        alpha=0.6,
        levels=20,
        vmin=0.0,
        vmax=1.0,
    )
    ax.scatter(X[:, 0], X[:, 1], c=y, cmap=colours, edgecolor="white", s=25)
    ax.set(title=f"{m} hidden units", xlabel="feature 1", ylabel="feature 2")
    ax.label_outer()
figure.colorbar(display.surface_, ax=axes, label="P(red | x)", ticks=[0.0, 0.25, 0.5, 0.75, 1.0])
plt.show()

# %%
# .. seealso:: Guide: :doc:`/guide/stream_and_large_data`. Theory: :doc:`/theory/quadrature`.
