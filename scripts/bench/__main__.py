"""Measure the speed that the project promises, each measurement as a ratio within one run.

scripts/run python scripts/bench [--runs 3] [deploy again list proxy docker check ...]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from guidewalk import processes
from guidewalk.errors import UserError
from parsec_stack.docker import COMPOSE_FILE
from parsec_stack.flavour import free_offset
from parsec_stack.services import FlavourName
from parsec_stack.stack import ARTIFACTS, ROOT, Stack
from parsec_stack.verify import reader

LINE = ["invoke", "tls", "adminToken", "up", "migrate", "bucket"]
REQUESTS = 4000
CONNECTIONS = 8
# What a backup is tried with: objects of so many bytes.
OBJECTS, OBJECT_SIZE = 10_000, 16_384
EMPTY_TASKS = "from invoke import task\n\n\n@task\ndef nothing(c):\n    pass\n"


def main() -> None:
    """Run the chosen measurements and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs (default 3)")
    usual = [name for name in MEASURES if name not in ("docker", "backup")]
    parser.add_argument("what", nargs="*", default=usual, help=", ".join(MEASURES))
    arguments = parser.parse_args()
    if unknown := set(arguments.what) - set(MEASURES):
        parser.error(f"unknown measurement {unknown.pop()}: choose from {', '.join(MEASURES)}")
    reader.welcome()
    for name in arguments.what:
        try:
            # Services that are started by hand refuse to run with root's rights.
            with reader.following(["docker" if name == "docker" else "native"]):
                MEASURES[name](arguments.runs)
        except (UserError, subprocess.TimeoutExpired) as error:
            sys.exit(f"error: {error}")


def deploy(runs: int) -> None:
    """Time from certificates to a server that answers, against a script that works side by side."""
    ours, theirs = [], []
    for _ in range(runs):
        with folder() as path:
            theirs.append(side_by_side(path))
        with folder() as path:
            ours.append(seconds(LINE, path))
            take_down(path)
    tell("deploy", "invoke", ours, "side by side", theirs, "at most 1.15")


def again(runs: int) -> None:
    """Time the same line when everything is up already."""
    with folder() as path:
        first = seconds(LINE, path)
        times = [seconds(LINE, path) for _ in range(runs)]
        take_down(path)
    tell("again", "all up", times, "first run", [first], "all up at most 1 s")


def listing(runs: int) -> None:
    """Time ``invoke --list`` against the same command with a tasks.py that does nothing."""
    with folder() as path:
        path.mkdir()
        (path / "tasks.py").write_text(EMPTY_TASKS)
        command = ["invoke", "--list"]
        ours, theirs = [], []
        for _ in range(runs * 3):
            theirs.append(seconds(command, path, where=path))
            ours.append(seconds(command, path))
    tell("list", "ours", ours, "empty", theirs, "at most 1.5")


def proxy(runs: int) -> None:
    """Time requests through the proxy against the server itself: GET /, TLS, kept alive."""
    with folder() as path:
        seconds(LINE, path)
        ports = stack_of(path).ports
        direct, through = [], []
        for _ in range(runs):
            direct.append(load(path, ports["SERVER"]))
            through.append(load(path, ports["PROXY"]))
        take_down(path)
    tell("proxy", "direct", direct, "proxy", through, "at least 0.85 of the requests/s")


def docker(runs: int) -> None:
    """Time from nothing running to all healthy with Docker, against plain docker compose."""
    plain = ["docker", "compose", "--file", COMPOSE_FILE]
    with folder() as path:
        seconds(LINE, path, flavour="docker")
        seconds(["invoke", "down"], path, flavour="docker")
        ours, theirs = [], []
        for _ in range(runs):
            theirs.append(seconds([*plain, "up", "--wait"], path, where=path, flavour="docker"))
            seconds([*plain, "down"], path, where=path, flavour="docker")
            ours.append(seconds(["invoke", "up"], path, flavour="docker"))
            seconds(["invoke", "down"], path, flavour="docker")
        seconds(["invoke", "destroy", "--yes"], path, flavour="docker")
    tell("docker", "invoke up", ours, "docker compose up", theirs, "at most 1.15")


def check(runs: int) -> None:
    """Time the check of a million rows and objects against plainly listing the objects."""
    import comparing

    with folder() as path:
        path.mkdir()
        costs = comparing.measure(runs, path)
    plain, checked = ([one[place].seconds for one in costs] for place in (0, 1))
    tell("check", "check", checked, "plain listing", plain, "see the next line")
    beside = statistics.median(checked) - statistics.median(plain)
    processor = statistics.median(one.processor for _, one in costs)
    memory = max(one.memory for _, one in costs) / 1e6
    print(
        f"check: {comparing.ROWS / beside:,.0f} objects a second beside the listing (at least "
        f"20,000), {processor:.0f} s of a processor, {memory:.0f} MB of memory (below 200)"
    )


def backup(runs: int) -> None:
    """Time a first backup of many objects against plain pg_dump and rclone; then coming back."""
    tools = "source ./backup-tools.sh; reach_store; "
    plain = (
        f"{tools}rm -rf plain; ./database-client pg_dump --format=custom --file=plain.dump; "
        "rclone copy --transfers 8 store:parsec plain"
    )
    with folder() as path, folder() as other:
        seconds(LINE, path)
        fill(path, f"{tools}rclone copy --transfers 16 objects store:parsec/Bench")
        ours, theirs = [], []
        for _ in range(runs):
            shutil.rmtree(path / "backups", ignore_errors=True)
            theirs.append(seconds(["bash", "-euc", plain], path, where=path))
            ours.append(seconds(["./backup.sh", "./database-client"], path, where=path))
        again = seconds(["./backup.sh", "./database-client"], path, where=path)
        known = ["--target", str(path / "backups"), "--key", str(path / "secrets" / "backup-key")]
        back = seconds(["invoke", "restore", *known], other)
        take_down(other)
        take_down(path)
    tell("backup", f"{OBJECTS} objects", ours, "pg_dump and rclone", theirs, "at most 1.15")
    print(f"backup: once more {again:.2f} s; back in a new folder after {back:.2f} s", flush=True)


