"""Logs as people read them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parsec_stack import logs

TIME = "2026-01-02T03:04:05.678901Z"


def record(event: str, **fields: object) -> str:
    """A line of the server's log."""
    return json.dumps({**fields, "event": event, "level": "info", "timestamp": TIME})


def test_a_record() -> None:
    """Time, level, event and the other fields make one line."""
    line = record("SSE session start", organization="MyOrg", count=3)

    assert logs.readable(line) == f"{TIME} info SSE session start organization=MyOrg count=3"


def test_a_traceback() -> None:
    """A traceback follows in lines of its own."""
    line = record("Exception in ASGI application\n", exception="Traceback:\n  File x\nValueError")

    assert logs.readable(line).splitlines() == [
        f"{TIME} info Exception in ASGI application",
        "    Traceback:",
        "      File x",
        "    ValueError",
    ]


def test_several_services() -> None:
    """What compose puts before a line stands before each that comes of it."""
    line = record("It failed", exception="Traceback:\nValueError")

    assert logs.readable(f"parsec-server    | {line}").splitlines() == [
        f"parsec-server    | {TIME} info It failed",
        "parsec-server    |     Traceback:",
        "parsec-server    |     ValueError",
    ]


def test_what_a_client_sends_does_nothing_to_a_terminal() -> None:
    """Control characters are shown, not sent."""
    shown = logs.readable(record("a \x1b[2Jb \x9b2J \x07\r", agent="c\x00d"))

    assert shown == rf"{TIME} info a \x1b[2Jb \x9b2J \x07 agent=c\x00d"


@pytest.mark.parametrize(
    "line",
    [
        "Starting Parsec server on 127.0.0.1:6777(db=POSTGRESQL)",
        '{"event": "no time", "level": "info"}',
        '{"event": "cut off", "level": "info", "timest',
        '["a list"]',
        "{}",
        "",
        "parsec-s3        | I0102 03:04:05 {filer} started",
        "==> log/parsec-server.log <==",
    ],
)
def test_other_lines_stay(line: str) -> None:
    """What is no record of the server's is shown as it is."""
    assert logs.readable(line) == line


def test_the_end_of_a_log() -> None:
    """The last lines are those that people see."""
    text = "\n".join(["first", record("It failed", exception="Traceback:\nValueError"), "last"])

    assert logs.for_people(text, 2) == "    ValueError\nlast"
    assert logs.for_people(text).splitlines()[0] == "first"


def test_a_frame_is_one_text() -> None:
    """The lines of a frame stay together, in what compose shows of a service as well."""
    lines = [f"{line}\n" for line in ("a", "╭─ x ─╮", "\x1b[31m│\x1b[0m b │", "╰─────╯", "c")]
    of_service = [f"parsec-server  | {line}" for line in lines]

    for given in (lines, of_service):
        assert list(logs.unframed(given)) == [given[0], "".join(given[1:4]), given[4]]
        assert list(logs.unframed(given[:3])) == [given[0], "".join(given[1:3])]
        assert list(logs.unframed([*given[:3], given[4]]))[1:] == ["".join(given[1:3]), given[4]]


FOLLOW = """
import pathlib, sys
from parsec_stack import native, stack
native.follow_logs(stack.Stack(pathlib.Path(sys.argv[1])), ("parsec-server",), follow=True)
"""


def test_following(tmp_path: Path) -> None:
    """What is logged while somebody follows is shown at once, as people read it."""
    log = tmp_path / "log" / "parsec-server.log"
    log.parent.mkdir()
    log.write_text(record("before") + "\n")
    following = subprocess.Popen(
        [sys.executable, "-c", FOLLOW, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert following.stdout
    try:
        assert following.stdout.readline() == f"{TIME} info before\n"
        with log.open("a") as file:
            file.write(record("after") + "\n")
        assert following.stdout.readline() == f"{TIME} info after\n"
    finally:
        os.killpg(following.pid, signal.SIGTERM)
        following.communicate()
