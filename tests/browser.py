"""Chromium for tests of pages, and a server of files on this machine."""

import contextlib
import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Start a headless Chromium; skip the test if there is none."""
    reason = "tests in a browser need playwright (pip install playwright)"
    sync_api = pytest.importorskip("playwright.sync_api", reason=reason)
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with sync_api.sync_playwright() as playwright:
        if found is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip(f"no browser: none of {', '.join(CHROMIUM)}, nor one of playwright's own")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Print nothing."""

    def send_head(self) -> Any:
        """Answer the browser's own request for an icon, which no page needs."""
        if self.path == "/favicon.ico":
            self.send_response(204)
            self.end_headers()
            return None
        return super().send_head()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port, and return its address."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def complaints(page: Any) -> list[str]:
    """Return a list that collects errors and warnings of a page, and requests that fail."""
    found: list[str] = []

    def of_console(message: Any) -> None:
        if message.type in {"error", "warning"}:
            found.append(f"{page.url}: console {message.type}: {message.text}")

    def of_response(response: Any) -> None:
        if response.status >= 400:
            found.append(f"{page.url}: status {response.status}: {response.url}")

    page.on("console", of_console)
    page.on("pageerror", lambda error: found.append(f"{page.url}: {error}"))
    page.on("requestfailed", lambda request: found.append(f"{page.url}: failed: {request.url}"))
    page.on("response", of_response)
    return found
