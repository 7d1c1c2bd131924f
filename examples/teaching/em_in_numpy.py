r"""
EM in forty lines of NumPy
==========================

What does an EM iteration for a network with stochastic hidden units compute? This page contains a
complete fit by EM in about forty lines of NumPy. It compares the program with
:func:`fastem.e_step` and with a fit by fastem.

The model has m hidden units that are 0 or 1, and g classes:

.. math:: P(Z_h = 1 \mid x) = \sigma(x'w_h + b_h), \qquad
          P(y = k \mid z) = \mathrm{softmax}_k(z'V + c).
"""

import time
import warnings
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

import fastem

# %%
# E-step
# ------
# There are :math:`2^m` hidden states. We list them all. For each row and each state we need
# :math:`\log P(z \mid x) + \log P(y \mid z)`. The sum of the probabilities over the states is the
# likelihood of the row. The shares in this sum are the posterior of the states.


def log_sum_exp(a, axis):
    """Return log(sum(exp(a))) along an axis; the axis is kept with length one."""
    largest = a.max(axis=axis, keepdims=True)
    return largest + np.log(np.exp(a - largest).sum(axis=axis, keepdims=True))


def e_step(X, y, W, b, V, c):
    """Return log p(y | x) (n,) in nats, P(state | x, y) (n, 2**m) and the states (2**m, m)."""
    Z = np.array(list(product((0.0, 1.0), repeat=len(b))))
    a = X @ W + b  # log-odds of the units
    log_prior = -np.logaddexp(0.0, -a) @ Z.T - np.logaddexp(0.0, a) @ (1.0 - Z).T
    scores = Z @ V + c
    log_class = scores - log_sum_exp(scores, axis=1)  # log P(class | state)
    log_joint = log_prior + log_class[:, y].T
    log_likelihood = log_sum_exp(log_joint, axis=1)
    return log_likelihood[:, 0], np.exp(log_joint - log_likelihood), Z


# %%
# Gradients
# ---------
# The gradient of the log-likelihood consists of differences. For a hidden unit, it is the posterior
# probability minus the prior probability. For a class and a state, it is the expected number of
# rows of this class in this state, minus the number that the model predicts.


def gradients(X, y, W, b, V, c, posterior, Z):
    """Return the gradients of the total log-likelihood by W, b, V and c."""
    unit = posterior @ Z - np.exp(-np.logaddexp(0.0, -(X @ W + b)))  # posterior - prior (n, m)
    scores = Z @ V + c
    class_of_state = np.exp(scores - log_sum_exp(scores, axis=1))  # (2**m, g)
    expected = posterior.T @ np.eye(len(c))[y]  # rows of each class in each state
    excess = expected - expected.sum(axis=1, keepdims=True) * class_of_state
    return X.T @ unit, unit.sum(axis=0), Z.T @ excess, excess.sum(axis=0)


# %%
# M-step
# ------
# Given the posterior, each layer is a logistic regression. A step under a fixed bound on the
# curvature needs no line search: for a logistic regression on inputs A, the curvature is at most
# :math:`A'A/4`, and :math:`A'A/2` for a softmax. Such a step never lowers the likelihood.


def m_step(X, W, b, V, c, posterior, Z, gradient):
    """Return new W, b, V and c after a step under the bound on the curvature."""
    X1, Z1 = np.column_stack([X, np.ones(len(X))]), np.column_stack([Z, np.ones(len(Z))])
    weighted = Z1 * posterior.sum(axis=0)[:, None]  # the states, times their expected rows
    hidden_step = np.linalg.lstsq(X1.T @ X1 / 4.0, np.vstack(gradient[:2]), rcond=None)[0]
    output_step = np.linalg.lstsq(Z1.T @ weighted / 2.0, np.vstack(gradient[2:]), rcond=None)[0]
    return W + hidden_step[:-1], b + hidden_step[-1], V + output_step[:-1], c + output_step[-1]


# %%
# The same numbers as fastem
# --------------------------
# We compare with :func:`fastem.e_step` at random weights, on the iris data with five hidden units.

X, y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
rng = np.random.default_rng(0)
start = rng.normal(size=(4, 5)), rng.normal(size=5), rng.normal(size=(5, 3)), rng.normal(size=3)

W, b, V, c = start
log_likelihood, posterior, Z = e_step(X, y, W, b, V, c)
ours = log_likelihood, posterior @ Z, *gradients(X, y, W, b, V, c, posterior, Z)
result = fastem.e_step(X, y, [W, V], [b, c])
theirs = (
    result.log_likelihood,
    result.hidden_posterior,
    result.coef_gradients[0],
    result.intercept_gradients[0],
    result.coef_gradients[1],
    result.intercept_gradients[1],
)
names = "log-likelihood", "hidden posterior", *(f"gradient by {p}" for p in "WbVc")
print(f"{'':16}  largest difference from fastem")
differences = {}
for name, mine, other in zip(names, ours, theirs, strict=True):
    differences[name] = abs(mine - other).max()
    print(f"{name:16}  {differences[name]:.0e}")

