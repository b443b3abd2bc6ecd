"""Examine the services of a stack: whether they run, agree with their files, and have room."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from importlib import metadata

from parsec_stack import probes, schema, store
from parsec_stack.doctor.finding import Finding, Look, examination
from parsec_stack.errors import StackError
from parsec_stack.services import SERVICES
from parsec_stack.stack import ROOT

# From this part of all connections on, the database is about to refuse more.
MANY = 0.8
# Of this part of its volumes the store must have some left.
VOLUMES = 0.1
# How many lines of the server's log may tell of mail.
LOG = 400
MAIL_FAILED = re.compile(r"\b(SMTP\w*(?:Error|Exception|Refused|Disconnected))\b")
CONNECTIONS = (
    "SELECT count(*), current_setting('max_connections')::int"
    " - current_setting('superuser_reserved_connections')::int FROM pg_stat_activity"
    " WHERE backend_type = 'client backend'"
)


@examination
def stopped_services(look: Look) -> Iterator[Finding]:
    """Find services that do not run, are paused, or do not do their work."""
    if not look.complete:
        return
    if not look.up:
        yield Finding("broken", "services", "none runs", "run 'invoke up'")
        return
    for service in look.flavour.services(look.stack):
        if service.state == "paused":
            yield Finding("broken", service.name, "somebody has paused it", "run 'invoke up'")
        elif service.health == "-":
            yield Finding("broken", service.name, f"it is {service.state}", "run 'invoke up'")
        elif service.health == "unhealthy":
            yield Finding(
                "broken", service.name, "it runs, and does not answer as it should",
                f"see 'invoke logs --service {service.name}'",
            )  # fmt: skip


@examination
def lost_data(look: Look) -> Iterator[Finding]:
    """Find that data of the database or the object store are gone."""
    if look.complete:
        for place in look.flavour.missing_data(look.stack):
            yield Finding(
                "broken", "data", f"{place} is missing", "put it back (is its disk mounted?), or "
                "continue from the last backup with 'invoke restore'",
            )  # fmt: skip


@examination
def port_owners(look: Look) -> Iterator[Finding]:
    """Find ports of services that do not run, and that something else has taken."""
    if look.up:
        return
    for service, port in look.flavour.ports(look.stack):
        try:
            look.flavour.check_port(service, port)
        except StackError as error:
            seen, _, remedy = str(error).partition(": ")
            yield Finding("broken", service, seen, remedy)


@examination
def outdated_certificates(look: Look) -> Iterator[Finding]:
    """Find services that show another certificate than their file has."""
    for service in SERVICES if look.up else ():
        if probes.shows_its_own(look.stack, service) is False:
            yield Finding(
                "broken", service, f"it does not show the certificate in {service}.crt: it was "
                "renewed since, or something else has the port", "run 'invoke restart'",
            )  # fmt: skip


@examination
def pending_migrations(look: Look) -> Iterator[Finding]:
    """Find that the database is older or newer than the server."""
    if not look.up or not look.complete:
        return
    try:
        pending = schema.pending(
            look.flavour.migrations(look.stack) or [], look.flavour.packaged(look.stack)
        )
    except StackError as error:
        seen, _, remedy = str(error).partition(": ")
        yield Finding("broken", "database", seen, remedy)
        return
    if pending:
        yield Finding(
            "broken", "database", f"it lacks {len(pending)} of the server's migrations, from "
            f"{pending[0]} on", "run 'invoke backup migrate'",
        )  # fmt: skip


@examination
def connections(look: Look) -> Iterator[Finding]:
    """Find that the database has almost as many connections as it may have."""
    if not look.up:
        return
    try:
        (answer,) = look.flavour.ask_database(look.stack, CONNECTIONS)
    except StackError as error:
        seen, _, remedy = str(error).partition("\n")
        yield Finding("broken", "database", seen, remedy or "see its log")
        return
    taken, most = (int(number) for number in answer.split("|"))
    if taken >= MANY * most:
        yield Finding(
            "danger", "database", f"{taken} of {most} connections are taken: further clients are "
            "refused", "end the programs that hold them, or raise max_connections",
        )  # fmt: skip


@examination
def bucket(look: Look) -> Iterator[Finding]:
    """Find that the bucket, its lock or its objects are gone, or that it is not ours alone."""
    if not look.up or not look.complete:
        return
    if lost := store.loss(look.stack):
        yield Finding(
            "broken", "bucket", lost, "see 'The object store has lost its bucket' in "
            "docs/troubleshooting.rst, and 'invoke check'",
        )  # fmt: skip
        return
    status, text = store.ask(look.stack, f"/{store.BUCKET}?object-lock=")
    if status != 200 or "<ObjectLockEnabled>Enabled" not in text:
        yield Finding(
            "danger", "bucket", f"{store.BUCKET} has no object lock: who has the keys can replace "
            "what is stored", "create a bucket with 'invoke bucket', and copy the objects to it",
        )  # fmt: skip
    try:
        strangers = store.strangers(lambda path: look.flavour.tree_of_store(look.stack, path))
    except (OSError, ValueError, http.client.HTTPException):
        return
    for one in strangers:
        yield Finding(
            "danger", "parsec-s3", f"it contains what no file of this stack gives it: {one}",
            "see 'Somebody else has a key to the object store' in docs/troubleshooting.rst",
        )  # fmt: skip


@examination
def volumes(look: Look) -> Iterator[Finding]:
    """Find that the object store may not make many more volumes, whatever room the disk has."""
    if not look.up:
        return
    try:
        said = look.flavour.master_of_store(look.stack, "/dir/status")
    except (OSError, http.client.HTTPException):
        return
    topology = json.loads(said)["Topology"] if said else {"Max": 1, "Free": 1}
    if topology["Free"] <= VOLUMES * topology["Max"]:
        yield Finding(
            "danger", "parsec-s3", f"{topology['Free']} of {topology['Max']} volumes are free: "
            "without one it refuses writes, whatever room the disk has",
            "make room on the disk, from which it computes the number, or set -volume.max",
        )  # fmt: skip


@examination
def mail_in_the_log(look: Look) -> Iterator[Finding]:
    """Find that the server's last mails were not sent."""
    if not look.up:
        return
    failures = MAIL_FAILED.findall(look.flavour.log_tail(look.stack, "parsec-server", LOG))
    if failures:
        yield Finding(
            "warning", "mail", f"the server's log says {failures[-1]}: a mail was not sent",
            "see 'Mail does not arrive' in docs/troubleshooting.rst, and 'invoke doctor --mail'",
        )  # fmt: skip


