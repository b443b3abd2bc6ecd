"""The guide's claims: each kind of literal is known by its source, and not without it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mini import Mini, command, include

from guidewalk.claims import Claims, Verdict
from guidewalk.guide import Block, Claim, Guide, GuideError, Kind
from parsec_stack.stack import ROOT, Stack
from parsec_stack.verify import emphasis, settings
from parsec_stack.verify.parsec_guide import ParsecGuide
from parsec_stack.verify.recognisers import RECOGNISERS
from parsec_stack.verify.sources import Sources
from parsec_stack.verify.stack_site import site_of

FILES = {
    "parsec-server.docker.yaml": (
        "services:\n  parsec-s3:\n    env_file: [parsec-s3.env]\n"
        "    healthcheck: {start_period: 1s}\n"
    ),
    "supervisord.conf": (
        "[program:parsec-s3]\nstdout_logfile = log/parsec-s3.log\n[program:parsec-server]\n"
    ),
    "parsec-nginx.conf": (
        "    proxy_set_header X-Forwarded-For $remote_addr;\n    proxy_buffering off;\n"
        "    location ~ ^/docs(/|$) {\n    }\n"
    ),
    "setup-tls.sh": (
        "#!/usr/bin/env bash\nnames=DNS:localhost,IP:::1\nchmod 640 a\nfor x in ${TLS_NAMES:-}; do"
    ),
    "gen-credentials.sh": (
        "#!/usr/bin/env bash\ncase $1 in S3_CONSOLE_USER | MAIL_USER) echo parsec ;; esac\n"
    ),
    "prepare-database.sh": "#!/usr/bin/env bash\n    CREATE ROLE parsec;\n",
    "parsec-db.env": "PARSEC_DB='postgresql://parsec:secret@h/parsec'\n",
    "create-bucket.sh": "#!/usr/bin/env bash\nbucket=parsec\n",
    "parsec.env": "PARSEC_SSL_CIPHERS=TLS_AES_128_CCM_SHA256:ECDHE-RSA-AES256-GCM-SHA384\n",
    "parsec-s3.env": 'PARSEC_BLOCKSTORE="s3:h:us-east-1:parsec:${S3_KEY:?}:x"\n',
    "commands": "curl --fail --cacert custom-ca.crt https://x\npython -m venv venv\nA=b true\n",
    "said": "the store said no\n",
}
KINDS: dict[str, Kind] = {"commands": "command", "said": "message"}

# What is known, and the change to its source after which it must not be: file, old and new text.
KNOWN = {
    "environment variable": ("TLS_NAMES", "", "setup-tls.sh", "TLS_NAMES", "TLS_NAME"),
    "service": ("parsec-s3", "", "supervisord.conf", "program:parsec-s3", "program:s3"),
    "artifact": ("create-bucket.sh", "", "create-bucket.sh", None, None),
    "log file": ("log/parsec-s3.log", "", "supervisord.conf", "parsec-s3.log", "s3.log"),
    "mode of files": ("0640", "", "setup-tls.sh", "640", "644"),
    "HTTP header": ("X-Forwarded-For", "", "parsec-nginx.conf", "For ", "Four "),
    "nginx directive": ("proxy_buffering off", "", "parsec-nginx.conf", "off", "on"),
    "path at the proxy": ("/docs", "", "parsec-nginx.conf", "/docs", "/doc"),
    "nginx variable": ("$remote_addr", "", "parsec-nginx.conf", "remote_addr", "host"),
    "keyword of compose": ("env_file", "", "parsec-server.docker.yaml", "env_file", "env"),
    "cipher suite without effect": (
        "TLS_AES_128_CCM_SHA256", "idle-suite", "parsec.env", "CCM", "GCM",
    ),
    "name in certificates": ("::1", "", "setup-tls.sh", "IP:::1", "IP:::2"),
    "program": ("curl", "program", "commands", "curl", "wget"),
    "module of Python": ("venv", "", "commands", "-m venv", "-m pip"),
    "option of a command": ("--cacert custom-ca.crt", "", "commands", "--cacert", "--capath"),
    "message": ("the store said", "", "said", "store", "shop"),
    "bucket": ("parsec", "bucket", "create-bucket.sh", "=parsec", "=other"),
    "role of the database": (
        "parsec", "database-role", "prepare-database.sh", "ROLE parsec", "ROLE other",
    ),
    "login": ("parsec", "login", "gen-credentials.sh", "echo parsec", "echo admin"),
}  # fmt: skip
# What other sources than the guide's files know, each with a misspelt twin and its problem.
REAL = {
    "setting of the server": ("PARSEC_EMAIL_USE_SSL=true", "", "PARSEC_EMAIL_USE_SSL=maybe",
                              "refuses"),
    "option of the server": ("--server-addr", "", "--server-address", "knows this"),
    "command": ("docker compose down --volumes", "", "docker compose down --volume", "no option"),
    "address of the stack": ("https://localhost:6777", "", "https://localhost:6778", "has port"),
    "port of the stack": ("127.0.0.1:5432", "", "127.0.0.1:5433", "has port"),
    "file": ("custom-ca.crt", "", "custom-ca.crd", "knows this"),
    "ending of file names": (".crt", "", ".CRT", "knows this"),
    "form of the block store": ("s3:E:R:B:K:S", "", "s3:E:R:B:K", "Invalid S3 config"),
    "anything, in stated output": ("...", "", "....", "knows this"),
    "project's site": ("https://parsec.cloud", "link", "https://parsec.clout", "knows this"),
    "attack": ("test_private_keys", "", "test_private_kees", "no attack"),
    "port that answers anybody": ("8443", "open-port", "8444", "no service has"),
    "field of the server's log": ("event", "log-field", "events", "the server logs event"),
    "version of TLS": ("1.2", "number", "1.4", "knows this"),
    "trusted address": ("172.16.0.0/12", "trusted", "localhost", "a mere name"),
    "name that is never trusted": ("localhost", "untrusted", "127.0.0.1", "may well match"),
    "the same to bash and compose": ("${NAME:-x}", "alike", "$$", "is "),
    "not the same to bash and compose": ("$$", "unlike", "$NAME", "read it alike"),
}  # fmt: skip
MISSPELT = {
    "unknown setting": ("PARSEC_PROXY_TRUSTED_ADDRESS", "reads no variable"),
    "setting without effect": ("PARSEC_DB_MAX_CONNECTIONS", "without effect"),
    "unknown task": ("invoke imags", "no task imags"),
    "unknown subcommand": ("docker compose rastart", "knows no command"),
    "unknown service": ("docker compose logs parsec-s4", "no service parsec-s4"),
    "unknown file": ("docker compose -f other.yaml logs", "no file other.yaml"),
    "unknown command": ("parsec rum", "knows no rum"),
    "unknown option": ("curl --cacrt x", "no option --cacrt"),
    "absent program": ("crul --fail", "knows this"),
    "service of one flavour": ("parsec-server", "no service of the docker flavour"),
}


def block(name: str, text: str) -> Block:
    """A file of the guide, or what else KINDS says."""
    kind = KINDS.get(name, "file")
    target = name if kind == "file" else None
    return Block(
        "index", "docs/index.rst", 1, text, "bash", kind, ("native", "docker"), name, target=target
    )


def claims_of(files: dict[str, str], *claims: Claim) -> Claims:
    """The claims of a guide that shows these files."""
    return ParsecGuide().claims_of(Guide([block(*item) for item in files.items()], claims))


def claim(text: str, role: str = "", mark: str = "") -> Claim:
    """A claim of a page for both flavours."""
    return Claim("index", "docs/index.rst", 7, text, ("native", "docker"), role, mark, "why")


def verdict(text: str, role: str = "", mark: str = "", **changed: str) -> Verdict:
    """What becomes of this claim in a guide with FILES."""
    one = claim(text, role, mark)
    return claims_of(FILES | changed, one).verdict(one, "native")


@pytest.mark.parametrize("kind", KNOWN)
def test_known_by_its_source(kind: str) -> None:
    """A literal is known by the artifact or command that it is about, and not without it."""
    text, role, file, old, new = KNOWN[kind]
    changed = {**FILES, file: FILES[file].replace(old, new or "")} if old else {**FILES}
    if not old:
        del changed[file]
    one = claim(text, role)

    assert (verdict(text, role).kind, verdict(text, role).reason) == (kind, "")
    assert claims_of(changed, one).verdict(one, "native").outcome in ("failed", "unrecognised")


@pytest.mark.parametrize("kind", REAL)
def test_known_by_real_programs(kind: str) -> None:
    """A literal is known by the server, a program or a package; a misspelt one has a problem."""
    text, role, misspelt, problem = REAL[kind]

    assert (verdict(text, role).kind, verdict(text, role).reason) == (kind, "")
    assert problem in verdict(misspelt, role).reason


@pytest.mark.parametrize(("text", "problem"), MISSPELT.values(), ids=MISSPELT)
def test_problems(text: str, problem: str) -> None:
    """Each mistake is told."""
    assert problem in verdict(text).reason


def test_every_recogniser_is_tested() -> None:
    """Of each kind there is one that is known and one that is not."""
    assert {kind for kinds in RECOGNISERS.values() for kind in kinds} == {*KNOWN, *REAL}


def test_a_literal_of_two_kinds_needs_a_role() -> None:
    """What may be two things is none."""
    two = verdict("venv", **{"supervisord.conf": "[program:venv]\n"})

    assert two.outcome == "unrecognised"
    assert two.reason == "this may be service or module of Python: give it a role"


def test_problems_name_page_and_line() -> None:
    """A problem says where, what and why."""
    (problem,) = claims_of(FILES, claim("PARSEC_DBB")).problems("native")

    assert problem == "docs/index.rst:7: ``PARSEC_DBB``: the server reads no variable PARSEC_DBB"


@pytest.mark.parametrize(
    ("text", "mark", "outcome"),
    [
        ("/etc/other", "beyond", "excepted"),
        ("TLS_NAMES", "beyond", "failed"),
        ("PARSEC_DB_MIN_CONNECTIONS", "ignored", "excepted"),
        ("PARSEC_PROXY_TRUSTED_ADDRESS", "ignored", "excepted"),
        ("PARSEC_DB", "ignored", "failed"),
        ("nosuchprogram --x", "elsewhere", "excepted"),
        ("curl --nosuch", "elsewhere", "failed"),
    ],
)
def test_marks(text: str, mark: str, outcome: str) -> None:
    """A mark excepts what nothing here knows, with its reason, and is stale for the rest."""
    assert verdict(text, mark=mark).outcome == outcome


def test_a_damaged_artifact_is_told() -> None:
    """What cannot be read is a problem of the claim, never the end of the test."""
    damaged = verdict("env_file", **{"parsec-server.docker.yaml": "a: [b"})

    assert damaged.outcome == "unrecognised"
    assert "it cannot be checked" in damaged.reason


@pytest.fixture
def inbox() -> Iterator[int]:
    """A real HTTP server on a port of its own."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with closing(server.socket):
            yield server.server_port
            server.shutdown()


