"""The faults that can be planted in a text, by its language: what a tired author gets wrong.

Comments, blank lines and the wording of a script's own messages change no behaviour. They are not
touched, except for the files that a message names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

# What starts a comment.
COMMENTS = {
    "bash": ("#", "-- "),  # the second is that of SQL, which scripts contain
    "env": ("#",),
    "yaml": ("#",),
    "nginx": ("#",),
    "ini": (";", "#"),
    "python": ("#", '"""'),
    "text": (),
}
SHELL = ("bash", "env")
PORTS = {"80", "443", "1025", "5432", "6777", "8025", "8080", "8443", "9000", "9090"}
# Each mode that the guide sets, and a wrong one.
MODES = {"077": "022", "600": "644", "0600": "0666", "640": "644", "644": "600", "700": "755"}
SWITCHES = {"on": "off", "off": "on", "true": "false", "false": "true", "yes": "no", "no": "yes"}
ADDRESSES = {"127.0.0.1": "0.0.0.0", "0.0.0.0": "127.0.0.1", "::1": "::"}
FILES = "crt|key|csr|pem|env|sh|yaml|conf|log|json|sqlite|cnf|pid|sock|options"
KEYWORDS = {
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in",
    "local", "export", "exec", "return", "exit", "source", "set", "echo", "printf", "trap",
    "http", "https", "curl", "chmod",
}  # fmt: skip
WORDING = ("word", "switch")
MESSAGE = re.compile(r"\b(echo|printf|fail)\b")
PYTHON_MESSAGE = re.compile(r"\b(print|fail|sys\.exit)\(")
# What bash says if a variable is not set.
UNSET_MESSAGE = re.compile(r":\?([^}]*)")
# A line that is one whole command can change places with the next.
NO_COMMAND = re.compile(
    r"^\s*(?:[\w\[\]]+\+?=|local\b|if\b|then\b|else\b|elif\b|fi\b|for\b|while\b|until\b|do\b|done\b"
    r"|\w+ = |case\b|esac\b|return\b|exit\b|[\[\"{}()*;&|]"
    r"|.*(?:\\|\||&&|;;|\{|\(|then|do|<<\s*'?\w+'?)$)"
)


@dataclass(frozen=True)
class Change:
    """Some lines of a text, counted from 0, that are replaced with others.

    ``operator`` is the kind of fault, ``token`` the part of the first line that it concerns.
    """

    operator: str
    token: str
    start: int
    count: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """One kind of token, and its replacement; None keeps it."""

    operator: str
    pattern: re.Pattern[str]
    replace: Callable[[re.Match[str]], str | None]
    languages: tuple[str, ...] = tuple(COMMENTS)


def changes(text: str, language: str) -> list[Change]:
    """Return every fault that can be planted in the text, in the order of its lines."""
    lines = text.split("\n")
    found: list[Change] = []
    for number, line in enumerate(lines):
        if is_code(line, number, language):
            found.append(Change("remove", line.strip(), number, 1, ()))
            found += [
                Change(operator, token, number, 1, (changed,))
                for operator, token, changed in line_changes(line, language)
            ]
    found += swaps(lines, language) + healthchecks(lines, language)
    return [change for change in found if differs(change, lines)]


def is_code(line: str, number: int, language: str) -> bool:
    """Return whether the line changes any behaviour, as that naming a script's interpreter does."""
    bare = line.strip()
    if number == 0 and bare.startswith("#!"):
        return True
    return bool(bare) and not bare.startswith(COMMENTS[language])


def differs(change: Change, lines: list[str]) -> bool:
    """Return whether it changes anything."""
    return list(change.lines) != lines[change.start : change.start + change.count]


def line_changes(line: str, language: str) -> Iterator[tuple[str, str, str]]:
    """Yield operator, token and changed line of every fault within the line.

    A part of the line that one kind has recognised is left alone by later kinds.
    """
    taken = [False] * len(line)
    for kind in KINDS:
        if language not in kind.languages:
            continue
        for match in kind.pattern.finditer(line):
            group = 1 if kind.pattern.groups else 0
            start, end = match.span(group)
            if any(taken[start:end]):
                continue
            changed = kind.replace(match)
            taken[start:end] = [True] * (end - start)
            if changed is not None and not (
                kind.operator in WORDING and is_wording(line, language, start)
            ):
                yield kind.operator, match[group], changed


def is_wording(line: str, language: str, place: int) -> bool:
    """Return whether this place of the line is in a message to people."""
    if language == "python":
        return bool(PYTHON_MESSAGE.search(line))
    unset = any(place in range(*match.span(1)) for match in UNSET_MESSAGE.finditer(line))
    return language in SHELL and (unset or bool(MESSAGE.search(line)))


def put(match: re.Match[str], text: str) -> str:
    """Return the whole line with the match's group replaced."""
    start, end = match.span(1 if match.re.groups else 0)
    return match.string[:start] + text + match.string[end:]


def without_flag(match: re.Match[str]) -> str | None:
    """Return the line without the option and its value; None if it would be an empty item."""
    line = match.string
    rest = re.match(r'="[^"]*"|=[^\s,"\')\]]+', line[match.end(1) :])
    changed = cut(line, match.start(1), match.end(1) + (rest.end() if rest else 0))
    return None if changed.strip() in ("", "-") else changed


def dropped(match: re.Match[str]) -> str:
    """Return the line without the match and the separator after it."""
    return cut(match.string, *match.span(1))


def cut(line: str, start: int, end: int) -> str:
    """Return the line without this part and one separator beside it."""
    before, after = line[:start], line[end:]
    if after[:2] == ", ":
        return before + after[2:]
    if before.endswith(", "):
        return before[:-2] + after
    if after[:1] in (":", " "):
        return before + after[1:]
    return before.rstrip(": ") + after


