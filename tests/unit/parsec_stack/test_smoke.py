"""What the client-side exercise makes of answers, without a server."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsec_stack import client, inbox, smoke
from parsec_stack.client import Device, Server
from parsec_stack.errors import StackError
from parsec_stack.smoke import Traces

MAIL = """\
From: parsec@example.com
To: bob@example.com
Subject: =?utf-8?q?Invitation_=C3=A0_rejoindre?=
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Follow https://localhost:8443/redirect/Org?a=3Dclaim_user&p=3Dabc, please.
"""


def new_device() -> Device:
    """A device that no server knows."""
    from parsec._parsec import DeviceID, SigningKey, UserID

    key = SigningKey.generate().encode().hex()
    return Device("Org", UserID.new().hex, DeviceID.new().hex, key)


def test_the_link_of_a_mail() -> None:
    """The link is found in the decoded text, without what follows it."""
    text = inbox.text_of(inbox.parse(MAIL))

    assert smoke.link_in(text) == "https://localhost:8443/redirect/Org?a=claim_user&p=abc"


def test_a_mail_without_link() -> None:
    """A mail that holds no link is a fault."""
    with pytest.raises(StackError, match="no link"):
        smoke.link_in("https://elsewhere.example.com/")


@pytest.mark.parametrize(
    ("link", "port"),
    [
        ("https://localhost:8443/redirect/Org?p=abc", 8443),
        ("https://localhost/redirect/Org?p=abc", 443),
    ],
)
def test_the_promised_place(link: str, port: int) -> None:
    """A link leads to the proxy, whose usual port need not be said."""
    smoke.check_place(link, "https", "localhost", port)


@pytest.mark.parametrize(
    "link",
    [
        "https://localhost:6777/redirect/Org?p=hidden",
        "https://elsewhere.example.com:8443/redirect/Org?p=hidden",
        "http://localhost:8443/redirect/Org?p=hidden",
        "nowhere, it answers 404",
    ],
)
def test_another_place(link: str) -> None:
    """A link that leads elsewhere is a fault, told without the token in it."""
    with pytest.raises(StackError, match="not to https://localhost:8443") as caught:
        smoke.check_place(link, "https", "localhost", 8443)

    assert link.partition("?")[0] in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_the_signature_is_the_devices() -> None:
    """The token names the device and is signed with its key."""
    from base64 import urlsafe_b64decode

    device = new_device()
    token = device.headers()["Authorization"].removeprefix("Bearer ")
    payload, _, signature = token.rpartition(".")

    assert payload.startswith(f"PARSEC-SIGN-ED25519.{device.device}.")
    device.key.verify_key.verify(urlsafe_b64decode(signature) + payload.encode())


def test_traces_survive_a_file() -> None:
    """What was written can be read back by another process."""
    traces = Traces(new_device(), "00" * 16, {"11" * 16: "ab"})

    assert Traces.from_json(json.loads(json.dumps(traces.as_json()))) == traces


def test_an_event() -> None:
    """Comments and keepalives are no events."""
    from base64 import b64encode

    from parsec._parsec import DateTime, VlobID, authenticated_cmds

    listen = authenticated_cmds.latest.events_listen
    event = listen.APIEventRealmCertificate(DateTime.now(), VlobID.new())
    data = b64encode(listen.RepOk(event).dump()).decode()
    lines = [":keepalive\n", "event:keepalive\n", "data:\n", "\n", f"data:{data}\n"]

    assert smoke.await_event(iter(lines)) == "RealmCertificate"
    with pytest.raises(StackError, match="no event"):
        smoke.await_event(iter(lines[:4]))


@pytest.fixture
def silent_server(tmp_path: Path) -> Iterator[Server]:
    """A port that is bound and not listening: nobody else can answer there."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=test", "-keyout", "key.pem", "-out", "ca.pem"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Server(taken.getsockname()[1], tmp_path / "ca.pem")


def test_no_server(silent_server: Server) -> None:
    """A server that does not answer is named by its address."""
    with pytest.raises(StackError, match=f"localhost:{silent_server.port}: .*refused"):
        silent_server.request("GET", "/", {})


def test_no_server_by_http2(silent_server: Server) -> None:
    """What curl says of a server that does not answer is passed on, and no more."""
    device = new_device()
    channel = smoke.by_http2(silent_server, device)
    with pytest.raises(StackError, match="got 'curl: ") as caught, channel:
        pass

    assert device.device not in str(caught.value)


def test_no_curl(silent_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without curl is told so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(StackError, match="curl is missing"),
        smoke.by_http2(silent_server, new_device()),
    ):
        pass


def test_no_ca(tmp_path: Path) -> None:
    """A CA file that is not there is named."""
    with pytest.raises(StackError, match=r"none\.crt cannot be trusted"):
        Server(1, tmp_path / "none.crt").request("GET", "/", {})


def test_a_key_is_not_shown() -> None:
    """A failed test that shows its traces does not show the key."""
    device = new_device()

    assert device.signing_key not in repr(Traces(device, "00" * 16))


def test_refusals_are_named() -> None:
    """An answer other than the good one names the command and the reason."""
    from parsec._parsec import authenticated_cmds

    command = authenticated_cmds.latest.block_read
    with pytest.raises(StackError, match="refuses block_read: BlockNotFound"):
        client.accepted(command, command.RepBlockNotFound().dump())


def test_nonsense_is_a_refusal() -> None:
    """An answer that is none of the protocol's is told as a fault of the server."""
    from parsec._parsec import authenticated_cmds

    with pytest.raises(StackError, match="the answer to block_read cannot be understood"):
        client.accepted(authenticated_cmds.latest.block_read, b"<html>")
    with pytest.raises(StackError, match="the event cannot be understood"):
        client.event_in("a")
