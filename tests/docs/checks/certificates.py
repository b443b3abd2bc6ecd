"""The CA, keys and certificates that setup-tls.sh makes."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from checks.common import after, mode, unchanged_by
from parsec_stack import probes
from parsec_stack.services import KEY_GROUPS
from parsec_stack.verify.stack_site import StackSite

# The services that have a certificate, each with the name of its port.
CERTIFIED = {
    "parsec-postgres": "POSTGRES", "parsec-s3": "S3", "parsec-smtp": "INBOX",
    "parsec-server": "SERVER", "parsec-proxy": "PROXY",
}  # fmt: skip
# All that have one, and what the key of each is for.
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
PURPOSES = {
    "parsec-postgres": [SERVER],
    "parsec-s3": [SERVER],
    "parsec-s3-inner": [SERVER, CLIENT],
    "parsec-smtp": [SERVER],
    "parsec-server": [SERVER],
    "parsec-proxy": [SERVER],
}
# The object store's own parts also call each other by the store's name.
FURTHER_NAMES = {"parsec-s3-inner": {"DNS:parsec-s3"}}
# Every certificate is reached by its service's name among containers, and from this machine.
LOCAL_NAMES = ("localhost",)
LOCAL_ADDRESS = ip_address("127.0.0.1")
LIFETIME = {"custom-ca": timedelta(days=3650)} | dict.fromkeys(PURPOSES, timedelta(days=365))
# So much may pass between making a certificate and looking at it.
MOMENT = timedelta(minutes=10)
# In seconds.
POLL, HANDSHAKE = 0.05, 5.0


def certificate(site: StackSite, name: str) -> x509.Certificate:
    """The certificate NAME.crt."""
    return x509.load_pem_x509_certificate((site.folder / f"{name}.crt").read_bytes())


def extension[T: x509.ExtensionType](of: x509.Certificate, kind: type[T]) -> T:
    """The certificate's extension of this kind."""
    return of.extensions.get_extension_for_class(kind).value


def usages(of: x509.Certificate) -> set[str]:
    """What the certificate's key may be used for."""
    usage = extension(of, x509.KeyUsage)
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
             "key_agreement", "key_cert_sign", "crl_sign")  # fmt: skip
    return {name for name in names if getattr(usage, name)}


def common_name(of: x509.Certificate) -> str:
    """The name of the certificate's subject."""
    (found,) = of.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found.value)


def names_in(path: Path) -> set[str]:
    """The names and addresses in a certificate or a signing request, each with its kind."""
    content = path.read_bytes()
    load = x509.load_pem_x509_csr if path.suffix == ".csr" else x509.load_pem_x509_certificate
    names = load(content).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {f"{'DNS' if isinstance(name, x509.DNSName) else 'IP'}:{name.value}" for name in names}


def expiring(site: StackSite, name: str, *, days: int) -> bytes:
    """The certificate NAME.crt as it would be if it ended in so many days."""
    old, authority = certificate(site, name), certificate(site, "custom-ca")
    key = load_pem_private_key((site.folder / "custom-ca.key").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    end = datetime.now(UTC) + timedelta(days=days)
    new = x509.CertificateBuilder(
        authority.subject, old.subject, old.public_key(), old.serial_number,
        end - timedelta(days=365), end, list(old.extensions),
    )  # fmt: skip
    return new.sign(key, SHA256()).public_bytes(Encoding.PEM)


def foreign() -> str:
    """A certificate for this machine that another CA has signed, with its key, in PEM."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "parsec-postgres")])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Another CA")])
    names = x509.SubjectAlternativeName([x509.IPAddress(LOCAL_ADDRESS), x509.DNSName("localhost")])
    made = (
        x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - MOMENT)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (made.public_bytes(Encoding.PEM) + private).decode()


@after("tls")
def private_keys_are_private(site: StackSite) -> None:
    """Its owner alone reads a private key, and where root hands it over its container's group."""
    for name in ("custom-ca", *PURPOSES):
        path = site.folder / f"{name}.key"
        shared = name in KEY_GROUPS and path.stat().st_gid == KEY_GROUPS[name]
        allowed = 0o640 if shared else 0o600
        assert mode(path) == allowed, f"{path.name} has mode {mode(path):o}, not {allowed:o}"


@after("tls")
def the_authority_may_sign(site: StackSite) -> None:
    """The CA says that it is one, and that its key signs certificates."""
    extensions = certificate(site, "custom-ca").extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)

    assert basic.critical
    assert basic.value.ca
    assert usage.critical
    assert usage.value.key_cert_sign


@after("tls")
def certificates_are_trusted(site: StackSite) -> None:
    """Whoever trusts the CA trusts each certificate under every name by which it is reached."""
    store = verification.Store([certificate(site, "custom-ca")])
    for name in PURPOSES:
        subjects: list[x509.DNSName | x509.IPAddress] = [x509.IPAddress(LOCAL_ADDRESS)]
        subjects += [x509.DNSName(each) for each in (name, *LOCAL_NAMES)]
        for subject in subjects:
            verifier = verification.PolicyBuilder().store(store).build_server_verifier(subject)
            try:
                verifier.verify(certificate(site, name), [])
            except verification.VerificationError as error:
                raise AssertionError(f"{name}.crt as {subject.value}: {error}") from None


