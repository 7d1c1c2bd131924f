"""Measure the five largest costs of a fit, for several sizes, on one thread.

    python benches/profile_fits.py [docs/performance.md]

The script prints a table. With a file name, it writes the table between the markers in that file.
The fits use one thread, because the profiler only samples the calling thread. The time of the three
products is ``6 n 2**m`` flops divided by the rate of a matrix product in the precision of the
E-step. The remaining time of the kernel is "rest of the E-step kernel".
"""

import cProfile
import datetime
import pstats
import re
import sys
import warnings
from pathlib import Path

import numpy as np
from measure import best_seconds
from problems import PENALTY_OF_CLASSES, e_step_problem
from scipy.linalg import blas
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from fastem import FastEMClassifier, warmup
from fastem.profiling.stopwatch import dgemm_rate

SIZES = [(10, 1_000, 100), (14, 1_000, 50), (18, 1_000, 15)]
SIZES += [(10, 100_000, 40), (14, 100_000, 20), (18, 100_000, 10)]
RANKS = ("largest cost", "second", "third", "fourth", "fifth")
_KERNELS = "fill_rows", "fill_statistics"
_NAMES = {
    "fill_hessian": "Hessians of the hidden units",
    "solve": "solving for Newton steps",
    "fill_pair_moments": "Hessian of the output layer",
    "sum_log_normaliser": "Q of the output layer",
    "add_objective": "Q of the hidden units",
    "direction": "quasi-Newton direction",
    "fill_output_table": "softmax table",
    "fill_counts": "sum of the expected weights",
    "fill_single": "rounding of the tables",
    "fill_output_residuals": "output gradient",
    "of": "standardising (once)",
    "apply": "standardising (once)",
    "sort_rows": "sorting rows (once)",
}


def profile(n_hidden, n_samples, n_iter):
    """Return the time of a fit (s), its numbers of E-steps, and the time of every function (s).

    The E-steps are counted in double and in single precision.
    """
    problem = e_step_problem(n_samples, n_hidden, 3)
    X = np.ascontiguousarray(problem.rows.inputs[:, :-1])
    y = np.repeat(np.arange(3), np.diff(problem.rows.class_starts))
    model = FastEMClassifier((n_hidden,), max_iter=n_iter, tol=0.0, random_state=0, n_jobs=1)
    model.set_params(e_step="enumeration", solver="em", m_step="newton", alpha=PENALTY_OF_CLASSES)
    recorder = cProfile.Profile()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        recorder.runcall(model.fit, X, y)
    stats = pstats.Stats(recorder)
    seconds, n_calls = {}, {}
    for (file, _, function), (_, calls, own, _, _) in stats.stats.items():
        seconds[function] = seconds.get(function, 0.0) + own
        if file.endswith("enumeration_plan.py"):
            n_calls[function] = calls
    n_single = n_calls.get("_round_tables", 0)
    return stats.total_tt, (n_calls["expect"] - n_single, n_single), seconds


def costs(n_hidden, n_samples, n_iter, rates):
    """Return the time of a fit (s), its E-steps, and (share, name) of the largest costs."""
    total, n_e_steps, seconds = profile(n_hidden, n_samples, n_iter)
    kernel = sum(seconds.pop(name, 0.0) for name in _KERNELS)
    flops = 6.0 * n_samples * 2.0**n_hidden
    products = sum(flops * n / rate for n, rate in zip(n_e_steps, rates, strict=True))
    products = min(products, kernel)
    named = {
        "three products at the rate of BLAS": products,
        "rest of the E-step kernel": kernel - products,
    }
    others = 0.0
    for function, own in seconds.items():
        if function in _NAMES:
            named[_NAMES[function]] = named.get(_NAMES[function], 0.0) + own
        else:
            others += own
    named["Python and NumPy outside kernels"] = others
    largest = sorted(named.items(), key=lambda item: -item[1])[: len(RANKS)]
    return total, n_e_steps, [(own / total, name) for name, own in largest]


def _sgemm_rate():
    """Return the rate of a float32 matrix product on one thread, in flops per second."""
    size = 1500
    A, B = np.random.default_rng(0).normal(size=(2, size, size)).astype(np.float32)
    A, B, C = (np.asfortranarray(array) for array in (A, B, np.empty_like(A)))
    with threadpool_limits(limits=1, user_api="blas"):
        seconds = best_seconds(lambda: blas.sgemm(1.0, A, B, c=C, overwrite_c=1), 5)
    return 2 * size**3 / seconds


def table():
    """Return the table in Markdown, with the rates of matrix products and the date."""
    warmup()
    rates = dgemm_rate(1), _sgemm_rate()
    titles = "hidden units", "rows", "time of the fit", "E-steps", "in single precision", *RANKS
    lines = [f"| {' | '.join(titles)} |", "|---:|---:|---:|---:|---:|" + "---|" * len(RANKS)]
    for n_hidden, n_samples, n_iter in SIZES:
        total, (n_double, n_single), largest = costs(n_hidden, n_samples, n_iter, rates)
        cells = [f"{share:.0%} {name}" for share, name in largest]
        row = (
            f"| {n_hidden} | {n_samples:,} | {total:.3g} s | {n_double + n_single} | {n_single} | "
        )
        lines.append(row.replace(",", " ") + " | ".join(cells) + " |")
        print(lines[-1], file=sys.stderr)
    day = datetime.date.today().isoformat()
    double, single = (rate / 1e9 for rate in rates)
    speed = f"matrix products at {double:.0f} Gflop/s in float64 and {single:.0f} in float32"
    return "\n".join([*lines, "", f"(One thread; {speed}; {day}.)"])


def main(path=None):
    """Print the table, or write it between the markers in a file."""
    text = table()
    if path is None:
        print(text)
        return
    begin, end = "<!-- profile: written by benches/profile_fits.py -->", "<!-- end -->"
    pattern = re.compile(f"(?<={re.escape(begin)}\n).*?(?={re.escape(end)})", re.DOTALL)
    document = Path(path).read_text("utf-8")
    Path(path).write_text(pattern.sub(lambda _: f"\n{text}\n\n", document, count=1), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2])
