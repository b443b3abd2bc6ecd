"""Examine the server's settings, as the env files have them."""

from __future__ import annotations

import difflib
import ipaddress
import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from parsec_stack import option_releases, options, probes
from parsec_stack.doctor.finding import Finding, Look, examination
from parsec_stack.redact import SECRET_NAME

# What the guide writes in the place of addresses: nobody, and a network that the container finds.
PLACES = {"native": "nobody", "docker": "behind-proxy"}
# Parsec's port in an address without one, and with no_ssl.
HTTPS, HTTP = 443, 80
# Anybody may try the administration's token: this many characters cannot be guessed.
LONG_ENOUGH = 20
# How the server's option table calls paths, and what the files of the settings are for.
PATHS = ("a file", "a folder")
USES = {
    "AWS_CA_BUNDLE": "by which the server trusts the object store",
    "SSL_CERT_FILE": "by which the server trusts the mail server",
    "PARSEC_SSL_CERTFILE": "the server's certificate",
    "PARSEC_SSL_KEYFILE": "the server's key",
}
TRUE = ("1", "true", "t", "yes", "y", "on")


def is_on(look: Look, variable: str) -> bool:
    """Return whether a setting that is true or false is true."""
    return look.settings.get(variable, "").lower() in TRUE


@examination
def unknown_variables(look: Look) -> Iterator[Finding]:
    """Find variables that no server reads, and those that only a newer one reads."""
    known = options.variables()
    newer = json.loads(option_releases.FILE.read_text())
    for path, line, name in look.assignments():
        if not name.startswith("PARSEC_") or name in known:
            continue
        place = f"{path.name}:{line} sets {name}"
        flag = "--" + name.removeprefix("PARSEC_").lower().replace("_", "-")
        if flag in newer:
            yield Finding(
                "warning", name, f"{place}, which this server does not read",
                f"upgrade to {newer[flag]} or newer, or delete the line",
            )  # fmt: skip
            continue
        like = difflib.get_close_matches(name, known, 1, 0.8)
        yield Finding(
            "warning", name, f"{place}, which the server does not know and ignores",
            f"write {like[0]}" if like else "delete the line; docs/settings.rst lists all settings",
        )  # fmt: skip


@examination
def variables_without_effect(look: Look) -> Iterator[Finding]:
    """Find variables that the server reads and does not use."""
    for path, line, name in look.assignments():
        if name in options.WITHOUT_EFFECT:
            flag = name.removeprefix("PARSEC_").lower().replace("_", "-")
            yield Finding(
                "warning", name, f"{path.name}:{line} sets it, and the server uses its default",
                f"delete the line; the option --{flag} of 'parsec run' works",
            )  # fmt: skip


@examination
def missing_settings(look: Look) -> Iterator[Finding]:
    """Find required settings that are missing or empty."""
    for option in options.server_options() if look.settings and look.has_env_files else ():
        name = option.variable
        if option.required and name and not look.settings.get(name):
            yield Finding(
                "broken", name, f"it is {'empty' if name in look.settings else 'not set'}, and the "
                "server does not start without it", f"set it in {look.place(name) or 'parsec.env'}",
            )  # fmt: skip


@examination
def refused_values(look: Look) -> Iterator[Finding]:
    """Find values that the server refuses."""
    for option in options.server_options():
        name = option.variable or ""
        value = look.settings.get(name)
        # Files may have other paths in a container.
        if not value or option.kind in PATHS:
            continue
        if reason := options.refusal(name, value):
            said = "" if SECRET_NAME.search(name) else f": {reason}"
            yield Finding(
                "broken", name, f"the server refuses its value{said}", f"correct {look.place(name)}"
            )


