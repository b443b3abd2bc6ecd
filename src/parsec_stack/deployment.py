"""What each task does: the guide's blocks that it runs, and what it waits for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from guidewalk.console import say, warn
from parsec_stack import edited, engine, inbox, ownership, probes, schema, store
from parsec_stack.blocks import run
from parsec_stack.errors import StackError
from parsec_stack.flavour import Flavour, flavour_of
from parsec_stack.logs import for_people
from parsec_stack.readiness import is_ready
from parsec_stack.redact import of_stack
from parsec_stack.services import SERVICES, SUPPORTING
from parsec_stack.stack import ARTIFACTS, LOCALHOST, Stack, locked, read_state
from parsec_stack.waiting import Waiting

READY_WITHIN = 120.0
POLL = 0.02
# Seconds. If its supervisor cannot keep a service up for this long, waiting longer does not help.
PATIENCE = 10.0
# How many lines of a service's log an error shows.
LOG_END = 8

ENV_FILES = (
    "parsec-native.env",
    "parsec-credentials.env",
    "parsec-admin-token.env",
    "parsec-db.env",
    "parsec-smtp.env",
    "parsec-s3.env",
    "parsec.env",
)
# The guide's scripts generate these; the services start only with a value from each.
GENERATED = ("parsec-credentials.env", "parsec-admin-token.env")
# A drill restores a backup there.
DRILL = "drill"
# The server's own rule (OrganizationID of its bindings), which also keeps quotes out of the
# command.
ORGANIZATION = re.compile(r"[\w-]{1,32}")
ORGANIZATION_BYTES = 32
CERTIFICATES = tuple(f"{name}.crt" for name in ownership.CERTIFIED)


def prepare(stack: Stack) -> None:
    """Copy the guide's files into the stack's folder."""
    for name in stack.install_artifacts():
        warn(f"note: {stack.folder / name} differs from the guide's: kept as you edited it")


def tls(stack: Stack) -> None:
    """Make or renew the CA, keys and certificates."""
    say("tls: CA, keys and certificates")
    prepare(stack)
    run(stack, "tls")


def credentials(stack: Stack) -> None:
    """Generate the administration token and the credentials of database and object store."""
    say("adminToken: administration token and credentials")
    require_password(stack)
    require_texts(stack)
    prepare(stack)
    run(stack, "admin-token")
    run(stack, "credentials")


def require_password(stack: Stack) -> None:
    """Raise StackError if there is a database whose password is in no file any more."""
    places = (inbox.CREDENTIALS, "secrets/postgres-password")
    if holds_data(stack) and not any((stack.folder / place).exists() for place in places):
        raise StackError(
            f"{stack.folder / places[0]} is gone, and so is {places[1]}: restore one from a "
            "backup, for whatever uses the old password would be locked out"
        )


def up(stack: Stack, *, wait: bool = True) -> None:
    """Start the services, and the Parsec server too if the stack has been completed before."""
    flavour = flavour_of(stack)
    say(f"up: services, {stack.flavour} flavour{hint(stack)}, in {shown(stack.folder)}")
    prepare(stack)
    check_files(stack)
    complete = stack.state.get("complete")
    require_data(stack)
    wake(stack)
    stop_outdated(stack, SERVICES)
    start_services(stack)
    lacking = await_schema(stack) if complete else []
    wanted = SERVICES if complete and not lacking else SUPPORTING
    flavour.start_missing(stack, wanted)
    if wait:
        settle(stack, wanted)
    if lacking:
        say(f"the database lacks {len(lacking)} of this server's migrations: back up, then migrate")
        say("next: invoke backup migrate")
    elif wait and not complete:
        say("next: invoke migrate bucket")
    if wait and wanted == SERVICES:
        drop_replaced(stack)


def start_services(stack: Stack) -> None:
    """Start the services that the server needs, and the server too if the stack is complete."""
    flavour = flavour_of(stack)
    flavour.check(stack)
    stack.remember(started=True, running=True)
    # The guide's command waits until all are healthy, which a server that restarts need not be.
    if not flavour.is_up(stack):
        stack.remember(programs=sys.prefix, serving=stack.host)
        if stack.state.get("complete") and flavour.STARTS_SINGLY:
            flavour.start_missing(stack, SUPPORTING)
        else:
            run(stack, "up")


def is_stopping(stack: Stack) -> bool:
    """Return whether a ``down`` has been started and has not finished."""
    flavour = flavour_of(stack)
    return bool(flavour.is_up(stack) and (stack.state.get("stopping") or flavour.ends(stack)))


def refuse_moved(stack: Stack) -> None:
    """Raise StackError if the services were started elsewhere, or by programs that are gone."""
    if not flavour_of(stack).is_up(stack):
        return
    origin = stack.state.get("folder", str(stack.folder))
    programs = Path(stack.state.get("programs", sys.prefix))
    if origin != str(stack.folder):
        raise StackError(
            f"the services in {stack.folder} were started when it was {origin}, and look for their "
            "files there: run 'invoke down' before anything else"
        )
    if stack.flavour == "native" and not programs.exists():
        raise StackError(
            f"the services in {stack.folder} were started by programs in {programs}, "
            "which are gone: run 'invoke down' before anything else"
        )


def is_renamed(stack: Stack) -> bool:
    """Return whether services run under another name for other machines than the stack has now."""
    started = stack.state.get("serving", LOCALHOST)
    return flavour_of(stack).is_up(stack) and bool(started != stack.host)


def wake(stack: Stack) -> None:
    """Let an interrupted ``down`` finish, and resume paused services."""
    refuse_moved(stack)
    if is_stopping(stack):
        say("  the services are stopping: waiting until they have ended")
        stop(stack)
    elif is_renamed(stack):
        say(f"  restarting the services, so that clients can reach them as {stack.host}")
        stop(stack)
    elif flavour_of(stack).is_up(stack):
        flavour_of(stack).go_on(stack)


def stop_outdated(stack: Stack, services: Iterable[str]) -> None:
    """Stop those of the services whose certificate is not the one in their file.

    The file has been renewed since they read it. Clients may refuse the old certificate, and so do
    the probes.
    """
    flavour = flavour_of(stack)
    if not flavour.is_up(stack):
        return
    services = tuple(services)
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(partial(probes.shows_its_own, stack), services))
    outdated = [name for name, own in zip(services, answers, strict=True) if own is False]
    for name in outdated:
        say(f"  {name}: stopped, so that it starts with the renewed certificate")
    if outdated:
        flavour.stop(stack, outdated)


def require_data(stack: Stack) -> None:
    """Raise StackError if the stack has lost data, because it must not start over unasked."""
    if lost := lost_data(stack):
        raise StackError(
            f"the data of this stack are gone: {' and '.join(lost)} {'are' if lost[1:] else 'is'} "
            "missing. Put them back (is their disk mounted?), or continue from the last backup "
            "with 'invoke restore'"
        )


def holds_data(stack: Stack) -> bool:
    """Return whether the stack has come so far that lost data must be reported."""
    return bool(stack.state.get("migrated") or stack.state.get("complete"))


def lost_data(stack: Stack) -> list[str]:
    """Return what is missing of the data of a stack that has had some."""
    if not holds_data(stack):
        return []
    missing: list[str] = flavour_of(stack).missing_data(stack)
    return missing


def await_schema(stack: Stack) -> list[str]:
    """Wait until the database answers and return the migrations that it lacks.

    Raises StackError if it is newer than the server, which must then not be started, and if it is
    empty although it was not before.
    """
    flavour = flavour_of(stack)
    flavour.start_missing(stack, ("parsec-postgres",))
    settle(stack, ("parsec-postgres",))
    applied = flavour.migrations(stack)
    if not applied and holds_data(stack):
        raise StackError(
            "the database of this stack is empty, and was not before: put its data back, or "
            "continue from the last backup with 'invoke restore'"
        )
    return schema.pending(applied or [], flavour.packaged(stack))


def require_schema(stack: Stack, *, migrated: bool = True) -> None:
    """Raise StackError if the database is newer or older than the server.

    Without ``migrated`` it may be older.
    """
    if await_schema(stack) and migrated:
        raise StackError("the database is not migrated: run 'invoke migrate' first")


def hint(stack: Stack) -> str:
    """Return how to choose docker instead, if its engine answers and the choice is still open."""
    if stack.flavour == "docker" or stack.state.get("started"):
        return ""
    address = os.environ.get("DOCKER_HOST") or engine.USUAL_ENGINE
    answers = address.startswith("unix://") and not engine.connection_problem(address)
    return " (STACK_FLAVOUR=docker chooses Docker, whose engine answers here)" if answers else ""


def shown(folder: Path) -> str:
    """Return the folder as a user in the current folder would name it."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def migrate(stack: Stack, *, wait: bool = True) -> None:
    """Migrate the database's schema to the server's version."""
    say("migrate: database schema")
    require_up(stack)
    if await_schema(stack):
        run(stack, "migrate")
        stack.remember(migrated=True)
        if stack.state.get("complete"):
            run(stack, "restart")
    else:
        say("  nothing to do: the schema is up to date")
    if wait:
        settle(stack, SERVICES if stack.state.get("complete") else SUPPORTING)
    if wait and stack.state.get("complete"):
        drop_replaced(stack)


