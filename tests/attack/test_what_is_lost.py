"""What became of the data when somebody got through to them after all: it is noticed."""

from __future__ import annotations

import json
import time

import pytest
from asking import request

from parsec_stack import docker, probes
from parsec_stack.stack import Stack
from parsec_stack.verify import trial_stack

pytest_plugins = ["attackers"]

PATIENCE = 30.0
# The master, of the ports beside that of S3 (run-parsec-s3).
MASTER = 1


@pytest.mark.usefixtures("decoy")
def test_lost_volumes(stack: Stack) -> None:
    """Without the volumes that held the bucket the object store is not healthy, nor said to be.

    It is the last attack, for it succeeds.
    """
    assert health(stack) == ("healthy", "")
    lose_volumes(stack)

    if stack.flavour == "docker":
        assert "parsec_" in last_word(stack)
    state, said = health(stack)
    assert state == "unhealthy"
    assert "cannot be read" in said


def health(stack: Stack) -> tuple[str, str]:
    """The health of the object store as invoke status tells it, and what it says of it."""
    done = trial_stack.invoke(stack, "status", "--json")
    (store,) = (one for one in json.loads(done.stdout) if one["name"] == "parsec-s3")
    return store["health"], store["trouble"] or ""


def last_word(stack: Stack) -> str:
    """What the healthcheck of the object store's container says now that it fails."""
    container = docker.containers(stack)["parsec-s3"]
    deadline = time.monotonic() + PATIENCE
    while True:
        container.reload()
        last = container.attrs["State"]["Health"]["Log"][-1]
        if last["ExitCode"]:
            return str(last["Output"])
        assert time.monotonic() < deadline, "it does not fail"
        time.sleep(0.5)


def lose_volumes(stack: Stack) -> None:
    """Let SeaweedFS delete all volumes of the bucket, as whoever has the inner key can."""
    path = "/col/delete?collection=parsec"
    if stack.flavour == "docker":
        ask = ["curl", "--silent", "--fail"]
        for option, name in docker.FILER_TRUST.items():
            ask += [f"--{option}", f"/run/secrets/{name}"]
        store = docker.containers(stack)["parsec-s3"]
        assert store.exec_run([*ask, f"https://localhost:9333{path}"]).exit_code == 0
    else:
        pair = stack.folder / "parsec-s3-inner"
        context = probes.trust_with(stack.folder / "custom-ca.crt", pair)
        number = stack.ports["S3"] + MASTER
        assert request("127.0.0.1", number, path, context=context)[0] in (200, 204)
