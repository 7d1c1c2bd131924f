"""Tables in many files, read and fitted by the workers of a Dask cluster."""
