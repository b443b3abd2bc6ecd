"""``invoke check``: what is lost or damaged in a real stack is found, and nothing else is."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from parsec_stack import integrity, smoke, store
from parsec_stack.errors import StackError
from parsec_stack.integrity import Fault, Report
from parsec_stack.services import FLAVOURS
from parsec_stack.stack import Stack
from parsec_stack.verify import trial_stack
from parsec_stack.verify.trial_stack import invoke

pytestmark = pytest.mark.timeout(600)
# So many blocks take several pages of the listing, in the tests that make pages small.
BLOCKS = 7


@pytest.fixture(scope="module", params=FLAVOURS)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A complete stack that runs."""
    with trial_stack.running(request.param, "check") as made:
        yield made


def bucket(stack: Stack) -> Any:
    """The stack's bucket."""
    keys = stack.env_file("parsec-credentials.env")
    return boto3.resource(
        "s3",
        endpoint_url=f"https://localhost:{stack.ports['S3']}",
        region_name="us-east-1",
        aws_access_key_id=keys["S3_ACCESS_KEY"],
        aws_secret_access_key=keys["S3_SECRET_KEY"],
        verify=str(stack.ca_file),
    ).Bucket(store.BUCKET)


def key(traces: smoke.Traces, block: str) -> str:
    """The name of a block's object."""
    return f"{traces.device.organization}/{uuid.UUID(block)}"


def faults(stack: Stack, traces: smoke.Traces, **how: bool) -> list[tuple[str, str, str | None]]:
    """What the check finds of this organization: kind, block, realm."""
    found: list[Fault] = []
    integrity.compare(stack, tell=found.append, **how)
    own = traces.device.organization
    return sorted((one.kind, one.block, one.realm) for one in found if one.organization == own)


def test_a_whole_stack(stack: Stack) -> None:
    """Nothing is found where nothing is wrong, and the task succeeds."""
    traces = smoke.write(stack, BLOCKS)
    done = invoke(stack, "check", "--json", "--content")

    report = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert report["rows"] == report["objects"] >= BLOCKS
    assert report["whole"] is True
    assert faults(stack, traces) == []


def test_lost_objects(stack: Stack) -> None:
    """A lost block is missing, one with another size truncated, whichever blocks they are."""
    traces = smoke.write(stack, BLOCKS)
    first, *_, last = sorted(traces.blocks)
    bucket(stack).Object(key(traces, first)).delete()
    bucket(stack).Object(key(traces, last)).put(Body=b"short")
    realm = str(uuid.UUID(traces.realm))

    assert faults(stack, traces) == [
        ("missing", str(uuid.UUID(first)), realm),
        ("truncated", str(uuid.UUID(last)), realm),
    ]
    done = invoke(stack, "check")
    assert done.returncode == 3
    assert f"block {uuid.UUID(first)} of organization {traces.device.organization}" in done.stdout
    mend(stack, traces)


def mend(stack: Stack, traces: smoke.Traces) -> None:
    """Bring back the objects that were deleted or replaced, by removing what hides them."""
    for version in bucket(stack).object_versions.filter(Prefix=f"{traces.device.organization}/"):
        if version.is_latest and version.size in (None, 5):
            version.delete()
    assert faults(stack, traces) == []


def test_an_organization_without_objects(stack: Stack) -> None:
    """All of its blocks are missing."""
    traces = smoke.write(stack, 2)
    for block in traces.blocks:
        bucket(stack).Object(key(traces, block)).delete()

    assert [kind for kind, *_ in faults(stack, traces)] == ["missing"] * 2
    mend(stack, traces)


def test_orphans(stack: Stack) -> None:
    """What no row names is told and harmless: between the blocks, and under strange names."""
    traces = smoke.write(stack, 2)
    own = traces.device.organization
    low, high = str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1))
    # The first ones come before the organization in one order of stores, after it in another.
    names = [f"{own}-/{high}", f"{own}/{low}", f"{own}/{high}", f"{own}/a b/c\nd", "top"]
    for name in names:
        bucket(stack).Object(name).put(Body=b"x")
    found: list[Fault] = []
    report = integrity.compare(stack, tell=found.append)

    assert report.whole
    assert {(one.organization, one.block) for one in found} >= {
        (f"{own}-", high), (own, low), (own, high), (own, "a%20b/c%0Ad"), (None, "top"),
    }  # fmt: skip
    assert {one.kind for one in found} == {"orphaned"}
    assert invoke(stack, "check").returncode == 0
    for name in names:
        bucket(stack).object_versions.filter(Prefix=name).delete()


def test_writers_at_work(stack: Stack) -> None:
    """While clients write, nothing is told: neither of rows nor of objects that are new."""
    traces, ended = smoke.write(stack), threading.Event()

    def write() -> None:
        while not ended.is_set():
            smoke.write_block(smoke.server_of(stack), traces)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    try:
        found = [faults(stack, traces) for _ in range(2)]
    finally:
        ended.set()
        for writer in writers:
            writer.join()

    assert found == [[]] * 2
    assert len(traces.blocks) > 2


def test_a_damaged_object(stack: Stack) -> None:
    """An object that the store lists and cannot read is found when all are read."""
    if stack.flavour == "docker":
        pytest.skip("the volume's files are the engine's")
    traces = smoke.write(stack, 2)
    block = bytes.fromhex(next(iter(traces.blocks.values())))
    volumes = stack.folder.glob("data/s3/parsec_*.dat")
    (volume,) = [path for path in volumes if block in path.read_bytes()]
    content = volume.read_bytes()
    volume.write_bytes(content.replace(block, block[:-9] + b"different"))

    assert faults(stack, traces) == []
    assert [kind for kind, *_ in faults(stack, traces, content=True)] == ["damaged"]
    volume.write_bytes(content)
    assert faults(stack, traces, content=True) == []


def test_what_cannot_be_compared(stack: Stack) -> None:
    """With the wrong key nothing is compared, and the message says so without the key."""
    path = stack.folder / "parsec-s3.env"
    before = path.read_text()
    path.write_text(before.replace(":parsec:", ":none:"))
    with pytest.raises(StackError, match="answers 404 to a request for the bucket none"):
        integrity.compare(stack)
    path.write_text(before)
    assert isinstance(integrity.compare(stack), Report)
