"""Whole backups of a real stack: interrupted, on a full disk, far away, with clients at work."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parsec_stack import backups, probes, smoke
from parsec_stack.flavour import free_offset
from parsec_stack.stack import ARTIFACTS, Stack
from parsec_stack.verify import trial_stack

# How many seconds a script may take, on a busy machine.
WITHIN = 300
# A file system of a few kilobytes, for which no rights are needed.
SMALL = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-euc"]
# Root runs no services.
pytestmark = [pytest.mark.timeout(3 * WITHIN), pytest.mark.usefixtures("as_reader")]

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def running() -> Iterator[Stack]:
    """A complete stack, for all tests of this module."""
    with trial_stack.running("native", "sets") as made:
        yield made


@pytest.fixture
def stack(running: Stack) -> Iterator[Stack]:
    """The stack, without a backup and with settings as the guide has them."""
    settings = running.folder / backups.SETTINGS
    text = settings.read_text()
    yield running
    settings.write_text(text)
    names = ("backups", "fetched", "rclone.conf", backups.LAST, *temporary(running))
    for path in (running.folder / name for name in names):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def target(stack: Stack, place: str) -> None:
    """Let the backups go there."""
    settings = stack.folder / backups.SETTINGS
    settings.write_text(settings.read_text().replace("=backups\n", f"={place}\n"))


def follow(stack: Stack, script: str, *arguments: str) -> Done:
    """Run the script as its reader does; what it prints holds no secret."""
    done = subprocess.run(
        [f"./{script}", *arguments],
        cwd=stack.folder,
        env=stack.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN,
    )
    trial_stack.without_secrets(stack, done.stdout + done.stderr)
    return done


def back_up(stack: Stack) -> Done:
    """Write a set."""
    return follow(stack, "backup.sh", "./database-client")


def succeed(done: Done) -> str:
    """What the script printed, which must have succeeded."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refuse(done: Done, words: str) -> None:
    """The script failed, and its last line says these words."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert words in done.stderr.splitlines()[-1], done.stderr


def temporary(stack: Stack) -> list[str]:
    """What a script has left of its work."""
    return [path.name for path in stack.folder.glob(".*.??????") if path.is_dir()]


def whole(stack: Stack) -> list[Path]:
    """The sets in the stack's own folder that count."""
    return sorted(path.parent for path in stack.folder.glob("backups/sets/*/manifest.bin"))