@after("tls")
def the_authority_signs_for_these_names_alone(site: StackSite) -> None:
    """Whoever has the CA's key cannot pretend to be another site."""
    constraints = extension(certificate(site, "custom-ca"), x509.NameConstraints)
    permitted = {str(name.value) for name in constraints.permitted_subtrees or ()}
    assert permitted == {"localhost", *PURPOSES, "127.0.0.0/8", "::1/128"}, permitted


@after("tls")
def certificates_last(site: StackSite) -> None:
    """The CA lasts ten years, the certificates one."""
    for name in LIFETIME:
        is_new(site, name)


def is_new(site: StackSite, name: str) -> None:
    """See that the certificate NAME.crt was made a moment ago, to last as long as it should."""
    left = certificate(site, name).not_valid_after_utc - datetime.now(UTC)
    in_time = LIFETIME[name] - MOMENT < left <= LIFETIME[name]
    assert in_time, f"{name}.crt expires in {left.days} days"


@after("tls")
def certificates_say_what_they_are_for(site: StackSite) -> None:
    """The CA signs services alone; each service's certificate proves a server of its name."""
    authority = certificate(site, "custom-ca")
    assert usages(authority) == {"key_cert_sign", "crl_sign"}
    assert extension(authority, x509.BasicConstraints).path_length == 0
    assert common_name(authority) == "Custom CA of a Parsec test server"
    for name, purposes in PURPOSES.items():
        own = certificate(site, name)
        assert common_name(own) == name
        assert isinstance(own.signature_hash_algorithm, SHA256), name
        assert usages(own) == {"digital_signature"}, name
        assert list(extension(own, x509.ExtendedKeyUsage)) == purposes, name
        assert not extension(own, x509.BasicConstraints).ca, name
        for kind in (x509.BasicConstraints, x509.KeyUsage):
            assert own.extensions.get_extension_for_class(kind).critical, f"{name}: {kind.__name__}"
        names = {f"DNS:{name}", "DNS:localhost", "IP:127.0.0.1", "IP:::1"}
        names |= FURTHER_NAMES.get(name, set())
        assert names_in(site.folder / f"{name}.crt") == names
        assert names_in(site.folder / f"{name}.csr") == names
        key = extension(authority, x509.SubjectKeyIdentifier).digest
        assert extension(own, x509.AuthorityKeyIdentifier).key_identifier == key, name
        assert extension(own, x509.SubjectKeyIdentifier).digest, name


@after("tls")
def serial_numbers_are_not_repeated(site: StackSite) -> None:
    """No two certificates have one serial number, and each number is long enough to be unique."""
    numbers = [certificate(site, name).serial_number for name in ("custom-ca", *PURPOSES)]
    assert len(set(numbers)) == len(numbers)
    assert all(64 < number.bit_length() <= 120 for number in numbers), numbers


@after("tls")
def keys_belong_to_certificates(site: StackSite) -> None:
    """Each key, an ECDSA one, fits its signing request and its certificate."""
    for name in ("custom-ca", *PURPOSES):
        key = load_pem_private_key((site.folder / f"{name}.key").read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), f"{name}.key is no ECDSA key"
        assert isinstance(key.curve, ec.SECP256R1), f"{name}.key is of {key.curve.name}"
        assert key.public_key() == certificate(site, name).public_key(), f"{name}.crt"
    for name in PURPOSES:
        request = x509.load_pem_x509_csr((site.folder / f"{name}.csr").read_bytes())
        assert request.public_key() == certificate(site, name).public_key(), f"{name}.csr"


@after("tls")
def certificates_stay(site: StackSite) -> None:
    """Running it again keeps what is valid."""
    unchanged_by(site, "setup-tls.sh", [f"{name}.crt" for name in ("custom-ca", *PURPOSES)])


@after("ciphers", prepares=True)
def certificates_end_tomorrow(site: StackSite) -> None:
    """Certificates that soon expire take the place of those that the services use."""
    for name in CERTIFIED:
        (site.folder / f"{name}.crt").write_bytes(expiring(site, name, days=1))


@after("renew")
def what_would_expire_is_replaced(site: StackSite) -> None:
    """The certificates that would soon have expired have been replaced."""
    for name in CERTIFIED:
        is_new(site, name)


@after("renew-restart-native", "renew-restart-docker")
def services_show_their_new_certificates(site: StackSite) -> None:
    """Each service shows the certificate that lies in its file."""
    deadline = time.monotonic() + site.patience
    while others := [name for name in CERTIFIED if shown(site, name) != certificate(site, name)]:
        assert time.monotonic() < deadline, f"another certificate is shown by {', '.join(others)}"
        time.sleep(POLL)


def shown(site: StackSite, service: str) -> x509.Certificate | None:
    """The certificate that clients of the service get, if it answers."""
    address = ("localhost", site.stack.ports[CERTIFIED[service]])
    with suppress(OSError), socket.create_connection(address, timeout=HANDSHAKE) as plain:
        if service == "parsec-postgres":
            plain.sendall(probes.TLS_REQUEST)
            plain.recv(1)
        with ssl._create_unverified_context().wrap_socket(plain) as connection:
            return x509.load_der_x509_certificate(connection.getpeercert(True) or b"")
    return None
