"""An older server never starts on a newer database, and a newer one only after the migration."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parsec_stack import backups, deployment, docker, ownership, schema
from parsec_stack.errors import StackError
from parsec_stack.stack import Stack

KNOWN = ["one", "two"]


def test_what_the_installed_server_brings() -> None:
    """The program that an image runs prints the same as is known here."""
    command = [sys.executable, "-c", schema.PROGRAM.read_text()]

    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert said.split() == schema.packaged()
    assert schema.packaged()[0] == "initial"


@pytest.mark.parametrize(
    ("applied", "lacking"), [([], ["one", "two"]), (["one"], ["two"]), (["one", "two"], [])]
)
def test_pending(applied: list[str], lacking: list[str]) -> None:
    """What the database lacks, in the order in which it must be applied."""
    assert schema.pending(applied, KNOWN) == lacking


def test_newer_database() -> None:
    """One message names a migration that the server does not know."""
    with pytest.raises(StackError, match=r"does not know \(three\)"):
        schema.pending(["one", "two", "three"], KNOWN)


class Flavour:
    """A flavour whose services are ready, and which notes what is done."""

    def __init__(self, applied: list[str]) -> None:
        self.applied = applied
        self.done: list[str] = []
        self.lost: list[str] = []

    def migrations(self, stack: Stack) -> list[str]:
        """Those of the database."""
        return self.applied

    def packaged(self, stack: Stack) -> list[str]:
        """Those of the server."""
        return KNOWN

    def start_missing(self, stack: Stack, services: tuple[str, ...]) -> None:
        """Note which services are started."""
        self.done += services

    def is_up(self, stack: Stack) -> bool:
        """Services run."""
        return True

    def ends(self, stack: Stack) -> bool:
        """No service is being stopped."""
        return False

    def paused(self, stack: Stack) -> list[str]:
        """No service is paused."""
        return []

    def go_on(self, stack: Stack) -> None:
        """None has to go on."""

    def trouble(self, stack: Stack, service: str) -> str | None:
        """The server does not run."""
        return "stopped"

    def check(self, stack: Stack) -> None:
        """Nothing keeps the services from starting."""

    def missing_data(self, stack: Stack) -> list[str]:
        """What data the stack has lost."""
        return self.lost

    def begin_anew(self, stack: Stack) -> None:
        """Note that the data are given up."""
        self.done.append("anew")


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A stack that was completed before."""
    return Stack(tmp_path, state={"complete": True, "started": True})


def with_database(monkeypatch: pytest.MonkeyPatch, applied: list[str]) -> Flavour:
    """Deploy on services whose database has these migrations."""
    flavour = Flavour(applied)
    monkeypatch.setattr(deployment, "flavour_of", lambda stack: flavour)
    for name in ("prepare", "check_files", "settle", "tell_addresses"):
        monkeypatch.setattr(deployment, name, lambda *arguments: None)
    monkeypatch.setattr(deployment, "run", lambda stack, name: flavour.done.append(name))
    return flavour


@pytest.mark.parametrize("task", ["up", "migrate", "bucket", "restart"])
def test_newer_database_is_refused(
    monkeypatch: pytest.MonkeyPatch, stack: Stack, task: str
) -> None:
    """No task starts the server or runs a block on a database that is newer."""
    flavour = with_database(monkeypatch, [*KNOWN, "three"])

    with pytest.raises(StackError, match="does not know"):
        getattr(deployment, task)(stack)

    assert flavour.done == ["parsec-postgres"]


