"""Texts that the verbs print."""
