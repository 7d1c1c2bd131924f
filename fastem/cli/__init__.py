"""The command line ``fastem``."""

from fastem.cli.command_line import main
from fastem.cli.entry import run

__all__ = ["main", "run"]
