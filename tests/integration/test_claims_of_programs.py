"""Claims that real programs, services and pages are asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from claiming import FILES, REAL, claim, claims_of, settled, verdict
from mini import Mini, command, include
from parsec_stack.stack import ROOT, Stack
from parsec_stack.verify.stack_site import site_of


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    """An empty guide."""
    return Mini(tmp_path)


@pytest.mark.parametrize("kind", REAL)
def test_known_by_real_programs(kind: str) -> None:
    """A literal is known by the server, a program or a package; a misspelt one has a problem."""
    text, role, misspelt, problem = REAL[kind]

    assert (verdict(text, role).kind, verdict(text, role).reason) == (kind, "")
    assert problem in verdict(misspelt, role).reason


@pytest.fixture
def inbox() -> Iterator[int]:
    """A real HTTP server on a port of its own."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with closing(server.socket):
            yield server.server_port
            server.shutdown()


def test_addresses_of_the_stack(tmp_path: Path, inbox: int) -> None:
    """Whether an address answers is asked at the stack's own ports."""
    wanted = [claim("http://127.0.0.1:8025", "link"), claim("127.0.0.1:8025")]

    assert settled(tmp_path, inbox - 8025, *wanted) == ["checked", "checked"]
    assert settled(tmp_path, 1, *wanted) == ["failed", "failed"]


def test_names_of_certificates(tmp_path: Path) -> None:
    """Whether certificates are valid for a name is read from them."""
    import subprocess

    script = (ROOT / "deploy" / "setup-tls.sh").read_text()
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, capture_output=True)

    assert settled(tmp_path, 0, claim("localhost"), claim("::1")) == ["checked", "checked"]
    known = claims_of(FILES | {"setup-tls.sh": "DNS:other"}, one := claim("other"))
    known.settle(site_of(Stack(tmp_path), {}))
    assert "parsec-postgres.crt is not valid for other" in known.verdict(one, "native").reason


def test_what_a_page_claims(mini: Mini) -> None:
    """Literals, links and numbers in order, with the lines on which they stand."""
    mini.artifact("a.sh", "true 1\n").page(
        "See ``one`` and\nlater ``two`` of\n`Parsec <https://parsec.cloud>`_, 3 in all, "
        "S3 too, eleven, one.\n\n"
        "Press :kbd:`Ctrl+J`.\n\n- ``one``\n\n" + command("c", "echo 4") + include("a.sh")
    )

    found = [(one.text, one.role, one.line) for one in mini.load().claims]

    assert found == [
        ("one", "", 4), ("two", "", 5), ("https://parsec.cloud", "link", 6), ("3", "number", 6),
        ("eleven", "number", 6),
        ("Ctrl+J", "kbd", 8), ("one", "", 10),
    ]  # fmt: skip
