"""The docker flavour: the services as containers, run by docker compose and the engine's API."""

from __future__ import annotations

import errno
import json
import re
import shlex
import socket
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guidewalk.atomic import write_atomically
from guidewalk.console import say
from parsec_stack import composition, logs, schema, store
from parsec_stack.composition import COMPOSE_FILE
from parsec_stack.engine import (
    LABEL,
    absent,
    client,
    container_at,
    engine,
    engine_problem,
    fetch,
    image_id,
)
from parsec_stack.errors import StackError
from parsec_stack.ports import holder, of_services
from parsec_stack.services import KEY_GROUPS, SERVICES
from parsec_stack.stack import SETTINGS, Stack, require_path
from parsec_stack.status import ServiceStatus

if TYPE_CHECKING:
    from docker.models.containers import Container
    from docker.models.volumes import Volume

# Single services can be started while no other runs.
STARTS_SINGLY = True
PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
FOLDER = "com.docker.compose.project.working_dir"
# What the containers read apart from certificates, keys and secrets/ (compose file).
BOUND = (
    *("parsec-postgres.hba.conf", "prepare-database.sh", "security.toml"),
    *("nginx.conf", "parsec-nginx.conf"),
)
# SeaweedFS's file tree and its master, at the addresses that its own parts use in the container.
FILER, MASTER = "https://localhost:8888", "https://localhost:9333"
FILER_TRUST = {
    "cacert": "custom-ca.crt",
    "cert": "parsec-s3-inner.crt",
    "key": "parsec-s3-inner.key",
}


def problem(artifacts: Path) -> str | None:
    """Return what keeps the flavour from working here: the engine, or an unavailable image."""
    try:
        if found := engine_problem():
            return found
        named = composition.images(composition.parse((artifacts / COMPOSE_FILE).read_text()))
        fetch(absent({f"{image}:{version}" for image, version in named.values()}))
    except StackError as error:
        return str(error)
    except subprocess.TimeoutExpired as error:
        return f"the docker command does not answer within {error.timeout:.0f} s"
    return None


def write_settings(stack: Stack) -> None:
    """Write the stack's names and ports to .env in its folder, where docker compose reads them."""
    settings = {
        "COMPOSE_PROJECT_NAME": stack.project,
        "COMPOSE_FILE": COMPOSE_FILE,
        "STACK_PREFIX": stack.prefix,
        "STACK_HOST": stack.host,
    }
    settings |= {f"STACK_{port}_PORT": str(number) for port, number in stack.ports.items()}
    lines = [f"{key}={value}\n" for key, value in settings.items()]
    write_atomically(
        stack.folder / SETTINGS, "# Which stack this is, for docker compose.\n" + "".join(lines)
    )


def compose(stack: Stack, *arguments: str, overrides: Iterable[str] = ()) -> str:
    """Run docker compose on the stack; return its output.

    ``overrides`` are files that are laid on top of the stack's own. Raises StackError with the last
    lines of the output if the command fails.
    """
    files = [part for name in (COMPOSE_FILE, *overrides) for part in ("--file", name)]
    command = ["docker", "compose", *files, *arguments]
    answer = subprocess.run(
        command, cwd=stack.folder, env=stack.environment(), capture_output=True, text=True
    )
    if answer.returncode:
        last = "\n".join(answer.stderr.strip().splitlines()[-3:])
        raise StackError(f"docker compose {arguments[0]} failed:\n{last}")
    return answer.stdout


def containers(stack: Stack) -> dict[str, Container]:
    """Return the container of each service that has one; of several, the one in the worst state."""
    order = ("exited", "dead", "created", "restarting", "paused", "removing", "running")
    found = [
        container
        for container in engine().containers.list(all=True, sparse=True, filters=mine(stack))
        if container.attrs["Labels"].get("com.docker.compose.oneoff") != "True"
    ]
    found.sort(key=lambda container: order.index(container.attrs["State"]), reverse=True)
    return {container.attrs["Labels"][SERVICE]: container for container in found}


def is_up(stack: Stack) -> bool:
    """Return whether any of the stack's containers has been started."""
    states = {container.attrs["State"] for container in containers(stack).values()}
    return bool(states & {"running", "restarting", "paused"})


def ends(stack: Stack) -> bool:
    """Return False: containers do not end by themselves."""
    return False


