"""The native flavour: the services as processes of this user, under supervisord."""

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
from parsec_stack.services import CONSOLE_STEP, FILER_STEP, SERVICES
from parsec_stack.stack import Stack, require_path
from parsec_stack.status import ServiceStatus

if TYPE_CHECKING:
    import psutil

# Can single services be started while no other runs? Supervisord must be there first.
STARTS_SINGLY = False
PROGRAMS = ("bash", "curl", "openssl")
# What else the guide installs, and the report names.
OTHER_PACKAGES = {"Supervisor": "supervisor", "aiosmtpd": "aiosmtpd"}


def control_socket(stack: Stack) -> Path:
    """The socket on which supervisord takes orders."""
    return stack.folder / "run" / "supervisor.sock"


def problem(artifacts: Path) -> str | None:
    """What keeps the flavour from working on this machine: nothing that is known beforehand."""
    return None


def is_up(stack: Stack) -> bool:
    """Does supervisord answer?"""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(control_socket(stack)))
        except OSError:
            return False
    return True


def ends(stack: Stack) -> bool:
    """Is supervisord about to end?"""
    from xmlrpc.client import Fault

    try:
        supervisor(stack).getState()
    except Fault:
        return True
    except OSError:
        return False
    return False


def ask(stack: Stack, method: str, *arguments: Any) -> Any:
    """What supervisord answers; StackError when it is about to end, or has ended."""
    from xmlrpc.client import Fault

    from supervisor.xmlrpc import Faults

    try:
        return getattr(supervisor(stack), method)(*arguments)
    except Fault as fault:
        if fault.faultCode != Faults.SHUTDOWN_STATE:
            raise
    except OSError:
        pass
    raise StackError(f"the services in {stack.folder} are stopping: run 'invoke up' after that")


