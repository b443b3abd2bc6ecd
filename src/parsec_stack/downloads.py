"""The guide's files as its readers fetch them: each alone, and all in one archive."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

# Where they are in the built guide, below its address.
FOLDER = "files"
ARCHIVE = "parsec-files.tar.gz"
CHECKSUM = f"{ARCHIVE}.sha256"
# What stands in the guide for its own address, which ends without a slash.
ADDRESS = "<ADDRESS>"
# The names of files that editors leave.
EDITORS = re.compile(r"^[.#]|~$")


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in the folder, by name; an editor's are left out."""
    paths = (path for path in sorted(folder.iterdir()) if path.is_file())
    return {path.name: path.read_bytes() for path in paths if not EDITORS.search(path.name)}


def write(files: Mapping[str, bytes], site: Path) -> None:
    """Put the files, by name, their archive and its checksum into the folder of a built guide."""
    folder = site / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    packed = archive(files)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / ARCHIVE).write_bytes(packed)
    # As ``sha256sum --check`` reads it.
    (folder / CHECKSUM).write_text(f"{hashlib.sha256(packed).hexdigest()}  {ARCHIVE}\n")


def archive(files: Mapping[str, bytes]) -> bytes:
    """Return a gzipped tar of the files, the same bytes whoever makes it and whenever."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as target:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            member.mode = 0o644
            target.addfile(member, io.BytesIO(files[name]))
    return gzip.compress(tar.getvalue(), mtime=0)