def paused(stack: Stack) -> list[str]:
    """Return the services that somebody has paused."""
    return [name for name, one in containers(stack).items() if one.attrs["State"] == "paused"]


def go_on(stack: Stack) -> None:
    """Resume services that somebody has paused, because they can be neither asked nor stopped."""
    for service in paused(stack):
        say(f"  {service}: was paused, is resumed")
        containers(stack)[service].unpause()


def check(stack: Stack) -> None:
    """Raise StackError for what would keep the services from starting; fetch missing images."""
    if found := engine_problem():
        raise StackError(found)
    require_path(stack.folder, "docker")
    write_settings(stack)
    check_keys(stack)
    check_readable(stack)
    check_names(stack)
    if not is_up(stack):
        for service, port in ports(stack):
            check_port(service, port)
    fetch_images(stack)


def missing_data(stack: Stack) -> list[str]:
    """Return the volumes of the database and the object store that the engine does not have."""
    there = {volume.name for volume in volumes(stack)}
    names = (f"{stack.project}_{name}" for name in ("postgres", "s3"))
    return [f"the volume {name}" for name in names if name not in there]


def begin_anew(stack: Stack) -> None:
    """Let missing data be made again: compose makes volumes by itself."""


def volumes(stack: Stack) -> list[Volume]:
    """Return the stack's volumes, which hold its data."""
    found: list[Volume] = engine().volumes.list(filters=mine(stack))
    return found


def mine(stack: Stack) -> dict[str, str]:
    """Return the engine's filter for what belongs to the stack."""
    return {"label": f"{PROJECT}={stack.project}"}


def check_keys(stack: Stack) -> None:
    """Raise StackError for a private key that its service's container cannot read."""
    for name, group in KEY_GROUPS.items():
        key = stack.folder / f"{name}.key"
        state = key.stat()
        if not (state.st_mode & 0o004 or (state.st_gid == group and state.st_mode & 0o040)):
            raise StackError(
                f"{key} cannot be read by its container, which runs as group {group}: run 'cd "
                f"{shlex.quote(str(stack.folder))} && sudo ./setup-tls.sh', which gives the keys "
                "to the groups of their containers"
            )


def check_readable(stack: Stack) -> None:
    """Raise StackError for any other file that a container reads and only its owner can read."""
    for name in (*BOUND, *(f"{pair}.crt" for pair in ("custom-ca", *KEY_GROUPS))):
        path = stack.folder / name
        if not path.stat().st_mode & 0o004:
            raise StackError(
                f"{path} cannot be read by its container: run 'chmod a+r {shlex.quote(str(path))}'"
            )


def check_names(stack: Stack) -> None:
    """Raise StackError if another project's container has the name of one of this stack's."""
    names = {f"/{stack.prefix}{service}" for service in SERVICES}
    for container in engine().containers.list(all=True, sparse=True):
        taken = names & set(container.attrs["Names"])
        owner = container.attrs["Labels"].get(PROJECT)
        if taken and owner != stack.project:
            name = taken.pop().removeprefix("/")
            raise StackError(
                f"the container name {name} is taken by "
                f"{f'project {owner}' if owner else 'another container'}: remove that "
                f"('docker rm --force {name}'), or move this stack with --port-offset"
            )


def ports(stack: Stack) -> Iterator[tuple[str, int]]:
    """Yield every port of this machine that the services use, with the name of the service."""
    return of_services(stack)


def check_port(service: str, port: int) -> None:
    """Raise StackError that names the holder if the port is taken on this machine."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("0.0.0.0" if service == "parsec-proxy" else "127.0.0.1", port))
        except OSError as error:
            # Low ports are opened by the engine, whoever asks here.
            if error.errno == errno.EADDRINUSE:
                taker = container_at(port) or holder(port)
                raise StackError(
                    f"port {port} of {service} is taken by {taker}: stop that, or move this "
                    "stack's ports with --port-offset (or STACK_PORT_OFFSET)"
                ) from None


def missing_images(stack: Stack, *overrides: str) -> list[str]:
    """Return the images that the stack's compose files name and the engine does not have."""
    return absent(compose(stack, "config", "--images", overrides=overrides).split())


def fetch_images(stack: Stack) -> None:
    """Pull the stack's missing images; StackError with the remedy if one cannot be pulled."""
    fetch(missing_images(stack))


