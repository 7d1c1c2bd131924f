r"""
Two coins: EM step by step
==========================

Two coins, A and B, have unknown probabilities of heads. In each of five rounds, one coin is chosen
with probability 1/2 and tossed ten times. The number of heads is recorded, but not which coin was
used. What are the two probabilities?

This is the smallest example of EM. The coin of a round is the latent variable, as the hidden
states are in a network. At the end of the page, a network computes the same E-step.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit, logit, logsumexp

import fastem

heads = np.array([5, 9, 8, 4, 7])  # of ten tosses, in each round
n_tosses = 10

# %%
# If the coins were recorded
# --------------------------
# Suppose that rounds 2, 3 and 5 used coin A. Then there is nothing to solve. We count the heads of
# each coin and divide by its tosses.

used_a = np.array([False, True, True, False, True])
for name, rounds in (("A", used_a), ("B", ~used_a)):
    n_heads, n_all = heads[rounds].sum(), n_tosses * rounds.sum()
    print(f"coin {name}: {n_heads} heads in {n_all} tosses, {n_heads / n_all:.2f}")

# %%
# E-step: which coin was it?
# --------------------------
# The coins were not recorded. But if we knew both probabilities of heads, Bayes' rule would give
# the probability of each coin in each round:
#
# .. math:: P(\text{coin} \mid \text{heads}) \propto
#           \tfrac12\, \theta^{\text{heads}} (1 - \theta)^{10 - \text{heads}}.
#
# The same terms, summed over the coins, are the likelihood. The binomial coefficients are left
# out. They do not depend on the unknown probabilities.


def e_step(theta):
    """Return the log-likelihood (nats), and P(coin | heads), shape (5 rounds, 2 coins)."""
    h = heads[:, None]
    log_joint = h * np.log(theta) + (n_tosses - h) * np.log1p(-theta) + np.log(0.5)
    posterior_a = expit(log_joint[:, 0] - log_joint[:, 1])
    log_likelihood = logsumexp(log_joint, axis=1).sum()
    return log_likelihood, np.column_stack([posterior_a, 1.0 - posterior_a])


start = np.array([0.6, 0.5])  # first guess, coin A and coin B
_, posterior = e_step(start)
print("round  heads   P(A)  P(B)")
for i, (a, b) in enumerate(posterior):
    print(f"{i + 1:5} {heads[i]:6} {a:6.2f} {b:5.2f}")

# %%
# A round with many heads probably used coin A, because coin A has the higher probability in our
# first guess. Round 1 with five heads is almost undecided.

# %%
# M-step: count, with these probabilities as weights
# --------------------------------------------------
# The nine heads of round 2 count as 0.80 times nine heads of coin A, and as 0.20 times nine heads
# of coin B. The new probability of each coin is its share of heads.


def m_step(posterior):
    """Return the new probability of heads of each coin, shape (2,)."""
    return posterior.T @ heads / (n_tosses * posterior.sum(axis=0))


expected_heads = posterior.T @ heads
expected_tails = posterior.T @ (n_tosses - heads)
after_one = m_step(posterior)
for name, h, t, p in zip("AB", expected_heads, expected_tails, after_one, strict=True):
    print(f"coin {name}: {h:4.1f} heads and {t:4.1f} tails, so {p:.2f}")

# %%
# These are the published values after one iteration, 0.71 and 0.58.

# %%
# Repeat
# ------
# The new probabilities give new posteriors, and these give new probabilities. We stop when the
# relative gain in log-likelihood is at most 1e-12. Each row of the table is one iteration. The last
# five columns are the probabilities that the rounds used coin A.

thetas, posteriors, log_likelihoods = [start], [posterior], [e_step(start)[0]]
while True:
    thetas.append(m_step(posteriors[-1]))
    log_likelihood, posterior = e_step(thetas[-1])
    posteriors.append(posterior)
    log_likelihoods.append(log_likelihood)
    if log_likelihood - log_likelihoods[-2] <= 1e-12 * abs(log_likelihood):
        break

print("iteration  coin A  coin B   log-likelihood   P(A): 1     2     3     4     5")
for t in [*range(11), len(thetas) - 1]:
    a, b = thetas[t]
    cells = "".join(f"{p:6.2f}" for p in posteriors[t][:, 0])
    print(f"{t:9} {a:7.3f} {b:7.3f} {log_likelihoods[t]:16.6f}    {cells}")

# %%
# The published result at convergence is 0.80 and 0.52. No iteration lowers the log-likelihood.
# This is a theorem for EM, and a good test of a program.

# %%
# How certain is each round?
# --------------------------
# Rounds 2 and 4 become almost certain. Round 5 remains uncertain: seven heads are possible with
# both coins.

figure, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
of_a = np.array(posteriors)[:, :, 0]
for i in range(len(heads)):
    ax.plot(of_a[:, i], marker=".", label=f"round {i + 1}: {heads[i]} heads")
ax.set(xlabel="iteration", ylabel="P(coin A | heads)", ylim=(-0.03, 1.03))
ax.set_title("Posterior of each round by iteration of EM")
ax.set_xticks(range(0, len(thetas), 2))
ax.legend(loc="center right", bbox_to_anchor=(1.0, 0.37))
plt.show()

# %%
# The path of EM
# --------------
# The contours are the log-likelihood. It is symmetric, because the names of the coins can be
# exchanged, and so it has two maxima. EM climbs to the maximum on the side of its start.

grid = np.linspace(0.3, 0.95, 131)
surface = np.array([[e_step(np.array([a, b]))[0] for a in grid] for b in grid])
levels = log_likelihoods[-1] - np.array([8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.1, 0.03])

figure, ax = plt.subplots(figsize=(5.4, 5.0), layout="constrained")
ax.contour(grid, grid, surface, levels=levels, cmap="viridis")
ax.plot(*np.array(thetas).T, "o-", color="#b2182b", markersize=4, label="EM")
ax.plot(*start, "ko", label="start")
ax.set(xlabel="P(heads) of coin A", ylabel="P(heads) of coin B", aspect="equal")
ax.set_title("Path of EM on the log-likelihood")
ax.legend(loc="upper right")
plt.show()

# %%
# The same E-step by a network
# ----------------------------
# Take a network with one hidden unit and ten binary labels, the ten tosses. The unit is on if the
# coin is A. Without inputs it is on with probability 1/2. Given the unit, every toss has the
# log-odds of its coin. :func:`fastem.e_step` then returns the posteriors of the first table.

tosses = np.array([[1] * h + [0] * (n_tosses - h) for h in heads])  # the order has no influence
log_odds = logit(start)
result = fastem.e_step(
    np.zeros((len(heads), 1)),  # one input, always zero
    tosses,
    [np.zeros((1, 1)), np.full((1, n_tosses), log_odds[0] - log_odds[1])],
    [np.zeros(1), np.full(n_tosses, log_odds[1])],
    family="bernoulli",
)
print("posterior of the unit:", result.hidden_posterior[:, 0].round(2))
difference = abs(result.hidden_posterior - posteriors[0][:, :1]).max()
print(f"largest difference from the table: {difference:.0e}")
print(f"log-likelihood: {result.log_likelihood.sum():.6f} nats")

# %%
# Try it
# ------
# - Start at ``[0.5, 0.6]``. The two coins exchange their names.
# - Start at ``[0.5, 0.5]``. Why do the two estimates stay equal?
# - Add a round with ten heads. How do the estimates of both coins change?
# - Estimate the probability with which coin A is chosen too. Its M-step is the mean posterior.
#
# .. seealso:: An interactive figure of EM: :doc:`/teaching/index`. Theory: :doc:`/theory/model`.
