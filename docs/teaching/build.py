"""The interactive figure of the teaching page, as a directive of Sphinx and as a file of its own.

The directive ``em-figure`` inserts the figure into a page. Builds of HTML also write it to
``teaching/em_figure.html``, one file that needs no other file and no network.
"""

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from teaching.em_data import figure_data

HERE = Path(__file__).parent
PIECES = ("em_figure.html", "em_figure.css", "em_model.js", "em_geometry.js", "em_figure.js")

_STANDALONE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>EM, iteration by iteration</title>
<link rel="icon" href="data:,">
<style>
body {{ max-width: 62rem; margin: 0 auto; padding: 0.5rem; font-family: sans-serif; }}
html[data-theme="dark"] body {{ background: #14181e; color: #e8eaee; }}
</style>
<script>
document.documentElement.dataset.theme =
  matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
</script>
</head>
<body>
<main>
<h1>EM, iteration by iteration</h1>
{figure}
</main>
</body>
</html>
"""


def figure() -> str:
    """Return the figure as a piece of HTML, with its style, its scripts and its data."""
    markup, style, *scripts = ((HERE / name).read_text("utf-8") for name in PIECES)
    data = json.dumps(figure_data(), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return (
        f"<style>\n{style}</style>\n{markup}"
        f'<script type="application/json" id="em-data">{data}</script>\n'
        f"<script>\n{''.join(scripts)}</script>\n"
    )


def standalone() -> str:
    """Return a complete page that contains the figure only."""
    return _STANDALONE.format(figure=figure())


class FigureDirective(Directive):
    """Insert the figure."""

    def run(self) -> list[nodes.Node]:
        """Return the figure as a node, and make the page depend on its files."""
        for name in (*PIECES, "em_data.py"):
            self.state.document.settings.record_dependencies.add(str(HERE / name))
        return [nodes.raw("", figure(), format="html")]


def write_standalone(app: Any, exception: Exception | None) -> None:
    """Write ``teaching/em_figure.html`` beside the pages."""
    if exception is None and app.builder.format == "html":
        page = Path(app.outdir) / "teaching" / "em_figure.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(standalone(), "utf-8")


def setup(app: Any) -> dict[str, Any]:
    """Register directive and file with Sphinx."""
    app.add_directive("em-figure", FigureDirective)
    app.connect("build-finished", write_standalone)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
