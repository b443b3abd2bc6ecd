"""The TLS of every port, as SSLyze sees it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asking import SSL_REQUEST, anybody, greeting, opened
from target import Port

from parsec_stack import image_contents
from parsec_stack.stack import ROOT

LOCK = ROOT / "scripts" / "requirements-attack.lock"
# How long SSLyze may take over all ports, in seconds.
PATIENCE = 120
OLD = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")
NEW = ("tls_1_2", "tls_1_3")
# What goes beyond Mozilla's "intermediate" without being weaker: ANSSI's suites, longer curves.
STRONGER = re.compile(r"'(TLS_ECDHE_ECDSA_WITH_AES_(128|256)_CCM|X448|secp521r1|X25519MLKEM768)'")
QUOTED = re.compile(r"'[\w-]+'")
# SSLyze writes the name of what it has looked at, and below it what Mozilla's profile objects to.
VERDICT = re.compile(r"^    (\S+:\d+): (OK|FAILED|ERROR)", re.MULTILINE)

INCOMPLETE = "not compared"


@dataclass(frozen=True)
class Seen:
    """What SSLyze has seen of one port."""

    versions: list[str]
    suites: list[str]
    is_trusted: bool
    asks_for_certificate: bool
    # What Mozilla's "intermediate" profile objects to.
    objections: list[str]

    @property
    def problems(self) -> Iterator[str]:
        """What is wrong with it."""
        if old := [version for version in self.versions if version in OLD]:
            yield f"speaks {', '.join(old)}"
        if "tls_1_3" not in self.versions:
            yield "does not speak tls_1_3"
        if weak := [suite for suite in self.suites if not is_strong(suite)]:
            yield f"accepts {', '.join(weak)}"
        if not self.is_trusted:
            yield "its certificate does not come from the stack's CA, or is not valid now"
        # Without a certificate SSLyze cannot ask such a port for a renegotiation.
        known = {INCOMPLETE} if self.asks_for_certificate else set()
        objections = (one for one in self.objections if one not in known)
        yield from (f"Mozilla: {one}" for one in objections if not is_stronger(one))


def is_strong(suite: str) -> bool:
    """Does the suite keep past talks secret, and notice what is changed on the way?"""
    of_1_3 = "_WITH_" not in suite
    kept = of_1_3 or suite.startswith("TLS_ECDHE_")
    return kept and any(mode in suite for mode in ("GCM", "CCM", "CHACHA20_POLY1305"))


def is_stronger(objection: str) -> bool:
    """Is everything that the objection names stronger than what the profile wants?"""
    named = QUOTED.findall(objection)
    return bool(named) and all(STRONGER.fullmatch(name) for name in named)


def way_of(port: Port) -> str | None:
    """How TLS begins at the port: "" at once, or by which protocol; None if it does not."""
    with suppress(OSError), opened(port.address, port.number, anybody()):
        return ""
    with suppress(OSError), opened(port.address, port.number, None) as connection:
        connection.sendall(SSL_REQUEST)
        if connection.recv(1) == b"S":
            return "postgres"
    with suppress(OSError), opened(port.address, port.number, None) as connection:
        if b"STARTTLS" in greeting(connection):
            return "smtp"
    return None


def look(ways: dict[Port, str], ca_file: Path, folder: Path) -> dict[Port, Seen]:
    """What SSLyze sees of the ports, each with the way in which its TLS begins."""
    by_way: dict[str, list[Port]] = defaultdict(list)
    for port, way in ways.items():
        by_way[way].append(port)
    seen: dict[Port, Seen] = {}
    for way, ports in by_way.items():
        seen |= scan(ports, way, ca_file, folder / f"{way or 'tls'}.json")
    return seen


def scan(ports: list[Port], way: str, ca_file: Path, report: Path) -> dict[Port, Seen]:
    """The same of ports whose TLS begins alike."""
    # The certificates are valid for this name, at whatever address.
    targets = {f"localhost:{port.number}": port for port in ports}
    assert len(targets) == len(ports), "SSLyze tells ports of one number apart by nothing else"
    places = [f"{name}{{{port.address}}}" for name, port in targets.items()]
    command = [sys.executable, "-m", "sslyze", "--mozilla_config=intermediate"]
    command += [f"--json_out={report}", f"--certinfo_ca_file={ca_file}"]
    command += [f"--starttls={way}"] if way else []
    # Nothing of this environment's packages: SSLyze has its own.
    environment = os.environ | {"PYTHONPATH": str(image_contents.fetched("sslyze", LOCK))}
    said = subprocess.run(
        [*command, *places], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert report.exists(), said.stderr[-2000:]
    objections = objections_in(said.stdout)
    found = {}
    for result in json.loads(report.read_text())["server_scan_results"]:
        place = result["server_location"]
        name = f"{place['hostname']}:{place['port']}"
        assert result["scan_status"] == "COMPLETED", f"{name}: {result['connectivity_error_trace']}"
        found[targets[name]] = seen_in(result, objections[name])
    return found


def objections_in(said: str) -> dict[str, list[str]]:
    """What the profile objects to, by port."""
    parts = iter(VERDICT.split(said)[1:])
    found = {}
    for name, verdict, text in zip(parts, parts, parts, strict=True):
        found[name] = re.findall(r"^ {8}\* (.+)$", text, re.MULTILINE)
        # It has not been able to compare, since not all that it asks was answered.
        found[name] += [INCOMPLETE] if verdict == "ERROR" else []
    return found


def seen_in(result: dict[str, Any], objections: list[str]) -> Seen:
    """What one port's result says."""
    scan, versions, suites = result["scan_result"], [], []
    for version in (*OLD, *NEW):
        accepted = scan[f"{version}_cipher_suites"]["result"]["accepted_cipher_suites"]
        versions += [version] if accepted else []
        suites += [one["cipher_suite"]["name"] for one in accepted]
    chains = scan["certificate_info"]["result"]["certificate_deployments"]
    trusted = all(
        any(is_valid(one) for one in chain["path_validation_results"]) for chain in chains
    )
    asks = result["connectivity_result"]["client_auth_requirement"] == "REQUIRED"
    return Seen(versions, suites, trusted, asks, objections)


def is_valid(validation: dict[str, Any]) -> bool:
    """Does the chain lead to the stack's own CA?"""
    mine = validation["trust_store"]["name"] == "Supplied CA file"
    return mine and bool(validation["was_validation_successful"])
