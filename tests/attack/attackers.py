"""The stacks that are attacked, those who attack them, and what is kept of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Iterator

import pytest
from stranger import Stranger, borrowed
from target import Decoy

from parsec_stack.services import FLAVOURS
from parsec_stack.stack import Stack
from parsec_stack.verify import trial_stack
from parsec_stack.verify.trial_stack import BUILD

KIND = "attack"
Record = Callable[..., None]


@pytest.fixture(scope="session", params=FLAVOURS)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A complete stack that runs."""
    (BUILD / KIND / f"{request.param}.json").unlink(missing_ok=True)
    started = time.monotonic()
    with trial_stack.running(request.param, KIND) as made:
        yield made
    trial_stack.record(made, KIND, "the whole run", {"seconds": time.monotonic() - started})


@pytest.fixture(scope="session")
def decoy(stack: Stack) -> Decoy:
    """An object in the stack's bucket, to be read, changed or deleted."""
    return Decoy(stack, f"attack/{secrets.token_hex(4)}", secrets.token_bytes(1000))


@pytest.fixture(scope="session")
def stranger() -> Stranger:
    """Another user of this machine."""
    return borrowed()


@pytest.fixture
def record(stack: Stack, request: pytest.FixtureRequest) -> Record:
    """What keeps the figures of this attack."""

    def keep(**figures: float | str) -> None:
        trial_stack.record(stack, KIND, name_of(request.node), dict(figures))

    return keep


def name_of(item: pytest.Function) -> str:
    """The name of a test in words, with its parameters but for the flavour."""
    parameters = item.callspec.params.items() if hasattr(item, "callspec") else ()
    others = [str(value) for name, value in parameters if name != "stack"]
    return " ".join([item.originalname.removeprefix("test_").replace("_", " "), *others]).lower()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what became of each attack, and why one was left out."""
    report = yield
    stack = item.funcargs.get("stack")
    if isinstance(stack, Stack) and (report.when == "call" or report.skipped):
        trial_stack.record(stack, KIND, name_of(item), {"outcome": outcome_of(report)})
    return report


def outcome_of(report: pytest.TestReport) -> str:
    """The outcome in words."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return f"left out: {report.longrepr[2].removeprefix('Skipped: ')}"
    return "withstood" if report.passed else "succeeded"
