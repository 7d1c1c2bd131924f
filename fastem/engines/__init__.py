"""E-step engines: from rows and parameters to expectations."""
