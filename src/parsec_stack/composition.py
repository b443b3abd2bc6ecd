"""Read what the guide's compose file says about its services."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

COMPOSE_FILE = "parsec-server.docker.yaml"


def parse(text: str) -> dict[str, Any]:
    """Return the compose file as data; empty if the text is not a mapping."""
    import yaml

    # The guide's facts read the file many times, and libyaml is fast where PyYAML has it.
    content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return cast(dict[str, Any], content) if isinstance(content, dict) else {}


def groups(content: dict[str, Any]) -> dict[str, int]:
    """Return the number of the group in which each service runs."""
    services = content.get("services", {})
    return {
        name: int(str(service["user"]).rpartition(":")[2])
        for name, service in services.items()
        if "user" in service
    }


def images(content: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return name and version of each service's image."""
    services = content.get("services", {}).items()
    named = {name: service["image"].rpartition(":") for name, service in services}
    return {name: (image, version) for name, (image, _, version) in named.items()}


def keywords(content: Any) -> Iterator[str]:
    """Yield all keys at every depth."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield str(key)
            yield from keywords(value)
    elif isinstance(content, list):
        for item in content:
            yield from keywords(item)


class PublishedPort(NamedTuple):
    """A published port of this machine: the name of its variable, its default, who may reach it."""

    name: str
    number: int
    public: bool


def ports(content: dict[str, Any]) -> dict[str, list[PublishedPort]]:
    """Return the published ports of each service, in the order of the file."""
    return {
        name: [published(entry) for entry in service.get("ports", [])]
        for name, service in content.get("services", {}).items()
    }


def published(entry: str) -> PublishedPort:
    """Return one published port; ValueError if no variable can move it."""
    found = re.match(r"(127\.0\.0\.1:)?\$\{STACK_(\w+)_PORT:-(\d+)\}:", entry)
    if not found:
        raise ValueError(f"the published port {entry} cannot be moved by a variable")
    return PublishedPort(found[2], int(found[3]), public=not found[1])
