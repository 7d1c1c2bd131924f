"""The command line."""

from fastem.cli.command_line import main

__all__ = [
    "main",
]
