"""A Parsec client without a user interface, which uses the server's own bindings.

Source of the protocol: ``parsec._parsec`` of the installed wheel, and ``parsec.asgi.rpc`` for the
headers.
"""

from __future__ import annotations

import http.client
import json
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes
from typing import Any
from urllib.parse import urlsplit

from parsec_stack import probes
from parsec_stack.errors import StackError


class Bindings:
    """The server's own bindings, which are imported, in a second, when they are first used."""

    def __getattr__(self, name: str) -> Any:
        try:
            from parsec import _parsec
        except ImportError:
            raise StackError(
                "a client needs the package parsec-cloud, which this environment lacks "
                "(it has no wheel for every platform: the README names them)"
            ) from None
        return getattr(_parsec, name)


parsec = Bindings()
# How many seconds the server may take for one answer.
TIMEOUT = 30.0
MSGPACK = "application/msgpack"


def api_version() -> str:
    """Return the newest version of the protocol that the bindings speak."""
    return str(parsec.ApiVersion.API_LATEST_VERSION)


@dataclass(frozen=True)
class Server:
    """How to reach a server: this machine's port, and the CA that is trusted (``probes.trust``)."""

    port: int
    ca_file: Path

    @contextmanager
    def connection(self) -> Iterator[http.client.HTTPSConnection]:
        """Open a connection; StackError for any failure on it."""
        try:
            trust = probes.trust(self.ca_file)
        except OSError as error:
            raise StackError(f"{self.ca_file} cannot be trusted: {error.strerror}") from None
        connection = http.client.HTTPSConnection(
            "localhost", self.port, timeout=TIMEOUT, context=trust
        )
        try:
            yield connection
        except (OSError, http.client.HTTPException) as error:
            raise StackError(f"https://localhost:{self.port}: {error}") from None
        finally:
            connection.close()

    def request(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> bytes:
        """Return the body of the answer; StackError with place and status unless it is 200."""
        with self.connection() as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        if answer.status != 200:
            place = f"https://localhost:{self.port}{path.partition('?')[0]}"
            said = content[:200].decode(errors="replace")
            raise StackError(f"{method} {place} answered {answer.status}: {said}")
        return content

    def command(self, path: str, request: Any, headers: dict[str, str] | None = None) -> bytes:
        """Return the raw answer to a command of Parsec's protocol."""
        own = {"Api-Version": api_version(), "Content-Type": MSGPACK, "Accept": MSGPACK}
        return self.request("POST", path, own | (headers or {}), request.dump())

    def administrate(self, method: str, path: str, token: str, **fields: str) -> dict[str, Any]:
        """Return the answer of the administration API."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = json.dumps(fields).encode() if fields else None
        content = self.request(method, f"/administration{path}", headers, body)
        with understood("the administration's answer"):
            answer: dict[str, Any] = json.loads(content)
        return answer


@dataclass(frozen=True)
class Device:
    """The first device of an organization's first user, with all that it needs to sign in again."""

    organization: str
    user: str
    device: str
    signing_key: str = field(repr=False)

    @property
    def author(self) -> Any:
        """The device in the form in which certificates name it."""
        return parsec.DeviceID.from_hex(self.device)

    @property
    def key(self) -> Any:
        """The key with which the device signs."""
        return parsec.SigningKey(bytes.fromhex(self.signing_key))

    def headers(self) -> dict[str, str]:
        """The device's authentication, valid as long as its clock is right."""
        payload = f"PARSEC-SIGN-ED25519.{self.device}.{int(time.time())}"
        signature = urlsafe_b64encode(self.key.sign_only_signature(payload.encode())).decode()
        return {"Authorization": f"Bearer {payload}.{signature}"}

    def ask(self, server: Server, command: Any, *arguments: Any, **fields: Any) -> Any:
        """Return the answer to an authenticated command.

        Raises StackError unless it is the success answer.
        """
        path = f"/authenticated/{self.organization}"
        raw = server.command(path, command.Req(*arguments, **fields), self.headers())
        return accepted(command, raw)


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Turn the ValueError of a text that cannot be parsed into a StackError."""
    try:
        yield
    except ValueError as error:
        raise StackError(f"{what} cannot be understood: {error}") from None


def accepted(command: Any, raw: bytes) -> Any:
    """Return the success answer to a command; StackError with what came instead."""
    name = command.__name__.rpartition(".")[2]
    with understood(f"the answer to {name}"):
        answer = command.Rep.load(raw)
    if not isinstance(answer, command.RepOk):
        raise StackError(f"the server refuses {name}: {type(answer).__name__.removeprefix('Rep')}")
    return answer


def bootstrap(server: Server, link: str, label: str) -> Device:
    """Become the first user of the organization with this bootstrap link.

    User and device get two certificates each: a complete one, and one without what identifies the
    person.
    """
    with understood("the bootstrap link"):
        address = parsec.ParsecOrganizationBootstrapAddr.from_url(link)
    root, signing, private = (
        parsec.SigningKey.generate(),
        parsec.SigningKey.generate(),
        parsec.PrivateKey.generate(),
    )
    user, device, now = parsec.UserID.new(), parsec.DeviceID.new(), parsec.DateTime.now()
    handle = parsec.HumanHandle(parsec.EmailAddress("alice@example.com"), "Alice Example")

    def user_certificate(human: Any) -> Any:
        return parsec.UserCertificate(
            author=None,
            timestamp=now,
            user_id=user,
            human_handle=human,
            public_key=private.public_key,
            algorithm=parsec.PrivateKeyAlgorithm.X25519_XSALSA20_POLY1305,
            profile=parsec.UserProfile.ADMIN,
        ).dump_and_sign(root)

    def device_certificate(name: Any) -> Any:
        return parsec.DeviceCertificate(
            author=None,
            timestamp=now,
            purpose=parsec.DevicePurpose.STANDARD,
            user_id=user,
            device_id=device,
            device_label=name,
            verify_key=signing.verify_key,
            algorithm=parsec.SigningKeyAlgorithm.ED25519,
        ).dump_and_sign(root)

    command = parsec.anonymous_cmds.latest.organization_bootstrap
    request = command.Req(
        bootstrap_token=address.token,
        root_verify_key=root.verify_key,
        user_certificate=user_certificate(handle),
        device_certificate=device_certificate(parsec.DeviceLabel(label)),
        redacted_user_certificate=user_certificate(None),
        redacted_device_certificate=device_certificate(None),
        sequester_authority_certificate=None,
    )
    organization = address.organization_id.str
    accepted(command, server.command(f"/anonymous/{organization}", request))
    return Device(organization, user.hex, device.hex, signing.encode().hex())


def sign_in(server: Server, device: Device) -> None:
    """Ask for the organization's information, as a client does when it signs in."""
    device.ask(server, parsec.authenticated_cmds.latest.organization_info)


def create_realm(server: Server, device: Device) -> str:
    """Create a realm, which holds a workspace's files, with its first key; return its id in hex."""
    commands = parsec.authenticated_cmds.latest
    realm, user = parsec.VlobID.new(), parsec.UserID.from_hex(device.user)
    role = parsec.RealmRoleCertificate(
        author=device.author,
        timestamp=parsec.DateTime.now(),
        realm_id=realm,
        user_id=user,
        role=parsec.RealmRole.OWNER,
    )
    certificate = role.dump_and_sign(device.key)
    device.ask(server, commands.realm_create, realm_role_certificate=certificate)
    rotation = parsec.RealmKeyRotationCertificate(
        author=device.author,
        timestamp=parsec.DateTime.now(),
        realm_id=realm,
        key_index=1,
        encryption_algorithm=parsec.SecretKeyAlgorithm.BLAKE2B_XSALSA20_POLY1305,
        hash_algorithm=parsec.HashAlgorithm.SHA256,
        key_canary=token_bytes(32),
    )
    device.ask(
        server,
        commands.realm_rotate_key,
        realm_key_rotation_certificate=rotation.dump_and_sign(device.key),
        per_participant_keys_bundle_access={user: token_bytes(32)},
        per_sequester_service_keys_bundle_access=None,
        keys_bundle=token_bytes(32),
    )
    return str(realm.hex)


def write_block(server: Server, device: Device, realm: str, content: bytes) -> str:
    """Store a block in the realm; return its id in hex."""
    block = parsec.BlockID.new()
    device.ask(
        server,
        parsec.authenticated_cmds.latest.block_create,
        block_id=block,
        realm_id=parsec.VlobID.from_hex(realm),
        key_index=1,
        block=content,
    )
    return str(block.hex)


def read_block(server: Server, device: Device, realm: str, block: str) -> bytes:
    """Return the content of a block."""
    answer = device.ask(
        server,
        parsec.authenticated_cmds.latest.block_read,
        block_id=parsec.BlockID.from_hex(block),
        realm_id=parsec.VlobID.from_hex(realm),
    )
    return bytes(answer.block)


def invite(server: Server, device: Device, address: str) -> str:
    """Invite a user by mail; return the token in hex. StackError if no mail was sent."""
    command = parsec.authenticated_cmds.latest.invite_new_user
    answer = device.ask(
        server, command, claimer_email=parsec.EmailAddress(address), send_email=True
    )
    if answer.email_sent != command.InvitationEmailSentStatus.SUCCESS:
        raise StackError(f"the server could not send the invitation: {answer.email_sent}")
    return str(answer.token.hex)


def event_in(data: str) -> str:
    """Return the kind of the event in this base64 text from a stream's data line."""
    command = parsec.authenticated_cmds.latest.events_listen
    with understood("the event"):
        raw = b64decode(data)
    return type(accepted(command, raw).unit).__name__.removeprefix("APIEvent")


def answer_invitation(server: Server, link: str) -> None:
    """Follow the link of an invitation mail; StackError if the server refuses its token."""
    with understood("the mail's link"):
        address = parsec.ParsecInvitationAddr.from_url(link, allow_http_redirection=True)
    command = parsec.invited_cmds.latest.invite_info
    headers = {"Authorization": f"Bearer {address.token.hex}"}
    path = f"/invited/{address.organization_id.str}"
    accepted(command, server.command(path, command.Req(), headers))


def redirection(server: Server, link: str) -> str:
    """Return where the server redirects a browser that opens the link of a mail."""
    parts = urlsplit(link)
    with server.connection() as connection:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        answer.read()
        return answer.getheader("Location") or f"nowhere, it answers {answer.status}"


def send_validation(server: Server, address: str) -> str:
    """Let the server send a validation mail to the address; return how it says that this went.

    It is ``Ok`` or the name of a refusal. Nothing else comes of it.
    """
    commands = getattr(parsec, "anonymous_server_cmds", None)
    command = getattr(commands and commands.latest, "account_create_send_validation_email", None)
    if command is None:
        raise StackError("this version of the server sends no mail without an organization")
    raw = server.command("/anonymous_server", command.Req(email=parsec.EmailAddress(address)))
    with understood("the answer about a mail"):
        answer = command.Rep.load(raw)
    return type(answer).__name__.removeprefix("Rep")
