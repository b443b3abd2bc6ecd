"""Compare the Parsec server's database with its object store: check-objects.py [--content]"""

# Takes PARSEC_DB, PARSEC_BLOCKSTORE and AWS_CA_BUNDLE as the server does, and changes nothing.
# Clients may write meanwhile: an object is stored before the database names it, so the database is
# read first, and whatever looks wrong is looked at again before it is told.
#
# Each fault is a line: what it is, organization, realm, block, details; "-" is what nobody knows.
#   missing    the database names a block that the store does not have
#   truncated  the store has another size of it
#   damaged    with --content: it cannot be read, or not as the store's own checksum says
#   orphaned   an object that no row names; an interrupted write leaves one, and it does no harm
# The last line counts. Exit status: 0 if nothing but orphans was found, 3 if anything else was,
# 1 if database and store could not be compared.
import asyncio
import hashlib
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlencode

import asyncpg
import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ROWS = """
SELECT o.organization_id, b.block_id::text, b._id, r.realm_id::text, b.size, b.deleted_on IS NULL
FROM block b JOIN realm r ON r._id = b.realm JOIN organization o ON o._id = r.organization
"""
# What the server stores: ORGANIZATION/BLOCK.
ORGANIZATION = re.compile(r"[\w-]{1,32}")
BLOCK = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# How many rows are fetched, faults looked at again, and objects read, at once.
FETCHED, SUSPECTS, READ, READERS = 5000, 5000, 64, 8
PAGE = 1000
# Seconds. A row follows its object at once; one that does not follow in this time never will.
LATE = 5.0
TIMEOUT = urllib3.Timeout(connect=5, read=60)
found = Counter()


def fail(reason):
    """End with a message."""
    sys.exit(f"check-objects.py: {reason}")


def tell(kind, organization, realm, block, details):
    """Print a fault; no name in it breaks the line or a column."""
    found[kind] += 1
    names = (
        re.sub(r"[^\w./-]", lambda odd: quote(odd[0], safe=""), name)
        for name in (organization, realm, block)
    )
    print(kind, *names, details)


