"""Check that no file or command of the guide sets what nothing reads."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Iterator

from guidewalk.guide import Block
from guidewalk.registry import nearest
from parsec_stack import options
from parsec_stack.verify.sources import Sources

OF_THE_SERVER = re.compile(r"\bPARSEC_[A-Z0-9_]+")
ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)=")


def problems(known: Sources) -> Iterator[str]:
    """Yield every variable that is set and not read, or read without effect, with its place."""
    for block in known.guide.blocks:
        if block.kind in ("output", "message"):
            continue
        for number, line in enumerate(block.text.splitlines(), 1):
            problems = filter(None, (misuse(name, known) for name in set_in(line, block)))
            yield from (f"{block.place_of(number)}: {problem}" for problem in problems)


def set_in(line: str, block: Block) -> Iterable[str]:
    """The variables that this line of the block is about."""
    names = OF_THE_SERVER.findall(line)
    if block.kind == "file" and (block.target or "").endswith(".env"):
        names += ASSIGNMENT.findall(line)
    return dict.fromkeys(names)


def misuse(name: str, known: Sources) -> str:
    """Return why the variable should not be set; empty if something reads it."""
    if name in options.WITHOUT_EFFECT:
        return f"the server reads {name} without effect: set it on the command line, or not at all"
    if name.startswith("PARSEC_"):
        near = nearest(name, known.variables)
        return "" if name in known.variables else f"the server reads no variable {name}{near}"
    libraries = known.of_the_s3_client | of_the_tls_library()
    used = re.search(rf"\$\{{?{name}\b", known.code) or name in libraries
    return "" if used else f"nobody reads {name}: no file, no command and no library"


def is_read(name: str, known: Sources) -> bool:
    """Return whether the server reads this variable, with effect."""
    return name in known.variables and name not in options.WITHOUT_EFFECT


def of_the_tls_library() -> set[str]:
    """Return the variables that tell the server's TLS library whom to trust."""
    paths = ssl.get_default_verify_paths()
    return {paths.openssl_cafile_env, paths.openssl_capath_env}