def supervisor(stack: Stack) -> Any:
    """The XML-RPC interface of supervisord."""
    from xmlrpc.client import ServerProxy

    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(serverurl=f"unix://{control_socket(stack)}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor


def packages() -> dict[str, str]:
    """The packages that the guide installs, by the program that each brings."""
    return {one.program: one.package for one in SERVICES.values()} | OTHER_PACKAGES


def check(stack: Stack) -> None:
    """Raise StackError for what would keep the services from starting."""
    if missing := [name for name in packages().values() if not version(name)]:
        raise StackError(
            f"the native flavour has no {missing[0]} here: there is no wheel of it for "
            f"{platform.system()} {platform.machine()}, so choose docker by STACK_FLAVOUR=docker"
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


# Where data lie, and what must be there when they do.
DATA = {"data/postgres": "PG_VERSION", "data/s3": ""}
# Says of each that it was made once, and is never made again by itself (run-parsec-...).
MADE = "made"


def missing_data(stack: Stack) -> list[str]:
    """The folders of the database and the object store that are not there."""
    return [
        str(stack.folder / place)
        for place, content in DATA.items()
        if not (stack.folder / place / content).exists()
    ]


def begin_anew(stack: Stack) -> None:
    """Let missing data be made anew."""
    for place in missing_data(stack):
        (stack.folder / MADE / Path(place).name).unlink(missing_ok=True)


def ports(stack: Stack) -> Iterator[tuple[str, int]]:
    """Every port of this machine that the services take, with the name of the service."""
    yield from of_services(stack)
    for name, service in SERVICES.items():
        for word, step in service.inner:
            yield name, stack.ports[word] + step


def outer_sockets(stack: Stack) -> list[Path]:
    """The sockets that SeaweedFS has outside of the stack's folder, under fixed names."""
    base = stack.ports["S3"], stack.ports["S3_CONSOLE"] + CONSOLE_STEP
    parts = {"master": 2, "volume": 4, "filer": 6, "s3": 7}
    names = [f"{part}-grpc-{base[0] + step}" for part, step in parts.items()]
    return [Path(f"/tmp/seaweedfs-{name}.sock") for name in (*names, f"admin-grpc-{base[1]}")]


def strange_owner(path: Path) -> int | None:
    """Whose it is, if there is anything under this name but a socket of this user."""
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
            f"{path} is no socket of yours, and parsec-s3 needs this name: remove it as user "
            f"{owner} or as root, or move this stack's ports by --port-offset "
            "(or STACK_PORT_OFFSET)"
        )


def remove_sockets(stack: Stack) -> None:
    """Remove what SeaweedFS leaves of its sockets outside of the stack; nobody else's."""
    port = stack.ports["S3"]
    before = [Path(f"/tmp/seaweedfs-{name}.sock") for name in (f"s3-{port}", f"filer-{port + 5}")]
    for path in (*outer_sockets(stack), *before):  # those of older stacks were there too
        if strange_owner(path) is None:
            path.unlink(missing_ok=True)


def check_port(service: str, port: int) -> None:
    """Raise StackError naming the holder if the port of this machine's loopback is taken."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError as error:
            raise StackError(
                f"port {port} of {service} is taken by {holder(port)} ({error.strerror}): "
                "stop that, or move this stack's ports by --port-offset (or STACK_PORT_OFFSET)"
            ) from None


def migrations(stack: Stack) -> list[str] | None:
    """The names of the migrations that the database has seen; None if it has no schema yet."""
    command = ["./database-client", "psql", "--no-psqlrc", "--tuples-only", "--no-align"]
    command += ["--command=SELECT name FROM migration ORDER BY _id"]
    environment = stack.environment() | {"PGCONNECT_TIMEOUT": "5"}
    answer = subprocess.run(
        command, cwd=stack.folder, env=environment, capture_output=True, text=True, timeout=30
    )
    if answer.returncode == 0:
        return answer.stdout.split()
    if 'relation "migration" does not exist' in answer.stderr:
        return None
    raise StackError(
        f"PostgreSQL does not answer for its migrations: {answer.stderr.strip()}\n"
        "see 'invoke logs --service parsec-postgres'"
    )


def packaged(stack: Stack) -> list[str]:
    """The names of the migrations that the server brings, oldest first."""
    return schema.packaged()


def trouble(stack: Stack, service: str) -> str | None:
    """The state of a service that supervisord could not keep up; None while it runs or starts."""
    if not is_up(stack):
        return "supervisord does not run"
    state = ask(stack, "getProcessInfo", service)["statename"]
    return None if state in ("RUNNING", "STARTING") else str(state)


def start_missing(stack: Stack, services: Iterable[str]) -> None:
    """Start those of the services that supervisord has not running."""
    for service in services:
        if ask(stack, "getProcessInfo", service)["statename"] in ("STOPPED", "EXITED", "FATAL"):
            ask(stack, "startProcess", service, False)


def stop(stack: Stack, services: Iterable[str]) -> None:
    """Stop these services, if they run."""
    for service in services:
        if ask(stack, "getProcessInfo", service)["statename"] in ("RUNNING", "STARTING", "BACKOFF"):
            ask(stack, "stopProcess", service)


def log_file(stack: Stack, service: str) -> Path:
    """Where the service's output goes."""
    return stack.folder / SERVICES[service].log


def log_tail(stack: Stack, service: str, lines: int = 8) -> str:
    """The last lines that the service printed."""
    try:
        text = log_file(stack, service).read_text(errors="replace")
    except FileNotFoundError:
        return "(no log yet)"
    return "\n".join(text.splitlines()[-lines:])


def services(stack: Stack) -> list[ServiceStatus]:
    """All services with their state, health, address and version."""
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
    """The state of each service, as supervisord calls it."""
    try:
        found = ask(stack, "getAllProcessInfo")
    except StackError:
        return dict.fromkeys(SERVICES, "stopping" if is_up(stack) else "stopped")
    return {info["name"]: info["statename"].lower() for info in found}


def paused(stack: Stack) -> list[str]:
    """The services that somebody has paused: none, only containers know that."""
    return []


def go_on(stack: Stack) -> None:
    """Let paused services go on."""


def tree_of_store(stack: Stack, path: str) -> str:
    """What SeaweedFS's own tree holds at the path, as JSON; empty if nothing is there.

    Raises OSError if it does not say.
    """
    context = probes.trust_with(stack.folder / "custom-ca.crt", stack.folder / "parsec-s3-inner")
    connection = http.client.HTTPSConnection(
        "localhost", stack.ports["S3"] + FILER_STEP, timeout=probes.TIMEOUT, context=context
    )
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        return store.told(answer.status, answer.read().decode())
    finally:
        connection.close()


def version(package: str) -> str:
    """The version of a package of this environment; empty if it is not there."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def follow_logs(stack: Stack, names: Iterable[str], follow: bool) -> None:
    """Print the logs of the services without secrets, and what comes after when following."""
    files = [log_file(stack, name) for name in names]
    present = [str(path) for path in files if path.exists()]
    if not present:
        raise StackError(f"no logs in {stack.folder}/log: run 'invoke up' first")
    options = ["-F"] if follow else []
    logs.relay(["tail", "-n", "50", *options, *present], stack)


def await_end(stack: Stack, seconds: float = 60) -> None:
    """Wait until supervisord and all that it started have ended; StackError if they do not."""
    deadline = time.monotonic() + seconds
    while is_up(stack):
        if time.monotonic() > deadline:
            raise StackError(f"supervisord did not end within {seconds:.0f} s: see 'invoke logs'")
        time.sleep(0.05)
    end_orphans(stack)
    remove_sockets(stack)


def remove(stack: Stack) -> None:
    """Remove what the flavour keeps outside the stack's folder: nothing."""


def orphans(stack: Stack) -> list[psutil.Process]:
    """The processes that a supervisord of this stack started and that outlived it."""
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
    """End what a killed supervisord has left behind, gently first."""
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
    """The versions of what a reader of the guide has installed, by program; empty so far."""
    found = {}
    places = f"venv/lib/python{sys.version_info.major}.*/site-packages"
    for program, package in packages().items():
        for info in stack.folder.glob(f"{places}/{package.replace('-', '_')}-*.dist-info"):
            found[program] = info.name.removesuffix(".dist-info").partition("-")[2]
    return found
