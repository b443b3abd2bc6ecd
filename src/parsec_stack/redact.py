"""Keep secrets out of everything that is printed, reported or stored."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from parsec_stack.pieces import Pieces
from parsec_stack.stack import ARTIFACTS, SETTINGS, Stack

HIDDEN = "[redacted]"
PEM = re.compile(r"(-----BEGIN [A-Z0-9 ]+-----).*?(-----END [A-Z0-9 ]+-----)", re.DOTALL)
URL_PASSWORD = re.compile(r"(://[^\s/:@]*:)[^\s/@]+@")
AUTHORIZATION = re.compile(r"\b(Bearer|Basic) +[\w.~+/=-]{8,}", re.IGNORECASE)
# Whoever has the last part of such a link counts as the invited person. It also occurs
# percent-encoded, in HTML, in JSON and in mails.
LINK = re.compile(
    r"\ba(?:=3D|=|%3D)(?:bootstrap|claim)_\w+(?:&amp;|&|%26|\\u0026)p(?:=3D|=|%3D)([\w-]{8,})"
)
# The names of variables whose values are secrets.
SECRET_NAME = re.compile(r"TOKEN|SECRET|SEED|PASSWORD|PASSPHRASE|CREDENTIAL|_KEY$")
# Shorter values are words and numbers of the guide rather than secrets.
MIN_LENGTH = 8
# Each line of a key file is a secret.
KEY_LINE = re.compile(r"^[A-Za-z0-9+/=]{16,}$", re.MULTILINE)


class Redactor:
    """Hides the secrets that are in a folder, including those that are made later."""

    def __init__(self, folder: Path, public: Iterable[str] = ()) -> None:
        """Look into this folder; what is part of the ``public`` texts is no secret."""
        self.folder = folder
        self.public = "\n".join(public)
        self.seen: dict[Path, int] = {}
        self.pieces = Pieces()
        self.pieces.ignore(self.public)
        self.learn(os.environ)

    def __call__(self, text: str) -> str:
        """Return the text without secrets and pieces of secrets."""
        self.look()
        for token in LINK.findall(text):
            self.add(token, "a link", generated=True)
        text = self.pieces.hide(text, HIDDEN)
        text = PEM.sub(rf"\1{HIDDEN}\2", text)
        text = URL_PASSWORD.sub(rf"\1{HIDDEN}@", text)
        return AUTHORIZATION.sub(rf"\1 {HIDDEN}", text)

    def leak(self, text: str) -> str:
        """Return the origin of a secret that the text contains, even in pieces; empty if none."""
        return self.pieces.origin_in(text)

    def learn(self, environment: Mapping[str, str]) -> None:
        """Add the secrets among these variables."""
        for name, value in environment.items():
            if SECRET_NAME.search(name):
                self.add(value, name)

    def add(self, value: str, origin: str, *, generated: bool = False) -> None:
        """Add this secret in all its forms, with every piece of it if it is ``generated``."""
        if len(value) >= MIN_LENGTH and value not in self.public:
            for form in forms(value):
                self.pieces.add(form, origin, generated=generated)

    def look(self) -> None:
        """Learn the secrets of files that are new or have changed; the old ones stay known."""
        for path in self.files():
            stamp = path.stat().st_mtime_ns
            if self.seen.get(path) != stamp:
                self.seen[path] = stamp
                if path.suffix in (".crt", ".csr"):  # it contains a part of its key's file
                    self.pieces.ignore(path.read_text(errors="replace"))
                    continue
                for value in values(path):
                    self.add(value, path.name, generated=path.suffix == ".key")

    def files(self) -> Iterator[Path]:
        """Yield the files in which the guide's steps put secrets, and the certificates."""
        for pattern in ("*.env", "*.key", "*.crt", "*.csr", "secrets/*"):
            yield from (path for path in self.folder.glob(pattern) if path.is_file())


def of_stack(stack: Stack) -> Redactor:
    """Return what hides the secrets of a stack; what the guide's files themselves say is none."""
    return Redactor(stack.folder, [path.read_text() for path in ARTIFACTS.iterdir()])


def forms(value: str) -> Iterator[str]:
    """Yield the secret as it is, and encoded for URLs, JSON, HTML, in hex and in base64."""
    raw = os.fsencode(value)  # a process's environment may contain any bytes
    yield value
    yield quote(raw)
    yield quote(raw, safe="")
    yield json.dumps(value)[1:-1]
    yield html.escape(value)
    yield raw.hex()
    # It is unknown where base64 begins to count, so the bytes are cut in all three ways.
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw).decode()
        whole = encoded[(shift * 8 + 5) // 6 : (shift + len(raw)) * 8 // 6]
        yield whole
        yield whole.translate(str.maketrans("+/", "-_"))


def values(path: Path) -> Iterator[str]:
    """Yield the secrets of a file.

    These are the values of an env file, the strings of a JSON file, the lines of a key, or else the
    whole text.
    """
    text = path.read_text(errors="replace")
    if path.name.endswith(".env"):
        pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
        private = path.name != SETTINGS and not path.stat().st_mode & 0o077
        for name, _, value in pairs:
            if private or SECRET_NAME.search(name):
                yield value.strip("'\" ")
    elif path.suffix == ".key":
        yield from KEY_LINE.findall(text)
    elif path.suffix == ".json":
        try:
            yield from strings(json.loads(text))
        except ValueError:
            yield text.strip()
    else:
        yield text.strip()


def strings(value: Any) -> Iterator[str]:
    """Yield all strings within parsed JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in strings(item))
    elif isinstance(value, list):
        yield from (text for item in value for text in strings(item))
