"""Recognise the guide's inline literals: each function knows one kind, from its source.

A recogniser gets the claim and the sources. It returns None if the claim is not of its kind, and
otherwise a finding. A literal without a role is shown to all recognisers, and exactly one must know
it.
"""

from __future__ import annotations

import re
import shlex
import shutil
import ssl
import stat
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from guidewalk import match
from guidewalk.claims import HOLDS, Finding, Recogniser, Recognisers
from guidewalk.guide import Claim
from guidewalk.registry import nearest
from parsec_stack import composition, facts, options
from parsec_stack.services import FLAVOURS, usual_ports
from parsec_stack.stack import ROOT
from parsec_stack.verify import env_files
from parsec_stack.verify.sources import Sources, tests_in
from parsec_stack.verify.stack_site import StackSite

# The endings of the names of files that the guide's commands make.
ENDINGS = "dump|env|key|crt|csr|json|log|txt"
# The versions that the library knows: "1.0" and so on.
TLS_VERSIONS = {
    name.removeprefix("TLSv").replace("_", ".") if "_" in name else f"{name[-1]}.0"
    for name in ssl.TLSVersion.__members__
    if name.startswith("TLS")
}

RECOGNISERS: Recognisers = {}


def recognises(kind: str, role: str = "") -> Callable[[Recogniser], Recogniser]:
    """Register a recogniser of this kind of thing, for literals with this role only."""

    def register(recogniser: Recogniser) -> Recogniser:
        RECOGNISERS.setdefault(role, {})[kind] = recogniser
        return recogniser

    return register


def holds_if(condition: object) -> Finding | None:
    """Return that the claim is of this kind and true, or None for another kind."""
    return HOLDS if condition else None


def has_word(text: str, word: str) -> bool:
    """Return whether the text contains the word, with nothing on either side that continues it."""
    return bool(re.search(rf"(?<![\w.$-]){re.escape(word)}(?![\w-])", text))


# A number may be true of something else than the sentence is about.
WITHOUT_SUBJECT = "say of what this is true by '.. subject:: LITERAL - NAME'"


@recognises("setting of the server")
def setting(claim: Claim, known: Sources) -> Finding | None:
    """PARSEC_NAME or PARSEC_NAME=VALUE, which the server's option table must know."""
    name, equals, value = claim.text.partition("=")
    if not re.fullmatch(r"PARSEC_[A-Z0-9_]*", name):
        return None
    if name not in known.variables:
        near = nearest(name, known.variables)
        return Finding(f"the server reads no variable {name}{near}")
    if name in options.WITHOUT_EFFECT:
        return Finding(f"the server reads {name} without effect: warn of it with '.. ignored::'")
    if equals and (refusal := known.refusal(name, value)):
        return Finding(f"the server refuses {claim.text}: {refusal}")
    return HOLDS


@recognises("option of the server")
def server_option(claim: Claim, known: Sources) -> Finding | None:
    """--NAME of the server's option table."""
    return holds_if(claim.text in known.flags)


@recognises("environment variable")
def variable(claim: Claim, known: Sources) -> Finding | None:
    """NAME that an artifact or command sets or reads, or NAME=VALUE as it stands there."""
    name, equals, _ = claim.text.partition("=")
    if not re.fullmatch(r"[A-Z][A-Z0-9_]+", name) or name.startswith("PARSEC_"):
        return None
    if equals:
        return holds_if(has_word(known.code, claim.text))
    used = rf"(^|\s){name}=|\$\{{?{name}\b|\b(names=\(.*){name}\b"
    return holds_if(re.search(used, known.code, re.MULTILINE))


@recognises("service")
def service(claim: Claim, known: Sources) -> Finding | None:
    """A service in every flavour in which the page is read."""
    services = {"docker": set(known.compose.get("services", {})), "native": known.supervised}
    lacking = [flavour for flavour in claim.flavours if claim.text not in services[flavour]]
    if len(lacking) == len(claim.flavours):
        return None
    return Finding(f"no service of the {lacking[0]} flavour") if lacking else HOLDS


@recognises("artifact")
def artifact(claim: Claim, known: Sources) -> Finding | None:
    """A file that the guide shows."""
    return holds_if(claim.text in known.files)


@recognises("placeholder")
def placeholder(claim: Claim, known: Sources) -> Finding | None:
    """<NAME> in a command, for which readers write something of their own."""
    if not re.fullmatch(r"<[A-Za-z]+>", claim.text):
        return None
    return holds_if(claim.text in known.commands)


