"""The table of services and the flavours' interface leave nothing out."""

import pytest

from parsec_stack.errors import StackError
from parsec_stack.flavour import IMPLEMENTATIONS
from parsec_stack.readiness import PROBES
from parsec_stack.services import FLAVOURS, SERVICES, flavour_named, usual_ports


def test_every_service_can_be_asked() -> None:
    """Each row of the table has a probe, and no probe is of another service."""
    assert PROBES.keys() == SERVICES.keys()


def test_every_flavour_is_implemented() -> None:
    """The registry has each name that a user may give."""
    assert tuple(IMPLEMENTATIONS) == FLAVOURS


def test_every_port_is_one_services_own() -> None:
    """No word names two ports, and no port of a flavour is taken twice."""
    words = [port.name for service in SERVICES.values() for port in service.ports]
    assert len(words) == len(set(words))
    for flavour in FLAVOURS:
        ports = usual_ports(flavour)
        assert len(set(ports.values())) == len(words)


def test_where_a_service_is_reached_names_its_ports() -> None:
    """The address of a row has all of its ports but the one that only redirects."""
    for service in SERVICES.values():
        for port in service.ports:
            assert (f"{{{port.name}}}" in service.address) != (port.name == "PROXY_HTTP")


def test_an_unknown_flavour() -> None:
    """One message names those that there are."""
    with pytest.raises(StackError, match="unknown flavour 'podman': choose native or docker"):
        flavour_named("podman")
