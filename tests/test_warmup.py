"""When kernels are compiled, and that the disk cache never stands in the way.

Each test runs a new process; none compiles everything with all optimisations on.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastem
from fastem.kernels import quasi_newton

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

def fit(X=np.arange(12.0)[:, None], y=np.arange(12) % 3, **parameters):
    parameters = {"hidden_layer_sizes": (2,), "max_iter": 12, "random_state": 0, **parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no convergence
        return fastem.FastEMClassifier(**parameters).fit(X, y)

def tell(**report):
    print(json.dumps({"home": fastem.__file__, **report}))
"""


def _run(code, folder, **environment):
    """Return what the code tells in a new process that begins in a folder."""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", PROBE + code],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _copy_package(folder):
    """Copy the package, without caches; return the folder of the kernels."""
    package = Path(fastem.__file__).parent
    shutil.copytree(package, folder / "fastem", ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "fastem" / "kernels"


@pytest.fixture(scope="module")
def warm_cache():
    """Folder of a cache that has all kernels."""
    fastem.warmup()
    return Path(quasi_newton.direction.stats.cache_path)


@pytest.mark.usefixtures("warm_cache")
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
tell(imported=imported, warm=warm, used=compiled(), plots="matplotlib" in sys.modules)
"""
    told = _run(code, Path(fastem.__file__).parents[1])
    assert len(told["imported"]) > 20
    assert set(map(str, told["imported"].values())) == {str([[], 0, 0])}
    new = {k: v for k, v in told["used"].items() if v != told["warm"][k]}
    assert new == {}
    assert not told["plots"]


def test_no_cache_folder_can_be_written(tmp_path):
    kernels = _copy_package(tmp_path)
    (kernels / "__pycache__").write_text("a file where the folder should be")
    nowhere = str(tmp_path / "fastem" / "__init__.py" / "cache")
    told = _run(
        "tell(score=fit().score(np.arange(12.0)[:, None], np.arange(12) % 3))",
        tmp_path, PYTHONPATH=str(tmp_path), NUMBA_CACHE_DIR=nowhere, XDG_CACHE_HOME=nowhere,
        HOME=nowhere, LOCALAPPDATA=nowhere, NUMBA_OPT="0",
    )  # fmt: skip
    assert Path(told["home"]).is_relative_to(tmp_path)
    assert told["score"] > 0.0
    assert not list(tmp_path.rglob("*.nb[ci]"))


DAMAGES = {
    "half": lambda content: content[: len(content) // 2],
    "nothing": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "a changed byte": lambda content: content.replace(b"numba.core", b"numba.c0re"),
}
DAMAGED = {  # kernels that are compiled soon
    "quasi_newton.direction-*.nbi": "half",
    "configurations.unit_sums-*.nbi": "nothing",
    "configurations.half_logits-*.nbi": "zeros",
    "enumeration.fill_counts-*.nbi": "a changed byte",
    "configurations.scaled_exponentials-*.nbc": "half",
    "multinomial.fill_moments-*.nbc": "nothing",
}


def test_damaged_cache_files_cost_their_own_compilation_only(warm_cache, tmp_path):
    cache = _copy_package(tmp_path) / "__pycache__"
    shutil.copytree(warm_cache, cache)
    for pattern, damage in DAMAGED.items():
        files = list(cache.glob(pattern))
        assert files, pattern
        for file in files:
            content = file.read_bytes()
            file.write_bytes(DAMAGES[damage](content))
            assert file.read_bytes() != content
    code = "fastem.warmup(); fit(max_iter=20); tell(used=compiled())"
    told = _run(code, tmp_path, PYTHONPATH=str(tmp_path), NUMBA_CACHE_DIR="")
    assert Path(told["home"]).is_relative_to(tmp_path)
    damaged = {pattern.split(".")[1].split("-")[0] for pattern in DAMAGED}
    assert {name for name in damaged if told["used"][name][1]} == damaged
    assert told["used"]["add_rows"][1:] == [0, 1]
    assert told["used"]["fill_pair_moments"][1:] == [0, 1]
