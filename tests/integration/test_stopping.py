"""Services that are about to stop, and such as were started elsewhere, under a real supervisord."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from guidewalk.processes import end
from parsec_stack import deployment, native, ownership
from parsec_stack import stack as stacks
from parsec_stack.errors import StackError
from parsec_stack.services import SERVICES
from parsec_stack.stack import Stack

# Takes a second to end.
STUBBORN = """#!/bin/sh
trap 'sleep 1; exit' TERM
while :; do sleep 0.05; done
"""
TIMEOUT = 60


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A stack whose services are up, and do nothing but end slowly."""
    base = Path(tempfile.mkdtemp(prefix="stopping-"))
    stack = Stack(base / "s", "native", 12970)
    for name in ("log", "run"):
        (stack.folder / name).mkdir(parents=True)
    (stack.folder / "stubborn").write_text(STUBBORN)
    (stack.folder / "stubborn").chmod(0o755)
    text = (stacks.ARTIFACTS / "supervisord.conf").read_text().partition("[program:")[0]
    for name in SERVICES:
        text += f"[program:{name}]\ncommand = ./stubborn\nstdout_logfile = log/{name}.log\n"
    (stack.folder / "supervisord.conf").write_text(text)
    stack.remember(
        flavour="native", port_offset=12970, folder=str(stack.folder), running=True, complete=True
    )
    control(stack, "supervisord")
    try:
        yield stack
    finally:
        for folder in base.iterdir():
            end(folder)
        shutil.rmtree(base)


def control(stack: Stack, *command: str) -> None:
    """Run one of supervisord's programs."""
    subprocess.run(
        [command[0], "--configuration", "supervisord.conf", *command[1:]],
        cwd=stack.folder, env=stack.environment(), check=True, capture_output=True, timeout=TIMEOUT,
    )  # fmt: skip


def test_services_that_are_stopping(stack: Stack) -> None:
    """They are shown so, refused to tasks that need them, and their end is waited for."""
    control(stack, "supervisorctl", "shutdown")

    assert {service.state for service in native.services(stack)} == {"stopping"}
    with pytest.raises(
        StackError, match="are stopping: wait until they have ended, then run 'invoke up'"
    ):
        deployment.require_up(stack)
    with pytest.raises(
        StackError, match="are stopping: wait until they have ended, then run 'invoke up'"
    ):
        native.start_missing(stack, SERVICES)

    deployment.wake(stack)

    assert not native.is_up(stack)
    assert {service.state for service in native.services(stack)} == {"stopped"}
    assert not stack.state["running"]


def test_an_interrupted_down_comes_to_its_end(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even if supervisord has not heard of it; a second one does the same."""
    stack.remember(stopping=True)
    with pytest.raises(
        StackError, match="are stopping: wait until they have ended, then run 'invoke up'"
    ):
        deployment.require_up(stack)

    deployment.wake(stack)

    assert "waiting until they have ended" in capsys.readouterr().out
    assert not native.is_up(stack)
    deployment.down(stack)
    assert not stack.state["stopping"]


def test_down_while_it_is_stopping(stack: Stack) -> None:
    """It waits, too."""
    control(stack, "supervisorctl", "shutdown")

    deployment.down(stack)

    assert not native.is_up(stack)


def test_a_stack_that_was_moved_while_it_runs(stack: Stack) -> None:
    """What needs its services says so in one message, until they are stopped."""
    moved = stack.folder.with_name("moved")
    stack.folder.rename(moved)
    elsewhere = stacks.choose({"stack": str(moved)}, {})
    message = f"the services in {moved} were started when it was {stack.folder}, "

    ownership.record(elsewhere)
    for task in (deployment.require_up, deployment.wake):
        with pytest.raises(StackError, match=message):
            task(elsewhere)

    deployment.down(elsewhere)

    assert elsewhere.state["folder"] == str(moved)
    deployment.wake(elsewhere)


def test_programs_that_are_gone(stack: Stack) -> None:
    """A checkout that was moved has taken with it what its services are started by."""
    stack.remember(programs=sys.prefix)
    deployment.wake(stack)
    stack.remember(programs="/no/where")

    with pytest.raises(StackError, match="were started by programs in /no/where, which are gone"):
        deployment.require_up(stack)
    deployment.down(stack)
    deployment.wake(stack)
