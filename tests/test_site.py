"""A built site: its links, its pages in a browser, and its figure.

The environment variable FASTEM_SITE names the folder of the site. The default is
``docs/_build/html``, where the command of the README writes it. Without a site, all tests are
skipped.
"""

import os
import re
from pathlib import Path
from urllib.parse import urljoin

import browser as browsers
import numpy as np
import pytest
from site_pages import Page, inventory, is_remote, resolve

import fastem
import fastem.dask

ROOT = Path(__file__).parents[1]
NAMED = os.environ.get("FASTEM_SITE")
SITE = Path(NAMED).resolve() if NAMED else ROOT / "docs" / "_build" / "html"

pytestmark = pytest.mark.skipif(
    NAMED is None and not SITE.exists(),
    reason="no site is built (python -m sphinx docs docs/_build/html)",
)

SAMPLE = [  # pages with text, code, tables and signatures
    "index.html",
    "start.html",
    "guide/index.html",
    "teaching/index.html",
    "theory/quadrature.html",
    "gallery/index.html",
    "gallery/teaching/two_coins.html",
    "api/index.html",
    "api/generated/fastem.FastEMClassifier.html",
]


@pytest.fixture(scope="module")
def pages():
    """All pages of the site, by path."""
    assert SITE.is_dir(), f"FASTEM_SITE={NAMED} is not a folder"
    found = {path: Page(path) for path in sorted(SITE.rglob("*.html"))}
    found = {path: page for path, page in found.items() if "_static" not in path.parts}
    assert len(found) > 20, f"only {len(found)} pages in {SITE}"
    return found


def name(path):
    return path.relative_to(SITE).as_posix()


def lines(problems):
    """Return a message with a line per problem, which pytest does not cut."""
    return "\n".join(["", *map(str, problems)])


def examples(pages):
    """Pages of the gallery's examples."""
    inner = [path for path in pages if path.parent.parent == SITE / "gallery"]
    return [path for path in inner if path.stem not in {"index", "sg_execution_times"}]


def test_every_page_has_a_title(pages):
    titles = {name(path): page.title.strip() for path, page in pages.items()}
    nameless = [
        path for path, title in titles.items() if not title or title.startswith("<no title>")
    ]
    assert not nameless, lines(nameless)


def test_every_internal_link_leads_to_a_page_and_an_anchor(pages):
    broken = []
    for path, page in pages.items():
        for link in map(str.strip, page.links):
            if is_remote(link):
                continue
            target = resolve(link, path)
            if not target.path.exists():
                broken.append(f"{name(path)}: {link}: no such file")
            elif target.anchor and target.path.suffix == ".html":
                known = pages[target.path].anchors if target.path in pages else set()
                if target.anchor not in known:
                    broken.append(f"{name(path)}: {link}: no such anchor")
    assert not broken, lines(broken)


def test_every_resource_is_in_the_site(pages):
    bad = []
    for path, page in pages.items():
        for resource in page.resources:
            if is_remote(resource):
                bad.append(f"{name(path)}: {resource}: remote")
            elif not resource.startswith("data:") and not resolve(resource, path).path.exists():
                bad.append(f"{name(path)}: {resource}: no such file")
    assert not bad, lines(bad)


def test_no_style_loads_a_remote_file(pages):
    styles = {path: path.read_text("utf-8") for path in SITE.rglob("*.css")}
    styles |= {path: path.read_text("utf-8") for path in pages}
    remote = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^)"']+""")
    found = {name(path): remote.findall(text) for path, text in styles.items()}
    assert {path: urls for path, urls in found.items() if urls} == {}


def test_every_image_has_alternative_text(pages):
    silent = [
        f"{name(path)}: {image.get('src')}"
        for path, page in pages.items()
        for image in page.images
        if "alt" not in image
    ]
    assert not silent, lines(silent)


def test_every_public_name_is_in_the_reference():
    modules = {
        "fastem": fastem,
        "fastem.torch": fastem.torch,
        "fastem.jax": fastem.jax,
        "fastem.dask": fastem.dask,
    }
    public = {f"{name}.{entry}" for name, module in modules.items() for entry in module.__all__}
    documented = inventory(SITE / "objects.inv")
    assert public - {"fastem.__version__"} - documented.keys() == set()


