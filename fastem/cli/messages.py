"""What the command line prints: results on stdout, one-line messages on stderr."""

import json
import sys
from collections.abc import Callable
from typing import Any

BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 2, 130, 141  # the last two are 128 + signal


def notify(message: str) -> None:
    """Print a message in one line on stderr."""
    print(f"fastem: {message}", file=sys.stderr)


def print_result(
    content: dict[str, Any], as_text: Callable[[dict[str, Any]], str], as_json: bool
) -> None:
    """Print a result as text or as JSON."""
    if as_json:
        print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(as_text(content))
