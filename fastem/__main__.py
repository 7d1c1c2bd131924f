"""Entry point of ``python -m fastem``, the same as the console script ``fastem``."""

import sys

from fastem.cli import run

if __name__ == "__main__":
    sys.exit(run())