# %%
# A fit
# -----
# An iteration is an E-step, the gradients and an M-step. The loss is the negative log-likelihood
# per row. It must never rise. The ``assert`` below stops the program if it does.


def fit(X, y, W, b, V, c, n_iterations):
    """Return the parameters, and the loss (nats per row) of the start and of every iteration."""
    losses = []
    for _ in range(n_iterations + 1):
        log_likelihood, posterior, Z = e_step(X, y, W, b, V, c)
        losses.append(-log_likelihood.mean())
        parameters = W, b, V, c
        gradient = gradients(X, y, *parameters, posterior, Z)
        W, b, V, c = m_step(X, *parameters, posterior, Z, gradient)
    return parameters, np.array(losses)


_, losses = fit(X, y, *start, n_iterations=100)
assert (np.diff(losses) <= 0.0).all()
print("loss at iterations 0, 1, 10, 100:", *losses[[0, 1, 10, 100]].round(4))

# %%
# The estimator of fastem begins at the same parameters and takes the same number of iterations. We
# switch off its penalty and its acceleration. Its M-step "bound" takes the same steps as ours. Its
# M-step "newton" uses the curvature itself in place of the bound. A fit that stops after 100
# iterations warns that it has not converged, and we ignore that warning.

curves = {"NumPy": losses}
for m_step_name in ("bound", "newton"):
    model = fastem.FastEMClassifier(
        (5,),
        m_step=m_step_name,
        alpha=0.0,
        accelerate=False,
        standardize=False,
        coefs_init=[W, V],
        intercepts_init=[b, c],
        max_iter=100,
        tol=0.0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    curves[f"fastem, {m_step_name}"] = np.array(model.loss_curve_)

for name, curve in curves.items():
    print(f"{name:14}  loss at iterations 0, 1, 10, 100:", *curve[[0, 1, 10, 100]].round(4))

figure, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
for (name, curve), style in zip(curves.items(), ("-", "--", ":"), strict=True):
    ax.semilogy(curve, style, label=name)
ax.set(xlabel="iteration", ylabel="loss, nats per row", title="Iris, 5 hidden units")
ax.legend()
plt.show()

# %%
# The curves of NumPy and of the M-step "bound" coincide.

# %%
# Time against the number of units
# --------------------------------
# The number of states doubles with each unit. The time and the memory of our E-step grow like
# :math:`2^m n`. fastem computes the same sums in compiled code, with less work per state. Here are
# the times of both, with gradients, on 300 random rows. Each time is the best of three.


def best_time(function, *arguments, **settings):
    """Return the shortest of three times of a call, in seconds."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        function(*arguments, **settings)
        times.append(time.perf_counter() - began)
    return min(times)


def by_numpy(X, y, W, b, V, c):
    """Run our E-step with gradients."""
    _, posterior, Z = e_step(X, y, W, b, V, c)
    return gradients(X, y, W, b, V, c, posterior, Z)


sizes = np.arange(2, 15, 2)
seconds = {"NumPy": [], "fastem.e_step": []}
rows, labels = rng.normal(size=(300, 4)), rng.integers(0, 3, size=300)
for m in sizes:
    W, b, V, c = rng.normal(size=(4, m)), rng.normal(size=m), rng.normal(size=(m, 3)), np.zeros(3)
    seconds["NumPy"].append(best_time(by_numpy, rows, labels, W, b, V, c))
    seconds["fastem.e_step"].append(
        best_time(fastem.e_step, rows, labels, [W, V], [b, c], method="enumeration")
    )

figure, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
for (name, times), marker in zip(seconds.items(), ("o-", "s-"), strict=True):
    ax.semilogy(sizes, 1e3 * np.array(times), marker, label=name)
ax.set(xlabel="hidden units m", ylabel="time of an E-step, ms", title="300 rows, 3 classes")
ax.set_xticks(sizes)
ax.legend()
plt.show()

# %%
# Both times double with each further unit as soon as the sums take most of the time. For a few
# units, most of the time of a call of fastem is spent on checking its arguments.

# %%
# Try it
# ------
# - Replace the bound in ``m_step`` by a gradient step. For which rate does the loss never rise?
# - Subtract a penalty ``alpha / 2 * (W**2).sum()`` from the likelihood. Which two functions change?
# - List the states for 20 units. How much memory does ``log_joint`` need for the iris data?
# - For two or three classes, ``method="quadrature"`` computes the same likelihood without the list
#   of states. Add its time to the picture, and continue to m = 100.
#
# .. seealso:: Guide: :doc:`/guide/oracle`. Theory: :doc:`/theory/enumeration`.
