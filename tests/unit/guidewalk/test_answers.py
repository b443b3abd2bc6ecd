"""What programs have answered is kept until they change."""

from __future__ import annotations

from pathlib import Path

from guidewalk.answers import Answers


def asked(file: Path, program: Path, answer: str) -> str:
    """What one run is told about the program that now gives this answer."""
    answers = Answers(file)
    told = answers.of([program.name, "--help"], lambda: answer, str(program))
    answers.save()
    return told


def test_a_program_is_asked_once(tmp_path: Path) -> None:
    """The next run has its answer, until the program is another one."""
    program, kept = tmp_path / "program", tmp_path / "build" / "answers.json"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    assert asked(kept, program, "first") == "first"
    assert asked(kept, program, "second") == "first"

    program.write_text("#!/bin/sh\ntrue\n")

    assert asked(kept, program, "third") == "third"


def test_other_packages_are_asked_again(tmp_path: Path) -> None:
    """An answer of a package belongs to the versions that are installed."""
    kept = tmp_path / "answers.json"
    kept.write_text('{"[\\"names\\"]": {"state": ["of other packages"], "answer": 1}}')

    assert Answers(kept).of(["names"], lambda: 2) == 2


def test_a_damaged_file(tmp_path: Path) -> None:
    """It is as good as none."""
    kept = tmp_path / "answers.json"
    kept.write_text('{"[\\"names\\"]": 3')

    assert Answers(kept).of(["names"], lambda: 2) == 2
