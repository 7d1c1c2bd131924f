"""Numba kernels: pure functions of arrays, and the only place that imports numba."""
