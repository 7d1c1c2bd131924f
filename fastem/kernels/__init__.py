"""Numba kernels: functions of arrays and numbers. No other part of the package imports numba."""
