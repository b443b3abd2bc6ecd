"""Read the guide with Sphinx only when one of its files has changed (``doctree.py``).

Otherwise everything comes from a file in ``build/``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from guidewalk.config import FILE, config_of
from guidewalk.guide import Block, Claim, Guide


def load(docs: Path) -> Guide:
    """Return the guide in this folder, whose artifacts are in ``deploy`` beside it.

    Raises GuideError with page and line for what Sphinx warns of and for what has no clear meaning.
    """
    docs = docs.resolve()
    cache = docs.parent / "build" / "guide.json"
    stamps = {str(path): [stat.st_mtime_ns, stat.st_size] for path, stat in sources(docs)}
    known = read_cache(cache)
    if known.get("stamps") == stamps:
        return from_json(known)
    digest = content_digest(stamps)
    if known.get("digest") != digest:
        guide = read(docs, cache.with_name("guide-trees"), stamps, digest)
        known = {
            "digest": digest,
            "blocks": [asdict(block) for block in guide.blocks],
            "claims": [asdict(claim) for claim in guide.claims],
        }
    write_cache(cache, known | {"stamps": stamps})
    return from_json(known)


def read(docs: Path, kept: Path, paths: Iterable[str], digest: str) -> Guide:
    """Read the pages with Sphinx, only changed ones if nothing else of these paths has changed.

    The doctrees of all pages are in the folder ``kept``. No reading changes those of another one:
    each works on a copy, which replaces them unless something is wrong with the guide, because
    Sphinx warns of a page only when it reads that.
    """
    from guidewalk import doctree

    state = content_digest(path for path in paths if not is_page(Path(path), docs))
    name = f"{state}.{digest}"
    with tempfile.TemporaryDirectory(prefix="trees-") as scratch:
        trees = Path(scratch, name)
        trees.mkdir()
        with suppress(OSError, shutil.Error):
            shutil.copytree(next(kept.glob(f"{state}.*"), scratch), trees, dirs_exist_ok=True)
        guide = doctree.read(docs, trees)
        with suppress(OSError, shutil.Error):
            replace_trees(kept, trees)
    return guide


def replace_trees(kept: Path, trees: Path) -> None:
    """Put the doctrees in the place of all earlier ones; another process sees all or none."""
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept, prefix=".new-") as beside:
        copy = shutil.copytree(trees, Path(beside, trees.name))
        for old in kept.glob("[!.]*"):
            old.rename(Path(beside, f"old-{old.name}"))
        copy.rename(kept / trees.name)


def is_page(path: Path, docs: Path) -> bool:
    """Return whether Sphinx itself notices that the file has changed."""
    return path.is_relative_to(docs) and path.suffix in (".rst", ".md")


def sources(docs: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield all files on which the guide depends: its own, the artifacts, and its readers' code."""
    yield from walk(docs)
    yield from walk(docs.parent / config_of(docs.parent).artifacts)
    readers = ("cache.py", "guide.py", "doctree.py", "literals.py", "directives.py", "config.py")
    own = [Path(__file__).with_name(name) for name in readers]
    for path in (docs.parent / FILE, *own):
        if path.exists():
            yield path, path.stat()


def walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files below the folder, except hidden and built ones, in a stable order."""
    if not folder.is_dir():
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith((".", "_build", "__pycache__")):
            continue
        if entry.is_dir():
            yield from walk(Path(entry.path))
        else:
            yield Path(entry.path), entry.stat()


def content_digest(paths: Iterable[str]) -> str:
    """Return one SHA-256 of the names and contents of these files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path}\0{hashlib.sha256(Path(path).read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def read_cache(cache: Path) -> dict[str, Any]:
    """Return what was kept of the last reading; empty if there is nothing usable."""
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def write_cache(cache: Path, content: dict[str, Any]) -> None:
    """Keep the reading; another process sees the old file or the new one, never a part.

    If another user has made the folder, or the disk is full, the next process reads the guide
    again.
    """
    beside = cache.with_name(f"{cache.name}.{os.getpid()}.new")
    with suppress(OSError):
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(content))
            beside.replace(cache)
        finally:
            beside.unlink(missing_ok=True)


def from_json(known: dict[str, Any]) -> Guide:
    """Return the guide that was kept."""
    return Guide(
        [Block(**with_tuple(block)) for block in known["blocks"]],
        [Claim(**with_tuple(claim)) for claim in known["claims"]],
    )


def with_tuple(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with their flavours as they were before they became JSON."""
    return fields | {"flavours": tuple(fields["flavours"])}
