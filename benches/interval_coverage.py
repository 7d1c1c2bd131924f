"""Print the coverage of intervals of predictions on data that are drawn from known networks.

Every repetition draws a network, rows from it, and new rows. A model with the right number of
units is fitted. The table shows how often the 95 % intervals at the new rows contain the
probability of a class (or the mean of y) under the network, averaged over new rows, outputs and
repetitions, with the standard error over repetitions, and the median width of the intervals.
"delta" is `fastem.Inference`. "normal" is the interval of `fastem.bootstrap`, which uses the
standard deviation of the refits on the log-odds scale for classes. The other intervals are computed
from the same refits on the same scale: "percentile" uses quantiles; "basic" reflects them at the
estimate; "normal, shifted" also subtracts the mean deviation of the refits; "bias-corrected" is
Efron's BC interval.

    python benches/interval_coverage.py
    python benches/interval_coverage.py --problems 0 3 --alpha 0.5 --repetitions 50 --n-jobs 2
"""

import argparse
from typing import NamedTuple

import numpy as np
from measure import convergence_warnings_ignored
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax
from scipy.stats import norm

import fastem

Array = NDArray[np.float64]

COVERAGE = 0.95
N_NEW = 200
_NEAREST = 1e-12  # probabilities that are closer to 0 or 1 have no finite log-odds


class Problem(NamedTuple):
    """Size of a random network; ``n_classes=None`` stands for one Gaussian output."""

    n_samples: int
    n_features: int
    n_hidden: int
    n_classes: int | None

    def __str__(self) -> str:
        output = "one number" if self.n_classes is None else f"{self.n_classes} classes"
        n, p, m = self.n_samples, self.n_features, self.n_hidden
        return f"n={n}, p={p}, m={m}, {output}"


PROBLEMS = (
    Problem(300, 2, 2, 2),
    Problem(400, 3, 2, 2),
    Problem(500, 4, 3, 2),
    Problem(500, 3, 2, 3),
    Problem(400, 3, 2, None),
)


class Network:
    """A network with log-odds of standard deviation 2 and well-separated states."""

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        p, m, g = problem.n_features, problem.n_hidden, problem.n_classes
        self.has_classes = g is not None
        self.W = 2.0 * rng.normal(size=(p, m)) / np.sqrt(p)
        self.b = 0.5 * rng.normal(size=m)
        size = (m, 1) if g is None or g == 2 else (m, g)
        signs = rng.choice([-1.0, 1.0], size=size)
        V = 1.5 * signs * rng.uniform(1.0, 2.0, size=size)
        c = 0.3 * rng.normal(size=size[1]) - 0.5 * V.sum(axis=0)
        if g == 2:  # the first class is the reference
            V, c = np.column_stack([np.zeros(m), V]), np.append(0.0, c)
        self.V, self.c = V, c

    def truth(self, X: Array) -> Array:
        """Return p(y = k | x) (n, g), or the mean of y (n, 1)."""
        if not self.has_classes:
            return expit(X @ self.W + self.b) @ self.V + self.c
        m, g = self.V.shape
        oracle = fastem.EStep(X, np.zeros(len(X), dtype=int), hidden_layer_sizes=m, n_classes=g)
        return np.exp(oracle.class_log_probability([self.W, self.V], [self.b, self.c]))

    def draw(self, X: Array, rng: np.random.Generator) -> NDArray:
        """Return y (n,)."""
        states = rng.uniform(size=(len(X), len(self.b))) < expit(X @ self.W + self.b)
        eta = states @ self.V + self.c
        if not self.has_classes:
            return eta[:, 0] + 0.5 * rng.normal(size=len(X))
        bounds = softmax(eta, axis=1).cumsum(axis=1)[:, :-1]
        return (rng.uniform(size=(len(X), 1)) > bounds).sum(axis=1)


