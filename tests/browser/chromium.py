"""A headless Chromium, and the built guide on a server of this machine."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from parsec_stack import guide
from parsec_stack.guide import Guide
from parsec_stack.stack import DOCS, ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HTML = ROOT / "build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# It runs as root in containers, and is to ask nobody for anything.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of a page is one of every page."""
    if "page_name" in metafunc.fixturenames:
        names = sorted(path.stem for path in HTML.glob("*.html"))
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
    path = next((path for name in NAMES if (path := shutil.which(name))), None)
    if path is None:
        missing = f"no Chromium on PATH ({', '.join(NAMES)}): install it (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright has no wheel for this machine"
    )
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def blocks() -> Guide:
    """The guide as the tasks read it."""
    return guide.load(DOCS)


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where a picture of each page is kept for those who want to look."""
    folder = ROOT / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