class Store:
    """The bucket that PARSEC_BLOCKSTORE names."""

    def __init__(self, setting):
        parts = re.split(r"(?<!\\):", setting)
        if len(parts) != 6 or parts[0].lower() != "s3":
            fail("PARSEC_BLOCKSTORE names no S3 store, and no other is known here")
        endpoint, self.region, self.bucket, key, secret = (
            re.sub(r"\\([\\:])", r"\1", part) for part in parts[1:]
        )
        endpoint = endpoint or f"https://s3.{self.region}.amazonaws.com"
        self.endpoint = endpoint if "://" in endpoint else f"https://{endpoint}"
        self.credentials = Credentials(key, secret)
        trust = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
        self.pool = urllib3.PoolManager(
            maxsize=READERS + 1, ca_certs=trust, timeout=TIMEOUT, retries=urllib3.Retry(3, redirect=0)
        )

    def ask(self, method, key="", **query):
        """Return the answer to a signed request."""
        url = f"{self.endpoint}/{self.bucket}{quote(key)}"
        if query:
            url += f"?{urlencode(query, quote_via=quote)}"
        request = AWSRequest(method, url)
        S3SigV4Auth(self.credentials, "s3", self.region).add_auth(request)
        try:
            return self.pool.request(method, url, headers=dict(request.headers.items()))
        except urllib3.exceptions.HTTPError as error:
            fail(f"{self.endpoint} does not answer: {getattr(error, 'reason', error)}")

    def page(self, token=None, **query):
        """Return the objects and folders of a page of the listing, and what asks for the next."""
        query |= {"list-type": 2, "max-keys": PAGE}
        if token:
            query["continuation-token"] = token
        answer = self.ask("GET", **query)
        if answer.status != 200:
            fail(f"{self.endpoint} answers {answer.status} to a request for the bucket {self.bucket}")
        now = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        objects, folders, token = [], [], None
        for part in ElementTree.fromstring(answer.data):
            name = part.tag.partition("}")[2]
            if name == "Contents":
                told = {one.tag.partition("}")[2]: one.text for one in part}
                written = datetime.fromisoformat(told["LastModified"]).timestamp()
                objects.append(
                    (told["Key"], int(told["Size"]), now - written, told.get("ETag", "").strip('"'))
                )
            elif name == "CommonPrefixes":
                folders.append(part[0].text)
            elif name == "NextContinuationToken":
                token = part.text
        return objects, folders, token

    async def pages(self, **query):
        """Yield the pages of a listing; the next is on its way while one is worked on."""
        token, coming = None, asyncio.to_thread(self.page, **query)
        while coming:
            objects, folders, token = await coming
            coming = token and asyncio.create_task(asyncio.to_thread(self.page, token, **query))
            yield objects, folders

    async def objects(self):
        """Yield all blocks in the order of organization and block; tell what is none.

        Of stores some list A before A-B, and some after it: each organization is listed alone.
        """
        organizations = []
        async for objects, folders in self.pages(delimiter="/"):
            for key, size, *_ in objects:
                tell("orphaned", "-", "-", key, f"{size} bytes, no object of the server's")
            organizations += [folder.removesuffix("/") for folder in folders]
        for organization in sorted(organizations):
            async for objects, _ in self.pages(prefix=f"{organization}/"):
                for key, size, age, checksum in objects:
                    block = key.partition("/")[2]
                    if BLOCK.fullmatch(block) and ORGANIZATION.fullmatch(organization):
                        yield organization, block, size, age, checksum
                    else:
                        tell("orphaned", organization, "-", block, f"{size} bytes, no block")

    def size(self, organization, block):
        """Return the size of an object; None if there is none."""
        answer = self.ask("HEAD", f"/{organization}/{block}")
        if answer.status not in (200, 404):
            fail(f"{self.endpoint} answers {answer.status} to a request for {organization}/{block}")
        return int(answer.headers["Content-Length"]) if answer.status == 200 else None

    def damage(self, organization, block, size, checksum):
        """Read an object; return what is wrong with its content, empty if nothing is."""
        answer = self.ask("GET", f"/{organization}/{block}")
        if answer.status != 200:
            return f"the store answers {answer.status}"
        if len(answer.data) != size:
            return f"{len(answer.data)} of {size} bytes can be read"
        # Of an object that was stored in parts it is not the MD5 of the whole.
        known = re.fullmatch("[0-9a-f]{32}", checksum)
        if known and hashlib.md5(answer.data, usedforsecurity=False).hexdigest() != checksum:
            return "its content is not what the store's checksum says"
        return ""


