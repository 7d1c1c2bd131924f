"""Estimators for data that are divided among the machines of a Dask cluster."""
