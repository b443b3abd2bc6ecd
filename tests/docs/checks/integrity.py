"""The check: what it finds where database and store do not agree, and that it changes nothing."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from checks.backups import repeat
from checks.common import after, values
from checks.services import BUCKET, flavour_of, in_database, object_store, trust_of
from checks.stores import soon
from parsec_stack import smoke
from parsec_stack.verify.stack_site import StackSite

# What the server records of a block.
COLUMNS = {
    *("_id", "block_id", "realm", "author", "size", "created_on", "deleted_on", "key_index"),
    # Of servers before 3.6.1.
    "organization",
}


def asked(site: StackSite, query: str) -> list[Any]:
    """The first column of what the database answers."""
    import asyncpg

    password = values(site.folder / "parsec-credentials.env")["POSTGRES_PASSWORD"]

    async def run() -> list[Any]:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=site.stack.ports["POSTGRES"], user="parsec", password=password,
            database="parsec", ssl=trust_of(site),
        )  # fmt: skip
        rows = await connection.fetch(query)
        await connection.close()
        return [row[0] for row in rows]

    return asyncio.run(run())


@contextmanager
def planted(site: StackSite, traces: smoke.Traces) -> Iterator[dict[str, str]]:
    """A row without an object, one with another size, and an object without a row, by fault."""
    organization, (block,) = traces.device.organization, traces.blocks
    known = uuid.UUID(block)
    made = {"missing": uuid.uuid4(), "orphaned": uuid.uuid4()}
    columns = ", ".join(
        asked(site, "SELECT column_name::text FROM information_schema.columns "
              "WHERE table_name = 'block' AND column_name NOT IN ('_id', 'block_id')")
    )  # fmt: skip
    in_database(
        site,
        f"INSERT INTO block (block_id, {columns}) SELECT '{made['missing']}', {columns} "
        f"FROM block WHERE block_id = '{known}'; "
        f"UPDATE block SET size = size + 1 WHERE block_id = '{known}'",
        trust_of(site),
    )
    store, key = object_store(site), f"{organization}/{made['orphaned']}"
    version = store.put_object(Bucket=BUCKET, Key=key, Body=b"seven b")["VersionId"]
    try:
        yield {kind: f"{kind} {organization}" for kind in made} | {
            "missing line": f"{made['missing']} ", "truncated line": f"{known} ",
            "orphaned line": f"{made['orphaned']} 7 bytes",
        }  # fmt: skip
    finally:
        store.delete_object(Bucket=BUCKET, Key=key, VersionId=version)
        in_database(
            site,
            f"DELETE FROM block WHERE block_id = '{made['missing']}'; "
            f"UPDATE block SET size = size - 1 WHERE block_id = '{known}'",
            trust_of(site),
        )


@after("check-objects-native", "check-objects-docker")
def what_does_not_agree_is_told(site: StackSite) -> None:
    """Each fault is told with organization, realm and block, and the check fails for it."""
    traces = soon(site, lambda: smoke.write(site.stack))
    with planted(site, traces) as lines:
        said = repeat(site, "check-objects")
    assert said.status == 3, said
    realm = str(uuid.UUID(traces.realm))
    for kind in ("missing", "truncated", "orphaned"):
        (line,) = [line for line in said.text.splitlines() if lines[f"{kind} line"] in line]
        organization = traces.device.organization
        assert line.startswith(f"{kind} {organization} {'-' if kind == 'orphaned' else realm} ")
    assert "1 missing, 1 truncated, 0 damaged" in said.last_line
    again = repeat(site, "check-objects")
    assert again.status == 0, again


@after("check-objects-native", "check-objects-docker")
def the_check_disturbs_nobody(site: StackSite) -> None:
    """All services run as before, and database and store are as they were."""
    before = state(site)
    assert repeat(site, "check-objects").status == 0
    assert state(site) == before


def state(site: StackSite) -> str:
    """The services that run, the rows and the versions of objects."""
    running = [(one.name, one.state) for one in flavour_of(site).services(site.stack)]
    versions = object_store(site).list_object_versions(Bucket=BUCKET)
    objects = [(one["Key"], one["VersionId"]) for one in versions.get("Versions", [])]
    return json.dumps([running, objects, asked(site, "SELECT block::text FROM block ORDER BY 1")])


@after("check-content-native", "check-content-docker")
def the_database_knows_sizes_alone(site: StackSite) -> None:
    """No column of a block holds a checksum."""
    columns = asked(
        site,
        "SELECT column_name::text FROM information_schema.columns WHERE table_name = 'block'",
    )
    assert {"block_id", "size"} <= set(columns) <= COLUMNS
