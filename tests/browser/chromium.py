"""A headless Chromium, and the built guide for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from visiting import ADDRESS, HTML

from guidewalk import cache
from guidewalk.guide import Guide
from parsec_stack.stack import DOCS, ROOT
from parsec_stack.verify import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of a page is one of every page."""
    if "page_name" in metafunc.fixturenames:
        pages = [*HTML.glob("*.html"), *HTML.glob("[!_]*/*.html")]
        names = sorted(str(path.relative_to(HTML).with_suffix("")) for path in pages)
        if not names:
            raise pytest.UsageError(f"{HTML} holds no pages: run 'nox -s docs' first")
        metafunc.parametrize("page_name", names)


@pytest.fixture(scope="session")
def address() -> str:
    """Where the guide is served."""
    return ADDRESS


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
