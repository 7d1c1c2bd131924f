"""The sources of the site: the API reference is complete, and pages and links exist."""

import re
from pathlib import Path

import pytest

import fastem
import fastem.dask

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def _pages():
    written = [*DOCS.glob("*.md"), *DOCS.glob("[!_]*/*.md")]
    return sorted(path for path in written if "generated" not in path.parts)


def test_the_api_reference_has_every_public_name_once():
    lines = (DOCS / "api" / "index.rst").read_text("utf-8").splitlines()
    module, listed = "", []
    for line in lines:
        if line.startswith(".. currentmodule::"):
            module = line.split("::")[1].strip()
        elif re.fullmatch(r"   [A-Za-z_.]+", line):
            listed.append(f"{module}.{line.strip()}")
    modules = "fastem", "fastem.dask", "fastem.onnx", "fastem.torch", "fastem.jax"
    public = []
    for name in modules:
        module = fastem if name == "fastem" else getattr(fastem, name.split(".")[1])
        elsewhere = ["__version__", *(fastem.__all__ if module is not fastem else [])]
        public += [f"{name}.{x}" for x in module.__all__ if x not in elsewhere]
    assert sorted(listed) == sorted(public)


@pytest.mark.parametrize("path", [ROOT / "README.md", *_pages()], ids=lambda p: p.name)
def test_links_to_files_of_the_repository_exist(path):
    """Links of Markdown, as a reader of the sources follows them."""
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    built = DOCS / "gallery"  # by the examples
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            linked = (path.parent / target).resolve()
            assert linked.exists() or built in linked.parents, target
