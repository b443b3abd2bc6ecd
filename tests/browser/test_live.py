"""What ``nox -s docs-live`` shows in the browser while somebody writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from visiting import ADDRESS, serve

from mini import Mini
from parsec_stack.stack import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest_plugins = ["chromium"]


def box(browser: Browser, site: Path, findings: list[str]) -> list[str]:
    """The texts above the page, one an item, with these findings of docs-test."""
    (site / "_static" / "findings.json").write_text(json.dumps(findings))
    context = browser.new_context()
    serve(context, site)
    page = context.new_page()
    page.goto(f"{ADDRESS}/index.html", wait_until="networkidle")
    found: list[str] = page.locator("[role=alert] :is(p, li)").all_inner_texts()
    context.close()
    return found


def test_findings_are_shown(browser: Browser, tmp_path: Path) -> None:
    """Each is told, those of the page first; a guide without mistakes looks as always."""
    mini, site = Mini(tmp_path).page("Fine.\n"), tmp_path / "site"
    extensions = str(ROOT / "docs" / "extensions")
    (mini.docs / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {extensions!r})\nextensions = ['live']\n"
    )
    argv = [sys.executable, "-m", "sphinx", "-W", "-q", str(mini.docs), str(site)]
    subprocess.run(argv, check=True, timeout=120)
    other, own = "docs/other.rst:4: <b>odd</b>", "docs/index.rst:4: odd"

    assert box(browser, site, [other, own]) == ["docs-test: 2, 1 on this page", own, other]
    assert box(browser, site, []) == []
