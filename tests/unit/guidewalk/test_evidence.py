"""The evidence: whom it belongs to, what replaces it, and how a page shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from guidewalk import evidence
from guidewalk.report import Kind
from kept import VERSIONS, changed, keep, small_guide
from mini import Mini


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    """A guide with a script, what it reads, and what it prints."""
    return small_guide(tmp_path)


@pytest.mark.parametrize(
    ("change", "content"),
    [
        ("docs/index.rst|echo ran|echo ran # now", {"index-run", "index-run-output"}),
        ("docs/index.rst|   ran\n|   r...\n", {"index-run-output"}),
        ("docs/index.rst|   true|   true # now", {"index-other"}),
        ("deploy/a.sh|source|. ", {"index-a.sh", "index-run", "index-run-output"}),
        ("deploy/a.env|A=1|A=2", {"index-a.env", "index-run", "index-run-output"}),
        ("deploy/b.env|B=1|B=2", {"index-b.env"}),
        ("docs/index.rst|Mini|Maxi", set()),
    ],
)
def test_content(mini: Mini, change: str, content: set[str]) -> None:
    """A block is another if it, or a file that it reads, directly or not, is another."""
    assert changed(mini, change)[0] == content


def test_way(mini: Mini) -> None:
    """Whatever changes, the way to all that follows is another, and to nothing before."""
    _, way = changed(mini, "deploy/b.env|B=1|B=2")

    assert way == {"index-b.env", "index-run", "index-run-output", "index-other"}


def test_runs_add_up(mini: Mini) -> None:
    """A run of one flavour or of some blocks leaves the evidence of all others."""
    keep(mini, "run", "executed")
    keep(mini, "run", "failed", "docker")
    keep(mini, "other", "executed")
    keep(mini, "other", "failed")

    known = evidence.read(mini.root / "build")

    (native,), (docker,) = known["index-run"]["native"], known["index-run"]["docker"]
    assert (native.outcome, docker.outcome) == ("executed", "failed")
    assert docker.versions == VERSIONS["docker"]
    assert [one.outcome for one in known["index-other"]["native"]] == ["failed"]


def test_each_version_has_its_own(mini: Mini) -> None:
    """What was seen of another version, or another content, is neither lost nor taken for it."""
    keep(mini, "run", "executed", version="1.0")
    (first,) = evidence.read(mini.root / "build")["index-run"]["native"]
    keep(mini, "run", "failed", version="2.0")
    changed(mini, "docs/index.rst|echo ran|echo ran # now")
    keep(mini, "run", "failed", version="1.0")
    known = evidence.read(mini.root / "build")["index-run"]["native"]

    assert [(one.version, one.outcome) for one in known] == [
        ("1.0", "executed"), ("2.0", "failed"), ("1.0", "failed"),
    ]  # fmt: skip
    assert evidence.valid(known, first.content, "1.0") == first
    assert evidence.valid(known, first.content, "3.0") is None


def test_old_evidence_goes(mini: Mini) -> None:
    """Only so many records are kept of a block."""
    for number in range(evidence.KEPT + 3):
        keep(mini, "run", "executed", version=f"{number}.0")

    kept = [one.version for one in evidence.read(mini.root / "build")["index-run"]["native"]]
    assert kept == [f"{number}.0" for number in range(3, evidence.KEPT + 3)]


@pytest.mark.parametrize("outcome", ["excepted", "failed"])
def test_what_was_not_tried_says_nothing(mini: Mini, outcome: Kind) -> None:
    """Evidence of the same block outlives a run that did not reach it, but not its change."""
    keep(mini, "run", "executed")
    keep(mini, "run", outcome, tried=False)
    assert evidence.read(mini.root / "build")["index-run"]["native"][-1].outcome == "executed"

    changed(mini, "docs/index.rst|echo ran|echo ran # now")
    keep(mini, "run", outcome, tried=False)
    assert evidence.read(mini.root / "build")["index-run"]["native"][-1].outcome == outcome


def test_blocks_that_are_gone_are_forgotten(mini: Mini) -> None:
    """The store does not outgrow the guide."""
    keep(mini, "other", "executed")
    page = mini.docs / "index.rst"
    page.write_text(page.read_text().replace(":name: other", ":name: another"))
    keep(mini, "another", "executed")

    assert list(evidence.read(mini.root / "build")) == ["index-another"]


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": {"native": {"b": 1}}}'])
def test_a_store_that_cannot_be_read(mini: Mini, content: str) -> None:
    """It counts as empty, and the next run makes it anew."""
    (mini.root / "build").mkdir()
    (mini.root / "build" / evidence.STORE).write_text(content)
    assert evidence.read(mini.root / "build") == {}

    keep(mini, "run", "executed")
    assert list(evidence.read(mini.root / "build")) == ["index-run"]
