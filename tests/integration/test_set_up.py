"""scripts/run and scripts/set-up on small projects, with the real uv and packages from a folder."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest

from parsec_stack.stack import ROOT

SCRIPTS = (".python-version", "scripts/run", "scripts/site", "scripts/set-up")
MODULES = ("__init__.py", "environments.py")
VERSION = (ROOT / ".python-version").read_text().strip()
UV = shutil.which("uv") or ""
STORES = [Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt")]
# The machine is a busy one.
PATIENCE = 240
pytestmark = pytest.mark.timeout(2 * PATIENCE)
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may mount and change accounts")


def wheel(folder: Path, name: str, files: Mapping[str, bytes], tag: str = "py3-none-any") -> str:
    """Write a wheel of version 1.0 into the folder; its entry for a lock."""
    info = f"{name}-1.0.dist-info"
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    return pack(folder / f"{name}-1.0-{tag}.whl", f"{name}==1.0", info, {**files, **about})


def pack(path: Path, pin: str, info: str, files: Mapping[str, bytes]) -> str:
    """Write a wheel with these files; its entry for a lock."""
    rows = []
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            sum_ = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={sum_},{len(content)}\n")
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, content)
        archive.writestr(f"{info}/RECORD", "".join(rows) + f"{info}/RECORD,,\n")
    return f"{pin} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def installed(folder: Path, name: str) -> str:
    """The same of a distribution as it is installed here."""
    found = metadata.distribution(name)
    files = {
        str(file): Path(str(file.locate())).read_bytes()
        for file in found.files or []
        if ".." not in file.parts and file.suffix != ".pyc" and file.name != "RECORD"
    }
    info = next(file.parts[0] for file in found.files or [] if file.name == "METADATA")
    tag = re.search(r"^Tag: (.+)$", found.read_text("WHEEL") or "", re.MULTILINE)
    assert tag
    path = folder / f"{name}-{found.version}-{tag[1]}.whl"
    return pack(path, f"{name}=={found.version}", info, files)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder of packages, and the lock entry of each."""
    folder = tmp_path_factory.mktemp("packages")
    program = b"#!python\nimport small\nprint('small', small.NUMBER)\n"
    locks = {
        "small": wheel(
            folder,
            "small",
            {"small.py": b"NUMBER = 7\n", "small-1.0.data/scripts/invoke": program},
        ),
        "extra": wheel(folder, "extra", {"extra.py": b""}),
        "psutil": installed(folder, "psutil"),
        "uv": wheel(folder, "uv", {"uv-1.0.data/scripts/uv": Path(UV).read_bytes()}),
    }
    return folder, locks


