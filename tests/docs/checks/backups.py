"""Backups: that they are whole, replace none, and come back wholly or not at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from checks.common import activated, after, mode
from checks.scripts import desk
from checks.services import flavour_of, in_database, the_schema_is_complete, trust_of
from guidewalk.tool import Said, output_of
from parsec_stack.verify.stack_site import StackSite

DUMP = "parsec.dump"
SCRIPTS = ("check-backup.sh", "backup-database.sh", "restore-database.sh", "drop-replaced.sh")
# A client in whose database nothing is but what these tables of contents say.
GOOD = "1; TABLE DATA public migration parsec 2; TABLE DATA public organization parsec"
WITHIN = 30


def repeat(site: StackSite, name: str, *changes: tuple[str, str]) -> Said:
    """How the block of this name ends when it is run again, with these changes to its text."""
    command = site.commands[f"{name}-{site.flavour}"]
    for old, new in changes:
        command = command.replace(old, new)
    return output_of(["bash", "-euc", command], site.folder, activated(site))


@after("backup-native", "backup-docker", prepares=True)
def the_backup_is_whole_and_private(site: StackSite) -> None:
    """Its owner alone can read it, and a second one leaves the first; what follows needs it."""
    dump = site.folder / DUMP
    assert mode(dump) == 0o600
    assert not site.outputs[f"backup-{site.flavour}"].strip()
    first = dump.read_bytes()
    os.utime(dump, (0, 0))
    in_database(site, "CREATE SCHEMA replaced_1", trust_of(site))
    assert repeat(site, "backup").status == 0
    earlier = [path for path in site.folder.glob("parsec.*.dump") if path.read_bytes() == first]
    assert [path.name[:9] for path in earlier] in (["parsec.19"], ["parsec.20"]), earlier
    assert b"replaced_1" not in dump.read_bytes()
    in_database(site, "DROP SCHEMA replaced_1", trust_of(site))
    lose_the_database(site)


def lose_the_database(site: StackSite) -> None:
    """Drop all tables, so that only the backup can bring them back."""
    in_database(site, "DROP SCHEMA public CASCADE; CREATE SCHEMA public", trust_of(site))
    assert flavour_of(site).migrations(site.stack) is None


@after("check-backup-native", "check-backup-docker")
def nothing_is_no_backup(site: StackSite) -> None:
    """Now that the database is empty it is not backed up, and the backup stays."""
    before = (site.folder / DUMP).read_bytes()
    said = repeat(site, "backup")
    assert said.status == 1, said
    assert "backup-database.sh: what was written is no backup" in said.text, said.text
    assert (site.folder / DUMP).read_bytes() == before
    assert not list(site.folder.glob(f"{DUMP}.*"))


@after("check-backup-native", "check-backup-docker")
def a_damaged_backup_is_refused(site: StackSite) -> None:
    """What is cut short, empty or something else is told before anything is changed."""
    good = (site.folder / DUMP).read_bytes()
    data = good.index(b"\x78\x9c")
    damaged = Path(site.folder, "damaged.dump")
    for content, words in (
        (good[: data + 40], "is damaged or cut short"),
        (good[:40], "is no backup, or its beginning is damaged"),
        (b"", "is missing or empty"),
        (b"something else" * 40, "is no backup, or its beginning is damaged"),
    ):
        damaged.write_bytes(content)
        said = repeat(site, "check-backup", (DUMP, damaged.name))
        assert said.status == 1, said
        assert f"check-backup.sh: {damaged.name} {words}" in said.text, said.text
    damaged.unlink()


@after("restore-native", "restore-docker")
def the_restored_database_is_complete(site: StackSite) -> None:
    """The database that was put back has the schema that it had, and what it replaced is kept."""
    the_schema_is_complete(site)
    in_database(site, "CREATE TABLE public.mine (x INT)", trust_of(site))
    in_database(site, "DROP TABLE public.mine", trust_of(site))
    assert replaced(site) == 1


def replaced(site: StackSite) -> int:
    """How many schemas that a restore has replaced the database holds."""
    query = "DO $$ BEGIN IF EXISTS (SELECT FROM pg_namespace WHERE starts_with(nspname, "
    query += "'replaced_')) THEN RAISE EXCEPTION 'there is one'; END IF; END $$"
    try:
        in_database(site, query, trust_of(site))
    except Exception as error:
        if "there is one" in str(error):
            return 1
        raise
    return 0


@after("drop-replaced-native", "drop-replaced-docker")
def what_was_replaced_is_gone(site: StackSite) -> None:
    """Nothing is left of what the restore has replaced, and what it brought is there."""
    assert replaced(site) == 0
    the_schema_is_complete(site)
    assert not site.outputs[f"drop-replaced-{site.flavour}"].strip()


@after("check-backup-native", "check-backup-docker", aside=True)
def the_backup_scripts_believe_no_failure(site: StackSite) -> None:
    """Whichever of PostgreSQL's programs fails, the scripts fail, say so and leave no file."""
    listing = f"case $* in *--list*) echo '{GOOD}' ;; esac"
    for script, fails, words in (
        ("backup-database.sh", "*pg_dump*", "was not written"),
        ("backup-database.sh", "*--list*", "is no backup; earlier ones are as they were"),
        ("backup-database.sh", "*--file=/dev/null*", "is damaged or cut short"),
        ("restore-database.sh", "*--list*", "is no backup, or its beginning is damaged"),
        ("restore-database.sh", "*--file=/dev/null*", "is damaged or cut short"),
        ("restore-database.sh", "*--file=-*", "which is as it was"),
        ("restore-database.sh", "*psql*", "which is as it was"),
        ("drop-replaced.sh", "*psql*", ""),
    ):
        with desk(site, *SCRIPTS) as place:
            (place.folder / "parsec.dump").write_text("earlier")
            client = place.folder / "client"
            client.write_text(
                f'#!/bin/sh\necho "$@" >>asked\ncase $* in {fails}) exit 3 ;; esac\n{listing}\n'
                "case $* in psql*) cat >>told ;; *pg_dump*) echo dump ;; esac\n"
            )
            client.chmod(0o755)
            done = subprocess.run(
                [f"./{script}", "./client"], cwd=place.folder, env=place.environment,
                capture_output=True, text=True, timeout=WITHIN,
            )  # fmt: skip
            assert done.returncode, f"{script} succeeds when {fails} fails"
            assert words in done.stderr, done.stderr
            assert (place.folder / "parsec.dump").read_text() == "earlier"
            assert {path.name for path in place.folder.glob("parsec.*")} == {"parsec.dump"}
            told = place.folder / "told"
            assert not told.exists() or "COMMIT" not in told.read_text(), f"{fails} is believed"


