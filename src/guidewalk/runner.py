"""Follow the guide in one flavour as a reader does: block after block, in one folder and shell."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import takewhile
from typing import Protocol

import psutil
from packaging.version import Version

from guidewalk import match, processes
from guidewalk.errors import UserError
from guidewalk.guide import Block, Guide
from guidewalk.registry import Check, Registry, denial, told
from guidewalk.report import Kind, Outcome
from guidewalk.shell import Shell, failure_message, render, render_command, without_ansi
from guidewalk.site import Site

# How many seconds a block may take, and its teardown too.
BLOCK_TIMEOUT = 600.0
STOP_TIMEOUT = 120.0
# How many of the last lines that a failed block printed go into its reason.
TAIL = 30
# How many lines of a service's log are kept.
LOG_LINES = 2000


class Examiner(Protocol):
    """Knows the problems of files and commands: ``linters.Findings``."""

    def of(self, block: Block) -> list[str]:
        """Return what is wrong with the block."""


class Claimant(Protocol):
    """Has questions to the running stack: ``claims.Claims``."""

    def settle(self, site: Site) -> None:
        """Ask the questions."""


class Failed(Exception):
    """A block does not do what the guide says; the text says what is wrong."""


class Stuck(Failed):
    """The same, and what follows cannot be tried."""


class Excepted(Exception):
    """A block is not executed; the text says why."""


@dataclass
class Attempt:
    """What was seen while one block was tried: its output, and how many seconds it took.

    An attempt that was not ``tried`` says nothing about the block.
    """

    printed: str = ""
    seconds: float = 0.0
    check_seconds: float = 0.0
    tried: bool = True


class Runner:
    """One reader's way, as far as it is asked to go."""

    def __init__(
        self,
        guide: Guide,
        site: Site,
        registry: Registry,
        examiner: Examiner,
        *,
        claims: Claimant | None = None,
        missing: str = "",
        version: str = "",
        whole: bool = False,
        timeout: float = BLOCK_TIMEOUT,
    ) -> None:
        """Start at the site; ``missing`` says why no command of this flavour can run here.

        ``version`` is the version that is followed, to skip what is only valid since a later one.
        With ``whole``, a block whose images are missing has failed.
        """
        self.guide = guide
        self.site = site
        self.registry = registry
        self.examiner = examiner
        self.claims = claims
        self.settled = False
        self.missing = missing
        self.version = version
        self.whole = whole
        self.timeout = timeout
        self.redact = site.redactor([block.text for block in guide.blocks])
        self.blocks = guide.of(site.flavour)
        self.position = {block.id: number for number, block in enumerate(self.blocks)}
        self.outcomes: list[Outcome] = []
        self.shell: Shell | None = None
        # For checks and provocations that do not depend on each other.
        self.pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="runner")
        # What was printed when a message was provoked, by the message's name.
        self.provoked: dict[str, Future[str]] = {}
        self.stuck = ""
        # The last command of each page, with what it really printed.
        self.last: dict[str, tuple[Outcome, str]] = {}
        # What each output or message was compared with.
        self.compared: dict[str, list[str]] = {}
        # The versions of what runs, once something runs.
        self.versions: dict[str, str] = {}

    def reach(self, block: Block) -> Outcome:
        """Return how the block fares, after all blocks before it."""
        while len(self.outcomes) <= self.position[block.id]:
            following = self.blocks[len(self.outcomes)]
            if following.last:
                self.settle()
            self.outcomes.append(self.take(following))
        return self.outcomes[self.position[block.id]]

    def reach_claims(self) -> str:
        """Ask the complete stack about the prose's claims.

        Return why not, if it never is complete.
        """
        if self.missing:
            return self.missing
        for block in self.blocks:
            if not block.last:
                self.reach(block)
        self.settle()
        return self.stuck

    def settle(self) -> None:
        """Let the claims ask the running stack, once."""
        if self.claims and not (self.settled or self.missing or self.stuck):
            self.settled = True
            self.claims.settle(self.site)

    def take(self, block: Block) -> Outcome:
        """Try the next block."""
        attempt = Attempt()
        if block.last:
            self.look_around()
        started = datetime.now(UTC)
        outcome, reason = self.try_block(block, attempt)
        output, reason = self.redact(without_ansi(attempt.printed)), self.redact(reason)
        result = Outcome(
            block=block,
            flavour=self.site.flavour,
            outcome=outcome,
            reason=reason,
            started=started.isoformat(timespec="seconds"),
            seconds=attempt.seconds,
            check_seconds=attempt.check_seconds,
            output=output,
            tried=attempt.tried and outcome != "excepted",
        )
        if block.kind == "command":
            self.last[block.page] = (result, attempt.printed)
        elif block.kind == "exception" and block.language == "bash":
            self.last[block.page] = (result, "")
        return result

    def try_block(self, block: Block, attempt: Attempt) -> tuple[Kind, str]:
        """Return what became of the block, and why."""
        try:
            return self.treat(block, attempt)
        except Excepted as exception:
            return "excepted", str(exception)
        except Failed as failure:
            reason = f"{block.place}: {failure}"
            if isinstance(failure, Stuck) and not self.stuck:
                self.stuck = f"{block.name or block.id} ({block.place}) failed"
            return "failed", reason
        except (UserError, OSError, UnicodeError) as error:
            return "failed", f"{block.place}: {error}"

    def treat(self, block: Block, attempt: Attempt) -> tuple[Kind, str]:
        """Do with the block what its kind requires; raises Failed or Excepted."""
        if block.kind == "unexplained":
            return "unexplained", f"{block.place}: {block.reason}"
        if block.kind == "exception":
            return "excepted", block.reason
        if self.is_later(block):
            raise Excepted(f"it is valid since version {block.since}, and this is {self.version}")
        if self.stuck:
            attempt.tried = False
            raise Failed(f"not run: {self.stuck}")
        if block.kind == "command":
            self.execute(block, attempt)
            return "executed", ""
        if block.kind == "message":
            self.find_message(block, attempt)
        else:
            {
                "file": self.create,
                "excerpt": self.compare_excerpt,
                "output": self.compare_output,
            }[block.kind](block)
        return "checked", ""

    def is_later(self, block: Block) -> bool:
        """Return whether the block is only valid with a newer version."""
        if not (block.since and self.version):
            return False
        return Version(block.since) > Version(self.version)

    def create(self, block: Block) -> None:
        """Write the file that the reader copies, and let its tools check it."""
        name = block.target or ""
        path = self.site.folder / name
        text = block.text.rstrip("\n") + "\n"
        if path.exists() and path.read_text() != text:
            raise Failed(f"{name} exists already with other content")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        self.examine(block)

    def compare_excerpt(self, block: Block) -> None:
        """Check that the excerpt is part of the file that it names."""
        path = self.site.folder / (block.target or "")
        if not path.is_file():
            raise Failed(f"an excerpt of {block.target}, which does not exist at this point")
        if not match.is_part(block.text, path.read_text()):
            raise Failed(f"the excerpt is no part of {block.target}")

    def compare_output(self, block: Block) -> None:
        """Compare the stated output with what the last command of the page printed."""
        outcome, printed = self.last[block.page]
        command = outcome.block.name or outcome.block.id
        if outcome.outcome == "excepted":
            raise Excepted(f"output of '{command}', which was not executed: {outcome.reason}")
        self.compared[block.id] = [printed]
        if problem := mismatch(block, self.site, [printed]):
            raise Failed(f"the output of '{command}' is not as stated: {problem}\n{tail(printed)}")

    def find_message(self, block: Block, attempt: Attempt) -> None:
        """Find the message in what was provoked, or else in logs and output so far."""
        if self.missing:
            raise Excepted(self.missing)
        provoked = block.name in self.registry.provocations
        texts = [self.provoke(block, attempt)] if provoked else self.sources(block.origin)
        self.compared[block.id] = texts
        if mismatch(block, self.site, texts):
            raise Failed(
                f"{block.origin} has not printed this message\n{tail(chr(10).join(texts))}"
            )

    def provoke(self, block: Block, attempt: Attempt) -> str:
        """Return what the software prints when provoked, in parallel with the messages to come."""
        started = time.monotonic()
        for name in self.messages_from(block):
            if name not in self.provoked:
                provocation = self.registry.provocations[name]
                self.provoked[name] = self.pool.submit(provocation, self.site)
        try:
            attempt.printed = self.provoked[block.name or ""].result()
        except Exception as error:  # whatever its own checks raise
            raise Stuck(f"the message could not be provoked: {told(error)}") from None
        finally:
            attempt.seconds = time.monotonic() - started
        return attempt.printed

    def messages_from(self, block: Block) -> Iterator[str]:
        """Yield the names of this message and of those to be provoked before the next command."""
        rest = self.blocks[self.position[block.id] :]
        for one in takewhile(lambda one: one.kind != "command", rest):
            if one.name in self.registry.provocations and not self.is_later(one):
                yield one.name

    def sources(self, origin: str) -> list[str]:
        """Return the log of a service of this name, and all that commands have printed."""
        log = self.site.folder / "log" / f"{origin}.log"
        logged = [log.read_text(errors="replace")] if log.is_file() else []
        return [*logged, *self.site.outputs.values()]

    def execute(self, block: Block, attempt: Attempt) -> None:
        """Run the command, capture the values it is to give, and check what the prose promises."""
        if self.missing:
            raise Excepted(self.missing)
        self.require(block)
        self.site.values |= block.placeholders
        text = render_command(block, self.site.ports, self.site.values)
        self.shell = self.shell or Shell(self.site.folder, self.site.environment)
        self.site.commands[block.name or block.id] = text
        result = self.shell.run(text, self.timeout)
        attempt.printed, attempt.seconds = result.output, result.seconds
        self.site.outputs[block.name or block.id] = without_ansi(result.output)
        if result.problem:
            raise Stuck(f"{failure_message(block, result)}\n{tail(result.output)}")
        self.capture(block, result.output)
        self.check(block, attempt)
        self.examine(block)

    def require(self, block: Block) -> None:
        """Except the block if a program or an image that it needs is missing."""
        for program, reason in block.needs.items():
            if not shutil.which(program, path=self.site.environment["PATH"]):
                raise Excepted(f"{program} is not on PATH: {reason}")
        for file, reason in block.images.items():
            if absent := self.site.missing_images(file):
                told = f"no image {', '.join(absent)} is here: {reason}"
                raise Failed(told) if self.whole else Excepted(told)

    def capture(self, block: Block, output: str) -> None:
        """Keep the values that later blocks use."""
        printed = without_ansi(output)
        for placeholder, expression in block.captures.items():
            found = re.search(expression, printed)
            if not found:
                raise Stuck(
                    f"nothing printed matches {expression} for {placeholder}\n{tail(printed)}"
                )
            self.site.values[placeholder] = found[0]

    def check(self, block: Block, attempt: Attempt) -> None:
        """Run the checks registered after the block, then, in parallel, those aside."""
        started = time.monotonic()
        checks = self.registry.checks.get(block.name or "", [])
        try:
            for check in checks:
                if check not in self.registry.aside:
                    confirm(check, partial(check, self.site))
            aside = [check for check in checks if check in self.registry.aside]
            running = {self.pool.submit(check, self.site): check for check in aside}
            wait(running, return_when=FIRST_EXCEPTION)
            for future, check in running.items():
                if future.done():
                    confirm(check, future.result)
        finally:
            attempt.check_seconds = time.monotonic() - started

    def examine(self, block: Block) -> None:
        """Let the tools say what is wrong with the block."""
        if problems := self.examiner.of(block):
            raise Failed("\n".join(problems))

    def log_of(self, service: str) -> str:
        """Return the end of the service's log; UserError if nothing can be asked."""
        if self.missing:
            return ""
        return self.site.log(service, LOG_LINES)

    def close(self, *, gently: bool = True) -> list[str]:
        """End all that runs; return the names of what had to be killed. The folder stays.

        Unless ``gently``, services are killed rather than stopped as the guide does.
        """
        self.pool.shutdown(wait=False, cancel_futures=True)
        if self.shell:
            self.shell.close()
        base = self.site.folder.parent
        self.look_around()
        if not self.missing:
            if gently and processes.within(base):
                self.stop()
            self.site.end()
        killed = processes.end(base, processes.GRACE if gently else 0.0)
        # Whoever waited for a process need not wait any more.
        self.pool.shutdown()
        return killed

    def look_around(self) -> None:
        """Learn what can be known only while services run: their versions and their secrets."""
        if self.missing:
            return
        self.versions = self.site.versions() or self.versions
        for process in processes.within(self.site.folder.parent):
            with suppress(psutil.Error, OSError):
                self.redact.learn(process.environ())

    def stop(self) -> None:
        """Stop the services as the guide does, if it says how."""
        with suppress(UserError, StopIteration):
            block = next(one for one in self.blocks if "stops" in one.roles)
            text = render_command(block, self.site.ports, self.site.values)
            with Shell(self.site.folder, self.site.environment) as shell:
                shell.run(text, STOP_TIMEOUT)


def confirm(check: Check, act: Callable[[], None]) -> None:
    """Run the check; Stuck if what it says is not so."""
    try:
        act()
    except Exception as error:  # a check may find the state odd in any way
        raise Stuck(denial(check, error)) from None


def mismatch(block: Block, site: Site, texts: list[str]) -> str:
    """Return where the stated text differs from all that was printed; empty if it does not."""
    if not re.search(r"\w", block.text):
        return "nothing is stated"
    if not texts:
        return "nothing was printed"
    stated = render(block.text, site.ports, site.values)
    if block.kind == "message":
        stated = f"...\n{stated}\n..."
    problems = [match.difference(stated, text) for text in texts]
    return problems[0] if all(problems) else ""


def tail(printed: str) -> str:
    """Return the last lines, indented."""
    lines = without_ansi(printed).rstrip().splitlines()[-TAIL:]
    return "".join(f"    {line}\n" for line in lines)