class Writer(threading.Thread):
    """A client that writes until it is told to stop, and remembers when each block was in."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.stack = stack
        self.traces = smoke.write(stack)
        self.written: dict[str, float] = dict.fromkeys(self.traces.blocks, time.time())
        self.ended = threading.Event()

    def run(self) -> None:
        """Write block after block."""
        server = smoke.server_of(self.stack)
        while not self.ended.wait(0.01):
            smoke.write_block(server, self.traces)
            self.written[list(self.traces.blocks)[-1]] = time.time()

    def stop(self) -> None:
        """Write no more."""
        self.ended.set()
        self.join()

    def traces_until(self, moment: float) -> smoke.Traces:
        """What had been acknowledged by then."""
        blocks = {
            name: text for name, text in self.traces.blocks.items() if self.written[name] < moment
        }
        return smoke.Traces(self.traces.device, self.traces.realm, blocks)


def test_with_clients_at_work(stack: Stack) -> None:
    """What was acknowledged before a backup comes back from it, though clients went on writing."""
    writer = Writer(stack)
    writer.start()
    try:
        time.sleep(1)
        began = time.time()
        succeed(back_up(stack))
    finally:
        writer.stop()
    owed = writer.traces_until(began)
    assert len(owed.blocks) > 1

    done = trial_stack.invoke(stack, "restore", "--yes")

    assert done.returncode == 0, done.stdout + done.stderr
    smoke.read_back(stack, owed)


@pytest.mark.parametrize("moment", [0.2, 0.7, 1.2, 2.0])
def test_killed(stack: Stack, moment: float) -> None:
    """Killed at any moment it leaves the sets before as they were; the next run is whole."""
    succeed(back_up(stack))
    first = whole(stack)
    before = {path: path.read_bytes() for path in first[0].iterdir()}
    smoke.write(stack)
    process = subprocess.Popen(
        ["./backup.sh", "./database-client"],
        cwd=stack.folder,
        env=stack.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    assert {path: path.read_bytes() for path in first[0].iterdir()} == before
    succeed(follow(stack, "fetch-backup.sh"))
    time.sleep(1)
    succeed(back_up(stack))
    assert whole(stack)[0] == first[0]
    assert whole(stack)[-1] != first[0]
    succeed(follow(stack, "fetch-backup.sh"))


def test_what_a_shell_has_for_other_purposes(stack: Stack) -> None:
    """Variables of rclone, AWS, tar and openssl that a user has exported change nothing."""
    foreign = {
        "RCLONE_CONFIG_SETS_REMOTE": "/nowhere",
        "RCLONE_DRY_RUN": "true",
        "AWS_ACCESS_KEY_ID": "another",
        "AWS_CA_BUNDLE": "/no/such/file",
        "TAR_OPTIONS": "--exclude=*.env",
        "OPENSSL_CONF": "/no/such/file",
        "CDPATH": "/tmp",
    }
    for script in (
        ["./backup.sh", "./database-client"],
        ["./backup-now.sh"],
        ["./fetch-backup.sh"],
    ):
        done = subprocess.run(
            script, cwd=stack.folder, env=stack.environment() | foreign, capture_output=True,
            text=True, timeout=WITHIN,
        )  # fmt: skip
        succeed(done)
        time.sleep(1)
    listed = subprocess.run(
        ["tar", "--list", "--file", stack.folder / "fetched" / "settings.tar"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "./parsec-credentials.env" in listed.stdout.split()


def test_interrupted(stack: Stack) -> None:
    """Ctrl-C leaves nothing of the work."""
    process = subprocess.Popen(
        ["./backup.sh", "./database-client"],
        cwd=stack.folder,
        env=stack.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not list(stack.folder.glob(".backup.*/database.dump")) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)

    assert process.wait(WITHIN) == 130
    assert temporary(stack) == []
    assert whole(stack) == []


@pytest.mark.parametrize("size", ["16k", "100k", "200k"])
def test_full_disk(stack: Stack, size: str) -> None:
    """On a target without room nothing counts as a set, and what counted still does."""
    if subprocess.run([*SMALL, "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no user namespaces")
    smoke.write(stack, blocks=3)
    disk = stack.folder.parent / "disk"
    disk.mkdir(exist_ok=True)
    target(stack, str(disk))
    inside = (
        f'mount -t tmpfs -o size={size} none "{disk}"; '
        "! ./backup.sh ./database-client; "
        f'find "{disk}" -name manifest.bin'
    )

    done = subprocess.run(
        [*SMALL, inside],
        cwd=stack.folder,
        env=stack.environment(),
        capture_output=True,
        text=True,
        timeout=WITHIN,
    )

    assert done.returncode == 0, done.stderr
    assert "backup.sh: " in done.stderr.splitlines()[-1], done.stderr
    assert "earlier sets are as they were" in done.stderr
    assert not done.stdout.strip()
    assert temporary(stack) == []


@pytest.mark.parametrize("service", ["parsec-postgres", "parsec-s3"])
def test_service_that_is_down(stack: Stack, service: str) -> None:
    """Without the database or the store there is no backup, and one message says so."""
    control = ["supervisorctl", "--configuration", "supervisord.conf"]
    for verb in ("stop", "start"):
        if verb == "start":
            refuse(back_up(stack), "earlier sets are as they were")
            assert whole(stack) == []
        subprocess.run(
            [*control, verb, service], cwd=stack.folder, env=stack.environment(), check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    assert trial_stack.invoke(stack, "up").returncode == 0


@contextmanager
def remote(kind: str, folder: Path) -> Iterator[str]:
    """The settings of a remote of this kind, behind which is the folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    login = {"s3": ["--auth-key=key,secret"], "webdav": ["--user=user", "--pass=secret"],
             "sftp": ["--user=user", "--pass=secret"]}[kind]  # fmt: skip
    hidden = subprocess.run(
        ["rclone", "obscure", "secret"], capture_output=True, text=True, check=True
    ).stdout.strip()
    settings = {
        "s3": f"type = s3\nprovider = Rclone\nendpoint = http://127.0.0.1:{port}\n"
        "access_key_id = key\nsecret_access_key = secret\n",
        "webdav": f"type = webdav\nurl = http://127.0.0.1:{port}\nuser = user\npass = {hidden}\n",
        "sftp": f"type = sftp\nhost = 127.0.0.1\nport = {port}\nuser = user\npass = {hidden}\n",
    }[kind]
    home = {"HOME": str(folder.parent), "RCLONE_CACHE_DIR": str(folder.parent / "cache")}
    serving = subprocess.Popen(
        ["rclone", "serve", kind, str(folder), f"--addr=127.0.0.1:{port}", *login],
        env=os.environ | home,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + WITHIN
        while not probes.listens(port):
            assert time.monotonic() < deadline
            assert serving.poll() is None
            time.sleep(0.02)
        yield settings
    finally:
        serving.kill()
        serving.wait()


@pytest.mark.parametrize("kind", ["s3", "webdav", "sftp"])
def test_remote(stack: Stack, kind: str) -> None:
    """A set is written to a remote and restored from there; when that is gone, it is said."""
    traces = smoke.write(stack)
    with tempfile.TemporaryDirectory(dir=stack.folder.parent) as name:
        place = Path(name) / "served"
        (place / "parsec").mkdir(parents=True)
        target(stack, "offsite:parsec")
        with remote(kind, place) as settings:
            (stack.folder / "rclone.conf").write_text(f"[offsite]\n{settings}")
            succeed(back_up(stack))
            assert list(place.rglob("manifest.bin"))
            done = trial_stack.invoke(stack, "restore", "--yes")
            assert done.returncode == 0, done.stdout + done.stderr
        refuse(back_up(stack), "earlier sets are as they were")
        refuse(follow(stack, "fetch-backup.sh"), "cannot be read")
    smoke.read_back(stack, traces)


@pytest.mark.parametrize("pause", [0, 1])
def test_two_at_once(stack: Stack, pause: int) -> None:
    """Two runs do not disturb each other: of two in the same second one may give up."""
    with subprocess.Popen(
        ["bash", "-c", f"sleep {pause}; exec ./backup.sh ./database-client"],
        cwd=stack.folder,
        env=stack.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as other:
        first = back_up(stack)
    assert 0 in (first.returncode, other.returncode)
    assert pause == 0 or (first.returncode, other.returncode) == (0, 0)
    assert whole(stack)
    for path in whole(stack):
        succeed(follow(stack, "fetch-backup.sh", path.name))


def test_bare_folder(stack: Stack) -> None:
    """In a new folder, on other ports, everything comes back by one command."""
    traces = smoke.write(stack)
    (stack.folder / "parsec.env").open("a").write("# edited\n")
    try:
        succeed(back_up(stack))
        key = stack.folder.parent / "key of backups"
        shutil.copy(stack.folder / backups.KEY, key)
        folder = stack.folder.with_name("o")
        other = Stack(folder, "native", free_offset(folder, "native"))
        try:
            done = trial_stack.invoke(
                other, "restore", "--target", str(stack.folder / "backups"), "--key", str(key)
            )
            assert done.returncode == 0, done.stdout + done.stderr
            smoke.read_back(other, traces)
            assert (other.folder / "parsec.env").read_text().endswith("# edited\n")
            for name in ("custom-ca.key", "parsec-admin-token.env", "secrets/postgres-password"):
                own = (stack.folder / name).read_bytes()
                assert (other.folder / name).read_bytes() == own
        finally:
            gone = trial_stack.invoke(other, "destroy", "--yes")
            assert gone.returncode == 0, gone.stdout + gone.stderr
    finally:
        shutil.copy(ARTIFACTS / "parsec.env", stack.folder / "parsec.env")
