"""A headless Chromium of this machine, for tests of what a browser sees or lets a page do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# It runs as root in containers, and must not prompt anybody for anything.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Give the browser; skip the test if there is none, or in CI let it fail."""
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
        browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *arguments])
        yield browser
        browser.close()
