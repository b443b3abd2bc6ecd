"""Run command blocks of the guide in bash, strictly, so that no failing line stays hidden."""

from __future__ import annotations

import codecs
import math
import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self, cast

from guidewalk.errors import UserError, named
from guidewalk.guide import Block

STRICT = Path(__file__).with_name("strict.sh")
ADDRESS = re.compile(r"(?<![\w.-])(localhost|127\.0\.0\.1):(\d+)")
PLACEHOLDER = re.compile(r"<[a-z][a-z0-9_-]*>")
ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# How many seconds processes have to end after SIGTERM.
GRACE = 2.0
CHUNK = 65536

Line = Callable[[str], None]


def render(text: str, ports: Mapping[int, int], values: Mapping[str, str]) -> str:
    """Return the text with addresses moved to other ports, and placeholders filled in.

    ``ports`` maps from the guide's ports, ``values`` from placeholders such as ``<orgname>``.
    """

    def moved(match: re.Match[str]) -> str:
        port = int(match[2])
        return f"{match[1]}:{ports.get(port, port)}"

    text = ADDRESS.sub(moved, text)
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def render_command(block: Block, ports: Mapping[int, int], values: Mapping[str, str]) -> str:
    """Return the block's text, ready to run; ``values`` override the block's own placeholders.

    Raises UserError for a placeholder that has no value.
    """
    text = render(block.text, ports, block.placeholders | dict(values))
    if missing := PLACEHOLDER.search(text):
        raise UserError(
            f"{block.place}: {missing[0]} has no value: give one with the option ':placeholder: "
            f"{missing[0]} VALUE' or capture it from an earlier block"
        )
    return text


@dataclass(frozen=True)
class Result:
    """How a block ended: its output (both streams) and, if it failed, why and on which line.

    ``line`` counts from 1 within the block; ``seconds`` is the time that it took.
    """

    output: str
    seconds: float
    problem: str = ""
    line: int = 1


class Printed:
    """A block's output, passed on by lines, and collected unless ``keep`` is false."""

    def __init__(self, line: Line | None, noise: str, keep: bool = True) -> None:
        """Start with nothing; leave out ``noise``, which names the block's temporary place."""
        self.line = line
        self.noise = noise
        self.keep = keep
        self.text = ""
        self.rest = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, chunk: bytes, final: bool = False) -> None:
        """Take what has arrived; ``final`` completes the last line."""
        lines = (self.rest + self.decoder.decode(chunk, final)).split("\n")
        self.rest = lines.pop()
        for text in lines:
            self.collect(f"{self.take(text)}\n")
        if final and self.rest:
            self.collect(self.take(self.rest))

    def collect(self, text: str) -> None:
        """Add to what is kept."""
        if self.keep:
            self.text += text

    def take(self, text: str) -> str:
        """Pass on the line as a terminal shows it: without what a carriage return overwrites."""
        text = text.rstrip("\r").rpartition("\r")[2].replace(self.noise, "")
        if self.line:
            self.line(text)
        return text


