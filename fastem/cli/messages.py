"""What the command line prints: results on stdout, one-line messages on stderr."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 2, 130, 141  # the last two are 128 + signal
MOST_LISTED = 12


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


def listed(items: Sequence[str]) -> str:
    """Return the first items and the number of the others."""
    shown = ", ".join(items[:MOST_LISTED])
    more = len(items) - MOST_LISTED
    return shown + (f" and {more} more" if more > 0 else "")