def ask_database(stack: Stack, query: str) -> list[str]:
    """Return the rows of the database's answer, with ``|`` between columns.

    Raises StackError with its complaint.
    """
    container = containers(stack).get("parsec-postgres")
    if container is None:
        raise StackError("parsec-postgres has no container: run 'invoke up' first")
    command = ["psql", "--username=parsec", "--no-psqlrc", "--tuples-only", "--no-align"]
    answer = container.exec_run(
        [*command, f"--command={query}"], demux=True, environment={"PGCONNECT_TIMEOUT": "5"}
    )
    said, complaint = ((text or b"").decode(errors="replace") for text in answer.output)
    if answer.exit_code:
        raise schema.refusal(complaint)
    return said.split()


def migrations(stack: Stack) -> list[str] | None:
    """Return the names of the migrations applied to the database; None if it has no schema yet."""
    return schema.applied(lambda query: ask_database(stack, query))


def packaged(stack: Stack) -> list[str]:
    """Return the names of the migrations in the server's image, oldest first."""
    services = json.loads(compose(stack, "config", "--format", "json"))["services"]
    name = services["parsec-server"]["image"]
    image = image_id(name)
    known = stack.state.get("packaged", {})
    if image and known.get("image") == image:
        return list(known["migrations"])
    if not image:
        fetch([name])
    found = packaged_in(name)
    if image and stack.state:  # a folder without state is no stack of ours
        stack.remember(packaged={"image": image, "migrations": found})
    return found


@cache
def packaged_in(image: str) -> list[str]:
    """Return those of an image, by its name; the next version's image has another name."""
    from docker.errors import DockerException

    command = ["python", "-c", schema.PROGRAM.read_text()]
    try:
        said = engine().containers.run(
            image, command[1:], entrypoint=command[:1], network_mode="none", remove=True
        )
    except DockerException as error:
        raise StackError(f"the image {image} does not list its migrations: {error}") from None
    found: list[str] = said.decode().split()
    if found:
        return found
    raise StackError(f"the image {image} contains no Parsec server")


def trouble(stack: Stack, service: str) -> str | None:
    """Return the state of a service that the engine cannot keep up.

    None while it runs or starts.
    """
    container = containers(stack).get(service)
    if container is None:
        return "it has no container"
    state = container.attrs["State"]
    return None if state in ("running", "created") else str(container.attrs["Status"]).lower()


def start_missing(stack: Stack, services: Iterable[str]) -> None:
    """Start those of the services whose containers do not run."""
    found = containers(stack)
    if broken := [name for name in unconnected(stack, found) if name in services]:
        compose(stack, "up", "--detach", "--no-deps", "--force-recreate", *broken)
        found = containers(stack)
    missing = [
        name for name in services if name not in found or found[name].attrs["State"] != "running"
    ]
    if missing:
        compose(stack, "up", "--detach", *missing)


def unconnected(stack: Stack, found: dict[str, Container]) -> list[str]:
    """Return the services whose containers lack a network, because their creation was interrupted.

    Compose starts such a container as it is, and nothing can reach it.
    """
    services = composition.parse((stack.folder / COMPOSE_FILE).read_text()).get("services", {})
    return [
        name
        for name, container in found.items()
        if not {f"{stack.project}_{one}" for one in services.get(name, {}).get("networks", [])}
        <= set(container.attrs["NetworkSettings"]["Networks"])
    ]


def stop(stack: Stack, services: Iterable[str]) -> None:
    """Stop the containers of these services; when started again, they read the current files."""
    compose(stack, "stop", *services)


def log_tail(stack: Stack, service: str, lines: int = 8) -> str:
    """Return the last lines that the service printed."""
    container = containers(stack).get(service)
    if container is None:
        return "(no log yet)"
    return str(container.logs(tail=lines).decode(errors="replace").rstrip())


def services(stack: Stack) -> list[ServiceStatus]:
    """Return all services with their state, health, address and version."""
    found = containers(stack)
    return [describe(stack, name, found.get(name)) for name in SERVICES]