def settled(folder: Path, offset: int, *claims: Claim) -> list[str]:
    """The outcomes after the stack in this folder has been asked."""
    known = claims_of(FILES, *claims)
    before = {known.verdict(one, "native").outcome for one in claims}
    known.settle(site_of(Stack(folder, "native", offset), {}))

    assert before == {"not reached"}
    return [known.verdict(one, "native").outcome for one in claims]


def test_files_of_the_stack(tmp_path: Path) -> None:
    """Whether a file was made shows the reader's folder."""
    wanted = [claim(name) for name in ("a.key", "data/", ".key", "log/parsec-s3.log")]
    empty = settled(tmp_path, 0, *wanted)
    (tmp_path / "a.key").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "parsec-s3.log").touch()

    assert empty == ["failed"] * 4
    assert settled(tmp_path, 0, *wanted) == ["checked"] * 4


def test_addresses_of_the_stack(tmp_path: Path, inbox: int) -> None:
    """Whether an address answers is asked at the stack's own ports."""
    wanted = [claim("http://127.0.0.1:8025", "link"), claim("127.0.0.1:8025")]

    assert settled(tmp_path, inbox - 8025, *wanted) == ["checked", "checked"]
    assert settled(tmp_path, 1, *wanted) == ["failed", "failed"]


