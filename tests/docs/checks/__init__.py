"""What the guide's prose promises beyond its blocks, checked after the block of each name.

Each check is one sentence, its docstring; it raises AssertionError with what it saw instead.
"""

from checks import (
    backups,
    catcher,
    certificates,
    containers,
    database,
    downloads,
    files,
    front,
    heartbeat,
    integrity,
    messages,
    prerequisites,
    proxy,
    requests,
    scripts,
    sealed,
    secrets,
    services,
    starts,
    stores,
    supervised,
)
from checks.common import registry

__all__ = [
    "backups",
    "catcher",
    "certificates",
    "containers",
    "database",
    "downloads",
    "files",
    "front",
    "heartbeat",
    "integrity",
    "messages",
    "prerequisites",
    "proxy",
    "registry",
    "requests",
    "scripts",
    "sealed",
    "secrets",
    "services",
    "starts",
    "stores",
    "supervised",
]
