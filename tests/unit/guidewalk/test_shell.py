"""The strict shell: state persists, no failing line stays hidden, nothing outlives a failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from guidewalk.errors import UserError
from guidewalk.shell import Shell, render, run_block
from mini import Mini, command

ENVIRONMENT = {"PATH": os.environ["PATH"]}
TIMEOUT = 10.0


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell in an empty folder."""
    with Shell(tmp_path, ENVIRONMENT) as shell:
        yield shell


def lives(pid: int) -> bool:
    """Does the process run?"""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_state_persists(shell: Shell) -> None:
    """Variables, functions and the current folder are there in the next block."""
    shell.run('X=1\nsay() { echo "$X in $PWD"; }\nmkdir a\ncd a', TIMEOUT)

    result = shell.run("say", TIMEOUT)

    assert result.output.startswith("1 in /")
    assert result.output.endswith("/a\n")
    assert not result.problem


def test_both_streams_in_order(shell: Shell) -> None:
    """Output and error output come as they were printed, line by line."""
    lines: list[str] = []

    result = shell.run("echo one\necho two >&2\nprintf three", TIMEOUT, lines.append)

    assert lines == ["one", "two", "three"]
    assert result.output == "one\ntwo\nthree"


def test_lines_arrive_at_once(shell: Shell) -> None:
    """A line can be seen before the block has ended."""
    seen: list[float] = []
    started = time.monotonic()

    result = shell.run("echo early\nsleep 0.5", TIMEOUT, lambda _: seen.append(time.monotonic()))

    assert seen[0] - started < 0.4
    assert result.seconds >= 0.5


def test_clean_surroundings(shell: Shell) -> None:
    """A block has no arguments, no input, and no variables but those that were given."""
    result = shell.run(
        'echo "$#"\ncat\nenv | grep -v -E "^(PWD|SHLVL|_|PATH|OLDPWD)="|| true', TIMEOUT
    )

    assert result.output == "0\n"


def test_blocks_inherit_no_channel(shell: Shell) -> None:
    """What a block starts holds neither the requests nor the answers."""
    result = shell.run("sleep 60 &\nls -l /proc/$!/fd | grep -c pipe:", TIMEOUT)

    assert result.output == "2\n"


