"""The built guide in a browser: what readers see, press, copy, and reach by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from guidewalk.guide import Guide

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest_plugins = ["chromium"]

DESKTOP: Any = {"width": 1280, "height": 900}
PHONE: Any = {"width": 360, "height": 740}
# The texts of the blocks, but for files, that are wider than their place.
CUT_OFF = """blocks => blocks
    .filter(one => !one.closest(".literal-block-wrapper") && one.scrollWidth > one.clientWidth)
    .map(one => one.textContent)"""
WITHOUT_NUMBERS = """all => all.map(pre => {
    const copy = pre.cloneNode(true)
    copy.querySelectorAll('.linenos').forEach(number => number.remove())
    return copy.textContent
})"""
COPIED = ("command", "file", "excerpt", "exception")


@contextmanager
def opened(browser: Browser, address: str, page_name: str, **options: Any) -> Iterator[Page]:
    """The page in a browser that knows nothing of the others."""
    context = browser.new_context(**({"viewport": DESKTOP} | options))
    try:
        page = context.new_page()
        page.goto(f"{address}/{page_name}.html")
        yield page
    finally:
        context.close()


def test_nothing_complains(browser: Browser, address: str, page_name: str) -> None:
    """The page loads without a word in the console, and asks no other host for anything."""
    context = browser.new_context()
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("response", lambda answer: said.append(answer.url) if answer.status >= 400 else None)
    context.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/{page_name}.html", wait_until="networkidle")
    context.close()

    assert said == []
    assert asked
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(address).netloc}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(browser: Browser, address: str, page_name: str, scheme: str) -> None:
    """The rules of axe-core hold in both themes, with all evidence unfolded."""
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, address, page_name, color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        found = Axe().run(page)

    problems = [
        f"{rule['id']}: {node['html'][:200]} ({node['failureSummary'][:300]})"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows(
    browser: Browser, address: str, page_name: str, screenshots: Path, scheme: str
) -> None:
    """The page is no wider than its window, unfolded or not, and pictures of it are kept."""
    with opened(browser, address, page_name, color_scheme=scheme) as page:
        for size in (DESKTOP, PHONE):
            width = size["width"]
            page.set_viewport_size(size)
            picture = screenshots / f"{page_name.replace('/', '-')}-{width}-{scheme}.png"
            page.screenshot(path=picture, full_page=True)
            assert page.evaluate("document.scrollingElement.scrollWidth") == width
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.scrollingElement.scrollWidth") == width


def test_no_command_is_cut_off(browser: Browser, address: str, page_name: str) -> None:
    """Every command, and all that is printed, is seen whole, on a phone as well."""
    with opened(browser, address, page_name) as page:
        for size in (DESKTOP, PHONE):
            page.set_viewport_size(size)
            cut = page.locator("div.highlight pre").evaluate_all(CUT_OFF)
            assert not cut, cut


def test_copy_buttons(browser: Browser, address: str, page_name: str, blocks: Guide) -> None:
    """Each command and file has a button that copies exactly it; what is printed has none."""
    expected = [
        block.text.rstrip("\n")
        for block in blocks.blocks
        if block.page == page_name and block.kind in COPIED
    ]
    permissions = ["clipboard-read", "clipboard-write"]
    with opened(browser, address, page_name, permissions=permissions) as page:
        if expected:
            page.locator("button.copybtn").nth(len(expected) - 1).wait_for(state="attached")
        copied = []
        for button in page.locator("button.copybtn").all():
            page.evaluate("navigator.clipboard.writeText('')")
            button.click(force=True)
            copied.append(page.evaluate("navigator.clipboard.readText()").rstrip("\n"))

    assert copied == expected


def test_evidence_unfolds(browser: Browser, address: str, page_name: str, blocks: Guide) -> None:
    """The evidence of every block is folded, and unfolds by mouse and by keyboard."""
    number = len([block for block in blocks.blocks if block.page == page_name])
    with opened(browser, address, page_name) as page:
        notes = page.locator("details.evidence").all()
        shown = [note.get_attribute("open") for note in notes]
        for note in notes[:3]:
            unfold(note)

    assert page_name == "evidence" or len(notes) == number
    assert set(shown) <= {None}


def unfold(note: Any) -> None:
    """Open it by mouse and close it by keyboard, as a reader can."""
    summary = note.locator("summary")
    summary.click()
    assert note.get_attribute("open") is not None
    assert note.locator("p, pre").first.is_visible()
    summary.focus()
    summary.press("Enter")
    assert note.get_attribute("open") is None


def test_without_javascript(browser: Browser, address: str, page_name: str, blocks: Guide) -> None:
    """Everything can be read without JavaScript, the evidence too."""
    texts = [block.text for block in blocks.blocks if block.page == page_name]
    with opened(browser, address, page_name, java_script_enabled=False) as page:
        shown = page.locator("div.highlight pre").evaluate_all(WITHOUT_NUMBERS)
        notes = page.locator("details.evidence").all()
        for note in notes[:3]:
            unfold(note)
        heading = page.locator("h1").first.is_visible()

    assert [text.rstrip("\n") for text in shown] == [text.rstrip("\n") for text in texts]
    assert heading