class Project:
    """A checkout with the real scripts and few packages."""

    def __init__(self, root: Path, packages: Path, locks: Mapping[str, str]) -> None:
        self.root = root
        self.packages = packages
        # What scripts/run is called by.
        self.before: tuple[str, ...] = ()
        (root / "scripts").mkdir(parents=True)
        (root / "src" / "parsec_stack").mkdir(parents=True)
        for name in SCRIPTS:
            shutil.copy(ROOT / name, root / name)
        for name in MODULES:
            shutil.copy(ROOT / "src" / "parsec_stack" / name, root / "src" / "parsec_stack" / name)
        main = locks["small"] + locks["psutil"]
        for part, text in {"": main, "-docker": main, "-checks": locks["extra"]}.items():
            (root / "scripts" / f"requirements{part}.lock").write_text(text)
        (root / "scripts" / "requirements-uv.lock").write_text(locks["uv"])

    def environment(self, **changes: str) -> dict[str, str]:
        """What a reader has: no settings but where the packages are."""
        own = {
            "PATH": os.pathsep.join([str(Path(UV).parent), f"{sys.base_prefix}/bin", os.defpath]),
            "HOME": str(self.root.parent / "home"),
            "LANG": "C.UTF-8",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.packages),
        }
        return own | changes

    def start(self, *command: str, **changes: str) -> subprocess.Popen[str]:
        """Start scripts/run in a process group of its own."""
        return subprocess.Popen(
            [*self.before, self.root / "scripts" / "run", *command],
            env=self.environment(**changes), cwd="/", text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def prints(self, *command: str, **changes: str) -> str:
        """What the command prints; it must succeed."""
        process = self.start(*command, **changes)
        printed, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said
        return printed

    def works(self, **changes: str) -> str:
        """The project's program runs; what was said of setting it up."""
        process = self.start("invoke", **changes)
        printed, said = process.communicate(timeout=PATIENCE)
        assert (process.returncode, printed) == (0, "small 7\n"), said
        return said

    def fails(self, *command: str, **changes: str) -> str:
        """What is said against the command."""
        process = self.start(*command or ("invoke",), **changes)
        printed, said = process.communicate(timeout=PATIENCE)
        assert (process.returncode, printed) == (1, ""), said
        return said

    @property
    def environments(self) -> list[str]:
        """What is in .venvs."""
        return sorted({path.name for path in (self.root / ".venvs").iterdir()} - {".lock"})

    @property
    def programs(self) -> list[str]:
        """What all clones share beside packages, without its version."""
        shared = self.root.parent / "home" / ".cache" / "uv" / "set-up"
        return [path.name.partition("-")[0] for path in shared.iterdir() if path.name != ".lock"]


@pytest.fixture
def project(tmp_path: Path, packages: tuple[Path, dict[str, str]]) -> Project:
    """A project whose path has a space and more."""
    return Project(tmp_path / "a checkout & more", *packages)


def test_first_run(project: Project) -> None:
    """The environment is made once; that of the checks has all that the tasks need."""
    assert "setting up .venvs/tasks-" in project.works()
    assert project.works() == ""
    assert project.prints("python", "-c", "import small, extra; print('both')") == "both\n"
    before = project.environments

    assert project.works() == ""
    assert project.environments == before
    assert [name.partition("-")[0] for name in before] == ["checks", "tasks"]
    assert (project.root / ".venv").resolve().name == before[0]
    assert "small 7" in subprocess.check_output([project.root / ".venv/bin/invoke"], text=True)
    assert {path.name for path in (project.root / ".cache").iterdir()} == set()


def test_foreign_settings(project: Project, tmp_path: Path) -> None:
    """What pip, uv and Python are told for other purposes does not matter."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("raise SystemExit('not this one')\n")
    (tmp_path / "home").mkdir()
    config = tmp_path / "home" / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True)
    config.write_text(
        f"[global]\nrequire-virtualenv = true\ntarget = {tmp_path}/target\n"
        f"find-links = /no/where {project.packages}\nno-index = true\n"
        "[install]\nuser = true\nprefix = /x\n"
    )
    odd = {
        "PIP_USER": "1", "PIP_TARGET": str(folder), "PIP_PREFIX": str(folder), "PIP_ROOT": "/x",
        "PIP_REQUIRE_VIRTUALENV": "1", "PIP_NO_BINARY": ":all:", "PIP_CONSTRAINT": "/nowhere",
        "PYTHONHOME": "/nowhere", "PYTHONPATH": str(folder), "PYTHONSTARTUP": "/nowhere",
        "UV_SYSTEM_PYTHON": "1", "UV_EXCLUDE_NEWER": "2000-01-01", "UV_NO_BINARY": "1",
        "UV_TARGET": "/x", "UV_PYTHON": "3.8", "UV_PROJECT_ENVIRONMENT": "/x", "CDPATH": "/:/tmp",
        "PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", "VIRTUAL_ENV": "/nowhere",
    }  # fmt: skip

    project.works(PATH=without_uv(), **odd)

    assert project.programs == ["uv"]
    assert [path.name for path in folder.iterdir()] == ["sitecustomize.py"]
    assert not (tmp_path / "target").exists()


def without_uv() -> str:
    """PATH without uv, for which the machine's own Python installs one."""
    path = os.pathsep.join([f"{sys.base_prefix}/bin", os.defpath])
    if shutil.which("uv", path=path):
        pytest.skip("uv lies beside this machine's Python")
    return path


def test_two_at_once(project: Project) -> None:
    """The second waits for the first, and both go on."""
    both = [project.start("invoke") for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE) for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    assert [printed for printed, _ in said] == ["small 7\n"] * 2
    assert sum("setting up .venvs" in complaint for _, complaint in said) == 1
    assert len(project.environments) == 1


def test_ended_at_any_point(project: Project) -> None:
    """The same command again succeeds, and nothing half-made is left."""
    numbers = [signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]
    for number, moment in zip(numbers, (0.1, 0.4, 0.8, 1.2, 1.8), strict=True):
        process = project.start("invoke", PATH=without_uv())
        time.sleep(moment)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        process.communicate(timeout=PATIENCE)

    project.works(PATH=without_uv())

    assert len(project.environments) == 1
    assert project.programs == ["uv"]


def test_environment_in_use(project: Project) -> None:
    """What runs keeps its environment; afterwards that goes."""
    running = project.start("python", "-c", "import time; print('on', flush=True); time.sleep(600)")
    try:
        assert running.stdout
        assert running.stdout.readline() == "on\n"
        (old,) = project.environments
        relock(project)
        project.works()
        during = project.environments
        assert old in during
        assert len(during) == 2
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    relock(project)
    project.works()

    assert len(project.environments) == 1
    assert not set(project.environments) & set(during)


def test_active_environment(project: Project) -> None:
    """Who has an environment of the checkout activated keeps uv when another takes its place."""
    project.works()
    active = os.pathsep.join([f"{project.root}/.venv/bin", project.environment()["PATH"]])
    relock(project)
    project.works(PATH=active)

    uv = project.root / ".venv" / "bin" / "uv"
    assert subprocess.run([uv, "--version"], capture_output=True).returncode == 0


@pytest.fixture
def company(packages: tuple[Path, dict[str, str]], tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a package index with TLS, and the certificate of its CA."""
    site = tmp_path / "site"
    for path in packages[0].iterdir():
        page = site / "simple" / path.name.partition("-")[0] / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, site)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        page.write_text(f'<a href="/{path.name}#sha256={digest}">{path.name}</a>\n')
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost"]
    plain = ["-addext", "basicConstraints=critical,CA:FALSE"]
    for name, extra in (("ca", []), ("own", [*signed, *plain])):
        files = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"]
        subprocess.run([*new, *files, *extra], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own.crt", tmp_path / "own.key")
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}/simple/", tmp_path / "ca.crt"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@as_root
def test_certificates_of_the_system(project: Project, company: tuple[str, Path]) -> None:
    """An index whose CA the system alone trusts is one that pip and uv trust, for all packages."""
    address, ca = company
    site = {"PIP_INDEX_URL": address, "PIP_NO_INDEX": "", "PIP_FIND_LINKS": ""}

    said = project.fails(PATH=without_uv(), **site)
    assert "CERTIFICATE_VERIFY_FAILED" in said
    said = project.fails(**site)
    assert "invalid peer certificate" in said

    (store,) = [path for path in STORES if path.exists()][:1]
    inside = ["unshare", "--mount", "bash", "-c", f'mount --bind "$0" {store}; exec "$@"', str(ca)]
    project.before = tuple(inside)
    project.works(PATH=without_uv(), **site)


def relock(project: Project) -> None:
    """Change the lock, as an upgrade does."""
    with (project.root / "scripts" / "requirements.lock").open("a") as lock:
        lock.write("# another one\n")


def test_folder_of_former_versions(project: Project) -> None:
    """A .venv that was a folder stays while something runs from it, and gives way to the link."""
    program = project.root / ".venv" / "bin" / "sleep"
    program.parent.mkdir(parents=True)
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([program, "600"]) as running:
        project.works()
        assert program.exists()
        running.kill()
    relock(project)
    project.works()

    assert (project.root / ".venv").is_symlink()


def test_checkout_called_by_a_link(project: Project, tmp_path: Path) -> None:
    """It is the same checkout by any name."""
    project.works()
    link = tmp_path / "link"
    link.symlink_to(project.root)
    project.root = link

    assert project.works() == ""
    assert len(project.environments) == 1


def test_moved_checkout(project: Project, tmp_path: Path) -> None:
    """It gets an environment that knows where it is now."""
    project.works()
    project.root = project.root.rename(tmp_path / "elsewhere")

    project.works()

    assert (project.root / ".venv" / "bin" / "python").exists()
    assert len(project.environments) == 1


def test_missing_temporary_folder(project: Project) -> None:
    """The variable is named, before anything is done."""
    said = project.fails(TMPDIR="/no/where")

    assert said == (
        "error: TMPDIR names /no/where, which is no folder that you can write to: "
        "create it, or unset TMPDIR\n"
    )
    assert not (project.root / ".venvs").exists()


def test_unknown_group(project: Project) -> None:
    """It is named."""
    said = project.fails("--with", "nothing", "true")

    assert said == "error: --with: there is no group 'nothing' in pyproject.toml\n"


def test_broken_package(project: Project) -> None:
    """What does not fit the lock is refused, and nothing is left of the attempt."""
    lock = project.root / "scripts" / "requirements.lock"
    good = lock.read_text()
    lock.write_text(re.sub("sha256:.{8}", "sha256:00000000", good, count=1))

    said = project.fails()

    assert "Hash mismatch for `small==1.0`" in said
    assert re.search(r"^error: \.venvs/tasks-\d+ could not be made, as told above", said, re.M)
    assert project.environments == []
    lock.write_text(good)
    project.works()


@as_root
def test_full_disk(project: Project, tmp_path: Path) -> None:
    """The disk is named, and with space on it the next run succeeds."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], check=True)
    try:
        project.root = project.root.rename(tmp_path / "x")
        shutil.copytree(project.root, disk / "project")
        project.root = disk / "project"
        filler = disk / "filler"
        filler.write_bytes(b"x" * (shutil.disk_usage(disk).free - 200_000))
        said = project.fails(HOME=str(tmp_path / "home"))
        assert "error: a disk is full; free space there" in said
        assert re.search(rf"^error:   {re.escape(str(disk))} has 0 MB left$", said, re.M)
        assert project.environments == []
        filler.unlink()
        project.works(HOME=str(tmp_path / "home"))
    finally:
        subprocess.run(["umount", disk], check=True)


@as_root
def test_account_without_a_name(packages: tuple[Path, dict[str, str]], mirror: Path) -> None:
    """A uid that no passwd knows, with no home, keeps all in the checkout."""
    # Not below pytest's own folder, to which each session of pytest lets root alone.
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        base.chmod(0o755)
        shutil.copytree(packages[0], base / "packages").chmod(0o755)
        with tarfile.open(mirror / "20990101" / "cpython.tar.gz") as archive:
            archive.extractall(base, filter="data")
        shutil.copy(UV, base / "python" / "bin")
        project = Project(base / "checkout", base / "packages", packages[1])
        for path in (project.root, *project.root.rglob("*")):
            os.chown(path, 54321, 54321)
        variables = project.environment(PATH=f"{base}/python/bin:{os.defpath}")
        # Where this Python was built to have its library, others may not look.
        variables["LD_LIBRARY_PATH"] = f"{base}/python/lib"
        del variables["HOME"]
        said = subprocess.run(
            ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups",
             project.root / "scripts" / "run", "invoke"],
            env=variables, cwd="/", capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip

        assert said.stdout == "small 7\n", said.stderr
        assert (project.root / ".cache" / "uv").is_dir()


@pytest.fixture(scope="module")
def python_free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this machine's programs, without any Python."""
    folder = tmp_path_factory.mktemp("bin")
    places = [Path(place or "/nowhere") for place in os.defpath.split(os.pathsep)]
    for program in (program for place in places for program in place.glob("*")):
        if not re.match(r"(python|pypy|pip|uv)", program.name):
            with suppress(FileExistsError):
                (folder / program.name).symlink_to(program)
    return folder


def open_to_all(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The entry, for every account to read."""
    readable = 0o055 if entry.isdir() else 0o044
    return entry.replace(mode=entry.mode | readable, deep=False)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What uv downloads a Python from: an archive of this one, and a list that names it."""
    folder = tmp_path_factory.mktemp("mirror")
    archive = folder / "20990101" / "cpython.tar.gz"
    archive.parent.mkdir()
    prefix, library = Path(sys.base_prefix), f"python{VERSION}"
    unused = {"test", "idlelib", "site-packages", "__pycache__", "ensurepip", "lib2to3"}
    with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
        packed.add(prefix / "bin" / library, f"python/bin/{library}")
        for shared in prefix.glob(f"lib/lib{library}.so*"):
            packed.add(shared, f"python/lib/{shared.name}")
        packed.add(
            prefix / "lib" / library,
            f"python/lib/{library}",
            filter=lambda entry: (
                None if unused & set(Path(entry.name).parts) else open_to_all(entry)
            ),
        )
    machine, libc = os.uname().machine, "gnu" if sys.platform == "linux" else "none"
    minor = int(VERSION.partition(".")[2])
    key = f"cpython-{VERSION}.99-{sys.platform}-{machine}-{libc}"
    about = {
        "name": "cpython", "arch": {"family": machine, "variant": None}, "os": sys.platform,
        "libc": libc, "major": 3, "minor": minor, "patch": 99, "prerelease": "", "variant": None,
        "url": "https://github.com/astral-sh/python-build-standalone/releases/download/"
        "20990101/cpython.tar.gz",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(), "build": "20990101",
    }  # fmt: skip
    (folder / "list.json").write_text(json.dumps({key: about}))
    return folder


def test_python_is_fetched(project: Project, python_free: Path, mirror: Path) -> None:
    """Without a Python of the version uv downloads one into the checkout, and says so."""
    variables = {
        "PATH": f"{python_free}{os.pathsep}{link_to_uv(python_free)}",
        "UV_PYTHON_INSTALL_MIRROR": f"file://{mirror}",
        "UV_PYTHON_DOWNLOADS_JSON_URL": str(mirror / "list.json"),
    }
    said = project.works(**variables)

    assert f"Python {VERSION} is missing: uv fetches one into .cache/python (once)\n" in said
    prefix = project.prints("python", "-c", "import sys; print(sys.base_prefix)", **variables)
    assert Path(prefix.strip()).is_relative_to(project.root / ".cache" / "python")
    assert not list((project.root.parent / "home").glob(".local/bin/*"))


def link_to_uv(folder: Path) -> Path:
    """A folder with uv alone."""
    place = folder.parent / f"{folder.name}-uv"
    place.mkdir(exist_ok=True)
    with suppress(FileExistsError):
        (place / "uv").symlink_to(Path(UV).resolve())
    return place


def test_python_cannot_be_fetched(project: Project, python_free: Path, mirror: Path) -> None:
    """What uv says, and how else to get a Python."""
    said = project.fails(
        PATH=f"{python_free}{os.pathsep}{link_to_uv(python_free)}",
        UV_PYTHON_INSTALL_MIRROR="file:///no/where",
        UV_PYTHON_DOWNLOADS_JSON_URL=str(mirror / "list.json"),
    )

    assert "/no/where" in said
    assert f"error: Python {VERSION} is missing, and uv could not fetch it, as told above" in said
    assert f"'uv python install {VERSION}'" in said
    assert project.environments == []


def test_no_python_and_no_uv(project: Project, python_free: Path) -> None:
    """One message says what is missing."""
    said = project.fails(PATH=str(python_free))

    assert said.startswith(f"error: Python {VERSION} is missing, and neither is uv here")
    assert "apt-get install python3-venv" in said
    assert project.environments == []


def test_one_version_in_all_locks() -> None:
    """A package that stands in several locks has the same versions in each."""
    own_environment = ROOT / "scripts" / "requirements-attack.lock"
    found: dict[str, set[tuple[str, ...]]] = {}
    for lock in set((ROOT / "scripts").glob("requirements*.lock")) - {own_environment}:
        here: dict[str, list[str]] = {}
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.M):
            here.setdefault(name, []).append(version)
        for name, versions in here.items():
            found.setdefault(name, set()).add(tuple(versions))

    assert len(found) > 100
    assert {name: each for name, each in found.items() if len(each) > 1} == {}


def imports(path: Path) -> Iterator[str]:
    """The top names of the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]


def test_tasks_need_no_more_than_their_lock() -> None:
    """What the tasks import is locked for them: here all else is installed as well."""
    engine = set((ROOT / "src" / "guidewalk").glob("*.py"))
    # What pytest loads; no task does.
    engine = {path for path in engine if path.name != "plugin.py"}
    package = (ROOT / "src" / "parsec_stack").glob("*.py")
    files = [ROOT / "tasks.py", *package, *engine, *(ROOT / "docs" / "extensions").glob("*.py")]
    wanted = {name for path in files for name in imports(path)} - set(sys.stdlib_module_names)
    # Without it the contributors' picture of the imports is left out.
    wanted.discard("grimp")
    own = {"parsec_stack", "guidewalk", *(path.stem for path in files)}
    locked = re.findall(r"^([\w.-]+)==", (ROOT / "scripts/requirements.lock").read_text(), re.M)
    known = metadata.packages_distributions()

    assert {"invoke", "sphinx", "psutil"} <= wanted
    missing = {
        name: known.get(name)
        for name in wanted - own
        if not {each.lower().replace("_", "-") for each in known.get(name, [])} & set(locked)
    }
    assert missing == {}


def test_locking_obeys_the_site(tmp_path: Path) -> None:
    """What pip is configured for counts for uv when packages are locked, too."""
    for name in ("scripts/lock", "scripts/site", ".python-version", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for lock in (ROOT / "scripts").glob("requirements*.lock"):
        shutil.copy(lock, tmp_path / "scripts")
    (tmp_path / "deploy").mkdir()
    (config := tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://packages.example.com/simple\nproxy = http://proxy:1\n"
    )
    (programs := tmp_path / "programs").mkdir()
    (programs / "uv").write_text('#!/bin/sh\necho "$UV_DEFAULT_INDEX $ALL_PROXY" >>asked\n')
    (programs / "uv").chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    variables = {"HOME": str(tmp_path), "PATH": path, "PIP_CONFIG_FILE": str(config)}

    subprocess.run([tmp_path / "scripts/lock"], env=variables, check=True, timeout=PATIENCE)

    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) > 5
    assert set(asked) == {"https://packages.example.com/simple http://proxy:1"}
