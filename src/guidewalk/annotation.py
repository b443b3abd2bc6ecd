"""What comments say about a block or a literal: ``.. except: REASON`` and the like."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from packaging.version import InvalidVersion, Version

KEYWORDS = (
    "except", "last", "needs", "needs-images", "placeholder", "capture", "message", "since",
)  # fmt: skip
# These name what they are about before the colon: ``.. capture <link>: EXPRESSION``.
WITH_PLACEHOLDER = ("placeholder", "capture")
# These are about the inline literals of their page: ``.. beyond: LITERAL - REASON``.
MARKS = ("beyond", "elsewhere", "ignored")


class AnnotationError(ValueError):
    """A comment that looks like an annotation and is none; the text says why."""


@dataclass
class Annotations:
    """All that the comments before one block say."""

    reason: str = ""
    last: str = ""
    origin: str = ""
    since: str = ""
    needs: dict[str, str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    placeholders: dict[str, str] = field(default_factory=dict)
    captures: dict[str, str] = field(default_factory=dict)

    def add(self, comment: str) -> None:
        """Take in one more comment; AnnotationError if it is mistyped, incomplete or repeated."""
        keyword, placeholder, value = split(comment)
        if keyword == "except":
            self.reason = once(self.reason, value, comment)
        elif keyword == "last":
            self.last = once(self.last, value, comment)
        elif keyword == "message":
            self.origin = once(self.origin, value, comment)
        elif keyword == "since":
            self.since = once(self.since, valid_version(value), comment)
        elif keyword in ("needs", "needs-images"):
            needed, _, reason = value.partition(" - ")
            known = self.needs if keyword == "needs" else self.images
            put(known, needed.strip(), reason.strip(), comment)
        elif keyword == "capture":
            put(self.captures, placeholder, valid_expression(value), comment)
        else:
            put(self.placeholders, placeholder, value, comment)


def split(comment: str) -> tuple[str, str, str]:
    """Keyword, ``<placeholder>`` (or nothing) and value of an annotation."""
    head, colon, value = (part.strip() for part in comment.partition(":"))
    keyword, _, placeholder = (part.strip() for part in head.partition(" "))
    if not colon or keyword not in KEYWORDS:
        raise AnnotationError(
            f"unknown annotation '.. {comment.partition(chr(10))[0]}': "
            f"the known ones are {', '.join(KEYWORDS + MARKS)}, each followed by a colon"
        )
    if not value:
        raise AnnotationError(f"the annotation '{keyword}' says nothing after its colon")
    if (keyword in WITH_PLACEHOLDER) != bool(placeholder):
        raise AnnotationError(f"write '.. {keyword}{' <name>' if not placeholder else ''}: ...'")
    if placeholder and not (placeholder.startswith("<") and placeholder.endswith(">")):
        raise AnnotationError(
            f"'{placeholder}' is no placeholder: write <{placeholder.strip('<>')}>"
        )
    return keyword, placeholder, " ".join(value.split())


def is_mark(comment: str) -> bool:
    """Is the comment about a literal, wherever it stands on its page?"""
    return comment.partition(":")[0].strip() in MARKS


def mark(comment: str) -> tuple[str, str, str]:
    """Keyword, literal and reason of a mark; AnnotationError if one is missing."""
    keyword, _, value = (part.strip() for part in comment.partition(":"))
    literal, _, reason = (part.strip() for part in " ".join(value.split()).partition(" - "))
    if not literal or not reason:
        raise AnnotationError(
            f"'.. {comment}' is incomplete: write '.. {keyword}: LITERAL - REASON'"
        )
    return keyword, literal, reason


def looks_like_one(comment: str) -> bool:
    """Was this meant as an annotation? One word, or a known one and more, before a colon."""
    head, colon, _ = comment.partition(":")
    words = head.split()
    return bool(colon and words) and (len(words) == 1 or words[0] in KEYWORDS)


def once(present: str, value: str, comment: str) -> str:
    """The value, unless there is one already."""
    if present:
        raise AnnotationError(f"'.. {comment}' stands twice")
    return value


def put(known: dict[str, str], key: str, value: str, comment: str) -> None:
    """Add the pair, unless something is missing or there already."""
    if not key or not value:
        keyword = comment.partition(":")[0]
        raise AnnotationError(f"'.. {comment}' is incomplete: write '.. {keyword}: NAME - REASON'")
    known[key] = once(known.get(key, ""), value, comment)


def valid_expression(expression: str) -> str:
    """The regular expression itself, if it is one."""
    try:
        re.compile(expression)
    except re.error as error:
        raise AnnotationError(f"'{expression}' is no regular expression: {error}") from None
    return expression


def valid_version(version: str) -> str:
    """The version itself, if it is one (PEP 440)."""
    try:
        Version(version)
    except InvalidVersion:
        raise AnnotationError(f"'{version}' is no version") from None
    return version