def intervals_of_refits(replicates: Array, estimate: Array, is_probability: bool) -> dict:
    """Return intervals (2, n, outputs) of every kind from predictions of refits (B, n, outputs)."""
    levels = [0.5 - 0.5 * COVERAGE, 0.5 + 0.5 * COVERAGE]
    z = norm.ppf(levels)[:, None, None]
    if is_probability:
        replicates, estimate = (
            logit(np.clip(values, _NEAREST, 1.0 - _NEAREST)) for values in (replicates, estimate)
        )
    low, high = np.quantile(replicates, levels, axis=0)
    deviation, mean = replicates.std(axis=0, ddof=1), replicates.mean(axis=0)
    n = len(replicates)
    share = np.clip((replicates < estimate).mean(axis=0), 0.5 / n, 1.0 - 0.5 / n)
    corrected = norm.cdf(2.0 * norm.ppf(share) + z)  # levels of every row and output
    ordered = np.sort(replicates, axis=0)
    places = np.clip(np.rint(corrected * (n - 1)).astype(int), 0, n - 1)
    found = {
        "percentile": np.stack([low, high]),
        "basic": np.stack([2.0 * estimate - high, 2.0 * estimate - low]),
        "normal, shifted": 2.0 * estimate - mean + z * deviation,
        "bias-corrected": np.take_along_axis(ordered, places, axis=0),
    }
    return {name: expit(ends) if is_probability else ends for name, ends in found.items()}


def measure(problem: Problem, alpha: float, seed: int, n_resamples: int, n_jobs: int) -> dict:
    """Return coverage and median width of every interval in one repetition."""
    rng = np.random.default_rng([seed, *(size or 0 for size in problem)])
    network = Network(problem, rng)
    X, new = (rng.normal(size=(n, problem.n_features)) for n in (problem.n_samples, N_NEW))
    y, truth = network.draw(X, rng), network.truth(new)
    kind = fastem.FastEMClassifier if network.has_classes else fastem.FastEMRegressor
    results = {}

    def add(name: str, low: Array, high: Array) -> None:
        low, high = (values.reshape(truth.shape) for values in (low, high))
        covered = (low <= truth) & (truth <= high)
        results[name] = covered.mean(), np.median(high - low)

    with convergence_warnings_ignored():
        model = kind((problem.n_hidden,), alpha=alpha, n_init=5, random_state=seed, n_jobs=1)
        model.fit(X, y)
        ends = fastem.Inference(model, X, y).interval(new, COVERAGE)
        add("delta", ends[..., 0], ends[..., 1])
        predict = model.predict_proba if network.has_classes else model.predict
        estimate = predict(new).reshape(truth.shape)
        for method in ("nonparametric", "parametric"):
            refits = fastem.bootstrap(
                model,
                X,
                y,
                method=method,
                n_resamples=n_resamples,
                random_state=seed,
                n_jobs=n_jobs,
            )
            ends = refits.interval(new, COVERAGE)
            add(f"{method}, normal", ends[..., 0], ends[..., 1])
            replicates = refits.replicates(new).reshape(-1, *truth.shape)
            found = intervals_of_refits(replicates, estimate, network.has_classes)
            for name, ends in found.items():
                add(f"{method}, {name}", *ends)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", type=int, default=range(len(PROBLEMS)))
    parser.add_argument("--alpha", nargs="+", type=float, default=[0.15, 0.5, 1.5])
    parser.add_argument("--repetitions", type=int, default=24)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    print("| problem | alpha | interval | coverage | standard error | median width |")
    print("|---|---:|---|---:|---:|---:|")
    for number in arguments.problems:
        for alpha in arguments.alpha:
            found = [
                measure(PROBLEMS[number], alpha, seed, arguments.resamples, arguments.n_jobs)
                for seed in range(arguments.repetitions)
            ]
            for name in found[0]:
                values = np.array([one[name] for one in found])
                mean, width = values[:, 0].mean(), np.median(values[:, 1])
                error = values[:, 0].std(ddof=min(1, len(found) - 1)) / np.sqrt(len(found))
                cells = f"{alpha:g} | {name} | {mean:.3f} | {error:.3f} | {width:.3f}"
                print(f"| {PROBLEMS[number]} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
