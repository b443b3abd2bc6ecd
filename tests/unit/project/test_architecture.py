"""The pages for contributors: what they name exists, and their picture is made of the imports."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from guidewalk.errors import UserError
from naming import EXTENSIONS, exists
from parsec_stack.stack import DOCS, ROOT

PAGES = DOCS / "architecture"
FILES = {"py", "rst", "toml", "txt", "json"}


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tasks.py and the extensions be imported, and the packages of these tests."""
    for folder in (ROOT, EXTENSIONS, tmp_path):
        monkeypatch.syspath_prepend(folder)


def names(page: Path) -> set[str]:
    """All that the page names as ``module.function``; files look alike."""
    said = set(re.findall(r"``(\w+(?:\.\w+)+)``", page.read_text()))
    return {name for name in said if name.rpartition(".")[2] not in FILES}


@pytest.mark.parametrize("page", sorted(one.name for one in PAGES.glob("*.rst")))
def test_what_the_pages_name_exists(page: str) -> None:
    """A function that is renamed or removed is missed where its page names it."""
    assert {name for name in names(PAGES / page) if not exists(name)} == set()


def test_the_lives_name_their_functions() -> None:
    """They are found on the page, each behind its module; a wrong one would be told of."""
    found = names(PAGES / "lives.rst")

    assert {"tasks.up", "runner.Runner.take", "evidence.Evidence.show", "stack.choose"} <= found
    assert len(found) > 60
    assert not exists("runner.Runner.nosuch")
    assert not exists("nosuch.run")


def drawn(root: Path, groups: str, **modules: str) -> Any:
    """The picture of a package ``boxes`` of these modules, each with what it imports."""
    import import_groups
    import layers

    package = root / "boxes"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").touch()
    for name, imported in modules.items():
        (package / f"{name}.py").write_text(f"from boxes import {imported}\n" if imported else "")
    importlib.invalidate_caches()
    (root / "groups.toml").write_text(groups)
    read = import_groups.read(root / "groups.toml")
    return layers.Picture(read, import_groups.imports(read, root))


def group(name: str, *modules: str, scripts: tuple[str, ...] = ()) -> str:
    """One group of the package, as the file has it."""
    return (
        f'[[group]]\nname = "{name}"\npackage = "boxes"\ndoes = "x"\n'
        f"modules = {list(modules)}\nscripts = {list(scripts)}\n"
    )


THREE = group("top", "a") + group("middle", "b", "b.*") + group("bottom", "c")


def test_a_changed_import_changes_the_picture(tmp_path: Path) -> None:
    """The arrows are the imports, always downwards, without those that longer ways stand for."""
    before = drawn(tmp_path, THREE, a="b, c", b="c", c="")
    assert before.arrows == [("top", "middle"), ("middle", "bottom")]
    assert before.y == sorted(before.y)
    assert [before.depths[one] for one in ("top", "middle", "bottom")] == [0, 1, 2]

    after = drawn(tmp_path, THREE, a="c", b="c", c="")

    assert after.arrows == [("top", "bottom"), ("middle", "bottom")]
    assert before.svg("x", "y") != after.svg("x", "y")


def test_a_long_arrow_passes_the_boxes_between(tmp_path: Path) -> None:
    """In a layer that it only passes it has a place of its own."""
    groups = THREE + group("last", "d") + group("aside", "e")
    picture = drawn(tmp_path, groups, a="b, e", b="c", c="d", d="", e="d")

    point = next(one for one in picture.rows[2] if one not in picture.groups)
    (box,) = (one for one in picture.rows[2] if one in picture.groups)
    apart = abs(picture.x[point] - picture.x[box])
    assert apart >= (picture.width(point) + picture.width(box)) / 2


def test_scripts_import_too(tmp_path: Path) -> None:
    """What lies outside of packages, as tasks.py does, is part of a group as well."""
    (tmp_path / "run.py").write_text("def main():\n    from boxes import b\n")
    groups = group("top", "a", scripts=("run.py",)) + group("middle", "b") + group("bottom", "c")

    assert drawn(tmp_path, groups, a="", b="c", c="").arrows[0] == ("top", "middle")


@pytest.mark.parametrize(
    ("groups", "modules", "message"),
    [
        (group("top", "a") + group("middle", "b"), {}, r"boxes.c must be in one group.* none"),
        (THREE + group("other", "[c]"), {}, "boxes.c must be .* in bottom and other"),
        (THREE, {"c": "a"}, "groups import in a circle: "),
    ],
)
def test_mistakes(groups: str, modules: dict[str, str], message: str, tmp_path: Path) -> None:
    """A module without a group of its own, and a circle of groups, are told of."""
    with pytest.raises(UserError, match=message):
        drawn(tmp_path, groups, **({"a": "b", "b": "c", "c": ""} | modules))
