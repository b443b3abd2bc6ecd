"""What the guide's prose promises beyond its blocks, checked after the block of each name.

Each check is one sentence, its docstring; it raises AssertionError with what it saw instead.
"""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import verification

from parsec_stack.verify import compose, env_files
from parsec_stack.verify.registry import Registry
from parsec_stack.verify.site import Site
from parsec_stack.verify.tool import output_of

registry = Registry()
after = registry.after

CERTIFIED = ("parsec-s3", "parsec-server", "parsec-proxy")
# Every certificate is reached by its service's name among containers, and from this machine.
LOCAL_NAMES = ("localhost",)
LOCAL_ADDRESS = ip_address("127.0.0.1")
# The group in which the server's container runs.
SERVER_GROUP = 1234
MIN_VALIDITY = timedelta(days=30)
MIN_SECRET = 20

TOKEN_NAMES = {"PARSEC_ADMINISTRATION_TOKEN", "PARSEC_FAKE_ACCOUNT_PASSWORD_ALGORITHM_SEED"}
# Each credential with the file in secrets/ that holds it alone.
CREDENTIALS = {
    "POSTGRES_PASSWORD": "postgres-password",
    "S3_ACCESS_KEY": "s3-access-key",
    "S3_SECRET_KEY": "s3-secret-key",
    "S3_CONSOLE_USER": None,
    "S3_CONSOLE_PASSWORD": "s3-console-password",
}
ENV_FILES = (
    "parsec-credentials.env",
    "parsec-admin-token.env",
    "parsec-db.env",
    "parsec-smtp.env",
    "parsec-s3.env",
    "parsec.env",
)


def mode(path: Path) -> int:
    """The file's permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def certificate(site: Site, name: str) -> x509.Certificate:
    """The certificate NAME.crt."""
    return x509.load_pem_x509_certificate((site.folder / f"{name}.crt").read_bytes())


def values(path: Path) -> dict[str, str]:
    """The assignments of an env file that the guide's scripts have written."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    pairs = (line.partition("=") for line in lines)
    return {name: value.strip("'\"") for name, _, value in pairs}


@after("tls")
def private_keys_are_private(site: Site) -> None:
    """Its owner alone reads a private key; the server's, also its container's group."""
    for name in ("custom-ca", *CERTIFIED):
        path = site.folder / f"{name}.key"
        shared = name == "parsec-server" and path.stat().st_gid == SERVER_GROUP
        allowed = 0o640 if shared else 0o600
        assert mode(path) == allowed, f"{path.name} has mode {mode(path):o}, not {allowed:o}"


@after("tls")
def the_authority_may_sign(site: Site) -> None:
    """The CA says that it is one, and that its key signs certificates."""
    extensions = certificate(site, "custom-ca").extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)

    assert basic.critical
    assert basic.value.ca
    assert usage.critical
    assert usage.value.key_cert_sign


@after("tls")
def certificates_are_trusted(site: Site) -> None:
    """Whoever trusts the CA trusts each certificate under every name by which it is reached."""
    store = verification.Store([certificate(site, "custom-ca")])
    for name in CERTIFIED:
        subjects: list[x509.DNSName | x509.IPAddress] = [x509.IPAddress(LOCAL_ADDRESS)]
        subjects += [x509.DNSName(each) for each in (name, *LOCAL_NAMES)]
        for subject in subjects:
            verifier = verification.PolicyBuilder().store(store).build_server_verifier(subject)
            try:
                verifier.verify(certificate(site, name), [])
            except verification.VerificationError as error:
                raise AssertionError(f"{name}.crt as {subject.value}: {error}") from None


@after("tls")
def certificates_last(site: Site) -> None:
    """No certificate expires soon."""
    for name in ("custom-ca", *CERTIFIED):
        left = certificate(site, name).not_valid_after_utc - datetime.now(UTC)
        assert left > MIN_VALIDITY, f"{name}.crt expires in {left.days} days"


@after("tls")
def keys_belong_to_certificates(site: Site) -> None:
    """Each key, an ECDSA one, fits its signing request and its certificate."""
    for name in ("custom-ca", *CERTIFIED):
        key = load_pem_private_key((site.folder / f"{name}.key").read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), f"{name}.key is no ECDSA key"
        assert key.public_key() == certificate(site, name).public_key(), f"{name}.crt"
    for name in CERTIFIED:
        request = x509.load_pem_x509_csr((site.folder / f"{name}.csr").read_bytes())
        assert request.public_key() == certificate(site, name).public_key(), f"{name}.csr"


