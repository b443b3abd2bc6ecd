"""Where a stack can be reached from this machine, and what an attacker would be after."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_interface
from typing import Any

import psutil
from listeners import Listener, of_stack

from parsec_stack import docker, engine
from parsec_stack.stack import Stack

ANY = ("0.0.0.0", "::")


@dataclass(frozen=True, order=True)
class Port:
    """An address and port at which a service answers those on this machine."""

    service: str
    address: str
    number: int

    def __str__(self) -> str:
        return f"{self.service} at {self.address}:{self.number}"


def ports(stack: Stack) -> list[Port]:
    """All that every user of this machine reaches: with Docker by the containers' addresses too."""
    found = {
        Port(one.service, address, one.port)
        for one in of_stack(stack)
        if one.kind == "tcp"
        for address in reached_at(stack, one)
    }
    if stack.flavour == "docker":
        published = docker.ports(stack)
        found |= {Port(service, "127.0.0.1", number) for service, number in published}
    return sorted(found)


def reached_at(stack: Stack, listener: Listener) -> list[str]:
    """The addresses at which others on this machine reach the socket."""
    if stack.flavour == "docker":
        return addresses(stack, listener.service) if listener.address in ANY else []
    return ["127.0.0.1"] if listener.address in ANY else [listener.address]


def addresses(stack: Stack, service: str) -> list[str]:
    """The addresses of the service's container in the networks of which this machine is a part."""
    own = [
        ip_interface(f"{one.address}/{one.netmask}").network
        for several in psutil.net_if_addrs().values()
        for one in several
        if one.family == socket.AF_INET
    ]
    found = [one["IPAddress"] for one in networks(stack, service).values() if one["IPAddress"]]
    return [one for one in found if any(ip_address(one) in network for network in own)]


def networks(stack: Stack, service: str) -> dict[str, dict[str, str]]:
    """The networks of the service's container, and what it is in each."""
    container = docker.containers(stack)[service]
    container.reload()
    found: dict[str, dict[str, str]] = container.attrs["NetworkSettings"]["Networks"]
    return found


@dataclass(frozen=True)
class Way:
    """How a port is reached: of which address there, and from which one."""

    address: str
    number: int
    source: str = ""


def from_elsewhere(stack: Stack, place: str) -> Way:
    """The way of somebody whose address is not that of the machine's other clients.

    With Docker clients on this machine have that of a network's gateway, so this one comes from
    another network's, to the container itself; for the server's own port that is too far.
    """
    if stack.flavour == "native":
        return Way("127.0.0.1", stack.ports[place], "127.0.0.2")
    if place == "SERVER":
        return Way("127.0.0.1", stack.ports[place])
    address = networks(stack, "parsec-proxy")[f"{stack.project}_local"]["IPAddress"]
    # Of a network without a way out: no rule of the engine's puts another address in its place.
    (own,) = engine.engine().networks.get(f"{stack.project}_data").attrs["IPAM"]["Config"]
    return Way(address, 443, own["Gateway"])


@dataclass(frozen=True)
class Decoy:
    """An object that was put into the bucket with the right keys."""

    stack: Stack
    key: str
    content: bytes

    def __post_init__(self) -> None:
        self.store.put_object(Bucket="parsec", Key=self.key, Body=self.content)

    @cached_property
    def store(self) -> Any:
        """A client of the object store that has the stack's keys."""
        keys = self.stack.env_file("parsec-credentials.env")
        return self.client(keys["S3_ACCESS_KEY"], keys["S3_SECRET_KEY"])

    def client(self, access: str, secret: str) -> Any:
        """A client that has these keys."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=f"https://localhost:{self.stack.ports['S3']}",
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            verify=str(self.stack.folder / "custom-ca.crt"),
            config=Config(retries={"max_attempts": 1}, proxies={}),
        )

    def is_whole(self) -> bool:
        """Does the bucket still hold it, unchanged?"""
        try:
            answer = self.store.get_object(Bucket="parsec", Key=self.key)
        except self.store.exceptions.ClientError:
            return False
        return bool(answer["Body"].read() == self.content)


def trusting(stack: Stack) -> ssl.SSLContext:
    """TLS as a client has it that trusts the stack's CA alone."""
    return ssl.create_default_context(cadata=(stack.folder / "custom-ca.crt").read_text())