@recognises("log file")
def log_file(claim: Claim, known: Sources) -> Finding | None:
    """A file into which supervisord writes what a service prints."""
    if not re.fullmatch(r"log/[\w.-]+", claim.text):
        return None
    if f"= {claim.text}\n" not in f"{known.file('supervisord.conf')}\n":
        return Finding("supervisord writes no such file")
    return Finding(later=lambda site: exists(site, claim.text) if site.flavour == "native" else "")


@recognises("file")
def made_file(claim: Claim, known: Sources) -> Finding | None:
    """A file or folder that the guide's commands make."""
    shaped = re.fullmatch(rf"(?!/)[\w./-]*[\w-](\.({ENDINGS})|/)|secrets/[\w-]+", claim.text)
    if not shaped or claim.text in known.files or claim.text.startswith("log/"):
        return None
    return Finding(later=lambda site: exists(site, claim.text))


def exists(site: StackSite, name: str) -> str:
    """Return why the file, or with a slash at its end the folder, is missing.

    Empty if it exists.
    """
    path = site.folder / name
    there = path.is_dir() if name.endswith("/") else path.is_file()
    return "" if there else f"no command of the guide has made {name}"


@recognises("ending of file names")
def ending(claim: Claim, known: Sources) -> Finding | None:
    """.SUFFIX of a file that the guide's commands make."""
    if not re.fullmatch(r"\.[a-z]+", claim.text):
        return None

    def look(site: StackSite) -> str:
        any_file = next(site.folder.glob(f"*{claim.text}"), None)
        return "" if any_file else f"no file ends in {claim.text}"

    return Finding(later=look)


@recognises("mode of files")
def mode(claim: Claim, known: Sources) -> Finding | None:
    """The permission bits of a file that the guide makes, in four octal digits."""
    if not re.fullmatch(r"0[0-7]{3}", claim.text):
        return None
    name, _, flavour = claim.subject.partition(" with ")
    if not name:
        return Finding(WITHOUT_SUBJECT)

    def look(site: StackSite) -> str:
        if flavour not in ("", site.flavour):
            return ""
        found = f"{stat.S_IMODE((site.folder / name).stat().st_mode):04o}"
        return "" if found == claim.text else f"{name} has mode {found}"

    return Finding(later=look)


@recognises("address of the stack")
@recognises("address of the stack", role="link")
def url(claim: Claim, known: Sources) -> Finding | None:
    """An address at a port of the stack, where something answers."""
    parts = urlsplit(claim.text)
    if parts.scheme not in ("http", "https") or parts.hostname not in ("localhost", "127.0.0.1"):
        return None
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    if problem := not_at(port, claim):
        return Finding(problem)

    def answers(site: StackSite) -> str:
        from parsec_stack import probes

        ca_file = site.folder / "custom-ca.crt" if parts.scheme == "https" else None
        status = probes.status(site.stack.moved_ports[port], parts.path or "/", ca_file)
        return "" if status else f"nothing answers at {claim.text}"

    return Finding(later=answers)


def not_at(port: int, claim: Claim) -> str:
    """Why the service's port that the claim is about is another one than this; or nothing."""
    if not claim.subject:
        return WITHOUT_SUBJECT
    for flavour in FLAVOURS:
        number = usual_ports(flavour).get(claim.subject)
        if flavour in claim.flavours and number != port:
            return f"in the {flavour} flavour the port {claim.subject} is {number or 'unknown'}"
    return ""


@recognises("port that answers anybody", role="open-port")
def open_port(claim: Claim, known: Sources) -> Finding | None:
    """The number of a port that asks for nothing; which these are nox -s attack finds out."""
    if not claim.subject:
        return Finding(WITHOUT_SUBJECT)
    usual = {str(usual_ports(one).get(claim.subject, "unknown")) for one in FLAVOURS}
    told = " or ".join(sorted(usual))
    return HOLDS if claim.text in usual else Finding(f"the port {claim.subject} is {told}")


@recognises("attack")
def attack(claim: Claim, known: Sources) -> Finding | None:
    """The name of a test of the attacks on running stacks."""
    if not re.fullmatch(r"test_\w+", claim.text):
        return None
    there = claim.text in tests_in(ROOT / "tests" / "attack")
    return HOLDS if there else Finding(f"there is no attack {claim.text}")