def test_the_gallery_has_fifteen_examples_with_pictures_and_downloads(pages):
    found = examples(pages)
    assert len(found) >= 15
    incomplete = []
    for path in found:
        page = pages[path]
        suffixes = {Path(link).suffix for link in page.links if "_downloads/" in link}
        if not {".py", ".ipynb"} <= suffixes:
            incomplete.append(f"{name(path)}: downloads {suffixes}")
        if not any("sphx-glr-" in image.get("class", "") for image in page.images):
            incomplete.append(f"{name(path)}: no picture")
    assert not incomplete, lines(incomplete)


@pytest.fixture(scope="module")
def chromium():
    with browsers.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address():
    assert SITE.is_dir(), f"FASTEM_SITE={NAMED} is not a folder"
    with browsers.served(SITE) as found:
        yield found


@pytest.fixture
def open_page(chromium):
    """Open a page of the browser; keyword arguments are those of its context."""
    contexts = []

    def open_with(**options):
        contexts.append(chromium.new_context(**options))
        return contexts[-1].new_page()

    yield open_with
    for context in contexts:
        context.close()


# Widths, and formulas that MathJax has not typeset, of the page that is shown.
EXAMINE = r"""async () => {
  if (window.MathJax?.startup?.promise) await MathJax.startup.promise;
  const text = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const raw = [];
  while (text.nextNode()) {
    const { data, parentElement } = text.currentNode;
    if (parentElement.closest("pre, code, script, style, mjx-container")) continue;
    if (/\$\$|\\\(|\\\[|\\begin\{/.test(data)) raw.push(data.trim().slice(0, 80));
  }
  // Text beyond the right edge, unless the reader can scroll to it inside the page.
  const { scrollWidth, clientWidth } = document.documentElement;
  const article = document.querySelector("article") ?? document.body;
  const scrolls = (element) => element !== article
    && (["auto", "scroll"].includes(getComputedStyle(element).overflowX)
      || scrolls(element.parentElement));
  const cut = [];
  const range = document.createRange();
  const inArticle = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (inArticle.nextNode()) {
    const node = inArticle.currentNode;
    if (!node.data.trim() || node.parentElement.closest(".headerlink, mjx-assistive-mml")) continue;
    range.selectNodeContents(node);
    if (range.getBoundingClientRect().right <= clientWidth + 1) continue;
    if (!scrolls(node.parentElement) && node.parentElement.checkVisibility()) {
      cut.push(node.data.trim().slice(0, 40));
    }
  }
  return {
    raw,
    failed: document.querySelectorAll("mjx-merror, .MathJax_Error").length,
    formulas: document.querySelectorAll(".math").length,
    typeset: document.querySelectorAll("mjx-container").length,
    excess: Math.max(scrollWidth, document.body.scrollWidth) - clientWidth,
    cut: cut.slice(0, 3),
  };
}"""


@pytest.mark.parametrize("size", [browsers.DESKTOP, browsers.PHONE], ids=["desktop", "phone"])
def test_every_page_opens_without_complaint(pages, open_page, address, size):
    page = open_page(viewport=size)
    found = browsers.complaints(page)
    for path in pages:
        page.goto(address + name(path), wait_until="load")
        seen = page.evaluate(EXAMINE)
        if seen["excess"] > 0 or seen["cut"]:
            found.append(f"{name(path)}: {seen['excess']} pixels too wide, cut: {seen['cut']}")
        if seen["raw"] or seen["failed"]:
            found.append(f"{name(path)}: {seen['failed']} wrong formulas, raw: {seen['raw']}")
        if seen["typeset"] < seen["formulas"]:
            found.append(f"{name(path)}: {seen['typeset']} of {seen['formulas']} formulas typeset")
    assert not found, lines(found)


def test_pages_open_as_files(open_page, pages):
    page = open_page(viewport=browsers.DESKTOP)
    found = browsers.complaints(page)
    for path in ("index.html", "teaching/index.html", "teaching/em_figure.html"):
        page.goto((SITE / path).as_uri())
        assert page.title()
    assert not found, lines(found)


