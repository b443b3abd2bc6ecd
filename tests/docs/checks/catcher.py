"""Nobody but the reader sees a mail: what the catcher answers to those who should see nothing."""

from __future__ import annotations

import http.client
import smtplib
import socket
import ssl
from contextlib import suppress
from ipaddress import ip_address, ip_network

import pytest

from checks.common import after
from checks.services import OTHER_TLS12_SUITES, accepted_suite, flavour_of
from parsec_stack import inbox, probes
from parsec_stack.engine import engine
from parsec_stack.stack import Stack
from parsec_stack.verify.stack_site import StackSite

# What shows a mail, or tells of one, in Mailpit, MailHog and maildump.
PATHS = (
    *("/", "/api/v1/messages", "/api/v2/messages", "/messages/", "/view/latest.html"),
    *("/api/events", "/api/v2/websocket", "/event-stream", "/metrics"),
)
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
TIMEOUT = 20
CATCHERS = ("ping-mail-native", "ping-mail-docker", "mailhog-docker")


def answer(stack: Stack, path: str, **headers: str) -> int:
    """The status of the inbox's answer, over TLS."""
    return asked(stack, path, headers).status


def told(stack: Stack, path: str, name: str, **headers: str) -> str:
    """A header of the inbox's answer; empty if it has none."""
    return asked(stack, path, headers).getheader(name, "")