@recognises("port of the stack")
def address(claim: Claim, known: Sources) -> Finding | None:
    """127.0.0.1:PORT, where something listens."""
    host, _, number = claim.text.partition(":")
    if host != "127.0.0.1" or not number.isdigit():
        return None
    if problem := not_at(int(number), claim):
        return Finding(problem)

    def listens(site: StackSite) -> str:
        from parsec_stack import probes

        there = probes.listens(site.stack.moved_ports[int(number)])
        return "" if there else f"nothing listens at {claim.text}"

    return Finding(later=listens)


@recognises("project's site", role="link")
def project_site(claim: Claim, known: Sources) -> Finding | None:
    """A link to the site of a project whose package is installed."""
    host = urlsplit(claim.text).hostname or ""
    return holds_if(any(one == host or one.endswith(f".{host}") for one in known.hosts_of_projects))


@recognises("HTTP header")
def header(claim: Claim, known: Sources) -> Finding | None:
    """A header that the proxy sets."""
    sets = rf"\b(proxy_set|add)_header {re.escape(claim.text)}\s"
    return holds_if(re.search(sets, known.nginx))


@recognises("nginx directive")
def nginx_directive(claim: Claim, known: Sources) -> Finding | None:
    """A directive of the proxy's configuration, with the beginning of its arguments."""
    written = re.fullmatch(r"[a-z][a-z0-9_]*( [\w.]+)*", claim.text)
    # The lines of a map are values.
    directives = re.sub(r"^map .*?^}", "", known.nginx, flags=re.MULTILINE | re.DOTALL)
    return holds_if(written and re.search(rf"^\s*{claim.text}(\s|;)", directives, re.MULTILINE))


@recognises("nginx variable")
def nginx_variable(claim: Claim, known: Sources) -> Finding | None:
    """A variable of the proxy's configuration."""
    written = re.fullmatch(r"\$[a-z_]+", claim.text)
    return holds_if(written and re.search(rf"{re.escape(claim.text)}\b", known.nginx))


@recognises("path at the proxy")
def path_at_the_proxy(claim: Claim, known: Sources) -> Finding | None:
    """A path that has a location in the proxy's configuration."""
    places = re.findall(r"^\s*location \^?~ (\S+) {", known.nginx, re.MULTILINE)
    written = re.fullmatch(r"/[\w./]+", claim.text)
    return holds_if(written and any(re.search(place, claim.text) for place in places))


@recognises("keyword of compose")
def compose_keyword(claim: Claim, known: Sources) -> Finding | None:
    """A key of the compose file."""
    written = re.fullmatch(r"[a-z]+(_[a-z]+)+", claim.text)
    return holds_if(written and claim.text in composition.keywords(known.compose))


@recognises("cipher suite without effect", role="idle-suite")
def idle_suite(claim: Claim, known: Sources) -> Finding | None:
    """The only name in the server's list of cipher suites that has no effect."""
    listed = re.search(r"^PARSEC_SSL_CIPHERS=(\S+)", known.file("parsec.env"), re.MULTILINE)
    names = listed[1].split(":") if listed else []
    idle = [name for name in names if name not in facts.in_effect(names)]
    return HOLDS if idle == [claim.text] else Finding(f"without effect: {', '.join(idle)}")


@recognises("name in certificates")
def certified_name(claim: Claim, known: Sources) -> Finding | None:
    """A host name or address for which every service's certificate is valid."""
    script = known.file("setup-tls.sh")
    if not re.search(rf"\b(DNS|IP):{re.escape(claim.text)}(?![\w.:-])", script):
        return None

    def look(site: StackSite) -> str:
        lacking = [
            path.name
            for path in sorted(site.folder.glob("parsec-*.crt"))
            if claim.text not in names_of(path)
        ]
        return f"{lacking[0]} is not valid for {claim.text}" if lacking else ""

    return Finding(later=look)


def names_of(certificate: Path) -> set[str]:
    """Return the names and addresses for which the certificate is valid."""
    from cryptography import x509

    extensions = x509.load_pem_x509_certificate(certificate.read_bytes()).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


@recognises("program", role="program")
def program(claim: Claim, known: Sources) -> Finding | None:
    """A program or builtin of bash that the guide's commands or scripts run."""
    name = claim.text
    run = rf"(?m)(^#!/usr/bin/env |(^|[|(;&]|\$\()\s*){re.escape(name)}(\s|$)"
    if not re.fullmatch(r"[a-z][\w-]+", name) or not re.search(run, known.shell):
        return None
    if shutil.which(name) or known.said_by(["bash", "-c", f"type -t {name}"]).status == 0:
        return HOLDS
    if name in known.needed:
        return Finding(unchecked=f"{name} is not on PATH: {known.needed[name]}")
    return Finding(f"{name} is not on PATH")


