"""Read the pages of a built site: links, anchors, resources and titles."""

import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

# Attributes that name a file which a browser loads with the page.
RESOURCES = {
    ("audio", "src"), ("embed", "src"), ("iframe", "src"), ("image", "href"), ("img", "src"),
    ("object", "data"), ("script", "src"), ("source", "src"), ("video", "src"),
}  # fmt: skip
LOADED_LINKS = {"icon", "modulepreload", "preload", "prefetch", "shortcut", "stylesheet"}


class Page(HTMLParser):
    """Links (href of ``a``), resources, anchors, images with classes, and the title of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.anchors: set[str] = set()
        self.images: list[dict[str, str]] = []
        self.title = ""
        self._in_title = False
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record what the tag refers to."""
        values = {name: value or "" for name, value in attrs}
        self._in_title = tag == "title" and not self.title
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "img":
            self.images.append(values)
        if tag == "link" and LOADED_LINKS & set(values.get("rel", "").split()):
            self.resources.append(values["href"])
        for name, value in values.items():
            if (tag, name) in RESOURCES:
                self.resources.append(value)
            if name == "srcset":
                self.resources += [part.split()[0] for part in value.split(",")]

    def handle_endtag(self, tag: str) -> None:
        """End the title."""
        self._in_title = self._in_title and tag != "title"

    def handle_data(self, data: str) -> None:
        """Collect the title."""
        if self._in_title:
            self.title += data


class Reference(NamedTuple):
    """A reference from a page, as it is written and as a file and an anchor."""

    written: str
    path: Path
    anchor: str


def is_remote(written: str) -> bool:
    """Return whether a reference leads to another machine."""
    scheme, host = urlsplit(written)[:2]
    return bool(host) or scheme not in {"", "data"}


def resolve(written: str, page: Path) -> Reference:
    """Return the file and the anchor of a reference in ``page``."""
    parts = urlsplit(written)
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
    return Reference(
        written, path / "index.html" if path.is_dir() else path, unquote(parts.fragment)
    )


def inventory(path: Path) -> dict[str, str]:
    """Return the kind of every object in a Sphinx inventory, such as ``py:class``, by its name."""
    _, _, _, _, packed = path.read_bytes().split(b"\n", 4)
    lines = zlib.decompress(packed).decode("utf-8").splitlines()
    entries = [line.split(" ", 2) for line in lines if " py:" in line]
    return {name: kind for name, kind, _ in entries}