@after("check-backup-native", "check-backup-docker", aside=True)
def the_backup_scripts_ask_as_the_page_says(site: StackSite) -> None:
    """They act as the owner, want one file of PostgreSQL's own format, and stop at errors."""
    listing = f"case $* in *--list*) echo '{GOOD}' ;; esac"
    with desk(site, *SCRIPTS) as place:
        client = place.folder / "client"
        client.write_text(
            f'#!/bin/sh\necho "$@" >>asked\n{listing}\n'
            "case $* in psql*) cat >>told ;; *pg_dump*) echo dump ;; esac\n"
        )
        client.chmod(0o755)
        for script in SCRIPTS[1:]:
            (place.folder / "asked").write_text("")
            subprocess.run(
                [f"./{script}", "./client"], cwd=place.folder, env=place.environment,
                check=True, timeout=WITHIN,
            )  # fmt: skip
            asked = (place.folder / "asked").read_text()
            for program in ("pg_dump", "psql"):
                assert program not in asked or f"{program} --username=parsec" in asked, asked
            assert "psql" not in asked or "--no-psqlrc" in asked, asked
            assert "psql" not in asked or "--set=ON_ERROR_STOP=1" in asked, asked
            assert "--file=-" not in asked or "--no-owner --no-privileges" in asked, asked
            assert "pg_dump" not in asked or "--format=custom" in asked, asked