@recognises("module of Python")
def python_module(claim: Claim, known: Sources) -> Finding | None:
    """A module that the guide's commands run with ``python -m``."""
    run = rf"\bpython[\d.]* -m {re.escape(claim.text)}\s"
    if not claim.text.isidentifier() or not re.search(run, known.code):
        return None
    return HOLDS if find_spec(claim.text) else Finding(f"Python has no module {claim.text}")


@recognises("option of a command")
def command_option(claim: Claim, known: Sources) -> Finding | None:
    """-OPTION, with its value, as an artifact or command gives it to a program."""
    given = claim.text.startswith("-") and has_word(known.code, claim.text)
    return holds_if(given and not server_option(claim, known))


@recognises("command")
def command(claim: Claim, known: Sources) -> Finding | None:
    """PROGRAM with subcommand and options, all of which the program must know."""
    words = shlex.split(claim.text) if " " in claim.text and "'" not in claim.text else []
    if not words or not re.fullmatch(r"[a-z][\w-]+", words[0]):
        return None
    if words[0] == "invoke":
        unknown = [word for word in words[1:] if word not in known.tasks]
        near = nearest(unknown[0], known.tasks) if unknown else ""
        return Finding(f"invoke has no task {unknown[0]}{near}") if unknown else HOLDS
    if words[0] == "parsec":
        return HOLDS if words[1] in known.subcommands else Finding(f"parsec knows no {words[1]}")
    if words[0] == "docker":
        return docker_command(words[1:], known)
    if not shutil.which(words[0]):
        return None
    return unknown_option(words[0], [], words[1:], known)


def docker_command(words: list[str], known: Sources) -> Finding:
    """Check a command's options with docker or compose, and its files and services with ours."""
    if words[0] != "compose":
        return unknown_option("docker", words[:1], words[1:], known)
    words = words[1:]
    while words[:1] == ["-f"]:
        if words[1] not in known.files:
            return Finding(f"the guide shows no file {words[1]}")
        words = words[2:]
    for word in words[1:]:
        if not word.startswith("-") and word not in known.compose.get("services", {}):
            return Finding(f"the compose file has no service {word}")
    return unknown_option("docker compose", words[:1], words[1:], known)


def unknown_option(name: str, subcommand: list[str], words: list[str], known: Sources) -> Finding:
    """Return the first option that the program's own help does not list."""
    said = known.help_of(name, *subcommand)
    if said is None:
        return Finding(unchecked=f"{name} is absent here")
    shown = f"{name} {' '.join(subcommand)}".strip()
    if not re.search(rf"(?i)usage:?\s.*{re.escape((subcommand or [name])[0])}", said.text):
        return Finding(f"{name} knows no command {' '.join(subcommand)}: {said.last_line}")
    for word in words:
        if word.startswith("-") and not has_word(said.text, word.partition("=")[0]):
            return Finding(f"{shown} has no option {word}")
    return HOLDS


@recognises("message")
def message(claim: Claim, known: Sources) -> Finding | None:
    """Words that the guide says a program prints, or that are in nginx's program file."""
    if " " not in claim.text:
        return None
    return holds_if(claim.text in known.said or claim.text.encode() in nginx_program())


def nginx_program() -> bytes:
    """Return nginx's program file, with its texts."""
    from parsec_stack.verify import nginx

    return Path(nginx.TOOL.path).read_bytes() if nginx.TOOL.path else b""


@recognises("form of the block store")
def block_store(claim: Claim, known: Sources) -> Finding | None:
    """A block store in the form that the server reads, with words in the place of its parts."""
    if not claim.text.startswith("s3:"):
        return None
    return Finding(known.refusal("PARSEC_BLOCKSTORE", claim.text))


@recognises("anything, in stated output")
def wildcard(claim: Claim, known: Sources) -> Finding | None:
    """The sign for any text in stated output and messages."""
    return holds_if(claim.text == match.ANY)


@recognises("bucket", role="bucket")
def bucket(claim: Claim, known: Sources) -> Finding | None:
    """The bucket that create-bucket.sh makes and that the server uses."""
    made = re.search(r"^bucket=(\S+)$", known.file("create-bucket.sh"), re.MULTILINE)
    used = re.search(r"^PARSEC_BLOCKSTORE=.*:us-east-1:(\w+):", known.file("parsec-s3.env"), re.M)
    return is_called(claim, "bucket", made, used)