@examination
def mail_sent(look: Look) -> Iterator[Finding]:
    """Let the server send a mail to its own address, and find that it cannot."""
    if not look.mail or not look.up:
        return
    from parsec_stack import client, smoke

    sender = look.settings.get("PARSEC_EMAIL_SENDER", "parsec@example.com")
    try:
        outcome = client.send_validation(smoke.server_of(look.stack), sender)
    except StackError as error:
        outcome = str(error)
    if outcome == "EmailSendingRateLimited":
        yield Finding(
            "note", "mail", "the server has sent as many validation mails as it may now",
            "try again in an hour",
        )  # fmt: skip
    elif outcome != "Ok":
        yield Finding(
            "broken", "mail", f"the server cannot send a mail: {outcome}",
            "see 'Mail does not arrive' in docs/troubleshooting.rst",
        )  # fmt: skip


@examination
def older_versions(look: Look) -> Iterator[Finding]:
    """Find programs that are not of the versions that the guide installs."""
    import tomllib

    if look.stack.flavour != "native":
        return
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for pinned in project["optional-dependencies"]["native"]:
        package, _, wanted = pinned.partition("==")
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            found = "missing"
        if found != wanted:
            yield Finding(
                "warning", package, f"it is {found}, and the guide installs {wanted}",
                "run any task by scripts/run, which installs what is locked",
            )  # fmt: skip