# Each block prints what would look right, and hides a failure from plain bash or from errexit.
HIDDEN = {
    "first line": ("false\necho right", 1),
    "later line": ("true\n\n# remark\nfalse\necho right", 4),
    "list": ("echo x\nfalse && true\necho right", 2),
    "list on several lines": ("true &&\n  false\necho right", 2),
    "list and more on one line": ("false && true; echo right", 1),
    "list in a loop": ("for x in 1 2; do\n  false && true\ndone\necho right", 1),
    "list in a function": ("f() {\n  false && true\n  echo right\n}\nf", 1),
    "list that would hold": ("true && true; echo right", 1),
    "negation": ("! true\necho right", 1),
    "negation in a function": ("f() {\n  ! true\n  echo right\n}\nf", 1),
    "pipe": ("echo a\nfalse | cat\necho right", 2),
    "assignment": ("x=$(false)\necho right", 1),
    "inside a substitution": ("x=$(false; echo y)\necho right", 1),
    "function": ("f() {\n  true\n  false\n  echo more\n}\nf\necho right", 3),
    "subshell": ("(false; true)\necho right", 1),
    "line of a subshell": ("(\n  true\n  false\n  echo right\n)\necho right", 3),
    "subshell of a subshell": ("(\n  (\n    false\n  )\n  echo right\n)", 3),
    "subshell after a harmless one": ("(\n  (exit 3) || true\n  true\n  false\n)", 4),
    "loop": ("for x in 1 2; do\n  false\n  echo more\ndone\necho right", 2),
    "one line": ("echo a; false; echo right", 1),
    "after a here-document": ("cat <<'E'\n&& \"\nE\nfalse\necho right", 4),
    "unset variable": ('true\necho "$nosuch"\necho right', 2),
    "unknown program": ("true\nnosuchprogram\necho right", 2),
    "strictness switched off": ("set +eu +o pipefail\nfalse\necho right", 2),
    "early exit": ("exit 0\necho right", 1),
    "syntax": ("echo ok\nif (\necho right", 2),
    "last line": ("echo right\nfalse", 2),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line"), HIDDEN.values(), ids=HIDDEN)
def test_no_failure_is_hidden(shell: Shell, text: str, line: int) -> None:
    """A block with a failing line fails, and the line is known."""
    result = shell.run(text, TIMEOUT)

    assert result.problem
    assert result.line == line


HARMLESS = (
    "if false && true; then echo no; fi; echo right",
    "false || true\necho right",
    "false || echo right",
    "if ! true; then echo no; fi\necho right",
    "while ! true; do echo no; done\necho right",
    "[[ -n a && -n b ]]; echo right",
    "true && true\necho right",
    "cat <<'E'\nright\nE\n",
    "x='a\nb'\necho right # it's; \\\n",
    "echo \\\n  right",
    "# nothing && nothing; done\necho right",
    "case x in\n  x) echo right ;;\nesac",
)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_holds_passes(shell: Shell, text: str) -> None:
    """Strictness refuses nothing that cannot fail unseen."""
    result = shell.run(text, TIMEOUT)

    assert (result.problem, result.output) == ("", "right\n")


def test_after_a_failure_the_shell_is_gone(shell: Shell) -> None:
    """No later block runs in a state that is not the reader's."""
    shell.run("false", TIMEOUT)

    result = shell.run("echo right", TIMEOUT)

    assert result.problem == "the shell has ended before the block"
    assert result.output == ""


def test_timeout_ends_everything(shell: Shell) -> None:
    """A block that takes too long is ended with all that it has started, even the stubborn."""
    started = time.monotonic()

    result = shell.run("(trap '' TERM; sleep 60) & echo $!\nsleep 60", 0.3)

    assert result.problem == "no end within 0.3 s"
    assert result.line == 2
    assert not lives(int(result.output))
    assert time.monotonic() - started < 8


def test_background_process_does_not_hang(shell: Shell) -> None:
    """A block ends although what it left in the background still holds its output."""
    result = shell.run("sleep 60 &\necho $!", TIMEOUT)

    assert not result.problem
    assert result.seconds < 2
    assert lives(int(result.output))
    shell.close()
    assert not lives(int(result.output))


def test_noisy_background_process(shell: Shell) -> None:
    """One that prints without end does not keep the block from ending."""
    result = shell.run("(while :; do echo spam; done) &", TIMEOUT)

    assert not result.problem
    assert not shell.run("kill %1", TIMEOUT).problem


def test_killed_shell(shell: Shell) -> None:
    """A shell that is killed is told apart from a command that fails."""
    assert shell.run("kill -9 $$", TIMEOUT).problem == "the shell was killed (-9)"


def test_undecodable_output(shell: Shell) -> None:
    """Output that is no text does no harm."""
    assert shell.run(r"printf 'a\377b\n'", TIMEOUT).output == "a\ufffdb\n"


def test_no_folder(tmp_path: Path) -> None:
    """A folder that does not exist is told of, without a traceback."""
    with pytest.raises(UserError, match="bash cannot be started"):
        Shell(tmp_path / "nosuch", ENVIRONMENT)


def test_interrupt_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a block ends all that the block has started."""
    # A job in the background of a script, as CI may be, ignores the signal unless told otherwise.
    script = (
        "import os, signal; from pathlib import Path; from guidewalk.shell import Shell\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with Shell(Path('.'), os.environ) as shell:\n"
        "    shell.run('sleep 60 & echo $!\\nsleep 60', None, lambda line: print(line, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        pid = int(process.stdout.readline())
        assert lives(pid)
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT)

    assert not lives(pid)


def test_render() -> None:
    """Addresses of this machine are moved, others are not; placeholders are filled in."""
    text = "curl https://localhost:6777/ http://127.0.0.1:8025 mylocalhost:6777 host:6777 <org>"

    moved = render(text, {6777: 7777, 8025: 9025}, {"<org>": "Acme"})

    assert moved == (
        "curl https://localhost:7777/ http://127.0.0.1:9025 mylocalhost:6777 host:6777 Acme"
    )


def run_only(mini: Mini, folder: Path, values: dict[str, str] | None = None) -> str:
    """Run the guide's one block."""
    return run_block(
        mini.only(), folder=folder, environment=ENVIRONMENT, ports={1: 2}, values=values,
        timeout=TIMEOUT,
    )  # fmt: skip


def test_run_block(tmp_path: Path) -> None:
    """A block runs with moved ports, placeholders, and values that win over its own."""
    mini = Mini(tmp_path).page(
        command(
            "a",
            "echo localhost:1 <org> <x>",
            options="   :placeholder: <org> Acme\n      <x> y\n",
        )
    )

    assert run_only(mini, tmp_path, {"<org>": "Other"}) == "localhost:2 Other y\n"


def test_run_block_names_the_line(tmp_path: Path) -> None:
    """The error names the page's line, and shows it as the page does."""
    mini = Mini(tmp_path).page(command("a", "true", "", "test localhost:1 = <x>"))

    with pytest.raises(UserError) as caught:
        run_only(mini, tmp_path, {"<x>": "secret"})

    assert str(caught.value) == "docs/index.rst:9: exit status 1: test localhost:1 = <x>"


def test_run_block_needs_every_value(tmp_path: Path) -> None:
    """A placeholder without a value is told of before anything runs."""
    mini = Mini(tmp_path).page(command("a", "touch ran", "echo <link>"))

    with pytest.raises(UserError, match=r"docs/index.rst:4: <link> has no value"):
        run_only(mini, tmp_path)

    assert not (tmp_path / "ran").exists()


def test_run_block_leaves_services_running(tmp_path: Path) -> None:
    """What a block starts in the background lives on, as in a reader's terminal."""
    pid = int(run_only(Mini(tmp_path).page(command("a", "sleep 60 &", "echo $!")), tmp_path))

    try:
        assert lives(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_spinners_leave_their_last_frame(shell: Shell) -> None:
    """What a carriage return overwrites is not shown, as on a terminal."""
    lines: list[str] = []

    shell.run(r"printf 'a |\ra /\ra done\nend\r\n'", TIMEOUT, lines.append)

    assert lines == ["a done", "end"]
