"""The versions that the project names, and how they are changed, on copies of its files."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from guidewalk.atomic import write_atomically
from parsec_stack import bump, checkout, versions
from parsec_stack.errors import StackError
from parsec_stack.release import Release, review
from parsec_stack.stack import ROOT

PATHS = dict.fromkeys([*(place.path for place in versions.PLACES), *versions.LOCKS])
# A version that is not the project's own.
OTHER = next(one for one in ("3.9.3", "3.8.2") if one != versions.declared(ROOT)["parsec"])
SOURCES = [".python-version", "README.rst", "CONTRIBUTING.rst", "pyproject.toml", "noxfile.py"]
SOURCES += ["tasks.py", ".ci", "deploy", "docs", "scripts", "src"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files that name versions, as the project; no index is asked about it."""
    root = tmp_path / "project"
    for path in PATHS:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text((ROOT / path).read_text())

    def lock(folder: Path, wanted: Mapping[str, str]) -> None:
        for place in versions.LOCKED:
            path = folder / place.path
            path.write_text(place.rewrite(path.read_text(), wanted["parsec"]))

    for module in (bump, checkout):
        monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(bump, "PREPARED", tmp_path / "prepared")
    monkeypatch.setattr(checkout, "lock", lock)
    printed = json.dumps(asdict(release()))
    monkeypatch.setattr(checkout, "run_inside", lambda *command: printed)
    return root


def release(**changes: object) -> Release:
    """A release with one option and one migration."""
    option = {"flag": "--db", "variable": "PARSEC_DB", "default": "", "required": True, "help": "?"}
    made = Release(OTHER, "~=3.12.0", {"--db": option}, ["initial"])
    return replace(made, **changes)  # type: ignore[arg-type]


def texts(project: Path) -> dict[str, str]:
    """The files as they are."""
    return {path: (project / path).read_text() for path in PATHS}


@pytest.mark.parametrize(
    ("given", "own", "packaged"),
    [
        ("3.7.0-rc.2", "3.7.0-rc.2", "3.7.0rc2"),
        ("3.7.0rc2", "3.7.0-rc.2", "3.7.0rc2"),
        ("3.8.0-a.1", "3.8.0-a.1", "3.8.0a1"),
        ("v3.9.3", "3.9.3", "3.9.3"),
        ("3.7.10", "3.7.10", "3.7.10"),
    ],
)
def test_forms(given: str, own: str, packaged: str) -> None:
    """Parsec's way and that of Python's packages are told from each other and from both."""
    assert (versions.own(given), versions.packaged(given)) == (own, packaged)


@pytest.mark.parametrize(
    "given", ["", "latest", "3.7", "3.7.0.1", "3.7.0.dev1", "3.7.0+x", "1!3.7.0"]
)
def test_no_version(given: str) -> None:
    """What names no release is refused."""
    with pytest.raises(StackError, match="is no version of Parsec"):
        versions.own(given)


def test_order() -> None:
    """Numbers count as numbers, and a candidate comes before its release."""
    mixed = ["3.7.10", "3.10.0", "3.7.0", "3.7.0-rc.2", "3.5.2"]

    ordered = sorted(mixed, key=versions.order)

    assert ordered == ["3.5.2", "3.7.0-rc.2", "3.7.0", "3.7.10", "3.10.0"]


def test_every_place_agrees() -> None:
    """The project names one version, and tests the one that it names."""
    assert list(versions.disagreements(ROOT)) == []
    assert versions.declared(ROOT)["parsec"] in versions.declared(ROOT)["matrix"]


@pytest.mark.parametrize("place", [*versions.PLACES, *versions.LOCKED], ids=str)
def test_place_that_disagrees(project: Path, place: versions.Place) -> None:
    """Each place is missed when it names another version."""
    path = project / place.path
    other = {"parsec": OTHER, "python": "3.14"}[place.name]
    path.write_text(place.rewrite(path.read_text(), other))

    found = list(versions.disagreements(project))

    assert found
    assert any(place.form(other) in problem for problem in found)


def test_python_stands_nowhere_else() -> None:
    """Beside the places that bump rewrites, no file of the project names the version of Python."""
    python = str(versions.declared(ROOT)["python"])
    places = [place.path for place in versions.PLACES if place.name == "python"]
    named = {
        path: len(re.findall(rf"(?<![\d.]){re.escape(python)}(?!\d)", text))
        for path, text in sources()
    }

    assert {path: times for path, times in named.items() if times > places.count(path)} == {}
    assert sum(named.values()) >= len(places)


def sources() -> Iterator[tuple[str, str]]:
    """Path and text of each file of the project, without its tests and what is locked.

    guidewalk runs on newer Pythons too, whatever the server needs.
    """
    own = ROOT / "src" / "guidewalk" / "pyproject.toml"
    for name in SOURCES:
        for path in [ROOT / name, *(ROOT / name).rglob("*")]:
            locked = path.suffix in (".lock", ".sum") or path.name == versions.REQUIREMENTS
            if path.is_file() and path.suffix != ".pyc" and not locked and path != own:
                yield str(path.relative_to(ROOT)), path.read_text()