def describe(stack: Stack, name: str, container: Container | None) -> ServiceStatus:
    """Return the status of one service as the engine reports it."""
    if container is None:
        return ServiceStatus(name, "stopped", "-", stack.address(name), "-")
    attributes: dict[str, Any] = container.attrs
    said = re.search(r"\((?:health: )?(healthy|starting)\)", attributes["Status"])
    healthy = said[1] if said else "unhealthy"
    health = healthy if attributes["State"] in ("running", "paused", "restarting") else "-"
    version = attributes["Image"].rpartition(":")[2]
    return ServiceStatus(name, attributes["State"], health, stack.address(name), version)


def tree_of_store(stack: Stack, path: str) -> str:
    """Return SeaweedFS's file tree at the path, as JSON; empty if there is nothing.

    Raises OSError if there is no answer. Another store in its place has no such tree.
    """
    return ask_store(stack, f"{FILER}{path}")


def master_of_store(stack: Stack, path: str) -> str:
    """Return the answer of SeaweedFS's master, as JSON; OSError if there is none.

    Another store in its place has none: the answer is empty.
    """
    return ask_store(stack, f"{MASTER}{path}")


def ask_store(stack: Stack, address: str) -> str:
    """Return the answer of the part of SeaweedFS at this address in its container."""
    container = containers(stack).get("parsec-s3")
    if container is None or "seaweedfs" not in container.attrs["Image"]:
        return ""
    command = ["curl", "--silent", "--max-time", "5", "--header", "Accept: application/json"]
    for part, name in FILER_TRUST.items():
        command += [f"--{part}", f"/run/secrets/{name}"]
    said = container.exec_run([*command, "--write-out", "\n%{http_code}", address]).output
    text, _, status = said.decode(errors="replace").rpartition("\n")
    return store.told(int(status) if status.isdigit() else 0, text)


def follow_logs(stack: Stack, names: Iterable[str], follow: bool) -> None:
    """Print the services' logs without secrets, and new lines too if ``follow`` is set."""
    if not containers(stack):
        raise StackError(f"no containers of the stack in {stack.folder}: run 'invoke up' first")
    command = ["docker", "compose", "--file", COMPOSE_FILE, "logs", "--tail=50"]
    options = ["--follow"] if follow else []
    logs.relay([*command, *options, *names], stack)


def await_end(stack: Stack) -> None:
    """Remove what remains of containers that were not ended by compose."""
    for container in containers(stack).values():
        container.remove(force=True)
    if is_up(stack):
        raise StackError("containers of this stack still run: see 'docker compose ps'")


def refuse_strangers(stack: Stack) -> None:
    """Raise StackError for containers of this folder that belong to another project."""
    here = {"label": f"{FOLDER}={stack.folder}"}
    for container in engine().containers.list(all=True, sparse=True, filters=here):
        other = container.attrs["Labels"].get(PROJECT)
        if other != stack.project:
            raise StackError(
                f"{container.attrs['Names'][0].removeprefix('/')} was started from {stack.folder} "
                f"as part of another project, {other}: remove that project with 'docker compose "
                f"--project-name {other} down' (and --volumes to remove its data too)"
            )


def remove(stack: Stack) -> None:
    """Remove the stack's containers, networks and volumes from the engine, but no images.

    Raises StackError for what is still there afterwards.
    """
    refuse_strangers(stack)
    containers, networks, volumes = belongings(stack)
    for container in containers:
        container.remove(force=True, v=True)
    for network in networks:
        network.remove()
    for volume in volumes:
        volume.remove()
    for left in chain(*belongings(stack)):
        raise StackError(f"the Docker engine still has {left.name or left.id} of this stack")
    (stack.folder / SETTINGS).unlink(missing_ok=True)


def belongings(stack: Stack) -> tuple[list[Any], list[Any], list[Any]]:
    """Return the stack's containers, networks and volumes."""
    engine_now, own = engine(), mine(stack)
    return (
        engine_now.containers.list(all=True, sparse=True, filters=own),
        engine_now.networks.list(filters=own),
        engine_now.volumes.list(filters=own),
    )


def versions(stack: Stack) -> dict[str, str]:
    """Return the versions of the stack's images and of the engine; empty before it has any."""
    running = containers(stack)
    found = {
        service.contained: running[name].attrs["Image"].rpartition(":")[2]
        for name, service in SERVICES.items()
        if name in running
    }
    if any(LABEL in one.attrs["Labels"] for one in running.values()):
        found["images"] = "built from packages"
    return found | {"Docker Engine": str(client().version()["Version"])} if found else {}