def fill(path: Path, command: str) -> None:
    """Give the stack's store objects, by a command that copies the folder ``objects``."""
    (path / "objects").mkdir()
    for number in range(OBJECTS):
        (path / "objects" / f"{number:032x}").write_bytes(random.randbytes(OBJECT_SIZE))
    seconds(["bash", "-euc", command], path, where=path)
    shutil.rmtree(path / "objects")


def overhead(_: int) -> None:
    """Print how long docs-test takes apart from the blocks and checks, from its last report."""
    report = ROOT / "build" / "docs-test" / "report.json"
    if not report.exists():
        print("overhead: no report yet: run 'nox -s docs-test' first")
        return
    content = json.loads(report.read_text())
    blocks, checks = content["blocks_seconds"], content["checks_seconds"]
    if not blocks:
        print("overhead: the last run of docs-test reached no block: run it whole first")
        return
    ratio = content["overhead_seconds"] / blocks
    print(
        f"overhead: {ratio:.3f} of {blocks:.1f} s in blocks (below 0.10), and {checks:.1f} s in "
        "checks of what the prose promises"
    )


MEASURES: dict[str, Callable[[int], None]] = {
    "deploy": deploy,
    "again": again,
    "list": listing,
    "proxy": proxy,
    "docker": docker,
    "backup": backup,
    "check": check,
    "overhead": overhead,
}


def tell(name: str, a: str, left: list[float], b: str, right: list[float], goal: str) -> None:
    """Print both medians and the median of the ratios, pair by pair where there are pairs."""
    pairs = zip(left, right, strict=False) if len(left) == len(right) else [(left[0], right[0])]
    ratio = statistics.median(x / y for x, y in pairs)
    one, two = statistics.median(left), statistics.median(right)
    print(f"{name}: {a} {one:.2f} s, {b} {two:.2f} s, ratio {ratio:.2f} ({goal})", flush=True)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Give a new folder that is removed when the measurement has ended."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        yield Path(name) / "s"


@functools.cache
def stack_of(path: Path, flavour: FlavourName = "native") -> Stack:
    """Return the stack of a measurement, on ports that are free."""
    return Stack(path, flavour, free_offset(path, flavour))


def environment(path: Path, flavour: FlavourName = "native") -> dict[str, str]:
    """Return the environment of one measured command."""
    stack = stack_of(path, flavour)
    own = {"STACK_DIR": str(path), "STACK_PORT_OFFSET": str(stack.port_offset)}
    return stack.environment() | own | {"STACK_FLAVOUR": flavour}


def seconds(
    command: list[str], path: Path, where: Path = ROOT, flavour: FlavourName = "native"
) -> float:
    """Return how many seconds the command takes; end the benchmark if it fails."""
    path.mkdir(exist_ok=True)
    started = time.perf_counter()
    answer = subprocess.run(
        command,
        cwd=where,
        env=environment(path, flavour),
        capture_output=True,
        text=True,
        timeout=300,
    )
    elapsed = time.perf_counter() - started
    if answer.returncode:
        give_up(path, flavour, f"{' '.join(command)} failed:\n{answer.stdout}{answer.stderr}")
    return elapsed


def give_up(path: Path, flavour: FlavourName, reason: str) -> NoReturn:
    """Remove the measured stack and end the benchmark with the reason."""
    if (path / ".stack.json").exists():
        command = ["invoke", "destroy", "--yes"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment(path, flavour), capture_output=True, text=True
        )
        if done.returncode:
            reason += f"\nits services could not be stopped either: {done.stderr}"
    sys.exit(f"error: {reason.strip()}")


def take_down(path: Path) -> None:
    """Stop the measured stack."""
    seconds(["invoke", "destroy", "--yes"], path)


def side_by_side(path: Path) -> float:
    """Return how many seconds the plain script takes, and end its processes afterwards."""
    shutil.copytree(ARTIFACTS, path)
    started = time.perf_counter()
    answer = subprocess.run(
        ["bash", str(Path(__file__).parent / "side-by-side.sh")],
        cwd=path, env=environment(path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, timeout=300,
    )  # fmt: skip
    elapsed = time.perf_counter() - started
    # Their folder must not go before them.
    processes.end(path)
    if answer.returncode:
        sys.exit(f"error: side-by-side.sh failed:\n{answer.stderr.strip()}{last_words(path)}")
    return elapsed


def last_words(path: Path) -> str:
    """Return the last lines of the log of each of the script's services."""
    logs = sorted((path / "log").glob("*.log"))
    texts = {log.name: log.read_text(errors="replace").strip() for log in logs}
    return "".join(f"\n{name}: {text.splitlines()[-1]}" for name, text in texts.items() if text)


def load(path: Path, port: int) -> float:
    """Return how many seconds curl takes for all requests over kept connections."""
    command = [
        "curl", "--silent", "--show-error", "--fail", "--parallel",
        "--parallel-max", str(CONNECTIONS), "--http1.1", "--cacert", str(path / "custom-ca.crt"),
        "--output", "/dev/null", f"https://localhost:{port}/?[1-{REQUESTS}]",
    ]  # fmt: skip
    return seconds(command, path)


if __name__ == "__main__":
    main()
