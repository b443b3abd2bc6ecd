"""A folder is a stack's by its record alone, and nothing else in it is ever touched."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from invoking import invoke, prepare
from parsec_stack import native, ownership
from parsec_stack import stack as stacks
from parsec_stack.errors import StackError
from parsec_stack.stack import ARTIFACTS, Stack


def content(folder: Path) -> dict[str, bytes]:
    """All files below the folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def somebodys(tmp_path: Path) -> Path:
    """A folder in which somebody else works, with names that a stack has too."""
    folder = tmp_path / "f"
    (folder / "data" / "postgres").mkdir(parents=True)
    (folder / "secrets").mkdir()
    (folder / "nginx.conf").write_text("x\n")
    (folder / "data" / "photos.db").write_text("p\n")
    (folder / "data" / "postgres" / "PG_VERSION").write_text("16\n")
    (folder / "secrets" / "s3-secret-key").write_text("mine\n")
    return folder


@pytest.fixture
def followed(tmp_path: Path) -> Path:
    """The folder of a reader who has followed the guide by hand."""
    folder = tmp_path / "f"
    shutil.copytree(ARTIFACTS, folder)
    for script in ("setup-tls.sh", "gen-admin-token.sh", "gen-credentials.sh"):
        subprocess.run([f"./{script}"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack that has never been started."""
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def stack(prepared: Path, tmp_path: Path) -> Stack:
    """A copy of it."""
    folder = shutil.copytree(prepared, tmp_path / "s")
    return stacks.choose({"stack": str(folder)}, {})


@pytest.mark.parametrize(
    ("whose", "task"),
    [
        *(("somebodys", task) for task in ("tls", "status", "down", "destroy --yes")),
        *(("followed", task) for task in ("adminToken", "up", "destroy --yes")),
    ],
)
def test_no_task_touches_a_foreign_folder(
    request: pytest.FixtureRequest, whose: str, task: str
) -> None:
    """Without a record nothing is written, removed or claimed, whatever the files are called."""
    folder: Path = request.getfixturevalue(whose)
    before = content(folder)

    done = invoke(folder, *task.split())

    assert done.returncode == 1
    assert "no stack" in done.stderr
    assert content(folder) == before


@pytest.mark.parametrize("task", ["status", "up", "destroy --yes"])
def test_only_the_first_tasks_make_a_folder(tmp_path: Path, task: str) -> None:
    """A mistyped folder is not made by a task that can do nothing there."""
    done = invoke(tmp_path / "s", *task.split())

    assert f"there is no stack in {tmp_path / 's'}" in done.stderr
    assert not (tmp_path / "s").exists()


def test_older_record_claims_nothing(somebodys: Path) -> None:
    """What an older version's ``down`` has left in a foreign folder makes no stack of it."""
    record = {"flavour": "native", "port_offset": 0, "running": False}
    (somebodys / ".stack.json").write_text(json.dumps(record))

    assert stacks.choose({"stack": str(somebodys)}, {}).state == {}


def test_destroy_leaves_nothing_of_its_own(stack: Stack) -> None:
    """What the tasks have made goes, and the folder with it."""
    assert ownership.remove(stack) == []
    assert not stack.folder.exists()


def test_destroy_keeps_what_others_have_put_there(stack: Stack, tmp_path: Path) -> None:
    """Files in our folders, edited files and links stay, and are named."""
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    (elsewhere / "PG_VERSION").write_text("16\n")
    (stack.folder / "data" / "s3").mkdir(parents=True)
    (stack.folder / "data" / "postgres").symlink_to(elsewhere)
    (stack.folder / "data" / "photos.db").write_text("p\n")
    (stack.folder / "secrets" / "mine").write_text("m\n")
    (stack.folder / "parsec.env").write_text("# edited\n")

    kept = ownership.remove(stack)

    assert kept == ["data", "parsec.env", "secrets"]
    left = {str(path.relative_to(stack.folder)) for path in stack.folder.rglob("*")}
    assert left == {
        *("data", "data/postgres", "data/photos.db", "secrets", "secrets/mine", "parsec.env"),
    }
    assert (elsewhere / "PG_VERSION").exists()


def test_destroy_keeps_a_certificate_of_another_ca(stack: Stack, tmp_path: Path) -> None:
    """An own certificate of the proxy, with its key, is the user's; the others are the stack's."""
    other = tmp_path / "ca"
    other.mkdir()
    subprocess.run([ARTIFACTS / "setup-tls.sh"], cwd=other, check=True, capture_output=True)
    for suffix in ("key", "crt"):
        shutil.copy(other / f"parsec-proxy.{suffix}", stack.folder)

    assert ownership.remove(stack) == ["parsec-proxy.crt", "parsec-proxy.csr", "parsec-proxy.key"]


def test_destroy_of_a_stack_from_before_the_records(stack: Stack) -> None:
    """Of a stack whose certificates nobody noted those are its own that its CA has signed."""
    (stack.folder / "issued-certificates.txt").unlink()
    del stack.state["folder"]
    ownership.record(stack)

    assert stack.state["older"]
    assert ownership.remove(stack) == []


def test_certificates_that_nobody_noted_are_kept(stack: Stack) -> None:
    """Of a newer one only those that its record names."""
    (stack.folder / "issued-certificates.txt").unlink()

    assert "custom-ca.key" in ownership.remove(stack)


def test_task_after_destroy_begins_anew(stack: Stack) -> None:
    """In one line a stack is removed and made again, in the same folder."""
    done = invoke(stack.folder, "destroy", "--yes", "tls")

    assert done.returncode == 0, done.stderr
    assert "custom-ca.key: created" in done.stdout
    assert stacks.choose({"stack": str(stack.folder)}, {}).state["folder"] == str(stack.folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """It is told before anything is tried there."""
    (tmp_path / "s").mkdir(mode=0o500)

    with pytest.raises(StackError, match="may not write"):
        ownership.enter(Stack(tmp_path / "s"), creates=True)


def test_link_and_folder_are_one_stack(stack: Stack, tmp_path: Path) -> None:
    """A link to the stack's folder leads to the same stack."""
    (tmp_path / "link").symlink_to(stack.folder)

    linked = stacks.choose({"stack": str(tmp_path / "link")}, {})

    assert linked == stack
    assert linked.project == stack.project


def test_moved_stack_keeps_its_project(stack: Stack, tmp_path: Path) -> None:
    """The data of a moved stack are in the engine by the name that it had."""
    before = stack.project
    stack.folder.rename(tmp_path / "elsewhere")

    moved = stacks.choose({"stack": str(tmp_path / "elsewhere")}, {})

    assert moved.project == before


def as_docker(folder: Path) -> None:
    """Let the folder's record be that of the docker flavour."""
    record = json.loads((folder / ".stack.json").read_text())
    (folder / ".stack.json").write_text(json.dumps(record | {"flavour": "docker"}))


def test_copied_stack_is_refused(stack: Stack, tmp_path: Path) -> None:
    """A copy would share the original's volumes, and destroy them."""
    as_docker(stack.folder)
    (stacks_record := stack.folder / ".stack.json").write_text(
        json.dumps(json.loads(stacks_record.read_text()) | {"folder": str(stack.folder)})
    )
    shutil.copytree(stack.folder, tmp_path / "copy")

    with pytest.raises(StackError, match="is a copy of the stack in"):
        stacks.choose({"stack": str(tmp_path / "copy")}, {})


def test_older_stack_behind_a_link_keeps_its_project(stack: Stack, tmp_path: Path) -> None:
    """An older version named the project after the link; the data have that name."""
    link = tmp_path / "link"
    link.symlink_to(stack.folder)
    as_docker(stack.folder)
    older = json.loads((stack.folder / ".stack.json").read_text())
    del older["project"]
    (stack.folder / ".stack.json").write_text(json.dumps(older))
    (stack.folder / ".env").write_text(f"COMPOSE_PROJECT_NAME={stacks.project_of(link)}\n")

    assert stacks.choose({"stack": str(link)}, {}).project == stacks.project_of(link)
    with pytest.raises(StackError, match="was moved or copied"):
        stacks.choose({"stack": str(stack.folder)}, {})


@contextmanager
def running(**variables: str) -> Iterator[int]:
    """A process with these variables."""
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(
        command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def test_orphans_are_told_by_their_whole_path(tmp_path: Path) -> None:
    """Of a stack whose path ends with that of another nothing is ended, of one's own it is."""
    stack = Stack(tmp_path / "s")
    nested = f"unix://{tmp_path}{native.control_socket(stack)}"
    own = f"unix://{native.control_socket(stack)}"

    with (
        running(SUPERVISOR_SERVER_URL=nested) as foreign,
        running(SUPERVISOR_SERVER_URL=own) as ours,
    ):
        found = {process.pid for process in native.orphans(stack)}

    assert ours in found
    assert foreign not in found
