"""The CA, keys and certificates that setup-tls.sh makes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import verification

from checks.common import after, mode, unchanged_by
from parsec_stack.verify.site import Site

CERTIFIED = ("parsec-s3", "parsec-server", "parsec-proxy")
# Every certificate is reached by its service's name among containers, and from this machine.
LOCAL_NAMES = ("localhost",)
LOCAL_ADDRESS = ip_address("127.0.0.1")
# The group in which the server's container runs.
SERVER_GROUP = 1234
MIN_VALIDITY = timedelta(days=30)


def certificate(site: Site, name: str) -> x509.Certificate:
    """The certificate NAME.crt."""
    return x509.load_pem_x509_certificate((site.folder / f"{name}.crt").read_bytes())


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