def bucket(stack: Stack) -> None:
    """Create the bucket, start the Parsec server, which needs it, and wait for all services."""
    say("bucket: object store")
    require_up(stack)
    require_schema(stack)
    # The container that it had may be gone.
    settle(replace(stack, state=stack.state | {"complete": False}), ("parsec-s3",))
    run(stack, "bucket")
    if not server_runs(stack):
        run(stack, "start")
    settle(stack, SERVICES)
    if not stack.state.get("complete"):
        stack.remember(complete=True)
    tell_addresses(stack)


def tell_addresses(stack: Stack) -> None:
    """Print the addresses to open and the commands to type next."""
    ports = stack.ports
    say(
        f"Parsec answers at https://{stack.host}:{ports['PROXY']} "
        f"(parsec3://{stack.host}:{ports['PROXY']})"
    )
    say(f"  mail arrives at {inbox.address(stack)}: log in with MAIL_USER and MAIL_PASSWORD")
    say(f"    of {shown(stack.folder / inbox.CREDENTIALS)}")
    say("  next: invoke organization MyOrg, invoke smoke, invoke status, invoke down")


def restart(stack: Stack) -> None:
    """Restart the services, so that they read their files again."""
    say("restart: services")
    require_up(stack)
    if is_renamed(stack):
        # Without Docker, what starts the services has the name from its own start.
        up(stack)
        return
    prepare(stack)
    check_files(stack)
    # It is the only service that is asked before all are restarted.
    stop_outdated(stack, ("parsec-postgres",))
    require_schema(stack, migrated=bool(stack.state.get("complete")))
    run(stack, "restart")
    settle(stack, SERVICES if stack.state.get("complete") else SUPPORTING)


