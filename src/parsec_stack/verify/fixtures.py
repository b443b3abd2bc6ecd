"""A pytest plugin for tests that start services, which root runs as another account."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from parsec_stack.verify.reader import following, reader, welcome


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Prepare the reader's way, and a folder for the tests that the reader may enter."""
    welcome()
    if reader() and not config.option.basetemp:
        # pytest's usual folder is closed, and every run of pytest closes it again.
        passable = Path(tempfile.mkdtemp(prefix="tests-"))
        passable.chmod(0o1777)
        config.option.basetemp = passable / "t"
        config.add_cleanup(partial(shutil.rmtree, passable, ignore_errors=True))


@pytest.fixture(scope="session", autouse=True)
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let the reader make folders in the folder of all tests, as everybody may in /tmp."""
    if reader():
        tmp_path_factory.getbasetemp().chmod(0o1777)


@pytest.fixture(scope="module")
def as_reader(shared_folder: None) -> Iterator[None]:
    """Act as the reader in all tests of a module."""
    with following(["native"]):
        yield
