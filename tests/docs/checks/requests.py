"""The commands that ask the server: what they do when nobody answers, or not as it should be."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from checks.common import registry
from checks.scripts import Desk, desk
from guidewalk.errors import UserError
from parsec_stack import smoke
from parsec_stack.verify.stack_site import StackSite

# Each asks from a desk of its own.
after = partial(registry.after, aside=True)

ASKING = ("check-docker", "proxy-check-native", "proxy-check-docker", "organization-api")
NEEDED = ("custom-ca.crt", "parsec-admin-token.env")
ADDRESS = re.compile(r"(?P<host>https?://localhost):\d+(?P<path>/[\w/]*)")
# How curl ends, by its manual.
NOBODY_THERE, ERROR_ANSWERED = 7, 22
# So many errors a server that begins to work answers first.
ERRORS = 1


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of this machine at which nobody listens, nor will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def asking(site: StackSite) -> Iterator[tuple[str, str]]:
    """The names and texts of the commands so far that ask the server."""
    return ((name, site.commands[name]) for name in ASKING if name in site.commands)


def ends(place: Desk, name: str, command: str, code: int) -> None:
    """See that the command ends so, and that curl alone says why."""
    done = place.follow(command)
    told = f"{name} ends with {done.returncode} and says: {done.stderr}"
    assert done.returncode == code, told
    assert done.stderr.startswith(f"curl: ({code}) "), told


@after(*ASKING)
def requests_without_an_answer_fail(site: StackSite) -> None:
    """A command that asks the server fails with curl's own word when nobody answers."""
    with closed_port() as port, desk(site, *NEEDED) as place:
        for name, command in asking(site):
            for asked in ADDRESS.finditer(command):
                elsewhere = f"{asked['host']}:{port}{asked['path']}"
                text = command[: asked.start()] + elsewhere + command[asked.end() :]
                ends(place, name, text, NOBODY_THERE)


@after(*ASKING)
def requests_that_are_refused_fail(site: StackSite) -> None:
    """A command that asks the server fails with curl's own word when the answer is an error."""
    with desk(site, *NEEDED) as place:
        for name, command in asking(site):
            nowhere = ADDRESS.sub(lambda asked: f"{asked[0]}nowhere", command, count=1)
            ends(place, name, nowhere, ERROR_ANSWERED)


@after("organization-api")
def the_answer_ends_its_line(site: StackSite) -> None:
    """What the command prints ends with a line's end, unlike the server's answer."""
    assert site.outputs["organization-api"].endswith("}\n"), site.outputs["organization-api"]


@after("organization-api")
def organizations_are_listed_and_not_deleted(site: StackSite) -> None:
    """The administration API lists the organization that was made, and has no way to delete it."""
    name = site.values["<orgname>"]
    server, token = smoke.server_of(site.stack), smoke.administration_token(site.stack)
    listed = server.administrate("GET", "/stats?format=json", token)["stats"]
    assert name in [one["organization_id"] for one in listed], listed
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    path = f"/administration/organizations/{name}"
    with pytest.raises(UserError, match="405"):
        server.request("DELETE", path, headers)


class Beginner(BaseHTTPRequestHandler):
    """Answers with an error first."""

    asked = 0

    def do_GET(self) -> None:
        """Answer."""
        type(self).asked += 1
        self.send_response(200 if self.asked > ERRORS else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *told: object) -> None:
        """Say nothing."""


@contextmanager
def beginning_server(site: StackSite) -> Iterator[int]:
    """A port at which a server with the Parsec server's certificate begins to work."""
    handler = type("OneBeginner", (Beginner,), {})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(
            site.folder / "parsec-server.crt", site.folder / "parsec-server.key"
        )
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@after("check-native")
def the_server_is_given_time(site: StackSite) -> None:
    """The command that asks the server asks again while it starts, and says why, and no more."""
    with beginning_server(site) as port, desk(site, *NEEDED) as place:
        command = ADDRESS.sub(rf"\g<host>:{port}\g<path>", site.commands["check-native"])
        done = place.follow(command)
        assert done.returncode == 0, f"it ends with {done.returncode}: {done.stderr}"
        assert done.stdout.endswith("Parsec server: 200\n"), done.stdout
        said = [line.partition(" The ")[0] for line in done.stderr.splitlines()]
        assert said == [f"curl: ({ERROR_ANSWERED})"] * ERRORS, done.stderr
