"""The mail catcher of the native flavour, as its clients, and as those who should see nothing."""

from __future__ import annotations

import os
import shutil
import smtplib
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from guidewalk.site import is_free
from parsec_stack import inbox, probes, smoke
from parsec_stack.errors import StackError
from parsec_stack.stack import ARTIFACTS, Stack

WITHIN = 60
# Root runs no services.
pytestmark = pytest.mark.usefixtures("as_reader")
SCRIPTS = ("setup-tls.sh", "gen-credentials.sh")
MAIL = """\
From: parsec@example.com
To: {to}
Subject: =?utf-8?q?Invitation_=C3=A0_rejoindre?=
Content-Type: {type}; charset=utf-8
Content-Transfer-Encoding: quoted-printable

{body}
"""
LINK = "Follow https://localhost:8443/redirect/Org?a=3Dclaim_user&p=3Dabc, please."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide's files, with certificates and credentials, and mails of an older stack."""
    folder = tmp_path_factory.mktemp("catcher") / "s"
    shutil.copytree(ARTIFACTS, folder)
    for script in SCRIPTS:
        subprocess.run([f"./{script}"], cwd=folder, check=True, capture_output=True)
    (folder / "data" / "mail").mkdir(parents=True)
    keep = (
        "import sys; from maildump import db, smtp; db.connect(sys.argv[1]); db.create_tables(); "
    )
    keep += "smtp.smtp_handler('a@example.com', ['old@example.com'], sys.argv[2].encode())"
    mail = MAIL.format(to="old@example.com", type="text/plain", body="of yesterday")
    older = str(folder / "data" / "mail" / "mails.sqlite")
    subprocess.run([sys.executable, "-c", keep, older, mail], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    """A stack whose mail catcher alone runs."""
    for offset in range(11000, 12000):
        stack = Stack(folder, "native", offset)
        if is_free(stack.ports["SMTP"]) and is_free(stack.ports["INBOX"]):
            break
    with subprocess.Popen(
        ["./run-parsec-smtp"],
        cwd=folder,
        env=stack.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as catcher:
        deadline = time.monotonic() + WITHIN
        while not probes.catches_mail(stack):
            assert catcher.poll() is None, "the catcher has ended"
            assert time.monotonic() < deadline, "the catcher does not answer"
            time.sleep(0.05)
        yield stack
        catcher.terminate()


def connect(stack: Stack) -> smtplib.SMTP:
    """A connection to the catcher, of somebody who has not logged in."""
    trust = ssl.create_default_context(cafile=str(stack.folder / "custom-ca.crt"))
    return smtplib.SMTP_SSL("localhost", stack.ports["SMTP"], timeout=WITHIN, context=trust)


def send(stack: Stack, to: str, body: str, kind: str = "text/plain") -> None:
    """Hand in a mail as the server does."""
    known = stack.env_file(inbox.CREDENTIALS)
    with connect(stack) as server:
        server.login(known["MAIL_USER"], known["MAIL_PASSWORD"])
        server.sendmail("parsec@example.com", to, MAIL.format(to=to, type=kind, body=body))


def ask(stack: Stack, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers of the inbox's answer to who has the login, with these headers too."""
    import http.client

    trust = ssl.create_default_context(cafile=str(stack.folder / "custom-ca.crt"))
    server = http.client.HTTPSConnection("localhost", stack.ports["INBOX"], context=trust)
    server.request(method, path, headers=inbox.login(stack) | headers)
    answer = server.getresponse()
    return answer.status, dict(answer.headers)


def test_the_mail_in_an_inbox(stack: Stack) -> None:
    """The mail to an address is found, with its link."""
    send(stack, "bob@example.com", LINK)
    send(stack, "carol@example.com", "nothing")

    mail = inbox.await_mail(stack, "bob@example.com")

    assert mail["Subject"] == "Invitation à rejoindre"
    assert smoke.link_in(inbox.text_of(mail)).startswith("https://localhost:8443/redirect/Org")


def test_mails_of_an_older_stack_are_kept(stack: Stack) -> None:
    """What maildump itself had stored is shown as before."""
    mail = inbox.await_mail(stack, "old@example.com")

    assert inbox.text_of(mail).strip() == "of yesterday"


def test_a_mail_is_stored_when_it_is_acknowledged(stack: Stack) -> None:
    """What the sender was told to have been taken is in the file."""
    send(stack, "dora@example.com", "x")

    with sqlite3.connect(stack.folder / "data" / "mail" / "mails.sqlite") as stored:
        (count,) = stored.execute(
            "SELECT count(*) FROM message WHERE recipients LIKE '%dora@%'"
        ).fetchone()
    assert count == 1


def test_nobody_hands_in_a_mail_without_the_login(stack: Stack) -> None:
    """Without a login, or with another, no mail is taken."""
    with connect(stack) as server, pytest.raises(smtplib.SMTPSenderRefused, match="Authentication"):
        server.sendmail("a@example.com", "mallory@example.com", "Subject: x\n\nx")
    with connect(stack) as server, pytest.raises(smtplib.SMTPAuthenticationError):
        server.login(stack.env_file(inbox.CREDENTIALS)["MAIL_USER"], "wrong")
    with pytest.raises((smtplib.SMTPException, OSError)):
        smtplib.SMTP("localhost", stack.ports["SMTP"], timeout=5).ehlo_or_helo_if_needed()


@pytest.mark.parametrize("path", ["/", "/messages/", "/messages/1.source", "/event-stream", "/no"])
def test_nobody_reads_without_the_login(stack: Stack, path: str) -> None:
    """Every page asks for the login."""
    ca_file = stack.folder / "custom-ca.crt"
    other = {"Authorization": "Basic cGFyc2VjOndyb25n"}

    assert probes.status(stack.ports["INBOX"], path, ca_file) == 401
    assert probes.status(stack.ports["INBOX"], path, ca_file, other) == 401
    assert probes.status(stack.ports["INBOX"], path) is None


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://localhost:1"])
def test_no_other_page_reads_with_the_readers_login(stack: Stack, method: str, origin: str) -> None:
    """A page of another site is refused even when the browser adds the login."""
    assert ask(stack, "/messages/", method, Origin=origin)[0] == 403
    assert ask(stack, "/messages/", Origin=inbox.address(stack))[0] == 200


@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", ""])
def test_no_other_name_is_answered(stack: Stack, name: str) -> None:
    """A name that was made to lead here is refused, whatever else is right."""
    assert ask(stack, "/messages/", Host=f"{name}:{stack.ports['INBOX']}")[0] == 400


def test_a_mail_runs_no_script(stack: Stack) -> None:
    """What a mail holds is shown apart from the inbox; nothing of it is in other sites' pages."""
    send(stack, "eve@example.com", "<script>alert(1)</script>", "text/html")

    newest = max(m["id"] for m in listed(stack))
    policy = ask(stack, f"/messages/{newest}.html")[1]["Content-Security-Policy"]

    assert "sandbox allow-same-origin allow-popups" in policy
    assert "allow-scripts" not in policy
    assert "frame-ancestors 'self'" in ask(stack, "/")[1]["Content-Security-Policy"]


def listed(stack: Stack) -> list[dict[str, int]]:
    """The mails as the inbox lists them."""
    import json

    found: list[dict[str, int]] = json.loads(inbox.get(stack, "/messages/") or "")["messages"]
    return found


def test_nobody_ends_the_catcher(stack: Stack) -> None:
    """Not even who has the login can end it by the inbox."""
    assert ask(stack, "/", "DELETE")[0] == 403


def test_the_login_is_told_to_be_wrong(stack: Stack, tmp_path: Path) -> None:
    """Who has other credentials than the catcher is told so, and never shown any."""
    other = Stack(tmp_path, "native", stack.port_offset)
    shutil.copy(stack.folder / "custom-ca.crt", tmp_path)
    (tmp_path / inbox.CREDENTIALS).write_text("MAIL_USER=parsec\nMAIL_PASSWORD=hidden\n")

    with pytest.raises(StackError, match="refuses the login") as caught:
        inbox.mails(other)
    assert "hidden" not in str(caught.value)


def listen(squatter: socket.socket, heard: bytearray) -> None:
    """Greet who comes as a mail server does, and hear what they say, until it is shut down."""
    with suppress(OSError):
        while True:
            connection, _ = squatter.accept()
            hear(connection, heard)


def hear(connection: socket.socket, heard: bytearray) -> None:
    """Greet, and listen until nothing comes any more."""
    with connection, suppress(OSError):
        connection.settimeout(0.5)
        connection.sendall(b"220 catcher\r\n")
        while got := connection.recv(4096):
            heard += got


def test_a_squatter_gets_no_login(stack: Stack, folder: Path) -> None:
    """Who listens at the catcher's ports while it is down is not told the login."""
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        threading.Thread(target=listen, args=(squatter, heard), daemon=True).start()
        port = str(squatter.getsockname()[1])
        ports = {"STACK_SMTP_PORT": port, "STACK_INBOX_PORT": port}
        nap = folder / "nap"
        nap.mkdir()
        (nap / "sleep").write_text("#!/bin/sh\nexit 0\n")
        (nap / "sleep").chmod(0o755)
        path = f"{nap}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["./ping-mailhog.sh"],
            cwd=folder,
            env=os.environ | ports | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=WITHIN,
        )
        squatter.shutdown(socket.SHUT_RDWR)
    assert done.returncode == 1, done.stdout
    assert "no mail was taken" in done.stderr
    assert heard, "nobody has called the squatter"
    for secret in ("parsec", *stack.env_file(inbox.CREDENTIALS).values()):
        assert secret.encode() not in heard


@pytest.mark.parametrize(
    ("missing", "maker"),
    [("parsec-smtp.key", "setup-tls.sh"), ("secrets/mail-users", "gen-credentials.sh")],
)
def test_what_is_missing_is_told(folder: Path, tmp_path: Path, missing: str, maker: str) -> None:
    """Without its files the catcher names the script that makes them."""
    place = shutil.copytree(folder, tmp_path / "s")
    (place / missing).unlink()

    done = subprocess.run(["./run-parsec-smtp"], cwd=place, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr == f"mail-catcher.py: {missing} is missing: run {maker} first\n"


def test_a_taken_port_is_told(stack: Stack) -> None:
    """A second catcher ends with one line."""
    done = subprocess.run(
        ["./run-parsec-smtp"],
        cwd=stack.folder,
        env=stack.environment(),
        capture_output=True,
        text=True,
        timeout=WITHIN,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("mail-catcher.py: ")
    assert "address already in use" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