def asked(stack: Stack, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """The inbox's answer, without its text."""
    trust = ssl.create_default_context(cafile=str(stack.folder / "custom-ca.crt"))
    port = stack.ports["INBOX"]
    server = http.client.HTTPSConnection("localhost", port, timeout=TIMEOUT, context=trust)
    try:
        server.request("GET", path, headers=headers)
        return server.getresponse()
    finally:
        server.close()


def connect(stack: Stack) -> smtplib.SMTP:
    """A connection to the catcher's SMTP port, over TLS."""
    trust = ssl.create_default_context(cafile=str(stack.folder / "custom-ca.crt"))
    return smtplib.SMTP_SSL("localhost", stack.ports["SMTP"], timeout=TIMEOUT, context=trust)


@after(*CATCHERS)
def nobody_reads_without_the_login(site: StackSite) -> None:
    """Without TLS nobody is answered, and without the login, or with another, nobody is served."""
    other = {"Authorization": "Basic cGFyc2VjOndyb25n"}
    for path in PATHS:
        assert answer(site.stack, path) in (401, 404), path
        assert answer(site.stack, path, **other) in (401, 404), path
        assert answer(site.stack, path, **UPGRADE) in (401, 404), path
    assert answer(site.stack, "/") == 401
    assert answer(site.stack, "/", **inbox.login(site.stack)) == 200
    assert probes.status(site.stack.ports["INBOX"]) in (None, 400)


@after(*CATCHERS)
def no_other_page_reads_with_the_readers_login(site: StackSite) -> None:
    """A page of another site is refused even when the browser adds the login."""
    login, own = inbox.login(site.stack), inbox.address(site.stack)
    for path in ("/api/v1/messages", "/api/v2/messages", "/messages/"):
        for origin in ("https://evil.example", "null", "https://localhost:1"):
            assert answer(site.stack, path, Origin=origin, **login) in (403, 404), path
    for path in ("/api/events", "/api/v2/websocket", "/event-stream"):
        status = answer(site.stack, path, Origin="https://evil.example", **login, **UPGRADE)
        assert status in (403, 404), f"{path} answers {status}"
    paths = ("/api/v1/messages", "/messages/")
    assert 200 in [answer(site.stack, path, Origin=own, **login) for path in paths]


@after(*CATCHERS)
def no_other_name_is_answered(site: StackSite) -> None:
    """A name that was made to lead here is refused, whatever else is right."""
    login = inbox.login(site.stack)
    for path in ("/", "/api/v1/messages", "/messages/"):
        for name in ("evil.example", "localhost.evil.example"):
            status = answer(site.stack, path, Host=f"{name}:{site.stack.ports['INBOX']}", **login)
            absent = (404,) if path != "/" else ()  # not every catcher has it
            assert status in (400, 403, 421, *absent), f"{path} answers {status} as {name}"


@after("ping-mail-native", "ping-mail-docker")
def nobody_hands_in_a_mail_without_the_login(site: StackSite) -> None:
    """Without TLS, or without the login, or with another, no mail is taken."""
    user = site.stack.env_file(inbox.CREDENTIALS)["MAIL_USER"]
    with connect(site.stack) as server, pytest.raises(smtplib.SMTPSenderRefused):
        server.sendmail("a@example.com", "mallory@example.com", "Subject: x\n\nx")
    with connect(site.stack) as server, pytest.raises(smtplib.SMTPAuthenticationError):
        server.login(user, "wrong")
    with pytest.raises((smtplib.SMTPException, OSError)):
        smtplib.SMTP("localhost", site.stack.ports["SMTP"], timeout=5).ehlo_or_helo_if_needed()


@after("ping-mail-native")
def no_mail_acts_on_its_reader(site: StackSite) -> None:
    """A mail is shown without its scripts, and in no page of another site."""
    for path in ("/", "/messages/1.html"):
        policy = told(site.stack, path, "Content-Security-Policy", **inbox.login(site.stack))
        parts = [part.split() for part in policy.split(";")]
        assert ["frame-ancestors", "'self'"] in parts, policy
        confined = [part for part in parts if part[0] == "sandbox"]
        assert bool(confined) == (path != "/"), policy
        assert not [part for part in confined if "allow-scripts" in part], policy


@after("ping-mail-native")
def the_catcher_says_nothing_needlessly(site: StackSite) -> None:
    """The log warns of nothing that the script has taken care of."""
    log = flavour_of(site).log_tail(site.stack, "parsec-smtp", 1000)
    warnings = [line for line in log.splitlines() if "AUTH" in line or "Warning" in line]
    assert not warnings, warnings


@after(*CATCHERS)
def no_suite_is_out_of_date(site: StackSite) -> None:
    """Who knows but suites that are out of date is told no certificate, at either port."""
    for port in ("SMTP", "INBOX"):
        taken = {suite for suite in OTHER_TLS12_SUITES if accepted_suite(site, suite, port)}
        assert not taken, f"{port} takes {', '.join(sorted(taken))}"


@after("mailhog-docker")
def mailhog_is_out_of_reach(site: StackSite) -> None:
    """This machine has no address in MailHog's network, and so no way to the container's own."""
    from parsec_stack import docker

    container = docker.containers(site.stack)["parsec-mailhog"]
    container.reload()
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    inside = ip_network(f"{network['IPAddress']}/{network['IPPrefixLen']}", strict=False)
    # Without a packet: the address from which one would be sent.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with suppress(OSError):  # no way at all
            probe.connect((network["IPAddress"], 1025))
        assert ip_address(probe.getsockname()[0]) not in inside
    assert inbox.mails(site.stack)[0]["Subject"].startswith("ping ")


@after("mailhog-docker")
def mailhog_speaks_no_tls(site: StackSite) -> None:
    """MailHog offers no TLS of its own, and takes a mail from whoever reaches it."""
    from parsec_stack import docker

    said = r"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nQUIT\r\n"
    ask = ["sh", "-c", f"printf '{said}' | nc 127.0.0.1 1025"]
    answer = docker.containers(site.stack)["parsec-mailhog"].exec_run(ask).output.decode()
    assert "STARTTLS" not in answer, answer
    assert "Recipient b@example.com ok" in answer, answer


@after("mailhog-back-docker")
def mailhog_is_gone(site: StackSite) -> None:
    """Neither MailHog nor its network is left, and Mailpit takes mails again."""
    from parsec_stack import docker

    assert "parsec-mailhog" not in docker.containers(site.stack)
    networks = engine().networks.list(filters=docker.mine(site.stack))
    assert not [one.name for one in networks if one.name.endswith("_mailhog")]
    image = docker.containers(site.stack)["parsec-smtp"].attrs["Image"]
    assert image.startswith("axllent/mailpit:"), image
