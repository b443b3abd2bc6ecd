"""Write everything that a machine without a network needs for the stack into one archive.

The archive contains the docker flavour's images, the locked wheels for Linux on x86_64, the
checkout at its last commit, the built guide, their checksums and a README that says how to go on.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from guidewalk.console import say
from parsec_stack import images
from parsec_stack.errors import StackError
from parsec_stack.image_contents import run
from parsec_stack.stack import DOCS, ROOT

ARCHIVE = ROOT / "build" / "parsec-stack-bundle.tar"
README = ROOT / "scripts" / "images" / "BUNDLE.rst"
LOCK = Path("scripts/requirements.lock")
# The lock of the tool that makes the environment.
TOOL_LOCK = LOCK.with_name("requirements-uv.lock")
CHECKSUMS = "SHA256SUMS"


def write() -> Path:
    """Write the archive and return its path; it appears only when it is complete."""
    names = images.build()
    ARCHIVE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ARCHIVE.parent) as temporary:
        folder = Path(temporary) / "parsec-stack"
        folder.mkdir()
        (folder / "README.rst").write_bytes(README.read_bytes())
        gather(folder, names)
        accept_built(folder / "checkout" / LOCK, folder / "wheels")
        (folder / CHECKSUMS).write_text(checksums(folder))
        whole = Path(temporary) / ARCHIVE.name
        with tarfile.open(whole, "w") as archive:
            archive.add(folder, arcname=folder.name)
        whole.replace(ARCHIVE)
    say(f"  {ARCHIVE.relative_to(ROOT)}: {ARCHIVE.stat().st_size / 1e6:.0f} MB")
    return ARCHIVE


def gather(folder: Path, names: list[str]) -> None:
    """Put the parts into the folder, side by side."""
    parts: dict[str, Callable[[Path], None]] = {
        "images.tar.gz": lambda path: save_images(names, path),
        "wheels": save_wheels,
        "checkout": save_checkout,
        "guide": build_guide,
    }

    def save(name: str) -> None:
        parts[name](folder / name)
        say(f"  {name}")

    with ThreadPoolExecutor() as pool:
        list(pool.map(save, parts))


def save_images(names: list[str], path: Path) -> None:
    """Save the images in the form that ``docker load`` reads."""
    with path.open("wb") as target:
        command = ["docker", "save", *names]
        saving = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # Fast compression: zlib's best level saves only another tenth.
        packing = subprocess.run(["gzip", "-3"], stdin=saving.stdout, stdout=target)
        complaint = saving.communicate()[1].decode(errors="replace").strip()
    if saving.returncode or packing.returncode:
        raise StackError(f"the images could not be saved: {complaint or 'gzip failed'}")


def save_wheels(folder: Path) -> None:
    """Download the locked packages, and build wheels of those that the index has as source."""
    run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--require-hashes", "--cache-dir", str(ROOT / ".cache" / "pip")),
        *(f"--requirement={ROOT / lock}" for lock in (LOCK, TOOL_LOCK)),
        *("--wheel-dir", str(folder)),
    )


def accept_built(lock: Path, wheels: Path) -> None:
    """Add the wheels that were built here to the lock, because their hashes are new."""
    text = lock.read_text()
    for wheel in sorted(wheels.iterdir()):
        if (digest := sha256(wheel)) not in text:
            name, version, *_ = wheel.name.split("-")
            entry = f"{name.replace('_', '-')}=={version}"
            text = re.sub(
                rf"^{re.escape(entry)}.*\\$",
                rf"\g<0>\n    --hash=sha256:{digest} \\",
                text,
                flags=re.MULTILINE,
            )
    lock.write_text(text)


def save_checkout(folder: Path) -> None:
    """Write the files of the last commit."""
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    run("git", "archive", f"--output={archive}", "HEAD", cwd=ROOT)
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    archive.unlink()


def build_guide(folder: Path) -> None:
    """Build the guide as HTML."""
    run(sys.executable, "-m", "sphinx", "-q", "-b", "html", str(DOCS), str(folder))
    # Sphinx keeps it for its next run.
    shutil.rmtree(folder / ".doctrees")


def checksums(folder: Path) -> str:
    """Return a line for each file below the folder, as ``sha256sum --check`` reads it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{sha256(path)}  {path.relative_to(folder)}\n" for path in files)


def sha256(path: Path) -> str:
    """Return the file's SHA-256, in hex."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
