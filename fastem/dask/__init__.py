"""Estimators for data that are divided among the machines of a Dask cluster."""

from importlib.util import find_spec

_MISSING = [
    name for name in ("dask", "distributed", "pandas", "pyarrow") if find_spec(name) is None
]
if _MISSING:
    raise ImportError(
        f"fastem.dask needs {', '.join(_MISSING)}. Install it by pip install 'fastem[dask]'."
    )

from fastem.dask.classifier import DaskEMClassifier  # noqa: E402  after the check
from fastem.dask.faults import PartitionError  # noqa: E402
from fastem.dask.regressor import DaskEMRegressor  # noqa: E402
from fastem.dask.rounds import Rounds as Rounds  # noqa: E402  for the command line

__all__ = ["DaskEMClassifier", "DaskEMRegressor", "PartitionError"]
