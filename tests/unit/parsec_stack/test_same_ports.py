"""Ports in the guide's files and commands that are not those of the table of services."""

from __future__ import annotations

import pytest

from claiming import block
from guidewalk.guide import Guide
from parsec_stack.verify import same_ports


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("curl https://localhost:6777/", ""),
        ("curl https://localhost:6778/", "docs/index.rst:2: no service has the port 6778"),
        ("listen 127.0.0.1:8444;", "docs/index.rst:2: no service has the port 8444"),
        ("${STACK_PROXY_PORT:-443}:443", ""),
        (
            "${STACK_PROXY_PORT:-6777}:443",
            "docs/index.rst:2: the port PROXY is 443 or 8443, not 6777",
        ),
    ],
)
def test_ports(line: str, problem: str) -> None:
    """Each other port is told with its line, also one that another service has."""
    found = list(same_ports.problems(Guide([block("a.sh", f"true\n{line}\n")])))

    assert [one.startswith(problem) for one in found] == ([True] if problem else [])
