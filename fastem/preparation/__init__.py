"""Preparation of tables: text, booleans and missing values become features of a model."""

from fastem.preparation.partitions import prepare_partitions
from fastem.preparation.pipeline import load_pipeline, load_prepared
from fastem.preparation.preparation import Column, Preparation, Unseen, prepare
from fastem.preparation.raw_columns import missing_entries

__all__ = [
    "Column",
    "Preparation",
    "Unseen",
    "load_pipeline",
    "load_prepared",
    "missing_entries",
    "prepare",
    "prepare_partitions",
]
