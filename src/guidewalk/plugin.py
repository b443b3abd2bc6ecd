"""The docs-test as a pytest plugin: one item for each block and flavour, in reading order."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from guidewalk import inventory, report
from guidewalk.atomic import write_atomically
from guidewalk.config import ALL, chosen, config_of
from guidewalk.errors import UserError
from guidewalk.project import Project
from guidewalk.registry import Registry
from guidewalk.runner import BLOCK_TIMEOUT
from guidewalk.session import Options, Session, begin

SESSION = pytest.StashKey[Session]()
# A backstop, in seconds, beyond the limits of the blocks, because an item may first have to run
# those before its own.
ITEM_TIMEOUT = 3600


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the docs-test."""
    group = parser.getgroup("docs-test")
    group.addoption(
        "--flavour", default=ALL,
        help="follow only this flavour; commands of one that cannot run here are not executed",
    )  # fmt: skip
    group.addoption(
        "--require", action="append", default=[], metavar="FLAVOUR",
        help="fail if this flavour cannot be followed, or lacks an image",
    )  # fmt: skip
    group.addoption(
        "--accept-inventory", action="store_true", help="accept the guide's blocks as they are"
    )
    group.addoption("--docs", help="the guide's folder, instead of the project's")
    group.addoption(
        "--block-timeout", type=float, default=BLOCK_TIMEOUT, help="seconds that a block may take"
    )
    group.addoption("--port-offset", type=int, help="add this to every port, instead of a free one")
    group.addoption(
        "--static", action="store_true", help="check only what needs no command to be run"
    )
    group.addoption(
        "--findings", type=Path, metavar="FILE",
        help="write what is wrong with the guide into this file, as JSON, and exit with 0",
    )  # fmt: skip
    group.addoption("--keep", action="store_true", help="keep the folders that the guide made")


def configure(
    config: pytest.Config,
    tests: Path,
    registry: Registry,
    project: Project,
    *,
    docs: Path,
    required: tuple[str, ...] = (),
) -> None:
    """Start a session with the checks of this folder of tests; call this from its conftest.

    The guide is that in ``docs`` unless the command line names another. The ``required`` flavours
    must be followed, as if the command line required them.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    # A shell makes background jobs ignore it, and so would everything that is followed.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    option = config.option
    if option.docs:
        # Another guide has an inventory of its own, at the same place of its project.
        other = Path(option.docs).resolve()
        tests = Path(other.parent, os.path.relpath(tests, docs.parent)).resolve()
        docs = other
    try:
        options = Options(
            chosen(option.flavour, config_of(docs.parent).flavours),
            (*option.require, *required),
            option.block_timeout,
            option.port_offset,
            option.keep,
            option.static,
        )
        session = begin(project, docs, tests, registry, options)
    except UserError as error:
        if not option.findings:
            raise pytest.UsageError(str(error)) from None
        write_findings(option.findings, str(error).splitlines())
        pytest.exit(str(error), 0)
    if option.accept_inventory:
        session.followed.change("")
        inventory.accept(session.guide, session.inventory, config_of(docs.parent).command)
        pytest.exit(f"accepted {len(session.guide.blocks)} blocks: {session.inventory}", 0)
    config.stash[SESSION] = session
    config.addinivalue_line("markers", "static: runs no command of the guide; chosen by --static")
    if option.static:
        option.markexpr = f"({option.markexpr}) and static" if option.markexpr else "static"


def interrupt(number: int, frame: object) -> None:
    """Treat the signal as Ctrl-C, so that teardown runs."""
    raise KeyboardInterrupt


@pytest.fixture(scope="session")
def docs_session(request: pytest.FixtureRequest) -> Session:
    """Return the one session of this run."""
    return request.config.stash[SESSION]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one item for each flavour and block, in the order in which a reader meets them."""
    if {"flavour", "block"} <= set(metafunc.fixturenames):
        session = metafunc.config.stash[SESSION]
        cases = [
            pytest.param(flavour, block, id=f"{flavour}-{block.id}")
            for flavour in session.options.flavours
            for block in session.guide.of(flavour)
        ]
        metafunc.parametrize(("flavour", "block"), cases)
    elif "flavour" in metafunc.fixturenames:
        metafunc.parametrize("flavour", metafunc.config.stash[SESSION].options.flavours)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave time limits to the blocks; let a command's name select its output, too."""
    limited = config.pluginmanager.hasplugin("timeout")
    guide = config.stash[SESSION].guide if SESSION in config.stash else None
    for item in items:
        if limited:
            item.add_marker(pytest.mark.timeout(ITEM_TIMEOUT))
        case = item.callspec.params if hasattr(item, "callspec") else {}
        command = guide.command_of(**case) if guide and {"block", "flavour"} <= {*case} else None
        if command and command.name:
            item.extra_keyword_matches.add(command.name)


def tell(session: Session, problems: list[str]) -> None:
    """Fail with the problems, if there are any.

    Their number comes first, because pytest repeats the first line at its end.
    """
    session.found += problems
    if problems:
        number = f"{len(problems)} mistakes" if len(problems) > 1 else "one mistake"
        pytest.fail("\n".join([f"{number}:", *problems]), pytrace=False)


def write_findings(path: Path, problems: list[str]) -> None:
    """Write the problems as JSON; whoever reads the file sees all of them or the earlier ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(problems))


def judge(outcome: report.Outcome) -> None:
    """Make the outcome the item's."""
    if outcome.fails:
        pytest.fail(outcome.reason, pytrace=False)
    if outcome.outcome == "excepted":
        pytest.skip(outcome.reason)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what was started and write the report, whatever has happened."""
    if SESSION in session.config.stash:
        session.config.stash[SESSION].finish()
        if session.config.option.findings:
            write_findings(session.config.option.findings, session.config.stash[SESSION].found)
            if session.exitstatus == pytest.ExitCode.TESTS_FAILED:
                session.exitstatus = pytest.ExitCode.OK
        if session.config.stash[SESSION].leaks:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print one line of counts, and what was not checked."""
    session = config.stash.get(SESSION, None)
    if session:
        for note in session.notes:
            terminalreporter.write_line(f"note: {note}")
        for leak in session.leaks:
            terminalreporter.write_line(f"error: {leak}", red=True)
        terminalreporter.write_line(report.summary(session.outcomes))
        terminalreporter.write_line(session.claims.summary(session.options.flavours))
