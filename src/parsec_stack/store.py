"""Check that the object store still has what clients have stored, and nothing that is not ours."""

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
# How many objects at most are read to check that all are there, and how many at once.
SAMPLE, READERS = 32, 4
# What SeaweedFS records for a bucket as create-bucket.sh makes it; a policy would be another entry.
MARKS = {
    "Seaweed-X-Amz-Object-Lock-Enabled",
    "Seaweed-X-Amz-Owner",
    "Seaweed-X-Amz-Versioning",
    "s3-identity-id",
}
# The bit in the mode of an entry in SeaweedFS's tree that marks a folder.
FOLDER = 1 << 31
# How many seconds reading an object may take; the store looks for it in several ways.
TIMEOUT = 10.0
# SeaweedFS itself records there how far it has looked for what is to expire.
CURSORS = "/etc/s3/lifecycle/daily-cursors/"
# How many of the entries that are not ours a message names.
SHOWN = 3
# Returns SeaweedFS's file tree at a path, as JSON; empty for what does not exist.
Tree = Callable[[str], str]


def loss(stack: Stack, bucket: str = BUCKET) -> str | None:
    """Return what the store has lost, in a sentence; None if it has everything.

    It is asked as clients ask it. Any of the volumes with the objects may be lost, so some objects
    are read.
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
    """Return some of the keys, from everywhere in the list."""
    return keys[:: len(keys) // SAMPLE + 1]


def can_be_read(stack: Stack, bucket: str, key: str) -> bool:
    """Return whether the store still has the object that it lists."""
    path = f"/{bucket}/{quote(unescape(key))}"
    return ask(stack, path, Range="bytes=0-0")[0] in (200, 206, 416)


def answers(stack: Stack) -> bool:
    """Return whether the store answers."""
    return probes.status(stack.ports["S3"], "/status", stack.ca_file) == 200


def serves(stack: Stack) -> bool:
    """Return whether the store answers, and, if the stack is complete, has its bucket."""
    return answers(stack) and (not stack.state.get("complete") or has_bucket(stack))


def has_bucket(stack: Stack) -> bool:
    """Return whether the store lists its bucket."""
    return ask(stack, f"/{BUCKET}?list-type=2&max-keys=1")[0] == 200


def ask(stack: Stack, path: str, **headers: str) -> tuple[int, str]:
    """Return status and text of the answer to a request with the stack's keys; 0 for no answer."""
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
    """Return the users, policies and rules in SeaweedFS that no file of the stack gives it.

    Ours are in files that it is started with, so its own tree contains none.
    """
    found = [path for path in files(tree, "/etc") if not path.startswith(CURSORS)]
    for entry in entries(tree, "/buckets"):
        if entry["FullPath"] == f"/buckets/{BUCKET}":
            marks = set(entry.get("Extended") or {}) - MARKS
            found += [f"{mark} of the bucket {BUCKET}" for mark in sorted(marks)]
    return found


def files(tree: Tree, folder: str) -> Iterator[str]:
    """Yield the paths of all files below the folder."""
    for entry in entries(tree, folder):
        if entry["Mode"] & FOLDER:
            yield from files(tree, entry["FullPath"])
        else:
            yield entry["FullPath"]


def entries(tree: Tree, folder: str) -> list[dict[str, Any]]:
    """Return the entries of the folder."""
    said = tree(f"{quote(folder)}/?limit=1000")
    listed: list[dict[str, Any]] | None = json.loads(said)["Entries"] if said else None
    return listed or []


def told(status: int, text: str) -> str:
    """Return the text of an answer, empty for 'not found'; OSError for any other status."""
    if status not in (200, 404):
        raise OSError(f"SeaweedFS answers {status}")
    return text if status == 200 else ""


def console_path(password: str) -> str:
    """Return the path of SeaweedFS's console, which only its password reveals."""
    return f"/{hashlib.sha256(password.encode()).hexdigest()[:40]}"


def trouble(stack: Stack, tree: Tree) -> str | None:
    """Return what is wrong with the store's content, in a sentence; None if nothing is."""
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
        f"it contains what no file of this stack gives it: {', '.join(found[:SHOWN])}{more}; see "
        "'Somebody else has a key to the object store' in docs/troubleshooting.rst"
    )
