"""The building of images and of the bundle, as far as it needs no engine."""

import io
import tarfile
from pathlib import Path

import pytest

from parsec_stack import bundle, image_contents, images
from parsec_stack.errors import StackError
from parsec_stack.images import Recipe

COMPOSE = """\
services:
  one:
    <<: *service
    # A remark, and an empty line.

    image: example/one:1.2-bookworm
    user: "1:1"
  two:
    image: two:v3
  none:
    user: "1:1"
"""


@pytest.fixture
def compose_file(tmp_path: Path) -> Path:
    """A compose file of three services."""
    path = tmp_path / "compose.yaml"
    path.write_text(COMPOSE)
    return path


def recipe(version: str) -> Recipe:
    """A recipe that brings this version of nothing."""
    return Recipe("parsec-proxy", version, dict)


def test_image_of_a_service(compose_file: Path) -> None:
    """The image is read from the compose file, its one place."""
    assert images.image_of(compose_file, "one") == "example/one:1.2-bookworm"
    assert images.image_of(compose_file, "two") == "two:v3"


def test_service_without_image(compose_file: Path) -> None:
    """A service's image is not taken from the service before it."""
    with pytest.raises(StackError, match="names no image for none"):
        images.image_of(compose_file, "none")


def test_every_image_can_be_built_in_its_version() -> None:
    """The compose file's versions and those of the locked packages are the same."""
    for name, made in images.recipes(minio=True).items():
        images.check_version(name, made)


@pytest.mark.parametrize("version", ["16.15", "16.15.0", "16.15.0.post1"])
def test_version_that_fits(version: str) -> None:
    """A package may count its own releases behind the program's."""
    images.check_version("postgres:16.15-bookworm", recipe(version))


@pytest.mark.parametrize("version", ["16.14", "17.15", "16.1", "16.15rc1"])
def test_version_that_does_not_fit(version: str) -> None:
    """An image never holds another version than its name says."""
    with pytest.raises(StackError, match="bring them to the same version"):
        images.check_version("postgres:16.15-bookworm", recipe(version))


def test_release_that_does_not_fit() -> None:
    """A release that is no version, but a date, must be the very same."""
    other = Recipe("minio", "RELEASE.2025-09-07T16-13-09Z", dict)

    images.check_version("minio/minio:RELEASE.2025-09-07T16-13-09Z", other)
    with pytest.raises(StackError, match="bring them to the same version"):
        images.check_version("minio/minio:RELEASE.2025-10-15T17-29-55Z", other)


def test_context_is_the_same_on_any_machine(tmp_path: Path) -> None:
    """Owners and modes of this machine do not reach the image; programs can be run."""
    for name in ("weed", "notes", "start.sh"):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(0o700 if name == "start.sh" else 0o600)
    context = io.BytesIO()

    images.write_context(context, {path.name: path for path in tmp_path.iterdir()})

    with tarfile.open(fileobj=context) as archive:
        entries = {entry.name: (entry.mode, entry.uid, entry.uname) for entry in archive}
    assert entries == {
        "weed": (0o755, 0, ""),
        "notes": (0o644, 0, ""),
        "start.sh": (0o755, 0, ""),
    }


def test_failed_build_tells_its_last_words() -> None:
    """What a failing step printed is part of the message."""
    lines = [{"stream": "Step 1\n"}, {"stream": "no such file\n"}, {"error": "code 2\n"}]

    with pytest.raises(StackError, match="one:1 could not be built: code 2\nStep 1\nno such file"):
        images.watch("one:1", lines)


def test_failed_program_tells_its_last_words() -> None:
    """A program's complaint is the message."""
    with pytest.raises(StackError, match="bash failed:\nalas"):
        image_contents.run("bash", "-c", "echo alas >&2; exit 3")


def test_server_is_packed_with_all_that_it_requires() -> None:
    """What a required package requires in turn comes too, what only develops does not."""
    packed = {name.lower() for name in image_contents.closure("parsec-cloud")}

    assert {"parsec-cloud", "fastapi", "pydantic-core"} <= packed
    assert not {"pytest", "nox"} & packed


def test_checksums_as_sha256sum_reads_them(tmp_path: Path) -> None:
    """sha256sum accepts the list, and finds what was changed since."""
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "file").write_text("content")
    (tmp_path / "sums").write_text(bundle.checksums(tmp_path))
    check = ("sha256sum", "--check", "--strict", "--quiet", "sums")

    image_contents.run(*check, cwd=tmp_path)

    (tmp_path / "a folder" / "file").write_text("changed")
    with pytest.raises(StackError, match="sha256sum failed"):
        image_contents.run(*check, cwd=tmp_path)


def test_wheels_that_were_built_are_locked(tmp_path: Path) -> None:
    """A wheel whose hash is not that of the index is accepted; known ones change nothing."""
    wheels, lock = tmp_path / "wheels", tmp_path / "lock"
    wheels.mkdir()
    (wheels / "from_index-1.0-py3-none-any.whl").write_text("known")
    built = wheels / "made_here-2.0-py3-none-any.whl"
    built.write_text("new")
    known = bundle.sha256(wheels / "from_index-1.0-py3-none-any.whl")
    text = (
        f"from-index==1.0 \\\n    --hash=sha256:{known}\nmade-here==2.0 \\\n    --hash=sha256:0\n"
    )
    lock.write_text(text)

    bundle.accept_built(lock, wheels)

    added = f"made-here==2.0 \\\n    --hash=sha256:{bundle.sha256(built)} \\\n"
    assert lock.read_text() == text.replace("made-here==2.0 \\\n", added)
