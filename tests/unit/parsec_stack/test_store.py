"""What is found of strangers in the object store, and when it is asked at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parsec_stack import status, store
from parsec_stack.stack import Stack
from parsec_stack.status import ServiceStatus


def entry(path: str, *, folder: bool = False, **more: object) -> dict[str, object]:
    """One entry as SeaweedFS lists it."""
    return {"FullPath": path, "Mode": store.FOLDER if folder else 0o644, **more}


def tree_of(*listed: dict[str, object]) -> store.Tree:
    """A tree with these entries, which says nothing of a folder that it lacks."""

    def tree(path: str) -> str:
        folder = path.partition("?")[0].rstrip("/")
        inside = [one for one in listed if str(one["FullPath"]).rpartition("/")[0] == folder]
        return json.dumps({"Entries": inside}) if inside else ""

    return tree


BUCKET = entry("/buckets/parsec", folder=True, Extended=dict.fromkeys(store.MARKS, "x"))
SETTINGS = (entry("/etc", folder=True), entry("/etc/iam", folder=True))


def test_an_untouched_store_has_no_strangers() -> None:
    """Neither a new one, nor one in which SeaweedFS has noted how far it has looked."""
    assert store.strangers(tree_of(BUCKET)) == []
    folders = ("/etc/s3", "/etc/s3/lifecycle", "/etc/s3/lifecycle/daily-cursors")
    own = [entry(path, folder=True) for path in folders]
    cursor = entry("/etc/s3/lifecycle/daily-cursors/shard-00.json")
    assert store.strangers(tree_of(BUCKET, *SETTINGS, *own, cursor)) == []


def test_strangers_are_named_by_their_paths() -> None:
    """Users at any depth, rules for the tree, and what a bucket has been marked with."""
    marked = entry("/buckets/parsec", Extended={"s3-bucket-policy": "x", "s3-identity-id": "x"})
    folders = [entry(path, folder=True) for path in ("/etc/iam/identities", "/etc/seaweedfs")]
    planted = ("/etc/iam/identities/evil.json", "/etc/seaweedfs/filer.conf")
    found = store.strangers(tree_of(marked, *SETTINGS, *folders, *map(entry, planted)))
    assert found == [*planted, "s3-bucket-policy of the bucket parsec"]


def test_a_store_is_not_asked_before_it_has_a_bucket(tmp_path: Path) -> None:
    """Until the stack is complete the store is as healthy as it says."""
    services = [ServiceStatus("parsec-s3", "running", "healthy", "somewhere", "1")]
    assert status.with_store(Stack(tmp_path), services, tree_of()) == services


def test_a_complete_stack_without_a_store_is_unhealthy(tmp_path: Path) -> None:
    """The reason stands beside the state; a service that does not run is left alone."""
    (tmp_path / "parsec-credentials.env").write_text("S3_ACCESS_KEY=a\nS3_SECRET_KEY=b\n")
    (tmp_path / "custom-ca.crt").write_text("")
    stack = Stack(tmp_path, state={"complete": True}, port_offset=12987)
    stopped = ServiceStatus("parsec-s3", "stopped", "-", "somewhere", "1")
    assert status.with_store(stack, [stopped], tree_of()) == [stopped]
    running = ServiceStatus("parsec-s3", "running", "healthy", "somewhere", "1")
    (seen,) = status.with_store(stack, [running], tree_of())
    assert seen.health == "unhealthy"
    assert (seen.trouble or "").startswith("it does not answer a request for the bucket parsec")


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("", None),
        ("volume", "what was stored in the bucket parsec cannot be read"),
        ("bucket", "the bucket parsec is gone"),
    ],
)
def test_one_lost_volume_among_several(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gone: str, said: str | None
) -> None:
    """A store that lists all, and has lost every seventh object, has lost something."""
    names = [f"Org/{number:03}" for number in range(1000)]

    def answer(stack: Stack, path: str, **headers: str) -> tuple[int, str]:
        """What a store in this state answers."""
        if "list-type" in path:
            listing = "".join(f"<Key>{name}</Key>" for name in names)
            return (404, "") if gone == "bucket" else (200, listing)
        lost = gone == "volume" and int(path[-3:]) % 7 == 3
        return (500 if lost else 206, "")

    monkeypatch.setattr(store, "ask", answer)
    monkeypatch.setattr("parsec_stack.probes.status", lambda *_: 200)

    assert store.loss(Stack(tmp_path)) == said
    assert store.serves(Stack(tmp_path))
    assert store.serves(Stack(tmp_path, state={"complete": True})) == (gone != "bucket")