def test_names_of_certificates(tmp_path: Path) -> None:
    """Whether certificates are valid for a name is read from them."""
    import subprocess

    script = (ROOT / "deploy" / "setup-tls.sh").read_text()
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, capture_output=True)

    assert settled(tmp_path, 0, claim("localhost"), claim("::1")) == ["checked", "checked"]
    known = claims_of(FILES | {"setup-tls.sh": "DNS:other"}, one := claim("other"))
    known.settle(site_of(Stack(tmp_path), {}))
    assert "parsec-postgres.crt is not valid for other" in known.verdict(one, "native").reason


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("x.env", "PARSEC_DB=x\n", ""),
        ("x.env", "PARSEC_DB_MAX_CONNECTIONS=20\n", "without effect"),
        ("x.env", "PARSEC_EMAIL_LANGUAGE=en\n", "reads no variable PARSEC_EMAIL_LANGUAGE"),
        ("x.env", "FAKE_ACCOUNT_PASSWORD_ALGORITHM_SEED=x\n", "nobody reads FAKE_ACCOUNT"),
        ("x.env", "AWS_CA_BUNDLE=x\n", ""),
        ("x.env", "PORT=1\nPARSEC_PORT=$PORT\n", ""),
        ("x.yaml", "environment:\n  PARSEC_DB_MIN_CONNECTIONS: 2\n", "without effect"),
        ("commands", "export PARSEC_DB_MIN_CONNECTIONS=2\n", "without effect"),
        ("said", "PARSEC_DB_MIN_CONNECTIONS\n", ""),
    ],
)
def test_settings_that_nobody_reads(name: str, text: str, problem: str) -> None:
    """No file or command sets a variable that has no reader, or no effect."""
    known = Sources(Guide([block(name, text)]), ROOT)
    problems = list(settings.problems(known))

    assert len(problems) == bool(problem)
    assert all(problem in told for told in problems)


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    """An empty guide."""
    return Mini(tmp_path)


