"""Estimators for data that are divided among the machines of a Dask cluster."""

from fastem.dask.faults import PartitionError

__all__ = ["PartitionError"]