def test_up_leaves_the_server_to_the_migration(
    monkeypatch: pytest.MonkeyPatch, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    """A newer server is not started on an older database, which it would refuse by ending."""
    flavour = with_database(monkeypatch, ["one"])

    deployment.up(stack)

    assert "parsec-server" not in flavour.done
    assert "the database lacks 1 of" in capsys.readouterr().out


def test_up_starts_the_server(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    """A server that fits its database is started."""
    flavour = with_database(monkeypatch, KNOWN)

    deployment.up(stack)

    assert "parsec-server" in flavour.done


@pytest.mark.parametrize("task", ["up", "migrate", "bucket", "restart"])
def test_empty_database_is_no_older_one(
    monkeypatch: pytest.MonkeyPatch, stack: Stack, task: str
) -> None:
    """A stack that had data neither migrates an empty database nor backs it up."""
    flavour = with_database(monkeypatch, [])

    with pytest.raises(StackError, match="is empty, and was not before"):
        getattr(deployment, task)(stack)

    assert flavour.done == ["parsec-postgres"]


def test_lost_data_are_not_made_anew(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    """Nothing is started where data were and are no more."""
    flavour = with_database(monkeypatch, KNOWN)
    flavour.lost = ["the volume of the database", "that of the objects"]

    with pytest.raises(StackError, match="and that of the objects are missing"):
        deployment.up(stack)

    assert flavour.done == []


def test_new_stack_has_lost_nothing(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    """What was never there is made."""
    flavour = with_database(monkeypatch, [])
    flavour.lost = ["the volume of the database"]
    stack.state.clear()

    deployment.up(stack)

    assert "parsec-s3" in flavour.done


def restorable(
    monkeypatch: pytest.MonkeyPatch,
    stack: Stack,
    *,
    fails: str = "",
    migrations: Sequence[str] = KNOWN,
) -> Flavour:
    """A stack whose server runs, and a set with these migrations; the block that ``fails`` does."""
    flavour = with_database(monkeypatch, KNOWN)
    monkeypatch.setattr(flavour, "trouble", lambda stack, service: None)
    monkeypatch.setattr(backups, "flavour_of", lambda stack: flavour)

    def run(stack: Stack, name: str, values: object = None) -> None:
        flavour.done.append(name)
        if name == fails:
            raise StackError(name)
        if name == "fetch-backup":
            (stack.folder / "fetched").mkdir()
            lines = [f"migration {one}" for one in migrations]
            head = ["set 20260131T023000Z", "database-read 2026-01-31T02:30:00Z", "objects 2 9"]
            (stack.folder / "fetched" / "manifest").write_text("\n".join([*head, *lines]))

    for module in (deployment, backups):
        monkeypatch.setattr(module, "run", run)
    (stack.folder / "secrets").mkdir(exist_ok=True)
    (stack.folder / backups.KEY).write_text("key")
    return flavour


def restore(stack: Stack, name: str = "newest") -> None:
    """Restore from the set of this name, without a question."""
    backups.restore(stack, name, target="", key="", confirmed=True)


def test_restore(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    """The set is fetched first, and what it replaces is dropped when the server has answered."""
    flavour = restorable(monkeypatch, stack)

    restore(stack)

    blocks = [name for name in flavour.done if not name.startswith("parsec-")]
    assert blocks == [
        *("fetch-backup", "bucket", "restore-objects", "stop-server", "restore", "drop-replaced"),
    ]
    assert flavour.done[-2] == "parsec-server"
    assert not (stack.folder / "fetched").exists()


def test_restore_that_was_interrupted_at_its_end(
    monkeypatch: pytest.MonkeyPatch, stack: Stack, tmp_path: Path
) -> None:
    """The command that was interrupted in a new folder can be repeated until all is done."""
    flavour = restorable(monkeypatch, stack, fails="drop-replaced")
    monkeypatch.setattr(backups, "restore_settings", lambda stack: stack)
    stack.state.clear()
    stack.state["started"] = True
    key = tmp_path / "given"
    key.write_text("key")

    with pytest.raises(StackError, match="drop-replaced"):
        backups.restore(stack, "newest", target="/backups", key=str(key), confirmed=False)
    assert stack.state["complete"]
    ownership.delete(stack.folder / "fetched")
    flavour = restorable(monkeypatch, stack)
    monkeypatch.setattr(backups, "restore_settings", lambda stack: stack)
    backups.restore(stack, "newest", target="/backups", key=str(key), confirmed=False)

    assert flavour.done[-1] == "drop-replaced"
    with pytest.raises(StackError, match="give --target and --key only for a folder"):
        backups.restore(stack, "newest", target="/backups", key=str(key), confirmed=True)


def test_restore_without_the_key(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    """Without the key of the backups nothing is touched."""
    flavour = restorable(monkeypatch, stack)
    (stack.folder / backups.KEY).unlink()

    with pytest.raises(StackError, match="put back the key of your backups"):
        restore(stack)

    assert flavour.done == []


@pytest.mark.parametrize("name", ["yesterday", "../sets", "20260131T023000Z;x", ""])
def test_restore_from_no_set(monkeypatch: pytest.MonkeyPatch, stack: Stack, name: str) -> None:
    """What is no name of a set reaches no command."""
    flavour = restorable(monkeypatch, stack)

    with pytest.raises(StackError, match="is no name of a set"):
        restore(stack, name)

    assert flavour.done == []


def test_restore_of_a_newer_database(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    """A set that a newer server has written is refused before anything is stopped."""
    flavour = restorable(monkeypatch, stack, migrations=[*KNOWN, "three"])

    with pytest.raises(StackError, match=r"does not know \(three\)"):
        restore(stack)

    assert flavour.done == ["fetch-backup"]


def test_restore_of_a_damaged_backup(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    """Nothing is stopped for a set that cannot be fetched."""
    flavour = restorable(monkeypatch, stack, fails="fetch-backup")

    with pytest.raises(StackError):
        restore(stack)

    assert flavour.done == ["fetch-backup"]


@pytest.mark.parametrize("fails", ["stop-server", "restore"])
def test_restore_that_fails_leaves_the_server_running(
    monkeypatch: pytest.MonkeyPatch, stack: Stack, fails: str
) -> None:
    """Whatever goes wrong, the server that ran is started again."""
    flavour = restorable(monkeypatch, stack, fails=fails)

    with pytest.raises(StackError):
        restore(stack)

    assert flavour.done[-2:] == [fails, "parsec-server"]


def test_restore_that_lacks_objects_stops_no_server(
    monkeypatch: pytest.MonkeyPatch, stack: Stack
) -> None:
    """The server works on until all objects are there."""
    flavour = restorable(monkeypatch, stack, fails="restore-objects")

    with pytest.raises(StackError):
        restore(stack)

    assert "stop-server" not in flavour.done


def test_restored_database_that_is_older(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    """What was replaced stays while the server cannot answer: it wants a migration first."""
    flavour = restorable(monkeypatch, stack, migrations=["one"])
    flavour.applied = ["one"]

    restore(stack)
    assert "drop-replaced" not in flavour.done

    flavour.applied = KNOWN
    deployment.up(stack)

    assert flavour.done[-1] == "drop-replaced"


@pytest.mark.parametrize("task", ["bucket", "restart"])
def test_older_database_is_refused(
    monkeypatch: pytest.MonkeyPatch, stack: Stack, task: str
) -> None:
    """What starts the server wants the migration first."""
    with_database(monkeypatch, ["one"])

    with pytest.raises(StackError, match="run 'invoke migrate' first"):
        getattr(deployment, task)(stack)


def test_restart_before_the_first_migration(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    """A stack that was never completed can be restarted."""
    flavour = with_database(monkeypatch, [])
    stack.state.clear()

    deployment.restart(stack)

    assert flavour.done[-1] == "restart"


def test_migrations_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image itself is asked, by its own Python."""
    asked: dict[str, Any] = {}

    def run(image: str, command: list[str], **options: Any) -> bytes:
        asked.update(image=image, program=command[-1], **options)
        return b"one\ntwo\n"

    engine = SimpleNamespace(containers=SimpleNamespace(run=run))
    monkeypatch.setattr(docker, "engine", lambda: engine)
    docker.packaged_in.cache_clear()

    assert docker.packaged_in("server:1") == KNOWN
    assert asked["entrypoint"] == ["python"]
    assert asked["program"] == schema.PROGRAM.read_text()
    docker.packaged_in.cache_clear()


def test_image_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of something else is told."""
    containers = SimpleNamespace(run=lambda *arguments, **options: b"\n")
    monkeypatch.setattr(docker, "engine", lambda: SimpleNamespace(containers=containers))
    docker.packaged_in.cache_clear()

    with pytest.raises(StackError, match="contains no Parsec server"):
        docker.packaged_in("other:1")


def test_an_image_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stack remembers what an image's content brings; other content under its name is asked."""
    asked: list[str] = []

    def packaged_in(name: str) -> list[str]:
        asked.append(name)
        return list(KNOWN)

    composed = json.dumps({"services": {"parsec-server": {"image": "server:1"}}})
    monkeypatch.setattr(docker, "compose", lambda *arguments: composed)
    monkeypatch.setattr(docker, "packaged_in", packaged_in)
    stack = Stack(tmp_path, "docker", state={"started": True})
    for image in ("sha256:1", "sha256:1", "sha256:2"):
        monkeypatch.setattr(docker, "image_id", lambda name, image=image: image)
        assert docker.packaged(stack) == KNOWN
    assert asked == ["server:1"] * 2

    assert docker.packaged(Stack(tmp_path, "docker")) == KNOWN
    assert len(asked) == 3
