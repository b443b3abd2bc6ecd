"""Pieces of secrets are found, however a text breaks them, and words are left alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parsec_stack.pieces import SIZE, Pieces
from parsec_stack.redact import Redactor

# Neither is of any use: the first is generated, the second chosen by somebody.
SECRET = "3a2e05b783655ea8cb63f01d94c7be5210a6d8f3"
CHOSEN = "the-database-of-Parsec-2024"
# The server's own way to log an error, in a format for a terminal, whose frame shows variables.
FRAMED = """
import os, sys
from parsec.config import LogLevel
from parsec.logging import LogFormat, configure_logging, get_logger
configure_logging(LogLevel.INFO, LogFormat.CONSOLE, sys.stdout)

def connect(password, headers):
    raise ValueError

try:
    connect(os.environ["SECRET"], [(b"authorization", b"Bearer " + os.environ["SECRET"].encode())])
except ValueError:
    get_logger().exception("It failed")
"""


@pytest.fixture
def pieces() -> Pieces:
    """The pieces of both secrets."""
    known = Pieces()
    known.add(SECRET, "one")
    known.add(CHOSEN, "another")
    return known


def broken(secret: str) -> list[str]:
    """The secret as texts break it."""
    first, last = secret[:7], secret[7:14]
    return [
        f"{first}\n{last}",
        f"│ │ key = '{first}     │ │\n│ │ {last}  │ │".replace("key = '", ""),
        f"\x1b[35m{first}\x1b[0m \x1b[31m│\x1b[0m\n\x1b[31m│\x1b[0m {last}",
        f"parsec-server  | │ {first}  │\nparsec-server  | │ {last}",
        rf"{first}\n{last}",
        rf"{first}\u2502\n\u001b[31m{last}",
    ]


def test_whole_secrets(pieces: Pieces) -> None:
    """A whole secret is hidden, whoever made it."""
    assert pieces.hide(f"a {SECRET} b {CHOSEN} c", "...") == "a ... b ... c"
    assert pieces.origin_in(f"a {CHOSEN}") == "another"


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("length", [SIZE, SIZE + 1, 20])
def test_pieces(pieces: Pieces, start: int, length: int) -> None:
    """A piece is hidden wherever it begins, in the secret and in the text."""
    for shift in range(4):
        piece = SECRET[start : start + length]
        text = f"{'x' * shift}={piece}'"
        assert pieces.hide(text, "...") == f"{'x' * shift}=...'"


def test_shorter_pieces(pieces: Pieces) -> None:
    """What is shorter than a piece tells nothing."""
    text = SECRET[: SIZE - 1]

    assert pieces.hide(text, "...") == text


@pytest.mark.parametrize("text", broken(SECRET))
def test_broken_pieces(pieces: Pieces, text: str) -> None:
    """Both ends of a piece are hidden, and what breaks it stays."""
    shown = pieces.hide(text, "...")

    assert SECRET[:7] not in shown
    assert SECRET[7:14] not in shown
    assert pieces.origin_in(text) == "one"
    assert not pieces.origin_in(shown)
    assert [line.count("│") for line in shown.split("\n")] == [
        line.count("│") for line in text.split("\n")
    ]


@pytest.mark.parametrize("text", ["the database of Parsec", "database-of-Mine", "Parsec-2024"])
def test_words_are_shown(pieces: Pieces, text: str) -> None:
    """Words that somebody's password holds are no pieces of it."""
    assert pieces.hide(text, "...") == text


def test_certificates_are_shown(tmp_path: Path) -> None:
    """What a certificate tells of its key, in the key's file too, is no secret."""
    shared = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEq7"
    (tmp_path / "parsec.key").write_text(f"{SECRET}\n{shared}\n")
    (tmp_path / "parsec.crt").write_text(f"{shared}\n")

    assert Redactor(tmp_path)(f"{shared} {SECRET}") == f"{shared} [redacted]"


def test_a_traceback_in_a_frame(tmp_path: Path) -> None:
    """What the server draws of an error holds a long secret in pieces, and none once redacted."""
    secret = os.urandom(60).hex()
    (tmp_path / "secret.env").write_text(f"SECRET={secret}\n")
    (tmp_path / "secret.env").chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-c", FRAMED], env=os.environ | {"SECRET": secret},
        capture_output=True, text=True,
    )  # fmt: skip
    shown = Redactor(tmp_path)(done.stdout)

    assert done.returncode == 0, done.stderr
    assert secret not in done.stdout
    assert found(secret, done.stdout)
    assert not found(secret, shown)
    assert "ValueError" in shown
    assert shown.count("\n") == done.stdout.count("\n")


def found(secret: str, text: str) -> bool:
    """Is a piece of the secret in the text, which a frame may break?"""
    whole = re.sub(r"\x1b\[[\d;]*m|[\s\u2500-\u257f]", "", text)
    return any(secret[start : start + SIZE] in whole for start in range(len(secret) - SIZE))


def test_long_logs(pieces: Pieces) -> None:
    """Megabytes are searched in seconds."""
    log = '127.0.0.1:44752 - "GET /anonymous/5ea8cb6f1a2b3c4d HTTP/1.1" 404 event=x\n' * 40_000
    started = time.process_time()

    shown = pieces.hide(f"{log}{SECRET}\n{log}", "...")

    assert shown == f"{log}...\n{log}"
    assert time.process_time() - started < 20
