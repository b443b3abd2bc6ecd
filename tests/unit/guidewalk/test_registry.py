"""What is registered for blocks that the guide does not have."""

from __future__ import annotations

from pathlib import Path

from guidewalk.registry import Registry
from mini import Mini, command


def test_a_stray_check_is_told_with_its_own_place(tmp_path: Path) -> None:
    """The message names the file and line of the check, and the nearest block."""
    guide = Mini(tmp_path).page(command("create-user", "true") + command("other", "true")).load()
    registry = Registry()

    @registry.after("create-usr")
    def lasts(site: object) -> None:
        """It lasts."""

    (problem,) = registry.strays(guide)
    line = lasts.__code__.co_firstlineno

    assert problem == (
        f"tests/unit/guidewalk/test_registry.py:{line}: a check follows 'create-usr', but no "
        "command block has this name (the nearest is 'create-user')"
    )


def test_every_stray_is_told(tmp_path: Path) -> None:
    """Checks of files, messages and of nothing; a check without a sentence, too."""
    guide = Mini(tmp_path).page(command("create-user", "true")).load()
    registry = Registry()
    registry.about("server.env")(lambda files: None)
    registry.provokes("refused")(lambda site: "")
    registry.after("create-user")(lambda site: None)

    told = "\n".join(registry.strays(guide))

    assert "a check is about 'server.env', but the guide shows no such file" in told
    assert "this provokes 'refused', but no message block has this name" in told
    assert "the check <lambda> has no sentence that says what it checks" in told
    assert len(told.splitlines()) == 3