def server_runs(stack: Stack) -> bool:
    """Return whether the Parsec server is kept up."""
    return flavour_of(stack).trouble(stack, "parsec-server") is None


@contextmanager
def server_stopped(stack: Stack) -> Iterator[None]:
    """Stop the server within the context; if it ran before, start it again whatever fails."""
    flavour = flavour_of(stack)
    served = server_runs(stack)
    try:
        run(stack, "stop-server")
        yield
    except BaseException:
        if served:
            flavour.start_missing(stack, ("parsec-server",))
        raise


def resume(stack: Stack) -> None:
    """Start the server on the restored database, unless that must be migrated first."""
    if lacking := await_schema(stack):
        say(f"the database lacks {len(lacking)} of this server's migrations")
        say("next: invoke migrate")
        return
    flavour_of(stack).start_missing(stack, SERVICES)
    settle(stack, SERVICES)
    drop_replaced(stack)


def drop_replaced(stack: Stack) -> None:
    """Drop the database that a restore has replaced, now that the server has answered."""
    if stack.state.get("replaced"):
        run(stack, "drop-replaced")
        stack.remember(replaced=False)


def down(stack: Stack) -> None:
    """Stop the services; data and secrets stay."""
    say("down: services stop, data stays")
    stop(stack)


def stop(stack: Stack) -> None:
    """Stop the services and wait until they have ended.

    Record the stop, in case it is interrupted.
    """
    flavour = flavour_of(stack)
    if flavour.is_up(stack):
        flavour.go_on(stack)
        stack.remember(stopping=True)
        if not flavour.ends(stack):
            run(stack, "stop")
    flavour.await_end(stack)
    stack.remember(running=False, stopping=False, folder=str(stack.folder))


