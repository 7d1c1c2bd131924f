"""Settings of Sphinx for the site.

``python -m sphinx -W --keep-going docs docs/_build/html`` builds it, with warnings as errors.
``-D sphinx_gallery_conf.plot_gallery=0`` leaves the examples of the gallery unexecuted.
"""

import os
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx_gallery.sorting import ExplicitOrder

import fastem

sys.path.insert(0, str(Path(__file__).parent))  # modules beside this file

project = "fastem"
author = "The fastem developers"
copyright = "2026, the fastem developers"
version = release = fastem.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",
    "matplotlib.sphinxext.plot_directive",
    "teaching.build",  # docs/teaching/build.py
]
exclude_patterns = ["_build", "_generated", "_templates", "gallery/**/*.ipynb", "**/figures"]
templates_path = ["_templates"]

# The site builds without a network. With one, names of other packages become links:
# FASTEM_DOCS_INTERSPHINX=1 python -m sphinx docs docs/_build/html
if os.environ.get("FASTEM_DOCS_INTERSPHINX") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable", None),
        "python": ("https://docs.python.org/3", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
    }

html_theme = "pydata_sphinx_theme"
html_title = f"fastem {release}"
html_static_path = ["_static"]
html_css_files = ["fastem.css"]
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "secondary_sidebar_items": ["page-toc"],
}
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system
html_sidebars = {"teaching/index": []}  # room for the figure
html_show_sourcelink = False
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 4
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}

default_role = "py:obj"  # `fit` in a docstring links to the method
autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # numpydoc's sections name the types
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "subsection_order": ExplicitOrder(
        [f"../examples/{name}" for name in ("teaching", "outputs", "practice", "research")]
    ),
    "within_subsection_order": "reading_order.ReadingOrder",
    "copyfile_regex": r".*\.csv",
    "download_all_examples": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,  # its pages load scripts from other sites
    "remove_config_comments": True,
    "plot_gallery": True,
    "abort_on_example_error": False,
    "doc_module": ("fastem",),
    "backreferences_dir": "_generated/backreferences",
    "inspect_global_variables": False,
    "reset_modules": ("matplotlib",),
}

plot_include_source = False
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 160)]


def _without_foreign_labels(app, what, name, obj, options, lines):
    """Turn references to sections of scikit-learn's guide in inherited docstrings into text."""
    if "sklearn" in (getattr(obj, "__module__", None) or ""):
        lines[:] = [re.sub(r":ref:`([^`<]+?)\s*<[^`>]+>`", r"\1", line) for line in lines]


def _keep_punctuation(app, doctree, docname):
    """Put a formula and the mark after it into one node, so that no line begins with the mark."""
    for formula in list(doctree.findall(nodes.math)):
        after = formula.next_node(descend=False, siblings=True)
        mark = re.match(r"[.,;:?!)]+", after) if isinstance(after, nodes.Text) else None
        if mark:
            parent = formula.parent
            together = nodes.inline(classes=["with-punctuation"])
            parent.replace(formula, together)
            together += [formula, nodes.Text(mark[0])]
            parent.replace(after, nodes.Text(after[mark.end() :]))


def setup(app):
    """Register what this site needs beside the extensions."""
    app.connect("autodoc-process-docstring", _without_foreign_labels)
    app.connect("doctree-resolved", _keep_punctuation)
