"""Provoke each failure of the troubleshooting page, so that its message is the software's own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from checks import squatter
from checks.certificates import foreign
from checks.common import activated, registry, values
from guidewalk.errors import UserError
from guidewalk.site import is_free
from parsec_stack import docker, probes, schema
from parsec_stack.verify.stack_site import StackSite

provokes = registry.provokes

WITHIN = 180
# How the two flavours name the host of the object store.
STORE = {"native": "$S3_HOST", "docker": "parsec-s3"}


def run(site: StackSite, argv: list[str]) -> str:
    """What the command prints within its time, on both streams."""
    return tried(site, argv, {})[0]


def tried(site: StackSite, argv: list[str], variables: dict[str, str]) -> tuple[str, int]:
    """The same with these variables, and its exit status."""
    done = subprocess.run(
        ["timeout", "--kill-after=5", str(WITHIN), *argv],
        cwd=site.folder,
        env=activated(site) | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=2 * WITHIN,
        check=False,
    )
    return done.stdout.decode(errors="replace"), done.returncode


def native_script(site: StackSite, changes: dict[str, str]) -> list[str]:
    """run-parsec-server with these settings changed; the values may name shell variables."""
    path = site.folder / "run-parsec-server"
    exports = "".join(f'export {name}="{value}"\n' for name, value in changes.items())
    before, found, after = path.read_text().rpartition("exec python")
    assert found, "run-parsec-server does not end in exec python"
    return ["bash", "-c", before + exports + found + after, str(path)]


def server(site: StackSite, changes: dict[str, str]) -> str:
    """What another Parsec server prints that starts with these settings changed, until it ends."""
    if site.flavour == "native":
        return run(site, native_script(site, changes))
    return contained(site, ["parsec", "run", "--port=6777"], changes)[0]


def contained(site: StackSite, argv: list[str], variables: dict[str, str]) -> tuple[str, int]:
    """What the program prints beside the server that runs, in its container, and its status."""
    limited = ["timeout", "--kill-after=5", str(WITHIN), *argv]
    running = docker.containers(site.stack)["parsec-server"]
    done = running.exec_run(limited, environment=variables)
    return done.output.decode(errors="replace"), done.exit_code


def database(site: StackSite, *, password: str = "", port: str = "", name: str = "") -> str:
    """The guide's PARSEC_DB, but for this part of it."""
    command = "source ./parsec-credentials.env; source ./parsec-db.env; echo $PARSEC_DB"
    if site.flavour == "native":
        command = f"source ./parsec-native.env; {command}"
    url = run(site, ["bash", "-euc", command]).strip()
    known = values(site.folder / "parsec-credentials.env")["POSTGRES_PASSWORD"]
    url = url.replace(known, password or known)
    url = re.sub(r":\d+/", rf":{port}/", url) if port else url
    return re.sub(r"/\w+\?", f"/{name}?", url) if name else url


def server_at_squatter(site: StackSite, certificate: str) -> str:
    """What a server prints whose database's place another program has taken; told no password."""
    if site.flavour == "native":
        command = [sys.executable, squatter.__file__, str(site.folder / "run-parsec-server")]
        text, status = tried(site, command, {"CERTIFICATE": certificate})
    else:
        argv = ["python", "-c", Path(squatter.__file__).read_text(), "parsec", "run"]
        text, status = contained(site, argv, {"CERTIFICATE": certificate})
    assert status != squatter.TOLD, "whoever takes the database's port is told its password"
    assert status == 1, f"the server ends with {status}: {text[-500:]}"
    return text


def block_store(
    site: StackSite, *, port: str = "", bucket: str = "parsec", secret: str = ""
) -> str:
    """A PARSEC_BLOCKSTORE that differs in some part from the right one."""
    keys = values(site.folder / "parsec-credentials.env")
    usual = {"native": "$S3_PORT", "docker": "9000"}[site.flavour]
    endpoint = rf"https\://{STORE[site.flavour]}\:{port or usual}"
    secret = secret or keys["S3_SECRET_KEY"]
    return f"s3:{endpoint}:us-east-1:{bucket}:{keys['S3_ACCESS_KEY']}:{secret}"


@provokes("message-setting-missing")
def setting_missing(site: StackSite) -> str:
    """Start without an address."""
    return server(site, {"PARSEC_SERVER_ADDR": ""})


@provokes("message-blockstore-form")
def blockstore_form(site: StackSite) -> str:
    """Start with a block store whose colons have lost their backslashes."""
    return server(site, {"PARSEC_BLOCKSTORE": block_store(site).replace("\\", "")})


