"""What docs-test does with a block, as far as nothing has to run for it."""

import os
from pathlib import Path

import pytest

from parsec_stack import docker
from parsec_stack.guide import Block, Guide
from parsec_stack.stack import Stack
from parsec_stack.verify.registry import Registry
from parsec_stack.verify.site import Site
from parsec_stack.verify.walk import Walk


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
    site = Site(Stack(tmp_path, "docker"), {"PATH": os.environ["PATH"]})
    walk = Walk(Guide([block]), site, Registry(), Satisfied(), whole=whole)

    found = walk.reach(block)

    if walk.shell:
        walk.shell.close()
    assert found.outcome == outcome, found.reason
    assert ("no image a:1 is here: no registry" in found.reason) == bool(missing)
