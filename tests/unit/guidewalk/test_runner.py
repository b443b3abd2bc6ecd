"""What docs-test does with a block, as far as nothing has to run for it."""

import os
import threading
from functools import partial
from pathlib import Path

import pytest

from guidewalk.guide import Block, Guide
from guidewalk.registry import Registry
from guidewalk.runner import Runner
from guidewalk.site import Site
from parsec_stack import docker
from parsec_stack.stack import Stack
from parsec_stack.verify.stack_site import site_of


class Satisfied:
    """What finds no problem in any block."""

    def of(self, block: Block) -> list[str]:
        """Nothing."""
        return []


@pytest.mark.parametrize(
    ("missing", "whole", "outcome"),
    [([], True, "executed"), (["a:1"], False, "excepted"), (["a:1"], True, "failed")],
)
def test_block_that_needs_images(
    missing: list[str], whole: bool, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them it is not executed, which is an error where nothing may be left out."""
    block = Block(
        page="page", source="docs/page.rst", line=1, text="true a.yaml", language="bash",
        kind="command", flavours=("docker",), id="page-a", name="a",
        images={"a.yaml": "no registry"},
    )  # fmt: skip
    monkeypatch.setattr(docker, "missing_images", lambda stack, *files: missing)
    site = site_of(Stack(tmp_path, "docker"), {"PATH": os.environ["PATH"]})
    runner = Runner(Guide([block]), site, Registry(), Satisfied(), whole=whole)

    found = runner.reach(block)

    if runner.shell:
        runner.shell.close()
    assert found.outcome == outcome, found.reason
    assert ("no image a:1 is here: no registry" in found.reason) == bool(missing)


def block_of(kind: str, name: str, **changes: object) -> Block:
    """A block of a page for Docker."""
    known = {
        "page": "page",
        "source": "docs/page.rst",
        "line": 1,
        "text": "true",
        "language": "bash",
    }
    return Block(kind=kind, flavours=("docker",), id=f"page-{name}", name=name, **(known | changes))  # type: ignore[arg-type]


def runner_of(folder: Path, registry: Registry, *blocks: Block) -> Runner:
    """A runner along these blocks."""
    site = site_of(Stack(folder, "docker"), {"PATH": os.environ["PATH"]})
    return Runner(Guide(list(blocks)), site, registry, Satisfied())


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> threading.Barrier:
    """Where two must be at the same time to get on."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    return threading.Barrier(2, timeout=20)


def test_messages_are_provoked_side_by_side(tmp_path: Path, meeting: threading.Barrier) -> None:
    """Those that follow are provoked with the first, up to the next command."""
    registry, provoked = Registry(), []
    blocks = [
        block_of("message", "a", text="says a"),
        block_of("message", "b", text="says b"),
        block_of("command", "change"),
        block_of("message", "c", text="says c"),
    ]

    def provoke(site: Site, name: str) -> str:
        provoked.append(name)
        if name != "c":
            meeting.wait()
        return f"says {name}"

    for name in "abc":
        registry.provokes(name)(partial(provoke, name=name))
    runner = runner_of(tmp_path, registry, *blocks)

    first, second = runner.reach(blocks[0]), runner.reach(blocks[1])
    before = sorted(provoked)
    last = runner.reach(blocks[3])

    assert [one.outcome for one in (first, second, last)] == ["checked"] * 3, first.reason
    assert before == ["a", "b"]
    assert sorted(provoked) == ["a", "b", "c"]


def test_checks_aside_run_side_by_side(tmp_path: Path, meeting: threading.Barrier) -> None:
    """They begin when the others are done; the first that is not so is told, by its sentence."""
    registry, done = Registry(), []

    def first(site: Site) -> None:
        """One is one."""
        done.append("first")
        meeting.wait()

    def second(site: Site) -> None:
        """Two is three."""
        assert "usual" in done
        meeting.wait()
        raise AssertionError("two is two")

    def usual(site: Site) -> None:
        """All is as usual."""
        assert not done
        done.append("usual")

    for check in (first, second):
        registry.after("a", aside=True)(check)
    registry.after("a")(usual)
    runner = runner_of(tmp_path, registry, block_of("command", "a"))

    (found,) = [runner.reach(block) for block in runner.blocks]

    if runner.shell:
        runner.shell.close()
    assert found.outcome == "failed"
    assert found.reason.endswith("not so: Two is three. two is two")


def test_checks_can_be_left_out() -> None:
    """A lean registry has none aside, and of certain blocks alone; what prepares stays."""
    registry = Registry()
    aside, usual, preparing = (lambda site: None), (lambda site: None), (lambda site: None)
    registry.after("a", "b", aside=True)(aside)
    registry.after("a", "b")(usual)
    registry.after("a", prepares=True)(preparing)

    assert registry.lean().checks == {"a": [usual, preparing], "b": [usual]}
    assert registry.lean({"b"}).checks == {"a": [preparing], "b": [usual]}
    assert registry.checks["a"] == [aside, usual, preparing]