def destroy(stack: Stack, *, confirmed: bool) -> None:
    """Remove the services, their data and the secrets: everything that this stack has made."""
    flavour = flavour_of(stack)
    if not confirmed:
        ask(f"destroy the stack in {stack.folder}, with its data, backups and secrets?")
    remove_drill(stack)
    down(stack)
    flavour.remove(stack)
    kept = ownership.remove(stack)
    say(f"destroyed the stack in {stack.folder}")
    if kept:
        say(f"  kept, because the stack did not make it: {', '.join(kept)}")


def remove_drill(stack: Stack) -> None:
    """Remove the stack that an interrupted drill has left in this one, with its services."""
    folder = stack.folder / DRILL
    state = read_state(folder)
    if not state:
        return
    say("  the stack of a drill is removed")
    left = Stack(folder, stack.flavour, int(state["port_offset"]), state)
    with locked(left):
        destroy(left, confirmed=True)
    # Its lock, which nobody else can wait for.
    ownership.delete(folder)


def ping_mail(stack: Stack) -> None:
    """Send a mail to the mail catcher and check that it arrives."""
    require_up(stack)
    run(stack, "ping-mail")


def organization(stack: Stack, name: str) -> None:
    """Create an organization with the administration API and print its bootstrap link."""
    if not ORGANIZATION.fullmatch(name):
        raise StackError(
            f"'{name}' cannot name an organization: use 1 to 32 letters, digits, hyphens and _"
        )
    if (size := len(name.encode())) > ORGANIZATION_BYTES:
        raise StackError(
            f"'{name}' is too long for the name of an organization: it has {size} bytes in UTF-8, "
            f"and at most {ORGANIZATION_BYTES} are allowed"
        )
    require_complete(stack)
    run(stack, "organization-api", {"<orgname>": name})


def smoke(stack: Stack) -> None:
    """Use the server as a client does, directly and through the proxy."""
    from parsec_stack import smoke as exercise

    require_complete(stack)
    require_schema(stack)
    settle(stack, SERVICES)
    exercise.run_stack(stack)


def status(stack: Stack, *, as_json: bool = False) -> None:
    """Show every service: state, health, address, version and certificate's expiry."""
    from parsec_stack import status as view

    ownership.require(stack)
    refuse_moved(stack)
    flavour = flavour_of(stack)
    services = view.with_certificates(stack, flavour.services(stack))
    if is_stopping(stack):
        services = view.stopping(services)
    services = view.with_store(stack, services, partial(flavour.tree_of_store, stack))
    if as_json:
        print(json.dumps([service.as_json() for service in services], indent=2))
    else:
        view.show(stack, services)


def check(stack: Stack, *, content: bool, as_json: bool = False) -> bool:
    """Compare the database with the object store; return whether every block is there.

    Each fault is printed, then the numbers; as JSON, one object a line.
    """
    from parsec_stack import integrity

    if not as_json:
        say("check: database and objects")
    require_complete(stack)
    prepare(stack)
    settle(stack, ("parsec-postgres", "parsec-s3"))

    def tell(fault: integrity.Fault) -> None:
        if as_json:
            print(json.dumps(fault.as_json()))
        else:
            place = f"organization {fault.organization or '?'}, realm {fault.realm or '?'}"
            say(f"  {fault.kind}: block {fault.block} of {place}: {fault.details}")

    report = integrity.compare(stack, content=content, tell=tell)
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        say(f"  {report.told()}")
    return report.whole


