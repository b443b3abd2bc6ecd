"""A proxy with a certificate of another CA, as the guide allows: it is judged by that."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

import pytest

from guidewalk import cache
from parsec_stack import deployment, probes, smoke
from parsec_stack.errors import StackError
from parsec_stack.readiness import is_ready
from parsec_stack.stack import ARTIFACTS, DOCS, Stack
from serving import Handler, serving

TIMEOUT = 60


class Proxy(Handler):
    """A proxy whose server is down."""

    def do_GET(self) -> None:
        """Answer."""
        self.answer(502)


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the proxy's certificate is another CA's, for another name."""
    base = tmp_path_factory.mktemp("certified")
    for name in ("own", "other"):
        (base / name).mkdir()
        subprocess.run(
            [ARTIFACTS / "setup-tls.sh"], cwd=base / name, check=True, capture_output=True,
            env=os.environ | {"TLS_NAMES": "files.example.com"}, timeout=TIMEOUT,
        )  # fmt: skip
    names = base / "names"
    names.write_text("subjectAltName = DNS:files.example.com\n")
    sign = ["openssl", "x509", "-req", "-in", "parsec-proxy.csr", "-CA", "custom-ca.crt"]
    sign += ["-CAkey", "custom-ca.key", "-set_serial", "7", "-days", "9", "-extfile", str(names)]
    subprocess.run(
        [*sign, "-out", "parsec-proxy.crt"], cwd=base / "other", check=True, capture_output=True
    )
    for suffix in ("key", "crt"):
        shutil.copy(base / "other" / f"parsec-proxy.{suffix}", base / "own")
    with (base / "own" / "parsec-proxy.crt").open("a") as file:
        file.write((base / "other" / "custom-ca.crt").read_text())
    return base


def moved(folder: Path, port: int) -> Stack:
    """The stack in the folder, with its proxy at the port."""

    class Moved(Stack):
        @property
        def ports(self) -> dict[str, int]:
            return super().ports | {"PROXY": port}

    return Moved(folder)


def test_a_proxy_is_known_by_its_own_certificate(certified: Path) -> None:
    """By that alone: neither one of our CA nor another one of that CA is taken for it."""
    own, other = certified / "own", certified / "other"
    with serving(own / "parsec-proxy", Proxy) as port:
        stack = moved(own, port)
        assert is_ready(stack, "parsec-proxy")
        with pytest.raises(StackError, match="answered 502"):
            smoke.server_of(stack, "PROXY").request("GET", "/", {})
    for pair in (own / "parsec-server", other / "parsec-server"):
        with serving(pair, Proxy) as port:
            assert not is_ready(moved(own, port), "parsec-proxy")


def test_curl_trusts_what_python_trusts(certified: Path) -> None:
    """The events by HTTP/2 come by it."""
    own = certified / "own"
    for pair, status in ((own / "parsec-proxy", 0), (own / "parsec-server", 90)):
        with serving(pair, Proxy) as port:
            trust = smoke.trusting(probes.proxy_trust(moved(own, port)))
            done = subprocess.run(
                ["curl", "--disable", "--silent", *trust, f"https://localhost:{port}/"]
            )
            assert done.returncode == status


def test_our_own_proxy_is_judged_by_our_ca(certified: Path) -> None:
    """And by its name."""
    other = certified / "other"
    assert probes.proxy_trust(Stack(other)) == other / "custom-ca.crt"
    trusted = ["--cacert", str(other / "custom-ca.crt"), "--capath", "/dev/null"]
    assert smoke.trusting(other / "custom-ca.crt") == trusted


def test_the_script_keeps_it(certified: Path) -> None:
    """What is missing is only that the container may read the key: its content stays."""
    own = certified / "own"
    before = [(own / f"parsec-proxy.{suffix}").read_bytes() for suffix in ("key", "crt")]

    done = subprocess.run([ARTIFACTS / "setup-tls.sh"], cwd=own, capture_output=True, text=True)

    assert "parsec-proxy.crt: kept, of another CA" in done.stdout
    assert [(own / f"parsec-proxy.{suffix}").read_bytes() for suffix in ("key", "crt")] == before


