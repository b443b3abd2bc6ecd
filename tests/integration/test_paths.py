"""Every path that a file system allows works, or is refused at once, by name."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from guidewalk.atomic import write_atomically
from invoking import invoke
from parsec_stack import docker, engine
from parsec_stack import stack as stacks
from parsec_stack.errors import StackError
from parsec_stack.stack import ARTIFACTS, ROOT

# What compose takes of it; test_tasks.py has a native stack in a folder with more.
NAME = "R&D a'b\"c %41:g$HOME#;{k},\\m*[b]~`(o)\u00e9"
TIMEOUT = 60


@pytest.mark.parametrize("name", ["a\nb", "a\x7f", "100%", "a\udcff"])
def test_what_compose_cannot_take(tmp_path: Path, name: str) -> None:
    """The folder is refused before anything is made in it, and the character is named."""
    folder = tmp_path / name
    unfit = ascii(name.replace("a", "").replace("b", "").replace("100", ""))

    said = invoke(folder, "adminToken", STACK_FLAVOUR="docker")

    assert said.returncode == 1
    assert f"docker compose takes no folder with {unfit} in its path" in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert not folder.exists()
    assert stacks.choose({"stack": str(folder)}, {}).folder == folder


def test_a_path_is_too_long_for_sockets(tmp_path: Path) -> None:
    """It is told how much; Docker has no socket there."""
    folder = tmp_path / ("s" * (stacks.MAX_PATH - len(os.fsencode(tmp_path))))

    with pytest.raises(StackError, match="too long for a unix socket, by 1 bytes"):
        stacks.choose({"stack": str(folder)}, {})
    assert stacks.choose({"stack": str(folder)[:-1]}, {})
    assert stacks.choose({"stack": str(folder), "flavour": "docker"}, {})


def test_an_existing_stack_is_not_refused(tmp_path: Path) -> None:
    """Whoever has moved a stack to such a place can still ask for it, and destroy it."""
    folder = tmp_path / ("s" * 100)
    folder.mkdir()
    write_atomically(folder / stacks.RECORD, f'{{"folder": "{folder}"}}')

    assert stacks.choose({"stack": str(folder)}, {}).folder == folder


@pytest.mark.parametrize("character", [*':"`$\\', "\n"])
def test_checkouts_that_cannot_work(tmp_path: Path, character: str) -> None:
    """They are told so before anything is installed."""
    scripts = tmp_path / f"a{character}b" / "scripts"
    scripts.mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "run", scripts)

    done = subprocess.run(
        [scripts / "run", "invoke"], capture_output=True, text=True, timeout=TIMEOUT
    )

    assert done.returncode == 1
    assert "error: the path of this checkout has a character with which it cannot" in done.stderr
    assert os.listdir(scripts.parent) == ["scripts"]


def test_containers_see_files_of_any_folder(tmp_path: Path) -> None:
    """What compose binds arrives from a folder whose name means something to others."""
    if problem := engine.engine_problem():
        pytest.skip(problem)
    folder = tmp_path / NAME
    folder.mkdir()
    for artifact in ARTIFACTS.iterdir():
        shutil.copy(artifact, folder)
    for name in ("setup-tls.sh", "gen-credentials.sh", "gen-admin-token.sh"):
        subprocess.run([f"./{name}"], cwd=folder, check=True, capture_output=True)
    stack = stacks.Stack(folder, "docker", 12900)
    if missing := docker.missing_images(stack):
        pytest.skip(f"the engine has no {missing[0]}")
    arguments = ["run", "--rm", "--no-deps", "--user", "0:1238", "--entrypoint", "cat"]
    try:
        said = docker.compose(
            stack, *arguments, "parsec-proxy", "/etc/nginx/nginx.conf", "/run/secrets/custom-ca.crt"
        )
    finally:
        docker.compose(stack, "down", "--volumes")

    files = ("nginx.conf", "custom-ca.crt")
    assert said == "".join((folder / name).read_text() for name in files)