def misspelt(match: re.Match[str]) -> str | None:
    """Return the line with an x after the token, or before the extension of a file.

    A device is replaced with another, because nothing may be written beside it.
    """
    token = match[1 if match.re.groups else 0]
    if token == "/dev/null":
        return put(match, "/dev/full")
    if token in KEYWORDS:
        return None
    stem, dot, ending = token.rpartition(".")
    known = dot and stem and re.fullmatch(FILES, ending)
    return put(match, f"{stem}x.{ending}" if known else f"{token}x")


def enlarged(match: re.Match[str]) -> str:
    """Return the line with another number, larger by at least an order of magnitude."""
    digits = match[1]
    return put(match, "1" if digits == "0" else f"1{digits}" if digits[0] != "0" else "11")


def readdressed(match: re.Match[str]) -> str:
    """Return the line with an address that is open to others, closed to them, or the next one."""
    address = match[1]
    head, _, last = address.rpartition(".")
    return put(match, ADDRESSES.get(address) or f"{head}.{int(last) + 1}")


def negated(match: re.Match[str]) -> str:
    """Return the line with the condition negated."""
    opposite = {"=": "!=", "||": "&&", "-e": "! -e", "-f": "! -f", "-d": "! -d"}
    return put(match, opposite.get(match[1], f"{match[1]} !"))


def kind(
    operator: str, pattern: str, replace: Callable[[re.Match[str]], str | None], *languages: str
) -> Kind:
    """Return a kind of token, in these languages or in all."""
    return Kind(operator, re.compile(pattern), replace, languages or tuple(COMMENTS))


# In this order; what an earlier kind has recognised is left alone by later kinds.
KINDS = (
    kind("mode", r"(?:chmod (?:= )?|umask )(\d+)", lambda m: put(m, MODES[m[1]]), "bash", "ini"),
    kind("cipher", r"\b((?:TLS|ECDHE)[-_+][A-Z0-9_+-]+)\b", dropped, "env", "nginx"),
    kind("cipher", r"(TLSv1\.\d)", dropped, "nginx"),
    kind("header", r"(?<=proxy_set_header )([\w-]+)", misspelt, "nginx"),
    kind("header", r"\b([A-Z][a-z]+(?:-[A-Z][a-z]+)+|x-amz-[a-z-]+)(?=:|\")", misspelt),
    kind("header", r"\b(Authorization|From|To|Subject)(?=: )", misspelt, "bash"),
    kind("condition", r"^\s*(if|elif|while|until)(?= )", negated, *SHELL),
    kind("condition", r"^\s*(if|elif|while)(?= )", lambda m: put(m, f"{m[1]} not"), "python"),
    kind("condition", r" (\|\|)(?: |$)", negated, *SHELL),
    kind("condition", r"\[ (-[efd])(?= )", negated, *SHELL),
    kind("condition", r"\" (=)(?= )", negated, *SHELL),
    kind("flag", r"(?<![\w$\"'-])(--?[A-Za-z][\w.-]*)", without_flag, "bash", "yaml"),
    kind("address", r"(?<![\d.])(\d+(?:\.\d+){3})(?![\d.])", readdressed),
    kind("address", r"(?<=:)(::1)", readdressed),
    kind("port", rf"(?<![\w.])({'|'.join(sorted(PORTS))})(?![\w.])", enlarged),
    kind("number", r"(?<![\w.$#{-])(\d+)(?=[smhkKM]?\b)(?![\w.]*\.\d)", enlarged),
    kind("path", rf"((?:[\w.$@%(){{}}-]*/)+[\w.$@-]*\w|[\w.$-]+\.(?:{FILES})\b)", misspelt),
    kind("switch", rf"\b({'|'.join(SWITCHES)})\b", lambda m: put(m, SWITCHES[m[1]])),
    kind("name", r"(?:^\s*|export |local |[\s(])([A-Za-z_]\w*)(?=\+?=)", misspelt, *SHELL),
    kind("name", r"\$\{?([A-Za-z_]\w+)", misspelt),
    kind("name", r"^\s*(?:- )?([\w.-]+)(?=:(?: |$))", misspelt, "yaml"),
    kind("name", r"^\s*(\w+)(?= )", misspelt, "nginx"),
    kind("name", r"^\[?([\w:-]+)(?=\]| =)", misspelt, "ini"),
    kind("word", r"(?<![\w$%-])([A-Za-z][\w-]*\w)", misspelt),
)  # fmt: skip


def swaps(lines: list[str], language: str) -> list[Change]:
    """Return pairs of successive commands in the wrong order."""
    if language != "bash":
        return []
    return [
        Change("swap", first.strip(), number, 2, (second, first))
        for number, (first, second) in enumerate(pairwise(lines))
        if all(is_command(line) for line in (first, second))
        and indent(first) == indent(second)
        and not (number and lines[number - 1].rstrip().endswith(("\\", "|", "&&", "||")))
    ]


def is_command(line: str) -> bool:
    """Return whether the line is a command of its own."""
    bare = line.strip()
    comment = bare.startswith(COMMENTS["bash"])
    return bool(bare) and not comment and not NO_COMMAND.match(line.rstrip())


def indent(line: str) -> int:
    """Return how far the line is indented."""
    return len(line) - len(line.lstrip())


def healthchecks(lines: list[str], language: str) -> list[Change]:
    """Return healthchecks that accept anything."""
    if language != "yaml":
        return []
    found = []
    for number, line in enumerate(lines):
        if re.match(r"\s*test:", line):
            end = number + 1
            while end < len(lines) and indent(lines[end]) > indent(line):
                end += 1
            happy = f'{line[: indent(line)]}test: [CMD, "true"]'
            found.append(Change("healthcheck", "test", number, end - number, (happy,)))
    return found
