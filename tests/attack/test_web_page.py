"""A web page in the browser of somebody who works on the machine, in a headless Chromium."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from target import Decoy, ports

from parsec_stack import client, inbox, smoke
from parsec_stack.stack import Stack
from parsec_stack.verify.chromium import chromium

pytest_plugins = ["attackers"]

if TYPE_CHECKING:
    from attackers import Record
    from playwright.sync_api import Browser, BrowserContext

# The page's own name, and one that it has rebound to this machine: both lead to 127.0.0.1.
EVIL, REBOUND = "evil.example", "rebound.example"
RULES = f"--host-resolver-rules=MAP {EVIL} 127.0.0.1, MAP {REBOUND} 127.0.0.1"
SCRIPT = f"() => {{{Path(__file__).with_name('page.js').read_text()}}}"
# How long a page waits for each answer, in milliseconds: most ports refuse at once.
PATIENCE = 3000
# What it would read: mails of each catcher, and what the object store knows.
READS = (
    "/api/v1/messages",
    "/api/v2/messages",
    "/messages/",
    "/metrics",
    "/dir/status",
    "/buckets/parsec/",
)
SCHEMES = ("http", "https")
STREAMS = ("/api/v2/websocket", "/api/events")
# What it would change: the store's volume, and all mails.
CHANGES = (
    "/col/delete?collection=parsec",
    "/buckets/parsec/?recursive=true",
    "/api/v1/messages",
    "/messages/",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for which the attacker's names lead to this machine."""
    with chromium(RULES) as found:
        yield found


class Bait(BaseHTTPRequestHandler):
    """A service that makes every mistake: any page reads it, and deletes by it."""

    done: list[str]

    def do_GET(self) -> None:
        """Tell anybody."""
        self.done.append(f"{self.command} {self.path}")
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))
        self.send_header("Access-Control-Allow-Credentials", "true")
        self.send_header("Access-Control-Allow-Methods", "DELETE")
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"<!doctype html><title>bait</title>")

    do_POST = do_DELETE = do_OPTIONS = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def bait() -> Iterator[ThreadingHTTPServer]:
    """The bait, which is the attacker's own site as well."""
    handler = type("OwnBait", (Bait,), {"done": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def secret_mail(stack: Stack) -> str:
    """The address that a mail went to, with a link for its reader alone."""
    return send_mail(stack)


def send_mail(stack: Stack) -> str:
    """Let the server send a mail with a link; the address that it goes to."""
    address = f"{secrets.token_hex(6)}@example.com"
    client.invite(smoke.server_of(stack), smoke.write(stack).device, address)
    return address


def test_a_page_of_somebody_else(
    stack: Stack,
    browser: Browser,
    bait: ThreadingHTTPServer,
    secret_mail: str,
    decoy: Decoy,
    record: Record,
) -> None:
    """It reads nothing of the stack, and changes nothing, neither the mails nor the objects."""
    # Of the addresses of a container one will do.
    found = {(port.service, port.number): port.address for port in ports(stack)}
    targets = [f"{address}:{number}" for (_, number), address in found.items()]
    with browser.new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        page.goto(f"http://{EVIL}:{bait.server_port}/")
        page.evaluate(SCRIPT)
        page.evaluate("([ports, paths]) => listen(ports, paths)", [targets, STREAMS])
        aimed = [f"127.0.0.1:{bait.server_port}", *targets]
        page.evaluate("(all) => attack(...all)", [aimed, SCHEMES, READS, CHANGES, PATIENCE])
        later_mail = send_mail(stack)
        inbox.await_mail(stack, later_mail)
        requests, read = page.evaluate("[requests, read]")
    own = [one for one in read if f":{bait.server_port}/" in one["url"]]
    stolen = [one for one in read if one not in own]

    record(ports=len(targets), requests=requests, read=len(stolen))
    check_bait(own, bait)
    assert not [one for one in stolen if opens_something(one)]
    assert not [one for one in stolen if secret_mail in one["text"] or later_mail in one["text"]]
    assert {secret_mail, later_mail} <= recipients(stack)
    assert decoy.is_whole()


def opens_something(read: dict[str, str]) -> bool:
    """Did the page read more than a refusal?"""
    _, _, status = read["how"].partition(", ")
    return not status or status.startswith("2")


def check_bait(read: list[dict[str, str]], bait: ThreadingHTTPServer) -> None:
    """The page's attempts work where nothing stops them."""
    assert [one for one in read if "<title>bait" in one["text"]]
    for method in ("GET", "POST", "DELETE"):
        assert f"{method} {CHANGES[0]}" in bait.RequestHandlerClass.done  # type: ignore[attr-defined]


def recipients(stack: Stack) -> set[str]:
    """The addresses to which the inbox has mails."""
    return {str(mail["To"]) for mail in inbox.mails(stack)}


def test_a_rebound_name(
    stack: Stack, browser: Browser, bait: ThreadingHTTPServer, record: Record
) -> None:
    """A page whose own name comes to lead to this machine is answered by nobody under it."""
    numbers = sorted({port.number for port in ports(stack) if port.address == "127.0.0.1"})
    with browser.new_context() as context:
        assert read_at(context, [bait.server_port])
        read = read_at(context, numbers)

    record(ports=len(numbers), read=len(read))
    assert not read


def read_at(context: BrowserContext, numbers: list[int]) -> list[dict[str, str]]:
    """What pages of the rebound name read at the ports, once they were loaded from there."""
    from playwright.sync_api import Error

    pages = {f"{REBOUND}:{number}": context.new_page() for number in numbers}
    for place, page in pages.items():
        page.evaluate("(url) => { setTimeout(() => { location = url }) }", f"http://{place}/")
    page.wait_for_timeout(PATIENCE)
    read = []
    for place, page in pages.items():
        with suppress(Error):  # nothing was loaded
            if page.url.startswith(f"http://{place}/"):
                page.evaluate(SCRIPT)
                page.evaluate(
                    "(all) => attack(...all)", [[place], SCHEMES[:1], ["/", *READS], [], PATIENCE]
                )
                read += page.evaluate("read")
        page.close()
    return [one for one in read if opens_something(one)]


def test_a_page_beside_the_open_inbox(
    stack: Stack, browser: Browser, bait: ThreadingHTTPServer, record: Record
) -> None:
    """A browser that has logged in to the inbox hands out no mail to another page."""
    known, own = stack.env_file(inbox.CREDENTIALS), inbox.address(stack)
    target = f"localhost:{stack.ports['INBOX']}"
    login: Any = {"username": known["MAIL_USER"], "password": known["MAIL_PASSWORD"], "origin": own}
    before = len(inbox.mails(stack))
    with browser.new_context(ignore_https_errors=True, http_credentials=login) as context:
        page = context.new_page()
        opened = page.goto(own, wait_until="commit")
        assert opened
        assert opened.status == 200
        page.goto(f"http://{EVIL}:{bait.server_port}/")
        page.evaluate(SCRIPT)
        streams = [*STREAMS, "/event-stream"]
        page.evaluate("([ports, paths]) => listen(ports, paths)", [[target], streams])
        aimed = [f"127.0.0.1:{bait.server_port}", target]
        page.evaluate("(all) => attack(...all)", [aimed, SCHEMES, READS, CHANGES, PATIENCE])
        requests, read = page.evaluate("[requests, read]")
    stolen = [one for one in read if target in one["url"]]
    record(requests=requests, read=len(stolen))
    assert [one for one in read if "<title>bait" in one["text"]]
    assert not [one for one in stolen if opens_something(one)], stolen
    assert len(inbox.mails(stack)) == before
