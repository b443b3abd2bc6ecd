"""What documents, messages and scripts name exists: tasks, sessions, files of the project."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from guidewalk.guide import Guide
from naming import FOLDERS, is_there
from parsec_stack.stack import ROOT
from parsec_stack.verify.sources import Sources

DOCUMENTS = ("README.rst", "CONTRIBUTING.rst", "SECURITY.rst", "src/guidewalk/README.rst")
# Where else a task or a session may be named.
PLACES = ("src", "docs", "deploy", "scripts", "tests", ".ci", "noxfile.py", "tasks.py")
# Of another project, of the reader's, or made by a release.
OTHERS = {"conf.py", "conftest.py", "index.rst", "CHANGELOG.rst"}
ENDINGS = (".py", ".rst", ".toml", ".sh", ".yaml", ".conf", ".env", ".lock", ".txt", ".json")

Named = tuple[str, int, str]


def lines(*names: str) -> Iterator[Named]:
    """Path, number and text of each line of these files, and of those in these folders."""
    for name in names:
        for path in sorted([ROOT / name, *(ROOT / name).rglob("*")]):
            if path.is_file() and (path.suffix in ("", *ENDINGS)):
                text = path.read_text(errors="ignore")
                place = str(path.relative_to(ROOT))
                yield from (
                    (place, number, line) for number, line in enumerate(text.splitlines(), 1)
                )


def named(pattern: str, *names: str) -> Iterator[Named]:
    """Place and text of what the pattern finds in these files."""
    for place, number, line in lines(*names):
        yield from ((place, number, found) for found in re.findall(pattern, line))


def told(strays: list[Named]) -> str:
    """The strays, a line each."""
    return "\n".join(f"{place}:{number}: {text}" for place, number, text in strays)


def test_tasks() -> None:
    """Each ``invoke TASK`` that anything names is a task."""
    known = Sources(Guide([]), ROOT).tasks
    found = list(
        named(r"[`'](?:scripts/run )?invoke ([\w-]+(?: [\w-]+)*)[`']", *DOCUMENTS, *PLACES)
    )
    found += named(r"^ +(?:scripts/run )?invoke ([a-zA-Z][\w -]*)", *DOCUMENTS)

    strays = [
        (place, number, f"invoke {word}")
        for place, number, words in found
        for word in itertasks(words)
        if word not in known
    ]
    assert len(found) > 50
    assert not strays, told(strays)


def itertasks(words: str) -> Iterator[str]:
    """The tasks of a line: what follows an option, or names an organization, is none."""
    for word in words.split():
        if word.startswith("-") or (not word.islower() and word != "adminToken"):
            return
        yield word
        if word in ("organization", "bump"):
            return


def test_sessions() -> None:
    """Each ``nox -s SESSION`` that anything names is a session."""
    noxfile = (ROOT / "noxfile.py").read_text()
    known = {*re.findall(r'name="([\w-]+)"', noxfile), *re.findall(r"^def (\w+)\(", noxfile, re.M)}
    found = list(named(r"nox -s ([a-z][\w-]*(?: [a-z][\w-]*)*)", *DOCUMENTS, *PLACES))

    strays = [
        (place, number, f"nox -s {word}")
        for place, number, words in found
        for word in words.split(" -- ")[0].split()[: None if place in DOCUMENTS else 1]
        if word not in known
    ]
    assert len(found) > 30
    assert not strays, told(strays)


def test_files() -> None:
    """Each file and folder of the project that a document names is there."""
    found = list(
        named(rf"``((?:{'|'.join(FOLDERS)})/[\w./-]*|[\w-]+\.(?:py|rst|toml))``", *DOCUMENTS)
    )

    strays = [one for one in found if one[2] not in OTHERS and not is_there(one[2])]
    assert len(found) > 80
    assert not strays, told(strays)


@pytest.mark.parametrize(
    ("name", "there"),
    [("src/guidewalk/runner.py", True), ("runner.py", True), ("walk.py", False), ("src/x/", False)],
)
def test_what_is_there(name: str, there: bool) -> None:
    """A path is looked up whole, a bare name anywhere."""
    assert is_there(name) == there