@after("tls")
def certificates_stay(site: Site) -> None:
    """Running it again keeps what is valid."""
    unchanged_by(site, "setup-tls.sh", [f"{name}.crt" for name in ("custom-ca", *CERTIFIED)])


@after("admin-token")
def the_token_is_complete_and_private(site: Site) -> None:
    """The token and the seed are long, and in a file that its owner alone can read."""
    complete_and_private(site.folder / "parsec-admin-token.env", TOKEN_NAMES)


@after("admin-token")
def the_token_is_never_printed(site: Site) -> None:
    """Neither token nor seed is printed."""
    never_printed(site, "admin-token", "parsec-admin-token.env")


@after("admin-token")
def the_token_stays(site: Site) -> None:
    """Running it again overwrites nothing."""
    unchanged_by(site, "gen-admin-token.sh", ["parsec-admin-token.env"])


@after("credentials")
def the_credentials_are_complete_and_private(site: Site) -> None:
    """The credentials are complete, and in a file that its owner alone can read."""
    complete_and_private(site.folder / "parsec-credentials.env", set(CREDENTIALS))


@after("credentials")
def the_credentials_need_no_quoting(site: Site) -> None:
    """The credentials are of letters and digits, so no file has to quote them."""
    for name, value in values(site.folder / "parsec-credentials.env").items():
        assert value.isascii(), name
        assert value.isalnum(), name


@after("credentials")
def the_credentials_are_never_printed(site: Site) -> None:
    """No credential is printed."""
    never_printed(site, "credentials", "parsec-credentials.env")


@after("credentials")
def the_credentials_stay(site: Site) -> None:
    """Running it again overwrites nothing."""
    unchanged_by(site, "gen-credentials.sh", ["parsec-credentials.env"])


@after("credentials")
def secret_files_hold_the_credentials(site: Site) -> None:
    """The folder secrets/ is private and holds the same credentials, for containers."""
    folder = site.folder / "secrets"
    assert mode(folder) == 0o700, f"secrets/ has mode {mode(folder):o}"
    expected = values(site.folder / "parsec-credentials.env")
    for name, file in CREDENTIALS.items():
        if file:
            assert (folder / file).read_text().strip() == expected[name], f"secrets/{file}"
    identities = json.loads((folder / "s3-identities.json").read_text())["identities"]
    keys = [
        (key["accessKey"], key["secretKey"]) for one in identities for key in one["credentials"]
    ]
    assert (expected["S3_ACCESS_KEY"], expected["S3_SECRET_KEY"]) in keys


@after("credentials")
def env_files_agree(site: Site) -> None:
    """All env files together mean the same to bash and to compose."""
    files = list(ENV_FILES)
    if site.flavour == "native":
        files.insert(0, "parsec-native.env")
    present = [name for name in files if (site.folder / name).exists()]
    if compose.TOOL.path:
        ports = {name: site.environment[name] for name in site.environment if "_PORT" in name}
        differences = env_files.differences(present, site.folder, ports)
        assert not differences, "; ".join(differences)


def complete_and_private(path: Path, names: set[str]) -> None:
    """The env file sets these names to long values, and is its owner's alone."""
    found = values(path)
    assert mode(path) == 0o600, f"{path.name} has mode {mode(path):o}"
    assert set(found) == names, f"{path.name} sets {', '.join(sorted(found))}"
    for name, value in found.items():
        assert len(value) >= MIN_SECRET or name.endswith("_USER"), f"{name} is short"


def never_printed(site: Site, block: str, file: str) -> None:
    """No long value of the env file is in what the block has printed."""
    for name, value in values(site.folder / file).items():
        if len(value) >= MIN_SECRET:
            assert value not in site.outputs[block], f"{name} was printed"


def unchanged_by(site: Site, script: str, files: list[str]) -> None:
    """The script, run again, succeeds and leaves these files as they are."""
    before = {name: (site.folder / name).read_bytes() for name in files}
    said = output_of(["bash", script], site.folder, site.environment)
    assert said.status == 0, f"{script} fails when it is run again: {said.last_line}"
    for name, content in before.items():
        assert (site.folder / name).read_bytes() == content, f"{script} has changed {name}"
