"""A probe of the kernels' disk cache, in child processes.

They run copies of the kernels without the rest of the package: they start in a second.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fastem

KERNELS = Path(fastem.__file__).parent / "kernels"
PROBE = """
import json
import numpy as np
from fastem.kernels import random, special

key, rows, out = np.uint64(7), np.ones((1, 1), dtype=np.uint64), np.zeros(1, dtype=np.uint64)
random.fill_keys_of_rows(key, rows, out)
values = [int(random.mix(key)), int(random.derive(key, 1)), int(out[0]), special.exp_clipped(0.0)]
kernels = random.mix, random.derive, random.fill_keys_of_rows, special.exp_clipped
misses = [kernel.__name__ for kernel in kernels if kernel.stats.cache_misses]
print(json.dumps([values, misses, random.__file__]))
"""
NAMES = ["mix", "derive", "fill_keys_of_rows", "exp_clipped"]
MASK = 2**64 - 1


def values_of(last_step):
    """Return what the probe prints, by Python's integers."""

    def mix(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        return last_step(((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK)

    gamma = 0x9E3779B97F4A7C15
    derived = mix(((7 + gamma) & MASK) ^ mix((1 + gamma) & MASK))
    return [mix(7), derived, derived, 1.0]


VALUES = values_of(lambda x: x ^ (x >> 31))


def copy_of_kernels(folder):
    """Copy the kernels as a package of their own; return the folder to import it from."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(KERNELS, folder / "fastem" / "kernels", ignore=ignored)
    (folder / "fastem" / "__init__.py").touch()
    return folder


def probe(place, cache, *, code=PROBE, cwd=None, first=None, **environment):
    """Run the probe in a new process; return its values and the kernels that it compiled.

    ``first`` is code to run before the program of the probe starts. A variable of the environment
    that is None is removed.
    """
    variables = {
        **os.environ, "PYTHONPATH": str(place), "NUMBA_CACHE_DIR": str(cache),
        "PYTHONDONTWRITEBYTECODE": "1", **environment,
    }  # fmt: skip
    command = [sys.executable, "-W", "error", "-c", code]
    if first is not None:
        command = [sys.executable, "-c", first + _NEXT_PROGRAM, *command[1:]]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=cwd or place.parent,
        env={name: value for name, value in variables.items() if value is not None},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    values, misses, file = json.loads(done.stdout)
    assert file.startswith(str(place))
    return values, misses


# Code to run before the probe, in its process. A fork with `preexec_fn` is refused by JAX.
# File permissions hold for the superuser of Linux too, from the next program on.
WITHOUT_PRIVILEGES = """
import ctypes, os, sys
if sys.platform == "linux" and os.geteuid() == 0:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        assert prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP
"""
_NEXT_PROGRAM = """
import os, sys
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
