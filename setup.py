"""The long description of the package; all other metadata is in pyproject.toml.

Package indexes show the long description without the files beside it. It is therefore the README
without its links to files of the repository.
"""

import re
from pathlib import Path

from setuptools import setup

_TO_A_FILE = r"\((?!https?://|#)[^)\s]+\)"

readme = Path(__file__).with_name("README.md").read_text("utf-8")
text = re.sub(rf"\[([^\]]+)\]{_TO_A_FILE}", r"\1", readme)

setup(long_description=text, long_description_content_type="text/markdown")