def logs(stack: Stack, names: tuple[str, ...], *, follow: bool) -> None:
    """Print the services' logs."""
    unknown = [name for name in names if name not in SERVICES]
    if unknown:
        raise StackError(f"there is no service {unknown[0]}: choose from {', '.join(SERVICES)}")
    ownership.require(stack)
    flavour_of(stack).follow_logs(stack, names or SERVICES, follow)


def settle(stack: Stack, services: Iterable[str]) -> None:
    """Wait until the services are ready; StackError with the reason if one cannot become so."""
    flavour = flavour_of(stack)
    services = tuple(services)
    waiting = [name for name in services if not is_ready(stack, name)]
    if waiting:
        await_all(stack, flavour, waiting)
    if "parsec-server" in services:
        await_route(stack)


def await_route(stack: Stack) -> None:
    """Wait until the proxy has found the server, whose address may have changed."""
    deadline = time.monotonic() + READY_WITHIN
    while not probes.serves_parsec(stack.ports["PROXY"], probes.proxy_trust(stack)):
        if time.monotonic() > deadline:
            raise StackError(
                f"the proxy, at port {stack.ports['PROXY']}, gives no answer of the server: "
                "see 'invoke logs --service parsec-proxy'"
            )
        time.sleep(POLL)


def await_all(stack: Stack, flavour: Flavour, waiting: list[str]) -> None:
    """Wait until these services are ready, and show progress."""
    started = time.monotonic()
    with Waiting(tuple(waiting)) as progress:
        while waiting:
            time.sleep(POLL)
            for name in [name for name in waiting if is_ready(stack, name)]:
                waiting.remove(name)
                progress.done(name)
            if waiting:
                complain_if_lost(stack, flavour, waiting, time.monotonic() - started)


def complain_if_lost(stack: Stack, flavour: Flavour, waiting: list[str], seconds: float) -> None:
    """Raise StackError for a service that has failed for good or has taken too long."""
    if seconds < PATIENCE:
        return
    for name in waiting:
        state = flavour.trouble(stack, name)
        if not state and probes.shows_its_own(stack, name) is False:
            raise StackError(
                f"{name} does not show the certificate in {stack.folder / name}.crt: run 'invoke "
                "restart', so that it reads that file"
            )
        if name == "parsec-s3" and store.answers(stack) and (lost := store.loss(stack)):
            raise StackError(f"{name} answers, but {lost}: see 'invoke logs --service {name}'")
        if state or seconds > READY_WITHIN:
            said = of_stack(stack)(for_people(flavour.log_tail(stack, name, LOG_END), LOG_END))
            raise StackError(
                f"{name} is not ready after {seconds:.0f} s ({state or 'running'}); its last "
                f"output:\n{said}\nsee 'invoke logs --service {name}'"
            )


def ask(question: str) -> None:
    """Raise StackError unless the user at the terminal says yes."""
    if not sys.stdin.isatty():
        raise StackError(f"{question} confirm with --yes")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise StackError("nothing was changed")


def require_up(stack: Stack) -> None:
    """Raise StackError unless the services have been started and answer."""
    flavour = flavour_of(stack)
    if not flavour.is_up(stack):
        raise StackError(f"no services run in {stack.folder}: run 'invoke up' first")
    refuse_moved(stack)
    if is_stopping(stack):
        raise StackError(
            f"the services in {stack.folder} are stopping: wait until they have ended, then run "
            "'invoke up'"
        )
    require_texts(stack)
    if paused := flavour.paused(stack):
        raise StackError(f"{paused[0]} is paused: run 'invoke up' to resume it")


def require_complete(stack: Stack) -> None:
    """Raise StackError unless the Parsec server has been started."""
    require_up(stack)
    if not stack.state.get("complete"):
        raise StackError("the Parsec server is not started yet: run 'invoke migrate bucket' first")


