"""What supervisord does with the guide's file, for programs that only say how they are run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from checks.common import mode, registry, workshop
from checks.files import COMPOSE, SUPERVISOR, seconds
from guidewalk import processes
from guidewalk.tool import Said, output_of
from parsec_stack.services import SERVICES
from parsec_stack.verify.stack_files import StackFiles

about = registry.about

WATCH = "watch-parsec-server"
PROGRAMS = (*SERVICES, WATCH)
# The services' own scripts end what they started; the watch leaves it to supervisord.
PROGRAM = """#!/bin/bash
echo "umask $(umask)"
echo "files $(ulimit -n)"
echo "an error" >&2
sleep 600 &
leave() {
    [ "${0##*/}" = watch-parsec-server ] || kill $!
    echo "$1"
    exit
}
for signal in INT TERM USR1; do trap "leave $signal" "$signal"; done
wait
"""
# The reader's shell has a small limit, which supervisord raises.
COMMAND = 'ulimit -S -n 256; exec supervisord --configuration "$0"'
# supervisord by itself gives up after so many attempts.
USUAL_RETRIES = 3
WAITS = 20.0
POLL = 0.05


class Supervisor:
    """A supervisord in a folder with such programs in the place of the services."""

    def __init__(self, files: StackFiles, folder: Path) -> None:
        self.folder = folder
        self.path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        (folder / SUPERVISOR).write_text(files.text(SUPERVISOR))
        for name in ("log", "run"):
            (folder / name).mkdir()
        for name in PROGRAMS:
            program = folder / (name if name == WATCH else f"run-{name}")
            program.write_text(PROGRAM)
            program.chmod(0o755)
        self.before = {path.name for path in folder.iterdir()}

    def run(self, *command: str) -> Said:
        """How the command ends, and what it says."""
        return output_of([*command], self.folder, {"PATH": self.path})

    def control(self, *arguments: str) -> str:
        """What supervisorctl says."""
        return self.run("supervisorctl", "--configuration", SUPERVISOR, *arguments).text

    def hear(self, name: str, words: str, times: int = 1) -> None:
        """Wait until the program has said this so many times."""
        self.reach(
            lambda: self.said_by(name).count(words) == times,
            f"{name} has not said '{words}' {times} times",
        )

    @property
    def supervisord(self) -> Any:
        """The interface of supervisord."""
        from xmlrpc.client import ServerProxy

        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(serverurl=f"unix://{self.folder}/run/supervisor.sock")
        return ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def states(self) -> dict[str, str]:
        """The state of each program."""
        return {one["name"]: one["statename"] for one in self.supervisord.getAllProcessInfo()}

    def reach(self, holds: Callable[[], object], what: str) -> None:
        """Wait until it holds; AssertionError if it never does."""
        deadline = time.monotonic() + WAITS
        while not holds():
            assert time.monotonic() < deadline, f"{what}\n{self.control('status')}"
            time.sleep(POLL)

    def start(self) -> None:
        """Wait until the programs run that supervisord starts by itself; then start the server."""
        said = self.run("bash", "-c", COMMAND, SUPERVISOR)
        assert not said.status, said.text
        begun = dict.fromkeys(PROGRAMS, "RUNNING")
        self.reach(
            lambda: self.states() == begun | {"parsec-server": "STOPPED"},
            "all but the server do not come to run",
        )
        self.control("start", "parsec-server")
        self.reach(lambda: self.states() == begun, "the server does not come to run")

    def said_by(self, name: str) -> list[str]:
        """What the program has said so far, where the services' logs are."""
        return (self.folder / "log" / f"{name}.log").read_text().splitlines()

    def settings(self) -> dict[str, Any]:
        """What supervisord itself says of each program."""
        return {each["name"]: each for each in self.supervisord.getAllConfigInfo()}


@contextmanager
def supervisor(files: StackFiles) -> Iterator[Supervisor]:
    """A supervisord with all programs running; all is ended afterwards."""
    with workshop() as folder:
        place = Supervisor(files, folder)
        place.start()
        yield place


def containers(files: StackFiles) -> dict[str, Any]:
    """The services of the way with Docker."""
    found: dict[str, Any] = yaml.safe_load(files.text(COMPOSE))["services"]
    return found


@about(SUPERVISOR, COMPOSE)
def programs_are_as_free_as_containers(files: StackFiles) -> None:
    """A service has as many open files with Docker and without, and as long to stop."""
    with supervisor(files) as place:
        for name, container in containers(files).items():
            given = place.settings()[name]
            place.hear(name, f"files {container['ulimits']['nofile']}")
            grace = seconds(container["stop_grace_period"])
            # The catcher needs no time at all.
            assert given["stopwaitsecs"] == grace or name == "parsec-smtp", f"{name}: {given}"


@about(SUPERVISOR)
def what_supervisord_writes_is_its_owners(files: StackFiles) -> None:
    """What the programs write, and how supervisord is controlled, is their owner's alone.

    All of it lies in log and run.
    """
    with supervisor(files) as place:
        for name in PROGRAMS:
            place.hear(name, "umask 0077")
            place.hear(name, "an error")
        assert {path.name for path in place.folder.iterdir()} == place.before
        held = list((place.folder / "run").iterdir())
        assert any(path.is_socket() for path in held), held
        written = [*held, *(place.folder / "log" / f"{name}.log" for name in PROGRAMS)]
        for path in written:
            assert not mode(path) & 0o077, f"{path.name} has mode {mode(path):o}"
        numbers = [path for path in held if path.suffix == ".pid"]
        assert [path.read_text().strip() for path in numbers] == [place.control("pid").strip()]


@about(SUPERVISOR)
def programs_come_back_and_can_be_stopped(files: StackFiles) -> None:
    """A program comes back even if it ends without an error, and stops as is good for it.

    PostgreSQL is told to close its connections, and nothing is left of the watch.
    """
    with supervisor(files) as place:
        place.control("signal", "USR1", "all")
        for name in PROGRAMS:
            place.hear(name, "umask 0077", 2)
            assert place.settings()[name]["startretries"] > 10 * USUAL_RETRIES, name
        running = dict.fromkeys(PROGRAMS, "RUNNING")
        place.reach(lambda: place.states() == running, "the programs do not come to run again")
        place.control("stop", "all")
        for name in PROGRAMS:
            wanted = "INT" if name == "parsec-postgres" else "TERM"
            assert place.said_by(name)[-1] == wanted, place.said_by(name)
        left = [processes.name_of(one) for one in processes.within(place.folder)]
        # One is left of the watch's first end, with which supervisord had nothing to do.
        assert left.count("sleep") == 1, left
