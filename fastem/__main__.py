"""Entry point of ``python -m fastem``, the same as the console script ``fastem``."""

import sys

from fastem.cli import main

if __name__ == "__main__":
    sys.exit(main())
