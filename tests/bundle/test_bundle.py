"""Bring both flavours up from the bundle alone, by its own README, with the network cut.

Run it in a network namespace of its own, as ``nox -s bundle`` does, after ``invoke bundle``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from guidewalk import doctree
from guidewalk.guide import Block
from guidewalk.shell import Shell, failure_message
from parsec_stack import bundle
from parsec_stack.services import FLAVOURS
from parsec_stack.stack import ROOT
from parsec_stack.verify.stack_site import search_path

ENGINE = ROOT / "scripts" / "docker-engine"
BLOCK_TIMEOUT = 600


def test_no_way_leads_out() -> None:
    """Nothing but this machine's loopback is there, so nothing can be fetched."""
    assert [name for _, name in socket.if_nameindex()] == ["lo"]


@pytest.fixture(scope="module")
def unpacked() -> Iterator[Path]:
    """The archive's content, in a folder with nothing else."""
    # A short path: sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        with tarfile.open(bundle.ARCHIVE) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder) / "parsec-stack"


@pytest.fixture(scope="module")
def reader(unpacked: Path) -> Iterator[dict[str, str]]:
    """What a fresh account on a machine without network sees, with an engine without images."""
    home, engine = unpacked.parent / "home", unpacked.parent / "engine"
    environment = {
        "PATH": search_path(),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        # Where the engine's script puts the plugin that is to be on the machine.
        "DOCKER_CONFIG": str(ROOT / ".cache" / "docker-config"),
        "DOCKER_HOST": f"unix://{engine}/docker.sock",
        "DOCKER_ENGINE_ROOT": str(engine),
    }
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    try:
        subprocess.run([ENGINE, "start"], env=environment, check=True, timeout=120)
        yield environment
    finally:
        subprocess.run([ENGINE, "stop"], env=environment, check=True, timeout=120)


@pytest.fixture(scope="module")
def blocks(unpacked: Path) -> dict[str, Block]:
    """The blocks of the bundle's README by name, read as the guide's are."""
    docs = unpacked.parent / "docs"
    docs.mkdir()
    (docs / "conf.py").touch()
    shutil.copy(unpacked / "README.rst", docs / "index.rst")
    found = doctree.read(docs).blocks

    assert {block.kind for block in found} == {"command"}
    return {block.name or "": block for block in found}


def follow(shell: Shell, block: Block) -> str:
    """What the block prints; it must succeed."""
    result = shell.run(block.text, BLOCK_TIMEOUT)
    if result.problem:
        pytest.fail(f"{failure_message(block, result)}\n{result.output}", pytrace=False)
    return result.output


def test_nothing_is_there_before(reader: dict[str, str]) -> None:
    """The engine has no image yet."""
    listed = subprocess.run(
        ["docker", "images", "--quiet"], env=reader, capture_output=True, text=True, check=True
    )

    assert listed.stdout == ""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_readme_brings_the_stack_up(
    flavour: str, unpacked: Path, reader: dict[str, str], blocks: dict[str, Block]
) -> None:
    """Each command of the README succeeds, to the exercise of the server and its removal."""
    ways = {f"up-{one}" for one in FLAVOURS}
    with Shell(unpacked, reader) as shell:
        for name, block in blocks.items():
            if name not in ways - {f"up-{flavour}"}:
                said = follow(shell, block)
                assert not name.startswith("up-") or "Parsec answers at" in said

    left = unpacked / "checkout" / "stack"
    # Root leaves the empty folder of its services' account.
    assert not left.exists() or not list(left.iterdir())


def test_the_guide_can_be_read(unpacked: Path) -> None:
    """The built guide is whole."""
    assert {"index.html", "docker.html", "native.html"} <= set(os.listdir(unpacked / "guide"))
