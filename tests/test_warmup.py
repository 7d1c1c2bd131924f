"""When kernels are compiled: not by the import, and all of them by `fastem.warmup`."""

import json
import subprocess
import sys
from pathlib import Path

import fastem

PROBE = """
import importlib, json, pkgutil, sys, warnings
import numpy as np
import fastem

def compiled():
    seen, out = set(), {}
    for info in pkgutil.iter_modules(fastem.kernels.__path__, "fastem.kernels."):
        for value in vars(importlib.import_module(info.name)).values():
            if hasattr(value, "py_func") and id(value) not in seen:
                seen.add(id(value))
                misses = sum(value.stats.cache_misses.values())
                hits = sum(value.stats.cache_hits.values())
                name = value.py_func.__name__
                out[name] = [sorted(map(str, value.signatures)), misses, hits]
    return out

def fit(X=np.arange(12.0)[:, None], y=np.arange(12) % 3, kind=None, **parameters):
    kind = kind or fastem.FastEMClassifier
    parameters = {"hidden_layer_sizes": (2,), "max_iter": 12, "random_state": 0, **parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no convergence, and of small variances
        return kind(**parameters).fit(X, y)

def tell(**report):
    print(json.dumps({"home": fastem.__file__, **report}))
"""


def _run(code, folder):
    """Return what the code reports in a new process that starts in a folder."""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", PROBE + code],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_compiles_nothing_and_warming_up_everything():
    code = """
imported = compiled()
fastem.warmup()
warm = compiled()
rng = np.random.default_rng(0)
X = rng.normal(size=(700, 3))
y = np.array(["a", "b", "c", "d"])[rng.integers(0, 4, size=700)]
for m_step in ("newton", "bound", "gradient"):
    fit(m_step=m_step, accelerate=False)
fit(solver="lbfgs", fit_intercept=False, standardize=False)
fit(hidden_layer_sizes=(1,), y=np.arange(12) % 2, warm_start=True, n_init=2)
X.setflags(write=False)
model = fit(np.asfortranarray(X), y, hidden_layer_sizes=(9,), n_jobs=2, max_iter=20)
model.fit(X.astype(np.float32), y, sample_weight=np.arange(700))
plain = fit(X, y, fit_intercept=False, standardize=False)
for fitted in (model, plain):
    fitted.predict(X), fitted.predict_proba(X[::2]), fitted.predict_log_proba(X[:1])
    fitted.transform(X), fitted.posterior(X, y), fitted.log_likelihood(X, y)
    fitted.score(X, y), fitted.sample(X, random_state=0)
coefs, intercepts = [800.0 * W for W in plain.coefs_], plain.intercepts_
for array in coefs + intercepts:
    array.setflags(write=False)
plain.coefs_ = coefs
plain.predict_log_proba(X)
fastem.e_step(X, rng.integers(0, 4, size=700), coefs, intercepts)
one = [W[:1] for W in coefs[:1]] + coefs[1:]
fastem.e_step(X[:, :1], np.zeros(700, dtype=int), one, intercepts)
for settings in (
    {"hidden_layer_sizes": (3, 2, 2)}, {"hidden_layer_sizes": (3, 2), "fit_intercept": False},
    {"e_step": "quadrature", "y": np.arange(12) % 2}, {"e_step": "quadrature"},
    {"e_step": "sampling"}, {"hidden_layer_sizes": (3, 2), "e_step": "sampling"},
    {"solver": "adam"},
):
    fitted = fit(**settings)
    rows = np.arange(12.0)[:, None]
    fitted.predict_log_proba(rows), fitted.posterior(rows, np.zeros(12, dtype=int))
    if len(fitted.coefs_) > 2 and fitted.e_step_.is_exact:
        fitted.coefs_ = [800.0 * W for W in fitted.coefs_]
        fitted.predict_log_proba(rows), fitted.posterior(rows, np.zeros(12, dtype=int))
rows, counts = np.arange(12.0)[:, None], np.arange(12) % 5
several = np.column_stack([counts, counts[::-1]])
for y, settings in (
    (counts, {}), (several, {}), (counts, {"family": "poisson"}), (several, {"family": "poisson"}),
    (counts, {"solver": "lbfgs", "fit_intercept": False}), (counts, {"solver": "adam"}),
    (counts, {"m_step": "bound"}), (counts, {"m_step": "gradient", "accelerate": False}),
    (counts, {"e_step": "sampling"}), (several, {"e_step": "sampling", "family": "poisson"}),
    (counts, {"e_step": "sampling", "hidden_layer_sizes": (3, 2)}),
):
    model = fit(rows, y, fastem.FastEMRegressor, **settings)
    model.predict(rows, return_std=True), model.predict_interval(rows), model.predict_cdf(rows, y)
    model.log_density(rows, y), model.posterior(rows, y), model.sample(rows, random_state=0)
    model.score(rows, y)
    model.coefs_ = [800.0 * W for W in model.coefs_]
    model.log_density(rows, y)
for settings in ({}, {"m_step": "bound"}, {"solver": "lbfgs"}):
    model = fit(rows, several > 2, **settings)
    model.predict_proba(rows), model.posterior(rows, several > 2)
    model.coefs_ = [800.0 * W for W in model.coefs_]
    model.predict_proba(rows), model.posterior(rows, several > 2)
number = fit(X, X[:, 0], fastem.FastEMRegressor, e_step="quadrature")
number.variance_ = 1e-6 * number.variance_  # rows are conditioned on units
number.predict_interval(X), number.predict_cdf(X, X[:, 0]), number.log_density(X, X[:, 0])
tell(imported=imported, warm=warm, used=compiled(), plots="matplotlib" in sys.modules)
"""
    told = _run(code, Path(fastem.__file__).parents[1])
    assert len(told["imported"]) > 20
    assert set(map(str, told["imported"].values())) == {str([[], 0, 0])}
    new = {k: v for k, v in told["used"].items() if v != told["warm"][k]}
    assert new == {}
    assert not told["plots"]
