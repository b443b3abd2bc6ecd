"""Keep secrets out of everything that the docs-test prints, reports or stores."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

HIDDEN = "[redacted]"
PEM = re.compile(r"(-----BEGIN [A-Z0-9 ]+-----).*?(-----END [A-Z0-9 ]+-----)", re.DOTALL)
URL_PASSWORD = re.compile(r"(://[^\s/:@]+:)[^\s/@]+@")
AUTHORIZATION = re.compile(r"\b(Bearer|Basic) +[\w.~+/=-]{8,}", re.IGNORECASE)
# Shorter values are words and numbers of the guide rather than secrets.
MIN_LENGTH = 8
# A key file is one secret by lines.
QUOTED = re.compile(r'"([^"]*)"')
KEY_LINE = re.compile(r"^[A-Za-z0-9+/=]{16,}$", re.MULTILINE)


class Redactor:
    """Knows the secrets that lie in a folder; those that are made later, too."""

    def __init__(self, folder: Path, public: Iterable[str] = ()) -> None:
        """Look into this folder; what is part of the ``public`` texts is no secret."""
        self.folder = folder
        self.public = "\n".join(public)
        self.seen: dict[Path, int] = {}
        self.secrets: set[str] = set()

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        self.look()
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        text = PEM.sub(rf"\1{HIDDEN}\2", text)
        text = URL_PASSWORD.sub(rf"\1{HIDDEN}@", text)
        return AUTHORIZATION.sub(rf"\1 {HIDDEN}", text)

    def look(self) -> None:
        """Learn the secrets of files that are new or have changed; the old ones stay known."""
        for path in self.files():
            stamp = path.stat().st_mtime_ns
            if self.seen.get(path) != stamp:
                self.seen[path] = stamp
                for value in values(path):
                    if len(value) >= MIN_LENGTH and value not in self.public:
                        self.secrets.update((value, quote(value, safe="")))

    def files(self) -> Iterator[Path]:
        """Where the guide's steps put secrets."""
        for pattern in ("*.env", "*.key", "secrets/*"):
            yield from (path for path in self.folder.glob(pattern) if path.is_file())


def values(path: Path) -> Iterator[str]:
    """The values of an env file, the strings of a JSON file, the lines of a key, else the text."""
    text = path.read_text(errors="replace")
    if path.suffix == ".env":
        pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
        yield from (value.strip("'\" ") for _, _, value in pairs)
    elif path.suffix == ".key":
        yield from KEY_LINE.findall(text)
    elif path.suffix == ".json":
        yield from strings_of(text)
    else:
        yield text.strip()


def strings_of(text: str) -> Iterator[str]:
    """All strings within JSON; within broken JSON all that stands in quotes."""
    try:
        yield from strings(json.loads(text))
    except ValueError:
        yield from QUOTED.findall(text)


def strings(value: Any) -> Iterator[str]:
    """All strings within parsed JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in strings(item))
    elif isinstance(value, list):
        yield from (text for item in value for text in strings(item))
