"""A headless Chromium, and the built guide on a server of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guidewalk import cache
from guidewalk.guide import Guide
from parsec_stack.stack import DOCS, ROOT
from parsec_stack.verify import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HTML = ROOT / "build" / "html"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of a page is one of every page."""
    if "page_name" in metafunc.fixturenames:
        pages = [*HTML.glob("*.html"), *HTML.glob("[!_]*/*.html")]
        names = sorted(str(path.relative_to(HTML).with_suffix("")) for path in pages)
        if not names:
            raise pytest.UsageError(f"{HTML} holds no pages: run 'nox -s docs' first")
        metafunc.parametrize("page_name", names)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where the guide is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(HTML)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; where there is none, a skipped test, or in CI a failed one."""
    with chromium.chromium() as found:
        yield found


@pytest.fixture(scope="session")
def blocks() -> Guide:
    """The guide as the tasks read it."""
    return cache.load(DOCS)


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where a picture of each page is kept for those who want to look."""
    folder = ROOT / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
