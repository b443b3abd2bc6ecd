"""What ``[tool.guidewalk]`` may say, and how a mistake in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from guidewalk.config import Config, config_of
from guidewalk.errors import UserError
from parsec_stack.services import FLAVOURS
from parsec_stack.stack import ROOT


def test_this_project() -> None:
    """The guide's flavours are those of the tasks."""
    assert config_of(ROOT).flavours == FLAVOURS


def test_without_any(tmp_path: Path) -> None:
    """A project that says nothing has one flavour."""
    assert config_of(tmp_path) == Config()
    assert Config().flavours == ("default",)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("flavour = ['a']", "has no setting 'flavour': choose artifacts, classes, command, ex"),
        ("flavours = 'a'", "flavours must be a list of texts"),
        ("flavours = []", "flavours must be a list of texts"),
        ("artifacts = 1", "artifacts must be a text"),
        ("flavours = [", "cannot be read"),
    ],
)
def test_mistakes(said: str, message: str, tmp_path: Path) -> None:
    """One message names the file and the setting."""
    (tmp_path / "pyproject.toml").write_text(f"[tool.guidewalk]\n{said}\n")

    with pytest.raises(UserError, match=message) as caught:
        config_of(tmp_path)

    assert str(tmp_path / "pyproject.toml") in str(caught.value)
