"""The Docker engine: find it, check that it can be used, and handle its images."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from guidewalk.console import say
from parsec_stack.errors import StackError

if TYPE_CHECKING:
    from docker import DockerClient

# The oldest versions that were tried: the engine of Debian 12, and the compose that knows
# !override.
OLDEST_ENGINE = (20, 10)
OLDEST_COMPOSE = (2, 24, 4)
INSTALL = "install Docker Engine (https://docs.docker.com/engine/install/)"
NATIVE = "or choose the native flavour"
USUAL_ENGINE = "unix:///var/run/docker.sock"
# The label with what an image was built from.
LABEL = "parsec-stack.inputs"
# Seconds for one answer of the engine, and for reaching it.
TIMEOUT = 60
REACHED_WITHIN = 5


def engine_problem() -> str | None:
    """Return what keeps docker compose from working here, with the remedy; None if nothing."""
    return reach_problem() or age_problem() or compose_problem()


def reach_problem() -> str | None:
    """Return why the engine of the docker command is not reached; None if it is."""
    if not shutil.which("docker"):
        return f"docker is missing: {INSTALL} {NATIVE}"
    return connection_problem(engine_address()) if engine_address() else context_problem()


@cache
def engine_address() -> str:
    """Return the address where the docker command finds its engine: DOCKER_HOST, or the context.

    Empty if there is no such context.
    """
    command = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    return "" if answer.returncode else answer.stdout.strip() or USUAL_ENGINE


def context_problem() -> str:
    """Return the message about a context that the docker command does not know."""
    if host := os.environ.get("DOCKER_HOST"):
        return (
            f"DOCKER_HOST names {host}, which is not the address of an engine: set it to one, or "
            "unset it"
        )
    name = os.environ.get("DOCKER_CONTEXT")
    who = f"DOCKER_CONTEXT names {name}" if name else "docker's settings name a context"
    return f"{who}, which 'docker context ls' does not list: choose one that it lists"


def named_by() -> str:
    """Return which variable has chosen the engine; empty if none has."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        if os.environ.get(name):
            return f", which {name} names"
    return ""


def connection_problem(host: str) -> str | None:
    """Return why no engine is reached at this address; None if it may be, or if it is ssh's."""
    try:
        connect(host)
    except PermissionError:
        return (
            f"you may not use the Docker engine at {host.removeprefix('unix://')}{named_by()}: "
            "join its group ('sudo usermod --append --groups docker $USER', then log in again) "
            + NATIVE
        )
    except OSError as error:
        return unanswered(host, error.strerror or str(error))
    return None


def connect(host: str) -> None:
    """Connect to the address once; OSError if nothing listens there."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(host.removeprefix("unix://"))
    elif host.startswith(("tcp://", "http://", "https://")):
        place = urlsplit(host)
        address = (place.hostname or "localhost", place.port or 2375)
        socket.create_connection(address, timeout=REACHED_WITHIN).close()


def unanswered(host: str, reason: str) -> str:
    """Return the message about an address at which no engine answers, with the reason."""
    said = f"no Docker engine answers at {host.removeprefix('unix://')}{named_by()} ({reason}): "
    if named_by():
        return f"{said}name another, or unset that variable, {NATIVE}"
    return (
        f"{said}start it ('sudo systemctl start docker' or scripts/docker-engine start), "
        f"{INSTALL} {NATIVE}"
    )


def age_problem() -> str | None:
    """Return the message if the engine is too old or there is none."""
    from docker.errors import DockerException

    try:
        version = str(client().version()["Version"])
    except (DockerException, OSError) as error:
        return unanswered(engine_address(), reason_of(error))
    if numbers(version) < OLDEST_ENGINE:
        return f"Docker Engine {version} is too old, at least 20.10 is needed: {INSTALL} {NATIVE}"
    return None


def compose_problem() -> str | None:
    """Return the message if the compose plugin is missing or too old."""
    command = ["docker", "compose", "version", "--short"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    remedy = (
        "install docker-compose-plugin (https://docs.docker.com/compose/install/linux/), or let "
        "'scripts/docker-engine start' install one for this checkout"
    )
    if answer.returncode:
        return f"docker has no compose plugin: {remedy}, {NATIVE}"
    if numbers(answer.stdout) < OLDEST_COMPOSE:
        return (
            f"docker compose {answer.stdout.strip()} is too old, at least 2.24.4 is needed: "
            f"{remedy}"
        )
    return None


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, without what follows them."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", version.strip())
    return tuple(int(part) for part in match[1].split(".")) if match else ()


@cache
def client() -> DockerClient:
    """Return a client of the engine that the docker command uses."""
    import docker

    if engine_address().startswith("unix://"):
        return docker.DockerClient(base_url=engine_address(), timeout=TIMEOUT)
    if os.environ.get("DOCKER_HOST"):
        return docker.from_env(timeout=TIMEOUT)
    return docker.DockerClient.from_context(timeout=TIMEOUT)


def engine() -> DockerClient:
    """Return the engine; StackError if there is none to use."""
    from docker.errors import DockerException

    if problem := reach_problem():
        raise StackError(problem)
    try:
        return client()
    except (DockerException, OSError) as error:
        raise StackError(unanswered(engine_address(), reason_of(error))) from None


def reason_of(error: Exception) -> str:
    """Return the innermost message of an error that quotes others."""
    return str(error).splitlines()[-1].rpartition("Caused by ")[2].strip() or type(error).__name__


def container_at(port: int) -> str | None:
    """Return the container that publishes the port."""
    for container in engine().containers.list(sparse=True):
        if port in (published.get("PublicPort") for published in container.attrs["Ports"]):
            return f"the container {container.attrs['Names'][0].removeprefix('/')}"
    return None


def absent(names: Iterable[str]) -> list[str]:
    """Return those of the images that the engine does not have."""
    from docker.errors import ImageNotFound

    missing = []
    for name in sorted(set(names)):
        try:
            engine().images.get(name)
        except ImageNotFound:
            missing.append(name)
    return missing


def fetch(names: Iterable[str]) -> None:
    """Pull the images; StackError with the remedy if one cannot be pulled."""
    from docker.errors import APIError

    for name in names:
        say(f"  {name}: pulling")
        try:
            engine().images.pull(name)
        except APIError as error:
            raise StackError(
                f"the image {name} cannot be pulled ({error.explanation or error}): check this "
                "machine's network and the registry, or build the images with 'invoke images'"
            ) from None


def image_id(name: str) -> str:
    """Return the digest of the image's content; empty if there is no such image."""
    from docker.errors import DockerException

    try:
        return str(engine().images.get(name).id)
    except DockerException:
        return ""
