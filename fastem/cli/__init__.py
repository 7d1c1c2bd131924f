"""The command line ``fastem``."""

from fastem.cli.command_line import main

__all__ = ["main"]
