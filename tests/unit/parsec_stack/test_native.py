"""The native flavour: what it has outside of the stack's folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsec_stack import native
from parsec_stack.errors import StackError
from parsec_stack.stack import Stack

# Where no other stack of this machine is likely to be.
OFFSET = 12987


def bind(path: Path) -> None:
    """Leave a socket there, as SeaweedFS does."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that has left its sockets behind; whatever has their names is removed afterwards."""
    stack = Stack(tmp_path, "native", OFFSET)
    paths = native.outer_sockets(stack)
    for path in paths:
        path.unlink(missing_ok=True)
        bind(path)
    yield stack
    for path in paths:
        path.unlink(missing_ok=True)


def test_the_sockets_are_those_of_the_ports(stack: Stack) -> None:
    """Another stack has other sockets."""
    other = Stack(stack.folder, "native", OFFSET + 13)
    assert len(native.outer_sockets(stack)) == 5
    assert not set(native.outer_sockets(stack)) & set(native.outer_sockets(other))


def test_own_sockets_are_removed(stack: Stack) -> None:
    """Those that are left go, also those under the names of earlier versions."""
    port = stack.ports["S3"]
    earlier = [Path(f"/tmp/seaweedfs-{name}.sock") for name in (f"s3-{port}", f"filer-{port + 5}")]
    for path in earlier:
        bind(path)
    native.remove_sockets(stack)
    assert not [path for path in (*native.outer_sockets(stack), *earlier) if path.exists()]


@pytest.mark.parametrize("kind", ["file", "link", "foreign"])
def test_what_others_have_put_there_is_refused_and_kept(stack: Stack, kind: str) -> None:
    """It is named with its owner, and never removed."""
    path = native.outer_sockets(stack)[2]
    owner = 4321 if kind == "foreign" else os.getuid()
    if kind == "foreign":
        if os.getuid() != 0:
            pytest.skip("only root can give a file away")
        os.chown(path, owner, owner)
    else:
        path.unlink()
        path.touch() if kind == "file" else path.symlink_to(stack.folder)
    with pytest.raises(StackError, match=rf"^{path} .* as user {owner} or as root"):
        native.check_socket(path)
    native.remove_sockets(stack)
    assert path.is_symlink() or path.exists()


def test_own_sockets_and_none_are_no_obstacle(stack: Stack) -> None:
    """SeaweedFS replaces what it has left."""
    path = native.outer_sockets(stack)[0]
    native.check_socket(path)
    path.unlink()
    native.check_socket(path)
