"""The trying of versions, and the page that tells of it."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from docutils import nodes

from parsec_stack import checkout
from parsec_stack.errors import StackError
from parsec_stack.stack import DOCS
from parsec_stack.verify import matrix, upgrades

NAMES = ["3.7.0", "3.8.2", "3.10.0"]
ROW = {"outcome": "verified", "reason": "", "fingerprint": "now", "started": "2030-01-02T03:04:05"}


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The extension that makes the page."""
    monkeypatch.syspath_prepend(str(DOCS / "extensions"))
    return importlib.import_module("verified_versions")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where results are kept, of a checkout that does not change."""
    (tmp_path / "rows").mkdir()
    monkeypatch.setattr(matrix, "FOLDER", tmp_path)
    monkeypatch.setattr(checkout, "fingerprint", lambda: "now")
    return tmp_path


def told(page: Any, report: dict[str, Any]) -> list[list[str]]:
    """The cells of the page's rows, without headings."""
    parts = page.tables(NAMES, report, "now")
    rows = [row for part in parts for body in part.findall(nodes.tbody) for row in body]
    return [[cell.astext() for cell in row] for row in rows]


def test_no_report(page: Any, tmp_path: Path) -> None:
    """Without a report nothing is said to be verified."""
    (tmp_path / "broken.json").write_text("{")

    for name in ("missing.json", "broken.json"):
        rows = told(page, page.read(tmp_path / name))

        assert [row[:2] for row in rows] == [[name, "not verified"] for name in NAMES]


def test_report(page: Any) -> None:
    """Each version has its own word, with the reason where one is missing."""
    report = {
        "versions": [
            {**ROW, "version": "3.7.0", "python": "3.12", "blocks": {"executed": 30}},
            {**ROW, "version": "3.8.2", "outcome": "failed", "reason": "docs/x.rst:1: no\nmore"},
            {**ROW, "version": "3.10.0", "outcome": "not run", "reason": "it needs Python 3.14"},
        ],
        "upgrades": [
            {**ROW, "from": "3.7.0", "to": "3.8.2", "migrations": 3, "older": "refused"},
        ],
    }

    assert told(page, report) == [
        ["3.7.0", "verified on 2030-01-02", "3.12", "30 executed"],
        ["3.8.2", "failed on 2030-01-02: docs/x.rst:1: no", "", ""],
        ["3.10.0", "not verified: it needs Python 3.14", "", ""],
        ["3.7.0 to 3.8.2", "verified on 2030-01-02", "3", "refused"],
    ]


def test_report_of_another_guide(page: Any) -> None:
    """What was verified of a guide that was changed since is not verified."""
    row = {**ROW, "version": "3.7.0", "fingerprint": "before"}

    (said, *_) = told(page, {"versions": [row]})

    assert said[1].startswith("not verified since the guide was changed")


def test_tried_once(folder: Path) -> None:
    """What went well is not tried again; what was changed or failed is."""
    attempts: list[str] = []

    def attempt(version: str) -> dict[str, Any]:
        attempts.append(version)
        return {"version": version}

    row = matrix.once(attempt, "3.7.0")

    assert (row["outcome"], row["version"]) == ("verified", "3.7.0")
    assert matrix.once(attempt, "3.7.0") == row
    assert attempts == ["3.7.0"]

    for change in ({"fingerprint": "before"}, {"outcome": "failed"}):
        (folder / "rows" / "3.7.0.json").write_text(json.dumps(row | change))
        matrix.once(attempt, "3.7.0")

    assert attempts == ["3.7.0"] * 3


@pytest.mark.parametrize(("ends", "lacks"), [("kill -ILL $$", True), ("exit 132", True),
                                             ("exit 1", False), ("true", False)])  # fmt: skip
def test_other_processors_are_told(tmp_path: Path, ends: str, lacks: bool) -> None:
    """A wheel that this machine's processor cannot execute is told from one that fails."""
    run = tmp_path / "scripts" / "run"
    run.parent.mkdir()
    run.write_text(f"#!/bin/sh\n{ends}\n")
    run.chmod(0o755)

    assert matrix.lacks_instructions(tmp_path) == lacks


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(matrix.NotRun("no Python"), "not run"), (StackError("lost a block"), "failed")],
)
def test_failures_are_told(folder: Path, error: Exception, outcome: str) -> None:
    """A version that cannot be tried is told from one that fails."""

    def attempt(*versions: str) -> dict[str, Any]:
        raise error

    row = matrix.once(attempt, "3.7.0")

    assert (row["version"], row["outcome"], row["reason"]) == ("3.7.0", outcome, str(error))


def test_docs_test_without_a_report_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A docs-test that ends early has verified nothing."""
    failed = subprocess.CompletedProcess((), 1, "out", "err")
    monkeypatch.setattr(matrix, "prepare", lambda version: (folder, "3.12"))
    monkeypatch.setattr(checkout, "run_inside", lambda *command: "")
    monkeypatch.setattr(checkout, "try_inside", lambda *command: failed)

    with pytest.raises(StackError, match="docs-test failed"):
        matrix.try_version("3.7.0")

    assert (folder / "3.7.0.log").read_text() == "outerr"


@pytest.mark.parametrize(
    ("status", "stderr", "state", "complaint"),
    [
        (1, f"error: {upgrades.REFUSAL} (x)\n", "stopped", ""),
        (0, "", "running", "is not refused"),
        (1, "error: no services run\n", "stopped", "is not refused"),
        (1, f"error: {upgrades.REFUSAL} (x)\nmore\n", "stopped", "is not refused"),
        (1, f"error: {upgrades.REFUSAL} (x)\n", "running", "but the server runs"),
    ],
)
def test_refusal(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    stderr: str,
    state: str,
    complaint: str,
) -> None:
    """A refusal is one message, and no server runs after it."""
    answer = subprocess.CompletedProcess((), status, "", stderr)
    services = json.dumps([{"name": "parsec-server", "state": state}])
    monkeypatch.setattr(checkout, "try_inside", lambda *command, **variables: answer)
    monkeypatch.setattr(checkout, "run_inside", lambda *command, **variables: services)
    stack = upgrades.Upgraded(tmp_path)

    if not complaint:
        stack.refuse(tmp_path, "up")
        return
    with pytest.raises(StackError, match=complaint):
        stack.refuse(tmp_path, "up")


def test_lacking_migrations_are_counted() -> None:
    """The number is the one that ``invoke up`` tells."""
    said = "up: services\nthe database lacks 3 of this server's migrations: back up, then migrate\n"

    assert upgrades.lacking_said(said) == 3
    assert upgrades.lacking_said("up: services\n") == 0


def test_environment_of_another_checkout() -> None:
    """Its programs are not this environment's."""
    own = str(Path(sys.executable).parent)

    found = checkout.environment({"STACK_DIR": "x"})

    assert own not in found["PATH"].split(":")
    assert found["STACK_DIR"] == "x"
