"""The built guide in a browser: what readers see, press, copy, and reach by keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from visiting import DESKTOP, HTML, opened, serve

from guidewalk.guide import Guide
from parsec_stack import downloads
from parsec_stack.stack import ARTIFACTS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest_plugins = ["chromium"]

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
# Files of more lines are folded.
LONGEST_FILE = 60
# What a link saves; nothing unless it saves instead of leading away.
CONTENT = """async link => link.hasAttribute("download")
    ? await (await fetch(link.href)).text() : null"""
COPIED = ("command", "file", "excerpt", "exception")


def unfold_all(page: Page) -> None:
    """Unfold whatever is folded."""
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")


def test_nothing_complains(browser: Browser, address: str, page_name: str) -> None:
    """The page loads without a word in the console, and asks no other host for anything."""
    context = browser.new_context()
    serve(context, HTML)
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


def test_pages_need_no_network(browser: Browser, address: str) -> None:
    """What happens to the network of this machine meanwhile breaks no test of a page."""
    with opened(browser, address, "index", offline=True) as page:
        page.reload(wait_until="networkidle")

        assert page.locator("h1").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(browser: Browser, address: str, page_name: str, scheme: str) -> None:
    """The rules of axe-core hold in both themes, with all evidence unfolded."""
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, address, page_name, color_scheme=scheme) as page:
        unfold_all(page)
        # By itself axe leaves out the size of targets, which WCAG 2.2 adds at its level AA.
        found = Axe().run(page, options={"rules": {"target-size": {"enabled": True}}})

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
        unfold_all(page)
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
        block.text.rstrip("\n").replace(downloads.ADDRESS, address)
        for block in blocks.blocks
        if block.page == page_name and block.kind in COPIED
    ]
    permissions = ["clipboard-read", "clipboard-write"]
    with opened(browser, address, page_name, permissions=permissions) as page:
        unfold_all(page)
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
        shown = page.locator(":not(.survivor) > div.highlight pre").evaluate_all(WITHOUT_NUMBERS)
        notes = page.locator("details.evidence").all()
        for note in notes[:3]:
            unfold(note)
        heading = page.locator("h1").first.is_visible()

    assert [text.rstrip("\n") for text in shown] == [text.rstrip("\n") for text in texts]
    assert heading


def test_files_are_downloaded(
    browser: Browser, address: str, page_name: str, blocks: Guide
) -> None:
    """Each file that a page shows whole is saved by the link at its name, as it is."""
    shown = [one for one in blocks.blocks if (one.page, one.kind) == (page_name, "file")]
    with opened(browser, address, page_name) as page:
        links = page.locator("a.file-download").all()
        # The address is the page's own, at which nothing can be saved (chromium.py).
        saved = {str(link.get_attribute("href")): link.evaluate(CONTENT) for link in links}

    assert len(links) == len(shown)
    assert saved == {
        f"files/{one.target}": (ARTIFACTS / str(one.target)).read_text() for one in shown
    }


def test_long_files_unfold(browser: Browser, address: str, page_name: str, blocks: Guide) -> None:
    """A long file is folded, and unfolds by mouse and by keyboard."""
    shown = [one for one in blocks.blocks if (one.page, one.kind) == (page_name, "file")]
    with opened(browser, address, page_name) as page:
        folded = page.locator("details.folded-file").all()
        for file in folded:
            block = file.locator("pre")
            assert not block.is_visible()
            file.locator("summary").click()
            assert block.is_visible()
            file.locator("summary").press("Enter")
            assert not block.is_visible()

    assert len(folded) == sum(len(one.text.splitlines()) > LONGEST_FILE for one in shown)


@pytest.mark.parametrize("served", [True, False])
def test_the_command_that_fetches_all_files(browser: Browser, address: str, served: bool) -> None:
    """It names the address at which the guide is read, also where that is a folder."""
    where = address if served else HTML.as_uri()
    with opened(browser, where, "requirements") as page:
        command = page.locator("#download-files pre").inner_text()

    assert f"'{where}/files/parsec-files.tar.gz'" in command
    assert downloads.ADDRESS not in command


def test_what_nobody_types_says_so(
    browser: Browser, address: str, page_name: str, blocks: Guide
) -> None:
    """Output and messages are labelled, in words that are read aloud too, and nothing else is."""
    printed = [one for one in blocks.blocks if one.page == page_name]
    expected = [
        f"Message of {one.origin}" if one.origin else "Output"
        for one in printed
        if one.kind in ("output", "message") or (one.kind == "exception" and one.origin)
    ]
    with opened(browser, address, page_name, java_script_enabled=False) as page:
        labels = page.locator(".block-label")
        shown = labels.all_inner_texts()
        beside = page.locator(".block-label + [class*=highlight-]").count()

    assert shown == expected
    assert beside == len(expected)


def test_settings_are_filtered(browser: Browser, address: str) -> None:
    """Whoever types words, or follows a link with them, sees only the rows that have them all."""
    with opened(browser, address, "settings") as page:
        rows = page.locator("table.settings tbody tr")
        every = rows.count()
        page.get_by_label("Filter").fill("PARSEC_EMAIL PORT")
        typed = [row.inner_text() for row in rows.all() if row.is_visible()]
        page.goto(f"{address}/settings.html?filter=email_port")
        linked = [row.inner_text() for row in rows.all() if row.is_visible()]
        page.get_by_label("Filter").fill("")
        again = [row for row in rows.all() if row.is_visible()]

    assert every > len(typed) > 0
    assert all("PARSEC_EMAIL" in row and "PORT" in row.upper() for row in typed)
    assert [row.split()[0] for row in linked] == ["PARSEC_EMAIL_PORT"]
    assert len(again) == every


def test_settings_without_javascript(browser: Browser, address: str) -> None:
    """The table is whole, and each row leads to its setting."""
    with opened(browser, address, "settings", java_script_enabled=False) as page:
        links = page.locator("table.settings tbody tr").evaluate_all(
            "rows => rows.map(row => row.querySelector('a').getAttribute('href').slice(1))"
        )
        there = [page.locator(f"[id='{link}']").count() for link in links]

        assert page.get_by_label("Filter").count() == 0
    assert links
    assert set(there) == {1}
