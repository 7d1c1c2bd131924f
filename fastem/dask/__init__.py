"""Estimators for data that are divided among the machines of a Dask cluster."""

try:
    import dask.array
    import dask.dataframe
    import distributed
except ImportError as error:
    raise ImportError(
        f"fastem.dask needs Dask ({error}). Install it by pip install 'fastem[dask]'."
    ) from error

from fastem.dask.classifier import DaskEMClassifier
from fastem.dask.regressor import DaskEMRegressor
from fastem.dask.rounds import PartitionError

__all__ = ["DaskEMClassifier", "DaskEMRegressor", "PartitionError"]
