"""Backups: that they are whole, private and bounded, and that everything comes back from them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from checks.common import activated, after, mode
from checks.scripts import desk
from checks.services import (
    BUCKET,
    flavour_of,
    in_database,
    object_store,
    the_schema_is_complete,
    trust_of,
)
from guidewalk.tool import Said, output_of
from parsec_stack.verify.stack_site import StackSite

SETS, OBJECTS, FETCHED = "backups/sets", "backups/objects", "fetched"
SCRIPTS = ("check-backup.sh", "restore-database.sh", "drop-replaced.sh")
# A client in whose database nothing is but what these tables of contents say.
GOOD = "1; TABLE DATA public migration parsec 2; TABLE DATA public organization parsec"
# The folder loses this before it gets it back.
SETTING = "parsec-smtp.env"
WITHIN = 60
# Names of a time before anything of today.
OLD, OLDER, TORN = "20200102T000000Z", "20200101T000000Z", "20200103T000000Z"
# Fails unless the schema has its owner and its rights, as in every new database.
AS_NEW = """
DO $$ BEGIN
    ASSERT (
        SELECT nspowner::regrole = 'pg_database_owner'::regrole
        AND has_schema_privilege('public', oid, 'USAGE')
        AND NOT has_schema_privilege('public', oid, 'CREATE')
        FROM pg_namespace WHERE nspname = 'public'
    ), 'the schema public is not as in a new database';
END $$
"""


def repeat(site: StackSite, name: str, *changes: tuple[str, str]) -> Said:
    """How the block of this name ends when it is run again, with these changes to its text."""
    commands = site.commands
    command = commands[name] if name in commands else commands[f"{name}-{site.flavour}"]
    for old, new in changes:
        command = command.replace(old, new)
    return output_of(["bash", "-euc", command], site.folder, activated(site))


def sets(site: StackSite) -> list[str]:
    """The names of the sets, whole or not, oldest first."""
    return sorted(path.name for path in (site.folder / SETS).iterdir())


def content(folder: Path) -> dict[str, tuple[bytes, float]]:
    """What the folder's files hold, and when they were written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def left_over(site: StackSite) -> list[str]:
    """What the scripts have left of their work."""
    return [path.name for path in site.folder.glob(".*.??????") if path.is_dir()]


@after("backup-native", "backup-docker", prepares=True)
def the_backup_is_whole_and_private(site: StackSite) -> None:
    """Nobody else can open it, a second run copies no object again, and what follows needs it."""
    backups = site.folder / "backups"
    assert mode(backups) == 0o700
    assert all(mode(path) == 0o600 for path in backups.rglob("*") if path.is_file())
    before = content(backups)
    kept = {Path(name).relative_to(site.folder / OBJECTS) for name in before if OBJECTS in name}
    stored = object_store(site).list_objects_v2(Bucket=BUCKET).get("Contents", [])
    assert stored
    assert kept == {Path(one["Key"]) for one in stored}, kept
    in_database(site, "CREATE SCHEMA replaced_1", trust_of(site))
    assert repeat(site, "backup").status == 0
    after_second = content(backups)
    assert after_second | before == after_second, "a second backup has changed the first"
    assert len(sets(site)) == 2, sets(site)
    in_database(site, "DROP SCHEMA replaced_1", trust_of(site))
    assert not left_over(site)


@after("backup-native", "backup-docker")
def what_identifies_and_opens_is_encrypted(site: StackSite) -> None:
    """No set holds a secret or a name in the clear."""
    secrets = [path.read_bytes() for path in (site.folder / "secrets").iterdir()]
    secrets += [b"PARSEC_ADMINISTRATION_TOKEN", b"alice@example.com", b"PRIVATE KEY", b"migration"]
    for path, (told, _) in content(site.folder / SETS).items():
        assert not any(secret.strip() in told for secret in secrets), path


@after("backup-native", "backup-docker")
def old_sets_go_and_their_objects_stay_as_long_as_they_are_named(site: StackSite) -> None:
    """What is old and exceeds the number goes, so does what was not finished; never the last."""
    newest = sets(site)[-1]
    settings = site.folder / "parsec-backup.env"
    text = settings.read_text()
    sample = next(path for path in (site.folder / OBJECTS).rglob("*") if path.is_file())
    unnamed = sample.with_name("of-no-set")
    try:
        settings.write_text(text.replace("BACKUP_KEEP=7", "BACKUP_KEEP=2"))
        for name in (OLD, OLDER, TORN):
            shutil.copytree(site.folder / SETS / newest, site.folder / SETS / name)
        (site.folder / SETS / TORN / "manifest.bin").unlink()
        unnamed.write_bytes(b"an object of the oldest set")
        os.utime(unnamed, (0, 0))
        said = repeat(site, "backup")
        assert said.status == 0, said.text
        assert "older sets removed: 3" in said.text, said.text
        assert not {OLD, OLDER, TORN} & set(sets(site)), sets(site)
        assert newest in sets(site)
        assert not unnamed.exists()
        assert sample.exists()
        # A set's age alone, or its number alone, is no reason.
        shutil.copytree(site.folder / SETS / newest, site.folder / SETS / OLD)
        settings.write_text(text)
        assert repeat(site, "backup").status == 0
        assert OLD in sets(site)
        shutil.rmtree(site.folder / SETS / OLD)
    finally:
        settings.write_text(text)