class Shell:
    """One bash for many blocks; a context manager that leaves no process of its group."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.scratch = tempfile.TemporaryDirectory(prefix="shell-")
        self.answers, answering = os.pipe()
        try:
            self.process = subprocess.Popen(
                ["bash", "--noprofile", "--norc", STRICT, self.scratch.name, str(answering)],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=(answering,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(self.answers)
            self.scratch.cleanup()
            raise UserError(f"bash cannot be started in {folder}: {error.strerror}") from None
        finally:
            os.close(answering)
        self.requests = cast(IO[bytes], self.process.stdin)
        self.output = cast(IO[bytes], self.process.stdout)
        os.set_blocking(self.output.fileno(), False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def run(
        self,
        text: str,
        timeout: float | None = None,
        line: Line | None = None,
        keep: bool = True,
    ) -> Result:
        """Run the block; ``line`` gets each line that it prints, at once.

        Without ``keep`` the result has no output. A block that fails, or takes more than
        ``timeout`` seconds, ends the shell and its group.
        """
        if self.process.poll() is not None:
            return Result("", 0.0, "the shell has ended before the block")
        with named(Path(self.scratch.name).parent):
            Path(self.scratch.name, "block").write_text(text)
        printed = Printed(line, f"{self.scratch.name}/statement: ", keep)
        started = time.monotonic()
        os.write(self.requests.fileno(), b"\n")
        problem, at = "", 1
        try:
            if not self.await_answer(printed, timeout):
                self.kill()
                problem, at = self.failure()
        except TimeoutError:
            self.kill()
            problem, at = f"no end within {timeout:g} s", self.failure()[1]
        printed.add(b"", final=True)
        return Result(printed.text, time.monotonic() - started, problem, at)

    def await_answer(self, printed: Printed, timeout: float | None) -> bytes:
        """Return what the shell says when the block has ended; nothing if it failed.

        Processes that the block left in the background may keep the output open, so its end says
        nothing. Raises TimeoutError.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self.output, selectors.EVENT_READ)
            selector.register(self.answers, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                ready = {key.fd for key, _ in selector.select(min(left, 3600))}
                if self.answers in ready:
                    self.drain(printed, 64)
                    return os.read(self.answers, 64)
                if ready and not self.drain(printed, 1):
                    selector.unregister(self.output)
        raise TimeoutError

    def drain(self, printed: Printed, chunks: int) -> bool:
        """Take what has been printed, at most so many chunks; return whether more can come."""
        for _ in range(chunks):
            chunk = self.output.read(CHUNK)
            if not chunk:
                return chunk is None
            printed.add(chunk)
        return True

    def failure(self) -> tuple[str, int]:
        """Return why the shell ended, and on which line of the block."""
        try:
            line, status = Path(self.scratch.name, "failure").read_text().split()
        except OSError:
            return f"the shell was killed ({self.process.returncode})", 1
        if status == "0":
            return "the block ended the shell", int(line)
        return f"exit status {status}", int(line)

    def kill(self) -> None:
        """End the shell and every process of its group, and wait until they have ended."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            # The group's number stays its own until the shell has been awaited.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)
            if self.gone_within(GRACE):
                return

    def gone_within(self, seconds: float) -> bool:
        """Return whether the whole group has ended in this time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None and not group_lives(self.process.pid):
                return True
            time.sleep(0.005)
        return False

    def release(self) -> None:
        """End only the shell; what blocks left in the background continues."""
        self.requests.close()
        self.process.wait()

    def close(self) -> None:
        """End what is left, unless it was released, and close the pipes."""
        if not self.requests.closed:
            self.kill()
            self.requests.close()
        if not self.output.closed:
            self.output.close()
            os.close(self.answers)
            self.scratch.cleanup()


def group_lives(group: int) -> bool:
    """Return whether any process of this group runs; one that only awaits its parent does not."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    import psutil

    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def run_block(
    block: Block,
    *,
    folder: Path,
    environment: Mapping[str, str],
    ports: Mapping[int, int],
    values: Mapping[str, str] | None = None,
    line: Line | None = None,
    timeout: float | None = None,
    keep: bool = True,
) -> str:
    """Run one block in a shell of its own; return what it printed, nothing without ``keep``.

    Services that it starts keep running. Raises UserError with page, line and command that failed.
    """
    text = render_command(block, ports, values or {})
    with Shell(folder, environment) as shell:
        result = shell.run(text, timeout, line, keep)
        if result.problem:
            raise UserError(failure_message(block, result))
        shell.release()
    return result.output


def failure_message(block: Block, result: Result) -> str:
    """Return the message about a failed block: place, reason, and the guide's line."""
    lines = block.text.splitlines()
    shown = lines[result.line - 1].strip() if result.line <= len(lines) else ""
    return f"{block.place_of(result.line)}: {result.problem}: {shown}"


def without_ansi(text: str) -> str:
    """Return the text without colours and other terminal sequences."""
    return ANSI.sub("", text)
