"""The guide's files as readers fetch them."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

from parsec_stack import downloads

FILES = {"b.sh": b"echo b\n", "a.env": b"A=1\n"}


def test_the_archive_is_always_the_same() -> None:
    """The same files make the same bytes, whatever their order."""
    swapped = dict(reversed(FILES.items()))

    assert downloads.archive(FILES) == downloads.archive(swapped)
    assert downloads.archive(FILES) != downloads.archive(FILES | {"a.env": b"A=2\n"})


def test_what_a_site_offers(tmp_path: Path) -> None:
    """Each file alone, and all in an archive that its checksum fits."""
    downloads.write(FILES, tmp_path)

    folder = tmp_path / "files"
    packed = folder / "parsec-files.tar.gz"
    with tarfile.open(packed) as archive:
        unpacked = {
            member.name: (archive.extractfile(member).read(), member.mode)  # type: ignore[union-attr]
            for member in archive
        }
    assert unpacked == {name: (content, 0o644) for name, content in FILES.items()}
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    checksum = hashlib.sha256(packed.read_bytes()).hexdigest()
    assert (folder / "parsec-files.tar.gz.sha256").read_text() == f"{checksum}  {packed.name}\n"


def test_what_editors_leave_is_not_offered(tmp_path: Path) -> None:
    """A backup or swap file of an editor is no file of the guide."""
    for name in ("a.env", "a.env~", ".a.env.swp", "#a.env#"):
        (tmp_path / name).write_text("A=1\n")
    (tmp_path / "folder").mkdir()

    assert downloads.contents(tmp_path) == {"a.env": b"A=1\n"}