@provokes("message-database-down")
def database_down(site: StackSite) -> str:
    """Start with a database where none listens."""
    return server(site, {"PARSEC_DB": database(site, port="1")})


@provokes("message-database-password")
def database_password(site: StackSite) -> str:
    """Start with another password."""
    return server(site, {"PARSEC_DB": database(site, password="wrong")})


@provokes("message-database-trust")
def database_trust(site: StackSite) -> str:
    """Start where the database's port shows a certificate of another CA."""
    return server_at_squatter(site, foreign())


@provokes("message-database-plain")
def database_plain(site: StackSite) -> str:
    """Start where the database's port speaks no TLS."""
    return server_at_squatter(site, "")


@provokes("message-not-migrated")
def not_migrated(site: StackSite) -> str:
    """Start with an empty database, the one that PostgreSQL makes for its administrators."""
    printed = server(site, {"PARSEC_DB": database(site, name="postgres")})
    assert f" {len(schema.packaged())} migration(s)" in printed, printed[-500:]
    return printed


@provokes("message-store-down")
def store_down(site: StackSite) -> str:
    """Start with an object store where none listens."""
    return server(site, {"PARSEC_BLOCKSTORE": block_store(site, port="1")})


@provokes("message-bucket-missing")
def bucket_missing(site: StackSite) -> str:
    """Start with a bucket that does not exist."""
    return server(site, {"PARSEC_BLOCKSTORE": block_store(site, bucket="nobodys")})


@provokes("message-store-key")
def store_key(site: StackSite) -> str:
    """Start with another secret key."""
    return server(site, {"PARSEC_BLOCKSTORE": block_store(site, secret="0" * 40)})


@provokes("message-store-trust")
def store_trust(site: StackSite) -> str:
    """Start with another CA, beside which SSL_CERT_FILE does not count."""
    folder = {"native": ".", "docker": "/run/secrets"}[site.flavour]
    other, own = f"{folder}/parsec-server.crt", f"{folder}/custom-ca.crt"
    return server(site, {"AWS_CA_BUNDLE": other, "SSL_CERT_FILE": own})


@provokes("message-port-taken")
def port_taken(site: StackSite) -> str:
    """Start a second server beside the first."""
    return server(site, {})


@provokes("message-client-trust")
def client_trust(site: StackSite) -> str:
    """Connect without the CA."""
    url = f"https://localhost:{site.stack.ports['SERVER']}/"
    return run(site, ["curl", "--silent", "--show-error", url])


@provokes("message-token")
def token(site: StackSite) -> str:
    """Ask with another token."""
    url = f"https://localhost:{site.stack.ports['SERVER']}/administration/stats?format=json"
    curl = ["curl", "--silent", "--show-error", "--cacert", "custom-ca.crt"]
    return run(site, [*curl, "--header", "Authorization: Bearer wrong", url])


@provokes("message-mail-login")
def mail_login(site: StackSite) -> str:
    """Let a server with another password send a mail."""
    return mailing_server(site, "login", {"PARSEC_EMAIL_HOST_PASSWORD": "wrong"})


@provokes("message-mail-trust")
def mail_trust(site: StackSite) -> str:
    """Let a server that trusts another CA send a mail."""
    return mailing_server(site, "trust", {"SSL_CERT_FILE": "parsec-server.crt"})


def mailing_server(site: StackSite, name: str, changes: dict[str, str]) -> str:
    """What another server prints that is to send a mail, with these settings changed."""
    first = {"login": 28000, "trust": 28500}[name]
    port = next(port for port in range(first, first + 500) if is_free(port))
    script = native_script(site, changes | {"PARSEC_PORT": str(port)})
    log = site.folder.parent / f"mail-{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            script, cwd=site.folder, env=activated(site), stdout=output, stderr=output
        )
        try:
            ask_for_mail(site, port, process)
        finally:
            process.terminate()
            process.wait(30)
    return log.read_text(errors="replace")


def ask_for_mail(site: StackSite, port: int, process: subprocess.Popen[bytes]) -> None:
    """Let this server on this port, once it answers, try to send an invitation."""
    from parsec_stack import client, smoke

    ca_file = site.folder / "custom-ca.crt"
    deadline = time.monotonic() + WITHIN
    while not probes.serves_parsec(port, ca_file):
        assert process.poll() is None, "the server that is to send a mail has ended"
        assert time.monotonic() < deadline, "the server that is to send a mail does not answer"
        time.sleep(0.05)
    server = client.Server(port, ca_file)
    device = smoke.new_organization(site.stack, server)
    try:
        client.invite(server, device, "bob@example.com")
    except UserError as error:
        if "could not send the invitation" not in str(error):
            raise
        return
    raise AssertionError("the server has sent a mail all the same")