@recognises("login", role="login")
def login(claim: Claim, known: Sources) -> Finding | None:
    """The user of the object store's console and of the inbox, as gen-credentials.sh writes it."""
    written = re.search(
        r"S3_CONSOLE_USER \| MAIL_USER\) echo (\w+)", known.file("gen-credentials.sh")
    )
    return is_called(claim, "user of console and inbox", written)


@recognises("role of the database", role="database-role")
def database_role(claim: Claim, known: Sources) -> Finding | None:
    """The owner of the database, made by prepare-database.sh, with which the server logs in."""
    made = re.search(r"^ *CREATE ROLE (\w+);$", known.file("prepare-database.sh"), re.MULTILINE)
    used = re.search(r"^PARSEC_DB=.postgresql://(\w+):", known.file("parsec-db.env"), re.MULTILINE)
    return is_called(claim, "role", made, used)


def is_called(claim: Claim, what: str, *found: re.Match[str] | None) -> Finding:
    """Return whether this is the name in the one group of each match."""
    names = {match[1] if match else "none" for match in found}
    return HOLDS if names == {claim.text} else Finding(f"the {what} is {' or '.join(names)}")


@recognises("trusted address", role="trusted")
def trusted(claim: Claim, known: Sources) -> Finding | None:
    """An address, a network or all, as the server's own HTTP server reads it."""
    is_name = only_a_name(claim.text)
    return Finding(f"to the server {claim.text} is a mere name") if is_name else HOLDS


@recognises("name that is never trusted", role="untrusted")
def untrusted(claim: Claim, known: Sources) -> Finding | None:
    """A host name, which never matches an address."""
    return HOLDS if only_a_name(claim.text) else Finding(f"{claim.text} may well match")


def only_a_name(text: str) -> bool:
    """Return whether the server's HTTP server takes this trusted address for a mere name."""
    from uvicorn.middleware.proxy_headers import _TrustedHosts

    return text in _TrustedHosts(text).trusted_literals


@recognises("field of the server's log", role="log-field")
def log_field(claim: Claim, known: Sources) -> Finding | None:
    """A member of the object in which the server logs an error."""
    fields = known.log_fields
    return HOLDS if claim.text in fields else Finding(f"the server logs {', '.join(fields)}")


@recognises("version of TLS", role="number")
def tls_version(claim: Claim, known: Sources) -> Finding | None:
    """An existing version of TLS; every other number is derived, with ``:fact:``."""
    return holds_if(claim.text in TLS_VERSIONS)


ALIKE, UNLIKE = "the same to bash and compose", "not the same to bash and compose"


@recognises(ALIKE, role="alike")
def alike(claim: Claim, known: Sources) -> Finding | None:
    """A form of a value that both read in the same way."""
    return same_to_both(known, claim.text, expected=True)


@recognises(ALIKE, role="alike-quoted")
def alike_quoted(claim: Claim, known: Sources) -> Finding | None:
    """The same in double quotes."""
    return same_to_both(known, f'"{claim.text}"', expected=True)


@recognises(UNLIKE, role="unlike")
def unlike(claim: Claim, known: Sources) -> Finding | None:
    """A form of a value that the two read differently."""
    return same_to_both(known, claim.text, expected=False)


@recognises(UNLIKE, role="unlike-quoted")
def unlike_quoted(claim: Claim, known: Sources) -> Finding | None:
    """The same in double quotes."""
    return same_to_both(known, f'"{claim.text}"', expected=False)


def same_to_both(known: Sources, value: str, *, expected: bool) -> Finding:
    """Return whether bash and compose agree on a value of this form after NAME."""
    from parsec_stack.verify import compose

    if not compose.TOOL.path:
        return Finding(unchecked="docker compose is absent here")
    question = ["env file", env_files.STRICT, value]
    differences = known.answers.of(question, lambda: readings(value), "bash", compose.TOOL.path)
    if expected:
        return Finding("; ".join(differences))
    return HOLDS if differences else Finding("bash and compose read it alike")


def readings(value: str) -> list[str]:
    """Return where bash and compose differ on an env file with this value after NAME."""
    with tempfile.TemporaryDirectory(prefix="form-") as folder:
        path = Path(folder) / "form.env"
        path.write_text(f"NAME=before\nVALUE={value.replace(match.ANY, 'echo x')}\n")
        return env_files.problems({path.name: path})[path.name]