@examination
def trusted_proxies(look: Look) -> Iterator[Finding]:
    """Find trust in a proxy that never matches, and trust in everybody."""
    name = "PARSEC_PROXY_TRUSTED_ADDRESSES"
    value = look.settings.get(name)
    if not value:
        if look.settings:
            yield Finding(
                "warning", name, "it is not set: the server believes every program of this machine "
                "what it says about a client's address", "set it as parsec.env of the guide does",
            )  # fmt: skip
        return
    for one in value.replace(",", " ").split():
        if one == "*":
            yield Finding(
                "danger", name, "the server believes everybody who claims to be a proxy",
                f"name the proxy's address or network in {look.place(name)}",
            )  # fmt: skip
        elif one != PLACES[look.stack.flavour] and (reason := no_network(one)):
            yield Finding(
                "warning", name, f"'{one}' never matches, because {reason}: all clients seem to "
                "have the proxy's address", f"write an address or a network in {look.place(name)}",
            )  # fmt: skip


def no_network(text: str) -> str:
    """Return why the text names no network; empty if it names one."""
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        named = any(letter.isalpha() for letter in text) and ":" not in text
        return "it is a name" if named else str(error)
    return ""


@examination
def server_address(look: Look) -> Iterator[Finding]:
    """Compare the address in links with the proxy's certificate and port."""
    name = "PARSEC_SERVER_ADDR"
    address = urlsplit(look.settings.get(name, ""))
    if address.scheme != "parsec3" or not address.hostname:
        return
    plain = parse_qs(address.query).get("no_ssl") == ["true"]
    if plain:
        yield Finding(
            "broken", name, "it says no_ssl, but the proxy speaks TLS: clients cannot connect",
            f"delete '?no_ssl=true' in {look.place(name)}",
        )  # fmt: skip
    port = address.port or (HTTP if plain else HTTPS)
    if look.stack.flavour == "native" and port not in (look.stack.ports["PROXY"], HTTPS):
        yield Finding(
            "warning", name, f"links lead to port {port}, and the proxy is at port "
            f"{look.stack.ports['PROXY']}", f"correct the port in {look.place(name)}",
        )  # fmt: skip
    yield from uncertified(look, name, address.hostname)


def uncertified(look: Look, name: str, host: str) -> Iterator[Finding]:
    """Find that the proxy's certificate is not for the host."""
    from cryptography import x509

    try:
        text = (look.stack.folder / probes.PROXY_CERTIFICATE).read_bytes()
        names = x509.load_pem_x509_certificate(text).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except (OSError, ValueError, x509.ExtensionNotFound):
        return
    known = {str(one.value).lower() for one in names.value}
    if host.lower() not in known and f"*.{host.partition('.')[2]}".lower() not in known:
        yield Finding(
            "broken", name, f"it is {host}, and the proxy's certificate is for "
            f"{', '.join(sorted(known))}: clients refuse it",
            f"run 'TLS_NAMES={host} invoke tls restart', or correct {look.place(name)}",
        )  # fmt: skip


@examination
def transport(look: Look) -> Iterator[Finding]:
    """Find connections on which a password or a block can be read or taken by others."""
    database = look.settings.get("PARSEC_DB", "")
    if database and "sslmode=verify-full" not in database:
        yield Finding(
            "danger", "PARSEC_DB", "the server tells its password to whatever listens at the "
            "database's port", f"add sslmode=verify-full and sslrootcert in "
            f"{look.place('PARSEC_DB')}, as the guide's parsec-db.env has them",
        )  # fmt: skip
    if look.settings.get("PARSEC_BLOCKSTORE", "").lower().startswith("s3:http\\://"):
        yield Finding(
            "danger", "PARSEC_BLOCKSTORE", "the server talks to the object store without TLS",
            f"write https in {look.place('PARSEC_BLOCKSTORE')}",
        )  # fmt: skip
    if look.settings and not look.settings.get("PARSEC_SSL_CERTFILE"):
        yield Finding(
            "danger", "PARSEC_SSL_CERTFILE", "it is not set: the server speaks without TLS",
            "set it and PARSEC_SSL_KEYFILE as the guide's parsec.env does",
        )  # fmt: skip


