"""Another object store in the place of SeaweedFS, and the way back."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from checks.common import after, values
from checks.services import (
    BUCKET,
    POLL,
    in_database,
    object_store,
    the_bucket_is_locked,
    trust_of,
)
from parsec_stack import smoke
from parsec_stack.errors import StackError
from parsec_stack.smoke import Traces
from parsec_stack.verify.stack_site import StackSite


def memory(site: StackSite) -> Path:
    """Where the keys of what was stored before are kept, outside of the reader's folder."""
    return site.folder.parent / "stored.json"


def soon[T](site: StackSite, act: Callable[[], T]) -> T:
    """What the act gives once it succeeds; its last complaint if it never does in time."""
    deadline = time.monotonic() + site.patience
    while True:
        try:
            return act()
        except StackError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL)


@after("check-docker", prepares=True)
def blocks_are_stored(site: StackSite) -> None:
    """The first object store holds blocks before another takes its place."""
    memory(site).touch(mode=0o600)
    memory(site).write_text(json.dumps(smoke.write(site.stack).as_json()))


@after("minio-docker")
def the_other_store_does_the_work(site: StackSite) -> None:
    """The server stores its blocks in MinIO, in a bucket with object lock, and reads them there."""
    traces = soon(site, lambda: smoke.write(site.stack))
    smoke.read_back(site.stack, traces)
    answer = object_store(site).list_objects_v2(
        Bucket=BUCKET, Prefix=f"{traces.device.organization}/"
    )
    assert answer["ResponseMetadata"]["HTTPHeaders"]["server"] == "MinIO"
    assert len(answer.get("Contents", [])) == len(traces.blocks)
    the_bucket_is_locked(site)
    # The store that follows does not have them: a comparison would rightly miss them.
    for block in traces.blocks:
        in_database(site, f"DELETE FROM block WHERE block_id = '{block}'", trust_of(site))


@after("minio-docker")
def its_console_asks_for_a_login(site: StackSite) -> None:
    """MinIO's console lets in who has the S3 keys, over TLS, and nobody else."""
    known = values(site.folder / "parsec-credentials.env")
    assert console_answer(site, known["S3_ACCESS_KEY"], known["S3_SECRET_KEY"]) == 204
    assert console_answer(site, known["S3_ACCESS_KEY"], "0" * 40) in (401, 403)


def console_answer(site: StackSite, user: str, password: str) -> int:
    """How MinIO's console answers a login."""
    trust = ssl.create_default_context(cafile=str(site.folder / "custom-ca.crt"))
    port = site.stack.ports["S3_CONSOLE"]
    console = http.client.HTTPSConnection("localhost", port, timeout=20, context=trust)
    body = json.dumps({"accessKey": user, "secretKey": password})
    console.request("POST", "/api/v1/login", body, {"Content-Type": "application/json"})
    status = console.getresponse().status
    console.close()
    return status


@after("minio-back-docker")
def what_was_stored_is_still_there(site: StackSite) -> None:
    """Back on the first object store, the server reads what was stored there."""
    traces = Traces.from_json(json.loads(memory(site).read_text()))
    soon(site, lambda: smoke.read_back(site.stack, traces))