def test_the_search_finds_pages_without_a_network(open_page, address):
    page = open_page(viewport=browsers.DESKTOP, offline=False)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    found = browsers.complaints(page)
    page.goto(f"{address}search.html?q=log_likelihood")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    links = page.eval_on_selector_all("#search-results li a", "all => all.map((a) => a.href)")
    assert all(link.startswith(address) for link in links)
    assert any("api/" in link for link in links)
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert not found, lines(found)


# The contrast of text with its background (WCAG 2.1): (L1 + 0.05) / (L2 + 0.05).
CONTRAST = r"""() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255);
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((v, i) => a * v + (1 - a) * under[i]);
  const background = (element) => element === null ? [1, 1, 1]
    : over(rgba(getComputedStyle(element).backgroundColor), background(element.parentElement));
  const luminance = (colour) => colour
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + [0.2126, 0.7152, 0.0722][i] * v, 0);
  const found = [];
  const text = document.createTreeWalker(
    document.querySelector("article") ?? document.body, NodeFilter.SHOW_TEXT);
  while (text.nextNode()) {
    const element = text.currentNode.parentElement;
    if (!text.currentNode.data.trim()) continue;
    if (!element.checkVisibility({ checkOpacity: true })) continue;
    if (element.closest("script, style, svg, .headerlink, [aria-hidden=true]")) continue;
    const below = background(element);
    const lights = [over(rgba(getComputedStyle(element).color), below), below].map(luminance);
    const contrast = (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05);
    found.push([contrast, element.tagName + "." + element.className, text.currentNode.data.trim()]);
  }
  return { theme: document.documentElement.dataset.theme, found };
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_code_have_contrast(open_page, address, theme):
    page = open_page(viewport=browsers.DESKTOP, color_scheme=theme)
    low = []
    for path in SAMPLE:
        page.goto(address + path)
        seen = page.evaluate(CONTRAST)
        assert seen["theme"] == theme
        assert len(seen["found"]) > 5, path
        low += [(path, *text) for text in seen["found"] if text[0] < 4.5]
    assert not low, lines(low)


def test_the_theme_is_dark_where_the_reader_wants_it(open_page, address):
    page = open_page(viewport=browsers.DESKTOP, color_scheme="dark")
    page.goto(urljoin(address, "index.html"))
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", colour)[:3])) < 80


def picture(page):
    """Return the coloured map and all lines of the figure."""
    return page.evaluate(
        """() => document.getElementById("em-canvas").toDataURL()
             + document.getElementById("em-map").innerHTML"""
    )


def move_slider(page, value):
    page.eval_on_selector(
        "#em-slider",
        "(s, value) => { s.value = value; s.dispatchEvent(new Event('input')); }",
        value,
    )


@pytest.mark.parametrize("size", [browsers.DESKTOP, browsers.PHONE], ids=["desktop", "phone"])
def test_the_figure_moves_and_agrees_with_the_e_step(open_page, address, size):
    page = open_page(viewport=size)
    found = browsers.complaints(page)
    page.goto(address + "teaching/index.html")
    first, text = picture(page), page.inner_text("#em-status")
    assert text.startswith("Iteration 0 of")
    move_slider(page, 20)
    assert page.inner_text("#em-status").startswith("Iteration 20 of")
    assert picture(page) != first
    selected = page.inner_text("#em-point-text")
    page.dispatch_event("#em-points [data-point='70']", "click", centre(page, 70))
    assert page.inner_text("#em-point-name") == "point 71 of 120"
    assert page.inner_text("#em-point-text") != selected
    current = page.evaluate("emFigure.current()")
    assert (current["iteration"], current["point"]) == (20, 70)
    W, b, V, c = (np.array(current["parameters"][key]) for key in "WbVc")
    result = fastem.e_step([current["x"]], [current["label"]], [W, V], [b, c])
    shown = [row.split()[-1] for row in page.locator("#em-unit-bars tbody tr").all_inner_texts()]
    np.testing.assert_allclose(np.array(shown, float), result.hidden_posterior[0], atol=5.1e-4)
    assert f"{np.exp(result.log_likelihood[0]):.3f}" in page.inner_text("#em-point-text")
    assert not found, lines(found)


def centre(page, point):
    """Return where a point of the data is, as the position of a mouse event."""
    return page.eval_on_selector(
        f"#em-points [data-point='{point}']",
        """(node) => {
          const box = node.getBoundingClientRect();
          return { bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
        }""",
    )
