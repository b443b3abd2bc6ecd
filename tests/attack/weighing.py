"""What an attack costs: memory and log of proxy and server, and the time that others wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread

import psutil
from listeners import processes_of

from parsec_stack import docker, native, probes
from parsec_stack.stack import Stack

MIB = 1 << 20
# How long others wait at most, and pause, in seconds.
PATIENCE, PAUSE = 30.0, 0.1
FRONT = ("parsec-proxy", "parsec-server")


@dataclass
class Weight:
    """What was measured: growth in bytes by service, and how long others waited, in seconds."""

    memory: dict[str, int] = field(default_factory=dict)
    log: dict[str, int] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    # The services that have not outlived it.
    ended: list[str] = field(default_factory=list)

    @property
    def figures(self) -> dict[str, float]:
        """For the report, in MiB, KiB and seconds."""
        rows: dict[str, float] = {}
        for service in FRONT:
            rows[f"{service}, MiB more"] = round(self.memory[service] / MIB, 1)
            rows[f"{service}, KiB logged"] = round(self.log[service] / 1024, 1)
        rows["longest wait of others, s"] = round(max(self.waits), 2)
        return rows

    def check(self, memory: int = 128 * MIB, log: int = 4 * MIB, wait: float = 10.0) -> None:
        """Both have outlived it, have not grown or logged much, and others were served."""
        assert not self.ended
        for service in FRONT:
            assert self.memory[service] < memory, f"{service}: {self.figures}"
            assert self.log[service] < log, f"{service}: {self.figures}"
        assert max(self.waits) < wait, self.figures


@contextmanager
def weighed(stack: Stack) -> Iterator[Weight]:
    """Measure what happens meanwhile."""
    weight, over = Weight(), Event()
    found = processes_of(stack)
    processes = {service: found[service] for service in FRONT}
    before = {service: memory_of(processes[service]) for service in FRONT}
    peaks = dict(before)
    logged = {service: len(log_of(stack, service)) for service in FRONT}
    others = Thread(target=use, args=(stack, weight, processes, peaks, over), daemon=True)
    others.start()
    try:
        yield weight
    finally:
        over.set()
        others.join()
        weight.memory = {service: peaks[service] - before[service] for service in FRONT}
        weight.log = {name: len(log_of(stack, name)) - logged[name] for name in FRONT}
        weight.ended = [name for name in FRONT if not all(p.is_running() for p in processes[name])]


def use(
    stack: Stack,
    weight: Weight,
    processes: dict[str, list[psutil.Process]],
    peaks: dict[str, int],
    over: Event,
) -> None:
    """Be served by proxy and server as somebody else, again and again, and look at their memory."""
    ca_file = stack.folder / "custom-ca.crt"
    while True:
        started = time.monotonic()
        status = probes.status(stack.ports["PROXY"], "/", ca_file, timeout=PATIENCE)
        weight.waits.append(time.monotonic() - started if status == 200 else PATIENCE)
        for service in FRONT:
            peaks[service] = max(peaks[service], memory_of(processes[service]))
        if over.wait(PAUSE):
            return


def memory_of(processes: list[psutil.Process]) -> int:
    """The resident memory of the processes, in bytes."""
    total = 0
    for process in processes:
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def log_of(stack: Stack, service: str) -> bytes:
    """All that the service has logged and that is still there."""
    if stack.flavour == "docker":
        return bytes(docker.containers(stack)[service].logs())
    return native.log_file(stack, service).read_bytes()
