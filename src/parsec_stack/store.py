"""The object store: does it still hold what clients have stored, and nothing that is not ours?"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from html import unescape
from typing import Any
from urllib.parse import quote

from parsec_stack import probes
from parsec_stack.stack import Stack

BUCKET = "parsec"
KEY = re.compile(r"<Key>(.*?)</Key>")
# So many objects at most are read to see whether all is there, and so many at once.
SAMPLE, READERS = 32, 4
# What SeaweedFS notes of a bucket as create-bucket.sh makes it; a policy would be one more.
MARKS = {
    "Seaweed-X-Amz-Object-Lock-Enabled",
    "Seaweed-X-Amz-Owner",
    "Seaweed-X-Amz-Versioning",
    "s3-identity-id",
}
# Of the mode of an entry in SeaweedFS's tree: it is a folder.
FOLDER = 1 << 31
# How long it may take to read an object, in seconds: it is looked for in several ways.
TIMEOUT = 10.0
# Where SeaweedFS itself notes how far it has looked for what is to expire.
CURSORS = "/etc/s3/lifecycle/daily-cursors/"
# So many of what is not ours are named.
SHOWN = 3
# What SeaweedFS's own tree holds at a path, as JSON; nothing for what is not there.
Tree = Callable[[str], str]


def loss(stack: Stack, bucket: str = BUCKET) -> str | None:
    """What the store has lost, in a sentence, asked as its clients do; None if it has all.

    Objects lie in several volumes, any of which may be lost: so some objects are read.
    """
    status, listing = ask(stack, f"/{bucket}?list-type=2")
    if status != 200:
        return {
            404: f"the bucket {bucket} is gone",
            403: "it refuses the keys of parsec-credentials.env",
            0: f"it does not answer a request for the bucket {bucket}",
        }.get(status, f"it answers {status} to a request for the bucket {bucket}")
    pool = ThreadPoolExecutor(READERS)
    try:
        read = pool.map(partial(can_be_read, stack, bucket), some(KEY.findall(listing)))
        return None if all(read) else f"what was stored in the bucket {bucket} cannot be read"
    finally:
        pool.shutdown(cancel_futures=True)


def some(keys: list[str]) -> list[str]:
    """Some of the keys, from everywhere in the list."""
    return keys[:: len(keys) // SAMPLE + 1]


def can_be_read(stack: Stack, bucket: str, key: str) -> bool:
    """Is the object that the store lists still there?"""
    path = f"/{bucket}/{quote(unescape(key))}"
    return ask(stack, path, Range="bytes=0-0")[0] in (200, 206, 416)


def answers(stack: Stack) -> bool:
    """Does the store answer?"""
    return probes.status(stack.ports["S3"], "/status", stack.ca_file) == 200


def serves(stack: Stack) -> bool:
    """Does the store answer, and once a stack is complete also for its bucket?"""
    return answers(stack) and (not stack.state.get("complete") or has_bucket(stack))


def has_bucket(stack: Stack) -> bool:
    """Does the store list its bucket?"""
    return ask(stack, f"/{BUCKET}?list-type=2&max-keys=1")[0] == 200


def ask(stack: Stack, path: str, **headers: str) -> tuple[int, str]:
    """Status and text of the answer to a request with the stack's keys; 0 for no answer."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    port, keys = stack.ports["S3"], stack.env_file("parsec-credentials.env")
    request = AWSRequest("GET", f"https://localhost:{port}{path}", headers=headers)
    credentials = Credentials(keys.get("S3_ACCESS_KEY", ""), keys.get("S3_SECRET_KEY", ""))
    S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
    try:
        context = probes.trust(stack.ca_file)
        with closing(
            http.client.HTTPSConnection("localhost", port, timeout=TIMEOUT, context=context)
        ) as connection:
            connection.request("GET", path, headers=dict(request.headers.items()))
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""


def strangers(tree: Tree) -> list[str]:
    """What SeaweedFS keeps of users, policies and rules that no file of the stack gives it.

    Ours are in files that it is started with, so that its own tree holds none.
    """
    found = [path for path in files(tree, "/etc") if not path.startswith(CURSORS)]
    for entry in entries(tree, "/buckets"):
        if entry["FullPath"] == f"/buckets/{BUCKET}":
            marks = set(entry.get("Extended") or {}) - MARKS
            found += [f"{mark} of the bucket {BUCKET}" for mark in sorted(marks)]
    return found


def files(tree: Tree, folder: str) -> Iterator[str]:
    """The paths of all files below the folder."""
    for entry in entries(tree, folder):
        if entry["Mode"] & FOLDER:
            yield from files(tree, entry["FullPath"])
        else:
            yield entry["FullPath"]


def entries(tree: Tree, folder: str) -> list[dict[str, Any]]:
    """What is in the folder."""
    said = tree(f"{quote(folder)}/?limit=1000")
    listed: list[dict[str, Any]] | None = json.loads(said)["Entries"] if said else None
    return listed or []


def told(status: int, text: str) -> str:
    """The text of an answer, empty for one that there is nothing; OSError for another."""
    if status not in (200, 404):
        raise OSError(f"SeaweedFS answers {status}")
    return text if status == 200 else ""


def console_path(password: str) -> str:
    """Below which path SeaweedFS's console lies: one that its password alone tells."""
    return f"/{hashlib.sha256(password.encode()).hexdigest()[:40]}"


def trouble(stack: Stack, tree: Tree) -> str | None:
    """What is wrong with what the store holds, in a sentence; None if nothing is."""
    if lost := loss(stack):
        return f"{lost}: see its log"
    try:
        found = strangers(tree)
    except (OSError, ValueError, http.client.HTTPException):
        return "its parts do not answer to parsec-s3-inner.key: run 'invoke restart'"
    if not found:
        return None
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        f"it holds what no file of this stack gives it: {', '.join(found[:SHOWN])}{more}; "
        "see 'Somebody else has a key to the object store' in docs/troubleshooting.rst"
    )