@examination
def weak_settings(look: Look) -> Iterator[Finding]:
    """Find settings that weaken the server."""
    if look.settings and not look.settings.get("PARSEC_SSL_CIPHERS"):
        yield Finding(
            "warning", "PARSEC_SSL_CIPHERS", "it is not set: for TLS 1.2 only weak suites remain",
            "set it as the guide's parsec.env does",
        )  # fmt: skip
    if look.settings.get("PARSEC_LOG_FORMAT", "JSON").upper() != "JSON":
        yield Finding(
            "warning", "PARSEC_LOG_FORMAT", "a traceback in the log may show passwords, and hold "
            "up the server for seconds", f"write JSON in {look.place('PARSEC_LOG_FORMAT')}",
        )  # fmt: skip
    if is_on(look, "PARSEC_DEBUG"):
        yield Finding(
            "danger", "PARSEC_DEBUG", "it is on: the server answers what is for developers alone",
            f"delete {look.place('PARSEC_DEBUG')}",
        )  # fmt: skip
    token = look.settings.get("PARSEC_ADMINISTRATION_TOKEN", "")
    if 0 < len(token) < LONG_ENOUGH:
        yield Finding(
            "danger", "PARSEC_ADMINISTRATION_TOKEN", f"it has only {len(token)} characters, and "
            "who guesses it administrates the server",
            f"move {look.place('PARSEC_ADMINISTRATION_TOKEN').partition(':')[0]} and "
            "secrets/administration-token away, and run 'invoke adminToken restart'",
        )  # fmt: skip


@examination
def mail_settings(look: Look) -> Iterator[Finding]:
    """Find settings by which mails are sent in clear, or not as it seems."""
    ssl, tls = is_on(look, "PARSEC_EMAIL_USE_SSL"), is_on(look, "PARSEC_EMAIL_USE_TLS")
    host = look.settings.get("PARSEC_EMAIL_HOST", "")
    if ssl and tls:
        yield Finding(
            "warning", "PARSEC_EMAIL_USE_TLS", "both it and PARSEC_EMAIL_USE_SSL are on, and the "
            "server uses TLS from the first byte", f"delete {look.place('PARSEC_EMAIL_USE_TLS')}, "
            "or the other line if the mail server wants STARTTLS",
        )  # fmt: skip
    if host and host != "MOCKED" and not ssl and not tls:
        yield Finding(
            "danger", "PARSEC_EMAIL_USE_SSL", "invitation links and the mail server's password "
            "are sent without TLS", "set PARSEC_EMAIL_USE_SSL or PARSEC_EMAIL_USE_TLS in "
            "parsec-smtp.env",
        )  # fmt: skip
    if host == "MOCKED":
        yield Finding(
            "broken", "PARSEC_EMAIL_HOST", "it is MOCKED: the server sends no mail",
            f"name a mail server in {look.place('PARSEC_EMAIL_HOST')}",
        )  # fmt: skip


@examination
def files_of_settings(look: Look) -> Iterator[Finding]:
    """Find files of the settings that are not there."""
    for name, use in USES.items():
        value = look.settings.get(name, "")
        if value and not look.on_disk(value).is_file():
            yield Finding(
                "broken", name, f"there is no file {value}, {use}",
                f"correct its path in {look.place(name)}; the server must be able to read it",
            )  # fmt: skip


@examination
def copies_of_secrets(look: Look) -> Iterator[Finding]:
    """Find credentials of the server that are not those that a service was started with."""
    known = look.stack.env_file("parsec-credentials.env")
    for name, place in (
        ("POSTGRES_PASSWORD", "postgres-password"),
        ("S3_CONSOLE_PASSWORD", "s3-console-password"),
        ("S3_ACCESS_KEY", "s3-access-key"),
        ("S3_SECRET_KEY", "s3-secret-key"),
    ):
        path = look.stack.folder / "secrets" / place
        if name in known and path.exists() and path.read_text().strip() != known[name]:
            yield Finding(
                "broken", name, f"parsec-credentials.env and {path.parent.name}/{place} differ",
                "put back the older of the two, which the services were started with, and run "
                "'invoke adminToken restart'",
            )  # fmt: skip
    for name in ("POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY", "MAIL_PASSWORD"):
        if name not in known:
            yield Finding(
                "broken", name, "parsec-credentials.env lacks it", "run 'invoke adminToken'"
            )