def test_what_a_page_claims(mini: Mini) -> None:
    """Literals, links and numbers in order, with the lines on which they stand."""
    mini.artifact("a.sh", "true 1\n").page(
        "See ``one`` and\nlater ``two`` of\n`Parsec <https://parsec.cloud>`_, 3 in all, "
        "S3 too, eleven, one.\n\n"
        "Press :kbd:`Ctrl+J`.\n\n- ``one``\n\n" + command("c", "echo 4") + include("a.sh")
    )

    found = [(one.text, one.role, one.line) for one in mini.load().claims]

    assert found == [
        ("one", "", 4), ("two", "", 5), ("https://parsec.cloud", "link", 6), ("3", "number", 6),
        ("eleven", "number", 6),
        ("Ctrl+J", "kbd", 8), ("one", "", 10),
    ]  # fmt: skip


def test_flavour_and_role_of_claims(mini: Mini) -> None:
    """A claim has the flavours of its page, and the role by which it is written."""
    mini.page(":flavour: docker\n\n.. role:: bucket(literal)\n\nIn :bucket:`parsec`.\n")

    (one,) = mini.load().claims

    assert (one.text, one.role, one.flavours) == ("parsec", "bucket", ("docker",))


def test_marks_of_a_page(mini: Mini) -> None:
    """A mark belongs to the literals of its page, wherever it stands."""
    mini.page(".. beyond:: /a - it is theirs\n\n" + command("c", "true") + "``/a`` and ``/b``\n")

    first, second = mini.load().claims

    assert (first.mark, first.reason) == ("beyond", "it is theirs")
    assert second.mark == ""
    assert [one.kind for one in mini.load().blocks] == ["command"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".. beyond:: /a - theirs\n\nText.\n", "stale 'beyond: /a': the page has no such literal"),
        (".. beyond:: /a\n\n``/a``\n", "write '.. beyond:: LITERAL - REASON'"),
        (".. beyond:: /a - x\n\n.. ignored:: /a - y\n\n``/a``\n", "'/a' is marked twice"),
        (".. beyonds:: /a - x\n\n``/a``\n", 'Unknown directive type "beyonds"'),
    ],
    ids=["stale", "no reason", "twice", "misspelt"],
)
def test_mistakes_in_marks(mini: Mini, text: str, message: str) -> None:
    """Each mistake is told with page and line."""
    mini.page(text)

    with pytest.raises(GuideError, match=message) as caught:
        mini.load()

    assert "docs/index.rst:" in str(caught.value)


DERIVED = """
from docutils import nodes
from docutils.parsers.rst import Directive

class Derived(Directive):
    def run(self):
        return [nodes.paragraph("", "5 of them ", nodes.literal("", "x"))]

def setup(app):
    app.add_directive("derived", Derived)
    count = lambda name, raw, text, *more: ([nodes.inline("", text, classes=["generated"])], [])
    app.add_role("count", count)
"""


def test_what_an_extension_derives_is_no_claim(mini: Mini) -> None:
    """Only what stands on a page is claimed there."""
    (mini.docs / "conf.py").write_text(DERIVED)
    mini.page(".. derived::\n\nAll :count:`7` and 8.\n")

    assert [one.text for one in mini.load().claims] == ["8"]


@pytest.mark.parametrize(
    ("lines", "prose", "problem"),
    [
        ("2-3", "``keepalive`` and ``Host``", ""),
        ("1-3", "``keepalive`` and ``Host``", "deploy/parsec-nginx.conf:1: 'gzip on;' is emph"),
        ("2", "``keepalive`` and ``Host``", "'Host' is explained, and no emphasised line has it"),
        ("2-3", "``Host``", "deploy/parsec-nginx.conf:2: 'keepalive 32;' is emphasised"),
        ("3-4", "``Host``", "4: '}' is emphasised"),
    ],
)
def test_emphasised_lines(mini: Mini, lines: str, prose: str, problem: str) -> None:
    """A page explains the lines that it emphasises, and emphasises those that it explains."""
    mini.artifact("parsec-nginx.conf", "gzip on;\nkeepalive 32;\nproxy_set_header Host $h;\n}\n")
    shown = include("parsec-nginx.conf", "nginx", f"   :emphasize-lines: {lines}\n")
    guide = mini.page(f"{shown}{prose}\n").load()

    problems = list(emphasis.problems(ParsecGuide().claims_of(guide)))

    assert len(problems) == bool(problem)
    assert all(problem in told for told in problems)
