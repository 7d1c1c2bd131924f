"""The command line, and the two methods that its verb ``compare`` sets side by side."""

from fastem.cli.command_line import main
from fastem.cli.methods import Settings, backpropagation, exact_em

__all__ = [
    "Settings",
    "backpropagation",
    "exact_em",
    "main",
]
