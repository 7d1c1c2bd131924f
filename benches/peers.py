"""The exact E-step in other libraries, by name: ``PREPARE[name](problem, dtype)``.

The versions of `peers_split` also take the number of threads, and cut the rows accordingly.

Names end in the form: ``split`` for three matrix products (`peers_split`), ``log`` for log-sum-exp
over all configurations (`peers_log_space`).
"""

import peers_log_space
import peers_numpyro
import peers_split

PREPARE = {
    "numpy-split": peers_split.prepare_numpy,
    "torch-split": peers_split.prepare_torch,
    "jax-split": peers_split.prepare_jax,
    "numpy-log": peers_log_space.prepare_numpy,
    "torch-log": peers_log_space.prepare_torch,
    "jax-log": peers_log_space.prepare_jax,
    "numpyro": peers_numpyro.prepare_numpyro,
    "loops": peers_log_space.prepare_loops,
}

MODULES = {
    "numpy-split": (),
    "torch-split": ("torch",),
    "jax-split": ("jax",),
    "numpy-log": (),
    "torch-log": ("torch",),
    "jax-log": ("jax",),
    "numpyro": ("jax", "numpyro", "funsor"),
    "loops": (),
}
"""Modules besides NumPy that each version needs."""
