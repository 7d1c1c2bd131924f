"""Estimators in scikit-learn's manner; the only place that knows its interface."""
