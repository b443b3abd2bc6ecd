"""How a page shows the evidence of its blocks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from follow import build_html, follow
from kept import changed, keep, small_guide
from mini import Mini, command


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    """A guide with a script, what it reads, and what it prints."""
    return small_guide(tmp_path)


def lines(mini: Mini) -> list[str]:
    """The line below each block of the built page."""
    text = (build_html(mini) / "index.html").read_text()
    return re.findall(r'<details class="evidence[^"]*"><summary>(.*?)</summary>', text)


def test_page(mini: Mini) -> None:
    """A page shows what was seen of each block, until the block, or what it reads, changes."""
    assert follow(mini).returncode == 0
    docker = "not verified with Docker"
    checked = f"checked on bare metal; {docker}"
    executed = f"executed on bare metal; {docker}"
    nowhere = "not verified on bare metal and with Docker"
    assert lines(mini) == [checked, checked, checked, executed, checked, executed]

    changed(mini, "deploy/a.env|A=1|A=2")
    moved = f"tried before an earlier step was changed on bare metal; {docker}"
    assert lines(mini) == [checked, nowhere, moved, nowhere, nowhere, moved]

    assert follow(mini).returncode == 0
    assert lines(mini) == [checked, checked, checked, executed, checked, executed]


def test_going_back_to_an_older_version(mini: Mini) -> None:
    """What another version did is not shown, and counts again when the guide is about it."""
    keep(mini, "run", "executed", version="1.0")
    assert "executed on bare metal" not in " ".join(lines(mini))

    keep(mini, "run", "executed")
    keep(mini, "run", "failed", version="1.0")
    assert "executed on bare metal; not verified with Docker" in lines(mini)


def test_all_pages_in_one(mini: Mini) -> None:
    """One document of all pages has the evidence of each."""
    mini.page(".. toctree::\n\n   other\n\n" + command("here", "true"))
    mini.page(command("there", "true") + command("again", "true"), "other")

    text = (build_html(mini, "singlehtml") / "index.html").read_text()

    assert text.count('<details class="evidence') == 3


def test_excluded_pages(mini: Mini) -> None:
    """A page that no reader follows has no evidence."""
    settings = mini.root / "pyproject.toml"
    settings.write_text(settings.read_text() + 'exclude = ["inside"]\n')
    mini.page(":orphan:\n\n.. code-block:: text\n\n   anything\n", "inside")

    assert "<details" not in (build_html(mini) / "inside.html").read_text()
    assert lines(mini)


def test_details(mini: Mini) -> None:
    """The evidence tells when, how long, with what, and what was printed, as text."""
    keep(mini, "run", "executed", output="a < b & 'c'\n")
    keep(mini, "run", "failed", "docker", reason="exit status 1: a < b")

    text = (build_html(mini) / "index.html").read_text()

    assert '<time datetime="2026-01-02T03:04:05+00:00">2 January 2026, 03:04 UTC</time>' in text
    assert "in 0.50 s, with Parsec 3.7.0, PostgreSQL 16.15." in text
    assert ">a &lt; b &amp; &#x27;c&#x27;</pre>" in text
    assert "failed on <time" in text
    assert "exit status 1: a &lt; b" in text


# The files with the text, by builder; that of LaTeX is named after the project.
BOOKS = ("index.txt", "index.xhtml")
REPORTS = {
    "docs-mutants": {
        "killed": 19, "survived": 1, "equivalent": 2, "score": 0.95,
        "started": "2026-01-02T03:04:05+00:00", "flavours": ["native", "docker"],
        "state": "of another guide", "notes": ["Not all < of it."],
        "survivors": [{"title": "port 1 < 2", "diff": "-a\n+b <c>"}],
    },
    "docs-matrix": {
        "versions": [
            {"version": "3.6.1", "outcome": "verified"},
            {"version": "3.9.3", "outcome": "failed"},
        ]
    },
    "faults": {"kill parsec-s3": {"seconds_until_it_serves": 1.25, "blocks_read_back": 7}},
    "attack": {"files": {"files": 3, "outcome": "withstood"}, "ports": {"ports < 2": 1}},
}  # fmt: skip


def rows_of(text: str) -> dict[str, list[str]]:
    """The rows of all tables of a page, by their first cells."""
    rows = (
        re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", text, re.DOTALL)
    )
    plain = ([re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in rows)
    return {first: others for first, *others in plain}


def test_summary(mini: Mini) -> None:
    """The summaries are of the reports that there are, and honest about those that are not."""
    parts = ("glance", "coverage", "exceptions", "mutants", "faults", "attacks", "matrix")
    summaries = "".join(f".. evidence:: {part}\n\n" for part in parts)
    page = mini.docs / "index.rst"
    page.write_text(page.read_text() + summaries)
    empty = (build_html(mini) / "index.html").read_text()
    assert "<strong>On bare metal</strong>: 0 of 6 blocks verified; 6 not verified" in empty
    assert "No mutants of this guide have been tested yet." in empty
    assert "No faults have been tried yet." in empty
    assert "No attacks have been tried yet." in empty

    keep(mini, "run", "executed")
    keep(mini, "other", "excepted", reason="no client < here", tried=False)
    for name, report in REPORTS.items():
        by_flavour = name in ("faults", "attack")
        path = mini.root / "build" / name / ("native.json" if by_flavour else "report.json")
        path.parent.mkdir()
        path.write_text(json.dumps(report))
    text = (build_html(mini) / "index.html").read_text()

    assert "1 of 6 blocks verified; 4 not verified, 1 not executed" in text
    assert rows_of(text)["All pages"] == ["1", "6", "0", "6"]
    assert text.count('<td class="number">') == 9
    assert "no client &lt; here: <a" in text
    assert "Of 20 such faults the test noticed 19, or 95.0%" in text
    assert "not noticed: port 1 &lt; 2" in text
    assert "Tested on bare metal and with Docker on 2 January 2026, 03:04 UTC." in text
    assert "<p>Not all &lt; of it.</p>" in text
    assert "The guide or its test has changed since." in text
    assert "+b &lt;c&gt;" in text
    assert rows_of(text)["kill parsec-s3"] == ["on bare metal", "1.2 s", "0.0 s", "7"]
    assert rows_of(text)["files"] == ["on bare metal", "withstood", "files: 3"]
    assert rows_of(text)["ports"] == ["on bare metal", "broken off", "ports &lt; 2: 1"]
    assert "with Parsec 3.6.1, too." in text


@pytest.mark.parametrize("builder", ["text", "latex", "epub"])
def test_summaries_in_books(mini: Mini, builder: str) -> None:
    """Whoever reads the guide as a text or a book sees the same summaries."""
    keep(mini, "run", "executed")
    page = mini.docs / "index.rst"
    page.write_text(page.read_text() + ".. evidence:: glance\n\n.. evidence:: coverage\n")

    folder = build_html(mini, builder)
    (file,) = [path for path in folder.iterdir() if path.name in BOOKS or path.suffix == ".tex"]
    text = re.sub(r"\s+", " ", file.read_text())

    assert "1 of 6 blocks verified" in text
    assert "All pages" in text
