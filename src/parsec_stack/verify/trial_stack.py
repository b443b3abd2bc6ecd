"""A whole stack for tests that harm it: the tasks bring it up, and remove it at the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parsec_stack import engine, redact
from parsec_stack.flavour import free_offset
from parsec_stack.services import FlavourName
from parsec_stack.stack import ROOT, Stack
from parsec_stack.verify.parsec_guide import docker_required
from parsec_stack.verify.stack_site import docker_settings

# How many seconds tasks may take.
PATIENCE = 300
BUILD = ROOT / "build"
# What a user may have exported for other purposes; none of it may reach the stack.
HOSTILE = {
    **dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"
    ),
    **dict.fromkeys(("COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "PGSERVICE", "AWS_PROFILE"), "no"),
    **dict.fromkeys(("BASH_ENV", "OPENSSL_CONF", "COMPOSE_ENV_FILES"), "/no/such/file"),
    **{"no_proxy": "", "STACK_PREFIX": "no-", "POSIXLY_CORRECT": "1", "CDPATH": "/tmp"},
}

Figures = dict[str, float | str]


@contextmanager
def running(
    flavour: FlavourName, name: str, before: Callable[[Stack], None] | None = None
) -> Iterator[Stack]:
    """Give a complete stack in a folder of its own, whose name begins with this one.

    ``before`` is called with it before anything of it exists.

    If the flavour cannot run, the test is skipped, or fails if the flavour is required.
    """
    if flavour == "docker" and (problem := engine.engine_problem()):
        (pytest.fail if docker_required() else pytest.skip)(problem)
    # A short path, because there are sockets in it.
    base = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    # Others may get as far as the stack's own folder, which must keep them out itself.
    base.chmod(0o755)
    made = Stack(base / "s", flavour, free_offset(base / "s", flavour))
    if flavour == "docker":
        docker_settings(base)
    if before:
        before(made)
    try:
        done = invoke(made, "tls", "adminToken", "up", "migrate", "bucket")
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        if (made.folder / ".stack.json").exists():
            gone = invoke(made, "destroy", "--yes")
            assert gone.returncode == 0, gone.stdout + gone.stderr
        shutil.rmtree(base, ignore_errors=True)


def invoke(stack: Stack, *tasks: str) -> subprocess.CompletedProcess[str]:
    """Run tasks on the stack as a user does; their output must contain no secret."""
    own = {
        "STACK_FLAVOUR": stack.flavour,
        "STACK_DIR": str(stack.folder),
        "STACK_PORT_OFFSET": str(stack.port_offset),
    }
    if stack.flavour == "docker":
        own["DOCKER_CONFIG"] = str(stack.folder.parent / ".docker")
    done = subprocess.run(
        ["invoke", *tasks],
        cwd=ROOT,
        env=os.environ | HOSTILE | own,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    without_secrets(stack, done.stdout + done.stderr)
    return done


def without_secrets(stack: Stack, text: str) -> str:
    """Return the text, which must contain no secret of the stack."""
    known = redact.of_stack(stack)
    known.look()
    if origin := known.leak(text):
        # Not by an assertion, which would show the text itself.
        pytest.fail(f"a secret of {origin} is shown: {known(text)}", pytrace=False)
    return text


def record(stack: Stack, kind: str, what: str, figures: Figures) -> None:
    """Add the figures of one test to ``build/KIND/FLAVOUR.json``."""
    path = BUILD / kind / f"{stack.flavour}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    known.setdefault(what, {}).update(
        (name, round(value, 2) if isinstance(value, float) else value)
        for name, value in figures.items()
    )
    path.write_text(without_secrets(stack, json.dumps(known, indent=2)) + "\n")