def test_place_that_is_gone(project: Path) -> None:
    """A place that was rewritten beyond recognition is told."""
    (project / "docs/native.rst").write_text("Install it.\n")

    with pytest.raises(StackError, match=r"docs/native\.rst names no version of python"):
        list(versions.disagreements(project))


def test_bump(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every place has the version afterwards, and what is new is told."""
    bump.bump(OTHER)

    assert list(versions.disagreements(project)) == []
    assert {place.version(project) for place in versions.PLACES if place.name == "parsec"} == {
        OTHER
    }
    assert "option removed: --db-max-connections" in capsys.readouterr().out


def test_bump_and_back(project: Path) -> None:
    """Nothing but versions is changed."""
    before = texts(project)

    bump.bump(OTHER)
    bump.bump(versions.declared(ROOT)["parsec"])

    assert texts(project) == before


def test_bump_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The version that is there already changes nothing, in either form."""
    before = texts(project)

    bump.bump(versions.packaged(versions.declared(ROOT)["parsec"]))

    assert "nothing to do" in capsys.readouterr().out
    assert texts(project) == before


def test_python_goes_with_it(project: Path) -> None:
    """A release for another Python takes that along."""
    bump.bump("3.10.0", "3.14")

    assert 'requires-python = ">=3.14,<3.15"' in (project / "pyproject.toml").read_text()
    assert "python3.14 -m venv venv" in (project / "docs/native.rst").read_text()


def test_release_that_cannot_be_had(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a lock nothing is changed."""

    def fail(*arguments: object) -> None:
        raise StackError("is no release")

    before = texts(project)
    monkeypatch.setattr(checkout, "lock", fail)

    with pytest.raises(StackError, match="is no release"):
        bump.bump(OTHER)

    assert texts(project) == before


@pytest.mark.parametrize("interruption", [OSError("disk full"), KeyboardInterrupt()])
def test_interrupted(
    project: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    """What was replaced already is put back."""
    before, written = texts(project), []
    write = write_atomically

    def fail(path: Path, text: str) -> None:
        written.append(path)
        if len(written) == 3:
            raise interruption
        write(path, text)

    monkeypatch.setattr(bump, "write_atomically", fail)

    with pytest.raises(type(interruption)):
        bump.bump(OTHER)

    assert len(written) > 3
    assert texts(project) == before


@pytest.mark.parametrize("done", range(1, 4))
def test_killed(project: Path, done: int) -> None:
    """The same command completes what a killed one has begun."""
    committed(project)
    changes = bump.difference(checkout.copy(bump.PREPARED, {"parsec": OTHER, "python": "3.12"}))
    for path in list(changes)[:done]:
        (project / path).write_text(changes[path])

    bump.bump(OTHER)

    assert list(versions.disagreements(project)) == []


def test_uncommitted(project: Path) -> None:
    """Somebody's changes are not mixed with those of bump."""
    committed(project)
    mine = project / "deploy/parsec-server.docker.yaml"
    mine.write_text(mine.read_text() + "# More.\n")
    before = texts(project)

    with pytest.raises(StackError, match=r"^deploy/parsec-server\.docker\.yaml has changes"):
        bump.bump(OTHER)

    assert texts(project) == before


def committed(project: Path) -> None:
    """Commit the files of the project."""
    author = ("-c", "user.name=me", "-c", "user.email=me@example.com")
    for command in (("init",), ("add", "."), ("commit", "--message=All")):
        subprocess.run(["git", *author, *command], cwd=project, check=True, capture_output=True)


def test_what_uv_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its two usual complaints are told in our words, others in its own."""
    complaints = {
        "Because there is no version of parsec-cloud==3.99.0 and": "is no release",
        "Python version (>=3.12) does not satisfy Python>=3.14.0,<3.15 and\n parsec-cloud==": (
            r"needs Python >=3\.14\.0,<3\.15, and this would use 3\.12"
        ),
        "no network": "scripts/lock failed for Parsec 3.99.0:\nno network",
    }
    for said, told in complaints.items():
        failed = subprocess.CompletedProcess((), 1, "", said)
        monkeypatch.setattr(checkout, "run", lambda *a, failed=failed, **k: failed)

        with pytest.raises(StackError, match=told):
            checkout.lock(tmp_path, {"parsec": "3.99.0", "python": "3.12"})


def test_review() -> None:
    """Options, defaults, migrations and Python are compared."""
    option = release().options["--db"]
    after = release(
        python="~=3.14.0",
        options={
            "--db": option | {"default": "x", "help": "!"},
            "--new": option | {"flag": "--new"},
        },
        migrations=["other"],
    )

    assert list(review(release(), after)) == [
        "option added: --new (PARSEC_DB, required)",
        "option changed: --db, default: none, now x",
        "help changed: --db",
        "migration added: other",
        "migration removed: initial",
        "Python required: ~=3.12.0, now ~=3.14.0",
    ]
    assert list(review(release(), release())) == []


def test_installed_release_can_be_printed() -> None:
    """What is printed of the real server is read as it was."""
    installed = Release.installed()

    assert Release.from_json(json.dumps(asdict(installed))) == installed
    assert installed.version == versions.packaged(versions.declared(ROOT)["parsec"])
    assert "--db" in installed.options
