"""Search a text for secrets, in whatever way they may be written; it knows nothing of redaction."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote


def found_in(text: str, secrets: Iterable[str]) -> list[str]:
    """Those of the secrets that the text holds, as they are, encoded, or broken over lines."""
    whole = re.sub(r"\s|\\n", "", text)
    readings = {whole, unquote(whole), html.unescape(whole), html.unescape(html.unescape(whole))}
    readings |= {re.sub(r'\\+"', '"', text) for text in readings}
    for word in re.findall(r"[\w+/-]{16,}", whole, re.ASCII):
        readings |= set(decoded(word))
    return [secret for secret in secrets if any(secret in text for text in readings)]


def decoded(word: str) -> Iterator[str]:
    """What the word may mean, wherever in it base64 may begin."""
    plain = word.replace("-", "+").replace("_", "/")
    for start in range(4):
        usable = plain[start : start + (len(plain) - start) // 4 * 4]
        yield base64.b64decode(usable).decode("latin-1")
    if re.fullmatch(r"([0-9a-f]{2})+", word):
        yield bytes.fromhex(word).decode("latin-1")
