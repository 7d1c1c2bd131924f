"""Print a table of settings of FastEMClassifier, the basis for the choice of its defaults.

Every row of the table changes one setting of the base: EM with given units and a given penalty,
so that a fit chooses neither. "auto" chooses. A row has four columns for
every data set, means over the seeds: log-loss over five folds, penalised log-likelihood of a fit
to all rows (nats), seconds of that fit, and its iterations. Penalised log-likelihoods are
comparable only between rows with the same ``alpha`` and hidden units.

    python benches/choose_defaults.py
    python benches/choose_defaults.py --datasets iris wine --settings alpha tol
    python benches/choose_defaults.py --seeds 0 1 2 --settings "alpha=0.2,tol=1e-6" mlp

Settings are parameters of FastEMClassifier and internal constants: standard deviations of the
starting values, memory of the acceleration, and iterations before it starts.
"""

import argparse
import ast
import time
from contextlib import ExitStack
from unittest import mock

import numpy as np
from measure import convergence_warnings_ignored, cross_validate
from problems import DATASETS, dataset, fastem_settings
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastem import FastEMClassifier
from fastem.solvers import acceleration, starts

GRID = {
    "solver": ["em", "lbfgs"],
    "m_step": ["newton", "bound", "gradient"],
    "accelerate": [True, False],
    "hidden_layer_sizes": [(5,), (8,), (10,), (12,), "auto"],
    "alpha": [0.03, 0.1, 0.15, 0.2, 0.3, 1.0, "auto"],
    "max_iter": [50, 100, 200, 500, 1000],
    "tol": [1e-4, 1e-5, 1e-6, 1e-7],
    "n_init": [1, 3],
    "log_odds_deviation": [0.5, 1.0, 2.0, 3.0],
    "output_deviation": [0.5, 1.0, 2.0, 4.0, 6.0],
    "memory": [5, 10, 20, 40],
    "plain_steps": [1, 3, 7, 15],
}

CONSTANTS = {
    "log_odds_deviation": (starts, "_LOG_ODDS_DEVIATION"),
    "output_deviation": (starts, "_OUTPUT_DEVIATION"),
    "memory": (acceleration, "_MEMORY"),
    "plain_steps": (acceleration, "_PLAIN_STEPS"),
}

# Backpropagation with scikit-learn's defaults, for comparison.
BACKPROPAGATION = "mlp"


def parse_settings(words: list[str]) -> list[tuple[str, dict | None]]:
    """Return (label, keyword arguments) for every row; backpropagation has None."""
    rows = [("base", {})]
    for word in words:
        if word == BACKPROPAGATION:
            rows.append((word, None))
        elif word in GRID:
            rows += [(f"{word}={value}", {word: value}) for value in GRID[word]]
        elif "=" in word:
            call = ast.parse(f"f({word})", mode="eval").body
            rows.append((word, {k.arg: ast.literal_eval(k.value) for k in call.keywords}))
        else:
            raise SystemExit(f"unknown setting {word!r}: one of {', '.join(GRID)}, or name=value")
    return rows


def build_model(settings: dict | None, name: str, seed: int):
    """Return the unfitted model of one row, data set and seed."""
    if settings is None:
        return make_pipeline(StandardScaler(), MLPClassifier(random_state=seed))
    parameters = {k: v for k, v in settings.items() if k not in CONSTANTS}
    return FastEMClassifier(**{**fastem_settings(name), **parameters, "random_state": seed})


def set_constants(settings: dict | None) -> ExitStack:
    """Return a context that sets the internal constants among the settings."""
    stack = ExitStack()
    for name in CONSTANTS.keys() & (settings or {}).keys():
        stack.enter_context(mock.patch.object(*CONSTANTS[name], settings[name]))
    return stack


def measure(model, X, y) -> tuple[float, float, float, float]:
    """Return log-loss, penalised log-likelihood, seconds and iterations of one model."""
    quality = cross_validate(model, X, y)["cv_log_loss"]  # also compiles, before the measurement
    with convergence_warnings_ignored():
        start = time.perf_counter()
        fitted = clone(model).fit(X, y)
        seconds = time.perf_counter() - start
    last = fitted[-1] if hasattr(fitted, "steps") else fitted
    return quality, -last.loss_ * len(y), seconds, last.n_iter_


def print_row(cells: list[str]) -> None:
    """Print one line of a Markdown table immediately; the whole table takes hours."""
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=DATASETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--settings", nargs="+", default=[*GRID, BACKPROPAGATION])
    arguments = parser.parse_args()

    columns = ("log-loss", "objective", "seconds", "iterations")
    header = [f"{name} {column}" for name in arguments.datasets for column in columns]
    rows = parse_settings(arguments.settings)
    problems = {name: dataset(name) for name in arguments.datasets}
    print_row(["setting", *header])
    print_row(["---", *["---:"] * len(header)])
    for label, settings in rows:
        cells = [label]
        for name, (X, y) in problems.items():
            with set_constants(settings):
                results = [measure(build_model(settings, name, s), X, y) for s in arguments.seeds]
            quality, objective, seconds, n_iter = np.mean(results, axis=0)
            cells += [f"{quality:.4f}", f"{objective:.4f}", f"{seconds:.4f}", f"{n_iter:.1f}"]
        print_row(cells)


if __name__ == "__main__":
    main()