class Check:
    """One comparison; faults are collected and looked at again, many at once."""

    def __init__(self, store, stream, database, content):
        """Take one connection to read all rows, and another to look again."""
        self.store, self.stream, self.database, self.content = store, stream, database, content
        self.rows = self.objects = 0
        self.lost, self.strange, self.young, self.whole = [], [], [], []
        self.readers = ThreadPoolExecutor(READERS)

    async def all_rows(self):
        """Yield all rows in the order of organization and block, as they are at the first."""
        query = f'{ROWS} ORDER BY o.organization_id COLLATE "C", b.block_id'
        async with self.stream.transaction():
            cursor = await self.stream.cursor(query)
            while some := await cursor.fetch(FETCHED):
                for row in some:
                    self.rows += 1
                    yield row

    async def run(self):
        """Walk through both, which have the same order."""
        rows, objects = self.all_rows(), self.store.objects()
        # The objects are listed when the rows have been chosen.
        row, thing = await anext(rows, None), await anext(objects, None)
        while row or thing:
            order = compare(row, thing)
            if order < 0:
                if row[5]:
                    self.lost.append(row)
                row = await following(rows, row)
            elif order > 0:
                self.strange.append(thing)
                thing = await self.next_object(objects, thing)
            else:
                self.judge(row, thing)
                row = await following(rows, row)
                # Two realms may name one object.
                if compare(row, thing) != 0:
                    thing = await self.next_object(objects, thing)
            await self.settle(SUSPECTS, READ)
        await self.settle(1, 1)
        await self.await_late()

    async def next_object(self, objects, before):
        """Return the next object."""
        self.objects += 1
        return await following(objects, before)

    def judge(self, row, thing):
        """Compare a row with its object."""
        if row[4] != thing[2]:
            self.lost.append(row)
        elif self.content:
            self.whole.append((row, thing))

    async def settle(self, suspects, read):
        """Look again at what has been collected, if there is so much of it."""
        if len(self.lost) >= suspects:
            lost, self.lost = self.lost, []
            await self.look_for(lost)
        if len(self.strange) >= suspects:
            strange, self.strange = self.strange, []
            for thing in await self.still_unnamed(strange):
                if thing[3] < LATE:
                    self.young.append(thing)
                else:
                    orphan(thing)
        if len(self.whole) >= read:
            whole, self.whole = self.whole, []
            await self.read(whole)

    async def look_for(self, rows):
        """Tell the rows whose objects the store really lacks, unless they have been deleted."""
        sizes = await self.at_once(self.store.size, [(row[0], row[1]) for row in rows])
        wrong = [(row, size) for row, size in zip(rows, sizes) if row[4] != size]
        query = "SELECT _id FROM block WHERE _id = ANY($1) AND deleted_on IS NULL"
        there = {one[0] for one in await self.database.fetch(query, [row[2] for row, _ in wrong])}
        for row, size in wrong:
            organization, block, number, realm, expected, _ = row
            if number in there and size is None:
                tell("missing", organization, realm, block, f"{expected} bytes")
            elif number in there:
                tell("truncated", organization, realm, block, f"{size} of {expected} bytes")

    async def still_unnamed(self, things):
        """Return those of the objects that no row names even now."""
        query = f"{ROWS} WHERE b.block_id = ANY($1::uuid[])"
        rows = await self.database.fetch(query, [thing[1] for thing in things]) if things else []
        named = {(row[0], row[1]) for row in rows}
        return [thing for thing in things if thing[:2] not in named]

    async def await_late(self):
        """Tell the new objects that get no row."""
        if self.young:
            await asyncio.sleep(LATE)
        for thing in await self.still_unnamed(self.young):
            orphan(thing)

    async def read(self, pairs):
        """Read these objects and tell those that are damaged."""
        wanted = [(*thing[:3], thing[4]) for _, thing in pairs]
        damages = await self.at_once(self.store.damage, wanted)
        for (row, _), damage in zip(pairs, damages):
            if damage:
                tell("damaged", row[0], row[3], row[1], damage)

    async def at_once(self, function, arguments):
        """Return what the function answers to each of these, with some requests at a time."""
        loop = asyncio.get_running_loop()
        asked = (loop.run_in_executor(self.readers, function, *one) for one in arguments)
        return await asyncio.gather(*asked)


def compare(row, thing):
    """Return which comes first: -1 the row, 1 the object, 0 if both are of one block."""
    if row is None or thing is None:
        return 1 if row is None else -1
    left, right = (row[0], row[1]), (thing[0], thing[1])
    return (left > right) - (left < right)


async def following(stream, before):
    """Return what follows in the stream, None at its end; end if it is out of order."""
    after = await anext(stream, None)
    if after and (after[0], after[1]) < (before[0], before[1]):
        fail(f"{after[0]}/{after[1]} comes after {before[0]}/{before[1]}: nothing can be compared")
    return after


def orphan(thing):
    """Tell of an object without a row."""
    tell("orphaned", thing[0], "-", thing[1], f"{thing[2]} bytes")


async def main():
    """Compare, and tell the number of faults."""
    for name in list(os.environ):
        # What this shell has for other programs, which asyncpg would obey.
        if name.startswith("PG"):
            del os.environ[name]
    try:
        store, address = Store(os.environ["PARSEC_BLOCKSTORE"]), os.environ["PARSEC_DB"]
    except KeyError as error:
        fail(f"{error.args[0]} is not set: source the env files first")
    try:
        connections = [await asyncpg.connect(address, timeout=10) for _ in range(2)]
        check = Check(store, *connections, content="--content" in sys.argv[1:])
        await check.run()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        fail(f"the database cannot be read: {error}")
    faults = ", ".join(f"{found[kind]} {kind}" for kind in ("missing", "truncated", "damaged", "orphaned"))
    print(f"compared {check.rows} rows with {check.objects} objects: {faults}")
    sys.exit(3 if found.total() > found["orphaned"] else 0)


asyncio.run(main())