@after("restore-executable", prepares=True)
def nothing_is_no_backup(site: StackSite) -> None:
    """An empty database is not backed up, and the sets stay; what is lost comes back below."""
    in_database(site, "DROP SCHEMA public CASCADE; CREATE SCHEMA public", trust_of(site))
    assert flavour_of(site).migrations(site.stack) is None
    before = content(site.folder / SETS)
    said = repeat(site, "backup")
    assert said.status == 1, said
    assert "backup.sh: what the database gave is no backup" in said.text, said.text
    assert content(site.folder / SETS) == before
    assert not left_over(site)


@contextmanager
def damaged(site: StackSite, path: Path, how: str) -> Iterator[None]:
    """In the context the file is cut short, changed or away; afterwards it is as before."""
    good = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(good[: len(good) // 2] if how == "short" else good[:-1] + b"\0")
    try:
        yield
    finally:
        path.write_bytes(good)


@after("fetch-backup")
def a_damaged_set_is_refused(site: StackSite) -> None:
    """Whatever of it is missing or damaged, the set is refused, and what was fetched stays."""
    newest = site.folder / SETS / sets(site)[-1]
    sample = next(path for path in (site.folder / OBJECTS).rglob("*") if path.is_file())
    before = content(site.folder / FETCHED)
    cases = [(newest / f"{name}.bin", how) for name in ("database.dump", "settings.tar", "objects")
             for how in ("short", "changed", "missing")]  # fmt: skip
    cases += [(newest / "manifest.bin", "short"), (sample, "short"), (sample, "missing")]
    for path, how in cases:
        with damaged(site, path, how):
            said = repeat(site, "fetch-backup", ("newest", newest.name))
            assert said.status == 1, f"{path.name} is {how}: {said.text}"
            assert "fetch-backup.sh: " in said.text, said.text
            assert content(site.folder / FETCHED) == before
    with damaged(site, newest / "manifest.bin", "missing"):
        said = repeat(site, "fetch-backup", ("newest", newest.name))
        assert "it was not finished; use another" in said.text, said.text
        said = repeat(site, "fetch-backup")
        assert said.status == 0, said.text
        assert newest.name not in said.text, "what is not whole counts as the newest"
    assert not left_over(site)
    assert repeat(site, "fetch-backup").status == 0


@after("fetch-backup")
def a_foreign_key_opens_nothing(site: StackSite) -> None:
    """With another key no set can be read, and what was fetched stays."""
    key, before = site.folder / "secrets" / "backup-key", content(site.folder / FETCHED)
    own = key.read_text()
    key.write_text("0" * 64)
    try:
        said = repeat(site, "fetch-backup")
    finally:
        key.write_text(own)
    assert said.status == 1
    assert "cannot be read from backups with the key in secrets/backup-key" in said.text, said.text
    assert content(site.folder / FETCHED) == before


@after("fetch-backup", prepares=True)
def more_is_lost(site: StackSite) -> None:
    """Now the folder loses a setting, and the store every object."""
    (site.folder / SETTING).rename(site.folder.parent / SETTING)
    store = object_store(site)
    for one in store.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        store.delete_object(Bucket=BUCKET, Key=one["Key"])


@after("restore-settings")
def what_is_there_is_kept(site: StackSite) -> None:
    """What was lost is back as it was, and what was edited since stays so."""
    lost, back = site.folder.parent / SETTING, site.folder / SETTING
    assert back.read_bytes() == lost.read_bytes()
    assert mode(back) == mode(lost)
    edited = site.folder / "parsec.env"
    text = edited.read_text()
    edited.write_text(f"{text}# edited\n")
    try:
        said = repeat(site, "restore-settings")
        assert said.text.splitlines()[-1] == "settings: 0 files put back", said.text
        assert "parsec.env: kept, though the backup has another" in said.text, said.text
        assert edited.read_text() == f"{text}# edited\n"
    finally:
        edited.write_text(text)


@after("restore-objects")
def the_store_has_every_object(site: StackSite) -> None:
    """What the store had lost it has again, and a second run gives it nothing."""
    stored = object_store(site).list_objects_v2(Bucket=BUCKET).get("Contents", [])
    names = [
        line.split(" ", 2)[2]
        for line in (site.folder / FETCHED / "objects").read_text().splitlines()
    ]
    assert names
    assert {one["Key"] for one in stored} >= set(names)
    said = repeat(site, "restore-objects")
    assert said.text.strip() == f"objects: 0 put back, {len(names)} were there", said.text


@after("restore-objects")
def a_changed_object_is_not_put_back(site: StackSite) -> None:
    """An object that is not as it was backed up is refused before the store gets any."""
    store = object_store(site)
    line = (site.folder / FETCHED / "objects").read_text().splitlines()[0]
    name = line.split(" ", 2)[2]
    store.delete_object(Bucket=BUCKET, Key=name)
    with damaged(site, site.folder / OBJECTS / name, "changed"):
        said = repeat(site, "restore-objects")
        assert said.status == 1, said.text
        assert "are not as they were backed up; nothing was changed" in said.text, said.text
    stored = store.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    assert name not in {one["Key"] for one in stored}
    assert repeat(site, "restore-objects").status == 0


@after("restore-native", "restore-docker")
def the_restored_database_is_complete(site: StackSite) -> None:
    """The database that was put back has the schema that it had, and what it replaced is kept.

    Others may do there what they may in a database that PostgreSQL makes.
    """
    the_schema_is_complete(site)
    in_database(site, AS_NEW, trust_of(site))
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


@after("restore-native", "restore-docker", aside=True)
def the_scripts_of_the_database_believe_no_failure(site: StackSite) -> None:
    """Whichever of PostgreSQL's programs fails, the scripts fail and say so."""
    listing = f"case $* in *--list*) echo '{GOOD}' ;; esac"
    for script, fails, words in (
        ("restore-database.sh", "*--list*", "is no backup, or its beginning is damaged"),
        ("restore-database.sh", "*--file=/dev/null*", "is damaged or cut short"),
        ("restore-database.sh", "*--file=-*", "which is as it was"),
        ("restore-database.sh", "*psql*", "which is as it was"),
        ("drop-replaced.sh", "*psql*", ""),
    ):
        with desk(site, *SCRIPTS) as place:
            (place.folder / FETCHED).mkdir()
            (place.folder / FETCHED / "database.dump").write_text("earlier")
            client = place.folder / "client"
            client.write_text(
                f'#!/bin/sh\necho "$@" >>asked\ncase $* in {fails}) exit 3 ;; esac\n{listing}\n'
                "case $* in psql*) cat >>told ;; esac\n"
            )
            client.chmod(0o755)
            done = subprocess.run(
                [f"./{script}", "./client"], cwd=place.folder, env=place.environment,
                capture_output=True, text=True, timeout=WITHIN,
            )  # fmt: skip
            assert done.returncode, f"{script} succeeds when {fails} fails"
            assert words in done.stderr, done.stderr
            told = place.folder / "told"
            assert not told.exists() or "COMMIT" not in told.read_text(), f"{fails} is believed"


@after("restore-native", "restore-docker", aside=True)
def the_scripts_of_the_database_ask_as_the_page_says(site: StackSite) -> None:
    """They act as the owner, obey no setting of the user's, and stop at errors."""
    listing = f"case $* in *--list*) echo '{GOOD}' ;; esac"
    with desk(site, *SCRIPTS) as place:
        (place.folder / FETCHED).mkdir()
        (place.folder / FETCHED / "database.dump").write_text("earlier")
        client = place.folder / "client"
        client.write_text(
            f'#!/bin/sh\necho "$@" >>asked\n{listing}\ncase $* in psql*) cat >/dev/null ;; esac\n'
        )
        client.chmod(0o755)
        for script in SCRIPTS[1:]:
            subprocess.run(
                [f"./{script}", "./client"], cwd=place.folder, env=place.environment,
                check=True, timeout=WITHIN, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        asked = (place.folder / "asked").read_text()
        for line in asked.splitlines():
            if line.startswith("psql"):
                assert "--username=parsec --no-psqlrc" in line, line
                assert "--set=ON_ERROR_STOP=1" in line, line
            if "--file=-" in line:
                assert "--no-owner --no-privileges" in line, line


@after("backup-age")
def timers_need_nothing_of_a_terminal(site: StackSite) -> None:
    """What the unit starts makes a set in the environment that a timer gives."""
    unit = (site.folder / "parsec-backup.service").read_text()
    (command,) = (line[10:] for line in unit.splitlines() if line.startswith("ExecStart="))
    before = sets(site)
    home = {
        name: site.environment[name]
        for name in ("HOME", "DOCKER_CONFIG", "DOCKER_HOST")
        if name in site.environment
    }
    moved = {
        name: text
        for name, text in site.environment.items()
        if name.startswith(("STACK_", "COMPOSE_"))
    }
    path = site.environment["PATH"] if site.flavour == "docker" else "/usr/bin:/bin"
    said = output_of(["sh", "-c", command], site.folder, home | moved | {"PATH": path})
    assert said.status == 0, said.text
    assert len(sets(site)) == len(before) + 1


@after("backup-age")
def an_old_backup_is_a_fault(site: StackSite) -> None:
    """The age is that of the last whole set, and too much of it fails."""
    record = site.folder / "last-backup"
    text = record.read_text()
    name = sets(site)[-1]
    assert f"set {name}" in text.splitlines()
    try:
        old = [line for line in text.splitlines() if not line.startswith("database-read ")]
        record.write_text("\n".join([*old, "database-read 2026-01-31T02:30:00Z"]))
        said = repeat(site, "backup-age")
        assert said.status == 1, said.text
        assert "backup-age.sh: that is 26 h or more" in said.text, said.text
        record.unlink()
        assert repeat(site, "backup-age").text.strip() == "last backup: none so far"
    finally:
        record.write_text(text)
