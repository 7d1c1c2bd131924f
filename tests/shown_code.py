"""Programs that a text shows, with the output that the text shows for them."""

import re
from typing import NamedTuple

import numpy as np

_BLOCK = re.compile(
    r"^```(?P<language>python|sh)\n(?P<code>.*?)^```\n"
    r"(?:\nprints\n\n(?:```text\n(?P<fenced>.*?)^```\n|(?P<indented>(?:    [^\n]*\n)+)))?",
    re.MULTILINE | re.DOTALL,
)
_NUMBER = r"-?\d+\.\d*"


class Block(NamedTuple):
    """A program of a text, and the output that the text shows, or None."""

    language: str
    code: str
    shown: str | None


def code_blocks(text):
    """Return the programs of a Markdown text, in order."""
    blocks = []
    for match in _BLOCK.finditer(text):
        shown = match["fenced"]
        if match["indented"] is not None:
            shown = re.sub(r"^    ", "", match["indented"], flags=re.MULTILINE)
        blocks.append(Block(match["language"], match["code"], shown))
    return blocks


def _units(numbers):
    """Return the unit of the last digit of every number; NumPy omits zeros at the end."""
    digits = [len(number.partition(".")[2]) for number in numbers]
    return np.array([10.0 ** -(n or max(digits)) for n in digits])


def _without_blanks(text):
    """Return the text with single blanks; NumPy pads the numbers of an array."""
    text = re.sub(r"(?<=\[) +| +(?=\])", "", text.rstrip())
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def assert_printed(printed, shown, *, atol=None, rtol=0.0):
    """Compare an output with the one in a text, apart from blanks.

    ``...`` in the text stands for anything. Numbers with a decimal point may differ by `atol` plus
    `rtol` times their value. By default, they may differ by one unit in the last digit shown,
    because other processors round differently.
    """
    parts = re.split(rf"({_NUMBER}|\.\.\.)", _without_blanks(shown))
    numbers = [part for part in parts if re.fullmatch(_NUMBER, part)]
    pattern = "".join(
        ".*" if part == "..." else f"({_NUMBER})" if part in numbers else re.escape(part)
        for part in parts
    )
    match = re.fullmatch(pattern, _without_blanks(printed), re.DOTALL)
    both = f"printed:\n{printed}\nshown:\n{shown}"
    assert match, both
    values, expected = np.array(match.groups(), float), np.array(numbers, float)
    allowed = (1.001 * _units(numbers) if atol is None else atol) + rtol * np.abs(expected)
    assert (np.abs(values - expected) <= allowed).all(), both