def company(folder: Path, name: str) -> None:
    """Let a company's CA sign the request NAME.csr; ``trusted`` holds that CA as a system does."""
    sign = (
        "mkdir trusted && echo subjectAltName=DNS:localhost >names && "
        "openssl req -new -x509 -newkey rsa:2048 -nodes -subj /CN=Company -days 9 "
        "-keyout ca.key -out ca.crt && "
        "cp ca.crt trusted/$(openssl x509 -in ca.crt -noout -hash).0 && "
        f"openssl x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key "
        f"-set_serial 7 -days 90 -extfile names -out {name}.crt"
    )
    subprocess.run(["sh", "-c", sign], cwd=folder, check=True, capture_output=True)


def test_a_ca_that_the_system_trusts_is_another_one(certified: Path, tmp_path: Path) -> None:
    """Programs look it up beside the CA that is named: its certificates are not ours for that."""
    folder = shutil.copytree(certified / "own", tmp_path / "s")
    shutil.copy(certified / "other" / "parsec-proxy.csr", folder)
    company(tmp_path, "s/parsec-proxy")
    given = (folder / "parsec-proxy.crt").read_bytes()

    done = subprocess.run(
        [ARTIFACTS / "setup-tls.sh"], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"SSL_CERT_DIR": str(tmp_path / "trusted")},
    )  # fmt: skip

    assert "parsec-proxy.crt: kept, of another CA" in done.stdout
    assert (folder / "parsec-proxy.crt").read_bytes() == given


class Squatter(Handler):
    """Somebody at a service's port; whoever has trusted the certificate is counted."""

    visits: ClassVar[list[int]] = []

    def handle(self) -> None:
        """Count the visit, and answer without a look at what is asked."""
        self.visits.append(1)
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def token_is_sent() -> str:
    """The guide's command that sends the administration token, to the port $SQUATTED."""
    block = cache.load(DOCS).command("organization-api", "native")
    return block.text.replace("<orgname>", "MyOrg").replace("localhost:6777", "localhost:$SQUATTED")


@pytest.mark.parametrize(
    "command",
    ["S3_ENDPOINT=https://localhost:$SQUATTED ./create-bucket.sh",
     "STACK_INBOX_PORT=$SQUATTED STACK_SMTP_PORT=$SQUATTED ./ping-mailhog.sh", token_is_sent()],
    ids=["keys of the store", "login of the inbox", "token"],
)  # fmt: skip
def test_no_secret_goes_to_who_has_a_certificate_of_the_systems_ca(
    certified: Path, tmp_path: Path, command: str
) -> None:
    """On Debian curl looks into the system's folder of CAs as well, whichever CA is named."""
    folder = shutil.copytree(certified / "own", tmp_path / "s")
    request = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    request += ["-keyout", "squatter.key", "-out", "squatter.csr"]
    subprocess.run(request, cwd=tmp_path, check=True, capture_output=True)
    company(tmp_path, "squatter")
    for script in ("gen-credentials.sh", "gen-admin-token.sh"):
        subprocess.run([ARTIFACTS / script], cwd=folder, check=True, capture_output=True)
    for script in ("create-bucket.sh", "ping-mailhog.sh"):
        shutil.copy(ARTIFACTS / script, folder)
    inside = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c"]
    inside += ['mount --bind "$0" /etc/ssl/certs && exec timeout 20 bash -c "$1"']

    def ask(how: str, port: int) -> None:
        subprocess.run(
            [*inside, tmp_path / "trusted", how], cwd=folder, capture_output=True,
            env=os.environ | {"SQUATTED": str(port)}, timeout=TIMEOUT,
        )  # fmt: skip

    Squatter.visits.clear()
    with serving(tmp_path / "squatter", Squatter) as port:
        ask("curl --silent --cacert custom-ca.crt https://localhost:$SQUATTED/", port)
        if not Squatter.visits:
            pytest.skip(
                "curl trusts no CA but the one that is named here, or nothing can be mounted"
            )
        ask(command, port)

    assert len(Squatter.visits) == 1


def test_it_has_expired(certified: Path, tmp_path: Path) -> None:
    """No task here can renew it: its own CA does."""
    folder = shutil.copytree(certified / "own", tmp_path / "s")
    sign = ["openssl", "x509", "-req", "-in", "parsec-proxy.csr", "-CA", "custom-ca.crt"]
    sign += ["-CAkey", "custom-ca.key", "-set_serial", "8", "-days", "-1"]
    other = certified / "other"
    out = ["-out", str(folder / "parsec-proxy.crt")]
    subprocess.run([*sign, *out], cwd=other, check=True, capture_output=True)

    with pytest.raises(
        StackError, match=r"parsec-proxy.crt has expired: get a new one from its CA"
    ):
        deployment.check_validity(Stack(folder), "parsec-proxy.crt")
