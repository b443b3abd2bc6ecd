"""Examine a stack side by side, and show what was found."""

from __future__ import annotations

import http.client
import json
import platform
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

from guidewalk.console import say
from parsec_stack import ownership
from parsec_stack.doctor import files, running, settings
from parsec_stack.doctor.finding import EXAMINATIONS, SEVERITIES, Examination, Finding, Look
from parsec_stack.errors import StackError
from parsec_stack.redact import SECRET_NAME, of_stack
from parsec_stack.stack import Stack

# Importing them has filled the list.
MODULES = (settings, files, running)
# How many lines of each log a report has.
LOG = 15
# Addresses of people and of their machines.
PERSONAL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|\b(?!127\.)(?:\d{1,3}\.){3}\d{1,3}\b")
# Of these settings a report says only whether they are set: they hold names, or secrets in others.
PRIVATE = ("PARSEC_DB", "PARSEC_BLOCKSTORE", "PARSEC_SENTRY_DSN")


def run(stack: Stack, *, as_json: bool, as_report: bool, mail: bool) -> bool:
    """Print what is wrong with the stack; return whether nothing is but what is worth a note."""
    ownership.require(stack)
    found = examine(stack, mail=mail)
    if as_json:
        print(json.dumps([one.as_json() for one in found], indent=2))
    elif as_report:
        print(report(stack, found))
    else:
        show(found)
    return all(one.severity == "note" for one in found)


def examine(stack: Stack, *, mail: bool = False) -> list[Finding]:
    """Return all findings, most hurtful first, without a secret.

    With ``mail`` the server is made to send a mail.
    """
    look = Look(stack, mail)
    with ThreadPoolExecutor(len(EXAMINATIONS)) as pool:
        answers = list(pool.map(partial(outcome, look), EXAMINATIONS))
    redact = of_stack(stack)
    found = {
        Finding(one.severity, one.subject, redact(one.seen), redact(one.do))
        for answer in answers
        for one in answer
    }
    return sorted(found, key=lambda one: (SEVERITIES.index(one.severity), one.subject, one.seen))


def outcome(look: Look, function: Examination) -> list[Finding]:
    """Return what the examination finds; that it could not be made is a finding, too."""
    try:
        return list(function(look))
    except (StackError, OSError, http.client.HTTPException, subprocess.SubprocessError) as error:
        subject = function.__name__.replace("_", " ")
        return [
            Finding("warning", subject, f"this cannot be examined: {error}", "mend the rest first")
        ]


def show(found: list[Finding]) -> None:
    """Print the findings for people."""
    for one in found:
        say(f"{one.severity}: {one.subject}: {one.seen}")
        say(f"  {one.do}")
    say("nothing is wrong" if not found else f"{len(found)} found")


def report(stack: Stack, found: list[Finding]) -> str:
    """Return a text for a bug report: versions, services, settings, findings and ends of logs.

    Raises StackError if it would still contain a secret.
    """
    redact = of_stack(stack)
    text = redact("\n".join(parts(stack, found)))
    text = PERSONAL.sub("[address]", text.replace(str(stack.folder), "STACK"))
    if origin := redact.leak(text):
        raise StackError(f"the report would contain a part of a secret ({origin}): it is not shown")
    return text


def parts(stack: Stack, found: list[Finding]) -> Iterator[str]:
    """Yield the parts of a report."""
    look = Look(stack)
    yield f"Report of a Parsec stack, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    yield f"flavour: {stack.flavour}, port offset {stack.port_offset}, complete: {look.complete}"
    yield f"machine: {platform.platform()}, Python {platform.python_version()}"
    yield "\nFindings"
    yield from (f"- {one.severity}: {one.subject}: {one.seen}" for one in found)
    yield "\nServices"
    try:
        for service in look.flavour.services(stack):
            yield f"- {service.name} {service.version}: {service.state}, {service.health}"
    except StackError as error:
        yield f"- {error}"
    yield "\nSettings"
    for name, value in sorted(look.settings.items()):
        hidden = name in PRIVATE or SECRET_NAME.search(name)
        yield f"- {name}={'(set)' if hidden and value else value}"
    yield "\nLog of parsec-server"
    try:
        yield look.flavour.log_tail(stack, "parsec-server", LOG)
    except StackError as error:
        yield str(error)