def check_files(stack: Stack) -> None:
    """Raise StackError for a file of an earlier task that is missing or broken."""
    for name in CERTIFICATES:
        if not (stack.folder / name).exists():
            raise StackError(f"{stack.folder / name} is missing: run 'invoke tls' first")
    for name in ENV_FILES:
        if not (stack.folder / name).exists():
            raise StackError(f"{stack.folder / name} is missing: run 'invoke adminToken' first")
    require_texts(stack)
    for name in GENERATED:
        if not stack.env_file(name):
            raise StackError(
                f"{stack.folder / name} is empty: restore it from a backup, or delete it and run "
                "'invoke adminToken', which makes it again from secrets/"
            )
    check_env_files(stack)
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(check_validity, stack), CERTIFICATES))
    check_host(stack)


def require_texts(stack: Stack) -> None:
    """Raise StackError for an edited file that one of its readers would misread."""
    names = {*ENV_FILES, *(path.name for path in ARTIFACTS.iterdir())}
    for path in (stack.folder / name for name in sorted(names)):
        if path.is_file():
            edited.require_text(path)
    for name in GENERATED:
        if (stack.folder / name).exists():
            stack.env_file(name)


def check_env_files(stack: Stack) -> None:
    """Raise StackError if bash cannot read the env files one after the other."""
    sources = "\n".join(f"source ./{name}" for name in ENV_FILES)
    answer = subprocess.run(
        ["bash", "-euc", sources],
        cwd=stack.folder,
        env=stack.environment(),
        capture_output=True,
        text=True,
        timeout=10,
    )
    if answer.returncode:
        # Of bash's message only the place is shown, because the rest might quote a secret.
        said = answer.stderr.strip().splitlines()[-1]
        if lacking := re.search(r"(\w+): run gen-credentials\.sh first$", said):
            raise StackError(
                f"{stack.folder / inbox.CREDENTIALS} lacks {lacking[1]}: run 'invoke adminToken', "
                "which adds what older files lack and names what it cannot repair"
            )
        place = ", ".join(re.findall(r"[\w.-]+\.env|\bline \d+", said)[:2])
        raise StackError(
            f"an env file in {stack.folder} is corrupt ({place}): correct that line, or, if the "
            "file is one of the guide's, delete it and run 'invoke adminToken' again"
        )


def check_host(stack: Stack) -> None:
    """Warn if the proxy's certificate lacks the name under which clients are to reach it."""
    if stack.host == LOCALHOST:
        return
    name = stack.host.strip("[]")
    kind = "ip" if stack.host != name or re.fullmatch(r"[0-9.]+", name) else "host"
    command = ["openssl", "x509", "-noout", f"-check{kind}", name, "-in", "parsec-proxy.crt"]
    answer = subprocess.run(command, cwd=stack.folder, capture_output=True, text=True, timeout=10)
    if "does NOT match" in answer.stdout:
        remedy = (
            "get one that is" if is_foreign(stack) else f"run 'TLS_NAMES={name} invoke tls restart'"
        )
        warn(
            f"note: {stack.folder / 'parsec-proxy.crt'} is not for {name}, so clients will refuse "
            f"it: {remedy}"
        )


def is_foreign(stack: Stack) -> bool:
    """Return whether the proxy's certificate comes from another CA."""
    return probes.proxy_trust(stack).name == probes.PROXY_CERTIFICATE


def check_validity(stack: Stack, name: str) -> None:
    """Raise StackError unless this file contains certificates that are all valid now."""
    from cryptography import x509

    path, now = stack.folder / name, datetime.now(UTC)
    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError:
        raise StackError(f"{path} is corrupt: move it away and run 'invoke tls'") from None
    if any(one.not_valid_after_utc < now for one in chain):
        foreign = name == probes.PROXY_CERTIFICATE and is_foreign(stack)
        remedy = "get a new one from its CA" if foreign else "run 'invoke tls' to renew it"
        raise StackError(f"{path} has expired: {remedy}")
    start = max(one.not_valid_before_utc for one in chain)
    if start > now:
        raise StackError(
            f"{path} is valid from {start:%Y-%m-%d %H:%M} UTC on, but this machine's clock shows "
            f"{now:%Y-%m-%d %H:%M} UTC: set the clock; if it is right, move the certificate away "
            "and run 'invoke tls'"
        )
