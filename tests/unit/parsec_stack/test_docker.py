"""The docker flavour, as far as it needs no engine."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from parsec_stack import docker, engine
from parsec_stack.errors import StackError
from parsec_stack.services import KEY_GROUPS, SERVICES
from parsec_stack.stack import Stack


@pytest.mark.parametrize(
    ("version", "expected"),
    [("20.10.24+dfsg1", (20, 10, 24)), ("v2.40.3\n", (2, 40, 3)), ("28", (28,)), ("dev", ())],
)
def test_numbers_of_a_version(version: str, expected: tuple[int, ...]) -> None:
    """Versions compare by their numbers, however they are written."""
    assert expected == engine.numbers(version)


def test_project_is_named_after_its_folder(tmp_path: Path) -> None:
    """Two folders of the same name are two projects, of names that compose accepts."""
    one, other = Stack(tmp_path / "a" / "My Stack"), Stack(tmp_path / "b" / "My Stack")

    assert one.project.startswith("my-stack-")
    assert one.project != other.project
    assert Stack(tmp_path / "__").project.startswith("stack-")


def test_settings_move_names_and_ports(tmp_path: Path) -> None:
    """A stack at other ports has containers of its own names."""
    stack = Stack(tmp_path, "docker", 1000)

    docker.write_settings(stack)

    written = (tmp_path / ".env").read_text().splitlines()
    assert f"STACK_PREFIX={stack.project}-" in written
    assert "STACK_PROXY_PORT=1443" in written


def test_usual_ports_have_usual_names(tmp_path: Path) -> None:
    """Without an offset the containers are called as the guide says."""
    docker.write_settings(Stack(tmp_path, "docker"))

    assert "STACK_PREFIX=" in (tmp_path / ".env").read_text().splitlines()


@pytest.mark.parametrize(
    ("mode", "readable"), [(0o644, True), (0o600, False), (0o640, False), (0o604, True)]
)
def test_keys_that_containers_can_read(tmp_path: Path, mode: int, readable: bool) -> None:
    """A key that is ours is readable to a container's group only if it is to all."""
    if os.getgid() in KEY_GROUPS.values():
        pytest.skip("this user is one of the containers'")
    for name in KEY_GROUPS:
        (tmp_path / f"{name}.key").touch()
        (tmp_path / f"{name}.key").chmod(mode)

    if readable:
        docker.check_keys(Stack(tmp_path, "docker"))
    else:
        with pytest.raises(StackError, match=r"cannot be read by its container.*setup-tls\.sh"):
            docker.check_keys(Stack(tmp_path, "docker"))


def test_every_port_has_an_owner(tmp_path: Path) -> None:
    """Each port of a stack belongs to a service of the compose file."""
    stack = Stack(tmp_path, "docker", 1000)

    owners = {port: service for service, port in docker.ports(stack)}

    assert set(stack.ports.values()) == set(owners)
    assert set(SERVICES) == set(owners.values())


@pytest.mark.parametrize(
    ("status", "state", "health"),
    [
        ("Up 1 second (health: starting)", "running", "starting"),
        ("Up 2 seconds (healthy)", "running", "healthy"),
        ("Up 2 minutes (unhealthy)", "running", "unhealthy"),
        ("Up 2 minutes (Paused)", "paused", "unhealthy"),
        ("Exited (1) 2 seconds ago", "exited", "-"),
    ],
)
def test_health_of_a_container(tmp_path: Path, status: str, state: str, health: str) -> None:
    """One that has just been started is not unhealthy."""
    attributes = {"State": state, "Status": status, "Image": "nginx:1"}
    container = SimpleNamespace(attrs=attributes)

    described = docker.describe(Stack(tmp_path, "docker"), "parsec-proxy", container)

    assert (described.health, described.version) == (health, "1")
