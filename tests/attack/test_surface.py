"""All that listens: what it asks of somebody without credentials, and how good its TLS is."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import tls
from asking import CERTIFICATE, LOGIN, SILENCE, what_it_asks
from listeners import of_stack
from stranger import Stranger
from target import ANY, Port, ports

from guidewalk import cache
from parsec_stack.stack import DOCS, Stack

if TYPE_CHECKING:
    from attackers import Record

pytest_plugins = ["attackers"]

ENOUGH = (LOGIN, CERTIFICATE)


def test_ports(stack: Stack, stranger: Stranger, record: Record) -> None:
    """Every port asks for a login or a certificate, but for those that the guide names."""
    found = ports(stack)
    answers = dict(zip(found, stranger.does(ask_all, found), strict=True))
    for network, inner in inside(stack).items():
        answers |= dict(zip(inner, stranger.does(ask_all, inner, network=network), strict=True))

    asked = Counter(answers.values())
    record(ports=len(answers), **{f"asking for {what}": number for what, number in asked.items()})
    silent = [str(port) for port, what in answers.items() if what == SILENCE]
    assert not silent, "nobody can tell what they ask for"
    opened = {usual(stack, port) for port, what in answers.items() if what not in ENOUGH}
    assert opened == told(stack)


def ask_all(found: list[Port]) -> list[str]:
    """What each of the ports asks for."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda port: what_it_asks(port.address, port.number), found))


def inside(stack: Stack) -> dict[int, list[Port]]:
    """What listens in the containers' own networks, by a process in each."""
    found: dict[int, list[Port]] = {}
    for one in of_stack(stack) if stack.flavour == "docker" else ():
        if one.kind == "tcp":
            address = "127.0.0.1" if one.address in ANY else one.address
            found.setdefault(one.process, []).append(Port(one.service, address, one.port))
    return found


def usual(stack: Stack, port: Port) -> int:
    """The number that the guide gives this port; containers have the usual ones inside."""
    numbers = {moved: usual for usual, moved in stack.moved_ports.items()}
    return numbers.get(port.number, port.number)


def told(stack: Stack) -> set[int]:
    """The ports of which the guide says that they answer whoever comes, and why."""
    claims = cache.load(DOCS).claims
    numbers = {int(claim.text) for claim in claims if claim.role == "open-port"}
    return numbers & set(stack.usual_ports.values())


def test_tls(stack: Stack, tmp_path: Path, record: Record) -> None:
    """Every port speaks TLS, as Mozilla's "intermediate" profile has it or more strictly."""
    # What listens is the same at each address of a container.
    found = list({(one.service, usual(stack, one)): one for one in reversed(ports(stack))}.values())
    with ThreadPoolExecutor(8) as pool:
        ways = dict(zip(found, pool.map(tls.way_of, found), strict=True))
    plain = [port for port, way in ways.items() if way is None]
    encrypted = {port: way for port, way in ways.items() if way is not None}

    seen = tls.look(encrypted, stack.folder / "custom-ca.crt", tmp_path)

    suites = {suite for one in seen.values() for suite in one.suites}
    record(ports=len(found), without_tls=len(plain), suites=len(suites))
    problems = {str(port): list(one.problems) for port, one in seen.items()}
    assert not {port: said for port, said in problems.items() if said}
    assert {usual(stack, port) for port in plain} == {stack.usual_ports["PROXY_HTTP"]}
