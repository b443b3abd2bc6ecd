"""The name under which other machines reach a stack: remembered, shown, and effective."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from invoking import invoke, prepare
from parsec_stack import deployment, docker, ownership
from parsec_stack import stack as stacks
from parsec_stack.errors import StackError
from parsec_stack.stack import Stack

HOST = "files.example.com"


def choose(folder: Path, **environment: str) -> Stack:
    """The stack in the folder, which notes what is said of it."""
    stack = stacks.choose({"stack": str(folder)}, environment)
    ownership.enter(stack, creates=True)
    ownership.record(stack)
    return stack


@pytest.mark.parametrize("flavour", ["native", "docker"])
def test_names_are_remembered(tmp_path: Path, flavour: str) -> None:
    """A later task needs not be told; another value takes the place of the one before."""
    assert choose(tmp_path, STACK_FLAVOUR=flavour).environment()["STACK_HOST"] == "localhost"
    choose(tmp_path, STACK_HOST=HOST, TLS_NAMES=f"{HOST} 192.0.2.7")

    again = choose(tmp_path)

    assert again.environment()["STACK_HOST"] == HOST
    assert again.environment()["TLS_NAMES"] == f"{HOST} 192.0.2.7"
    assert again.address("parsec-proxy").startswith(f"https://{HOST}:")
    docker.write_settings(again)
    assert f"STACK_HOST={HOST}" in (tmp_path / ".env").read_text().splitlines()
    assert choose(tmp_path, STACK_HOST="192.0.2.7").host == "192.0.2.7"
    assert choose(tmp_path).host == "192.0.2.7"


@pytest.mark.parametrize("host", ["https://a", "a:8443", "a b", "::1", "a/b", "-a", "a;b", "$a"])
def test_bad_names_are_refused(tmp_path: Path, host: str) -> None:
    """What is no name would be a link that leads nowhere, or more than a value in a file."""
    with pytest.raises(StackError, match="write a host name or an address, without scheme"):
        stacks.choose({"stack": str(tmp_path)}, {"STACK_HOST": host})


@pytest.mark.parametrize("host", ["a", "a.example", "192.0.2.7", "[2001:db8::7]"])
def test_good_names(tmp_path: Path, host: str) -> None:
    """Addresses are, too."""
    assert stacks.choose({"stack": str(tmp_path)}, {"STACK_HOST": host}).host == host


class Running:
    """A flavour whose services run until they are stopped."""

    STARTS_SINGLY = False

    def __init__(self) -> None:
        self.up = True

    def is_up(self, stack: Stack) -> bool:
        """Do they run?"""
        return self.up

    def ends(self, stack: Stack) -> bool:
        """Nobody has stopped them."""
        return False

    def go_on(self, stack: Stack) -> None:
        """None is paused."""

    def await_end(self, stack: Stack) -> None:
        """They are gone."""
        self.up = False


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    """What stands for the flavour, and no block of the guide is run."""
    flavour = Running()
    monkeypatch.setattr(deployment, "flavour_of", lambda stack: flavour)
    monkeypatch.setattr(deployment, "run", lambda *arguments: "")
    return flavour


def test_a_new_name_needs_a_new_start(tmp_path: Path, running: Any) -> None:
    """Without one the services would keep the name that they were started with."""
    stack = choose(tmp_path, STACK_HOST=HOST)
    stack.remember(serving=HOST)
    deployment.wake(stack)
    assert running.up

    deployment.wake(choose(tmp_path, STACK_HOST="other.example"))

    assert not running.up


def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    """It is remarked, with what to do, which helps."""
    folder = prepare(tmp_path)
    (folder / "parsec-smtp.crt").unlink()

    said = invoke(folder, "up", STACK_HOST=HOST)
    assert "parsec-smtp.crt is missing" in said.stderr
    assert HOST not in said.stderr
    shutil.copy(folder / "parsec-s3.crt", folder / "parsec-smtp.crt")
    stack = choose(folder)
    told = invoke(folder, "tls")
    assert told.returncode == 0, told.stderr
    with pytest.MonkeyPatch.context() as patch:
        notes: list[str] = []
        patch.setattr(deployment, "warn", notes.append)
        deployment.check_host(stack)
        assert f"is not for {HOST}, so clients will refuse it: run 'TLS_NAMES={HOST}" in notes[0]
        subprocess.run(
            [folder / "setup-tls.sh"], cwd=folder, check=True, capture_output=True,
            env=choose(folder, TLS_NAMES=HOST).environment(),
        )  # fmt: skip
        deployment.check_host(choose(folder))
        assert len(notes) == 1
