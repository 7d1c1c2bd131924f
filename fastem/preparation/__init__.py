"""From tables with text, booleans and gaps to the features of a model, and back from a file."""

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
]
