"""Entry point of the console script ``fastem``.

This module is outside the package, because the imports of the package take a second: Ctrl-C during
these imports ends the program without a traceback.
"""

import os
import sys


def run() -> int:
    """Run the command line for the arguments of the process; return its status."""
    try:
        from fastem.cli import run as run_command_line
    except KeyboardInterrupt:
        if sys.stderr is not None:
            print("fastem: interrupted", file=sys.stderr, flush=True)
        os._exit(130)  # at once: the normal end of Python takes longer
    return run_command_line()
