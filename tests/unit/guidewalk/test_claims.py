"""The guide's claims: each kind of literal is known by its source, and not without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from claiming import FILES, REAL, block, claim, claims_of, settled, verdict
from guidewalk.claims import Recognisers
from guidewalk.guide import Guide, GuideError
from guidewalk.project import Project
from guidewalk.registry import Registry
from mini import Mini, command, include
from parsec_stack import facts
from parsec_stack.stack import ROOT
from parsec_stack.verify import emphasis, settings
from parsec_stack.verify.parsec_guide import ParsecGuide
from parsec_stack.verify.recognisers import RECOGNISERS
from parsec_stack.verify.sources import Sources

# What is known, and the change to its source after which it must not be: file, old and new text.
KNOWN = {
    "environment variable": ("TLS_NAMES", "", "setup-tls.sh", "TLS_NAMES", "TLS_NAME"),
    "service": ("parsec-s3", "", "supervisord.conf", "program:parsec-s3", "program:s3"),
    "artifact": ("create-bucket.sh", "", "create-bucket.sh", None, None),
    "log file": ("log/parsec-s3.log", "", "supervisord.conf", "parsec-s3.log", "s3.log"),
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
    "placeholder": ("<orgname>", "", "commands", "<orgname>", "<name>"),
    "module of Python": ("venv", "", "commands", "-m venv", "-m pip"),
    "option of a command": ("--cacert custom-ca.crt", "", "commands", "--cacert", "--capath"),
    "message": ("the store said", "", "said", "store", "shop"),
    "bucket": ("parsec", "bucket", "create-bucket.sh", "=parsec", "=other"),
    "role of the database": (
        "parsec", "database-role", "prepare-database.sh", "ROLE parsec", "ROLE other",
    ),
    "login": ("parsec", "login", "gen-credentials.sh", "echo parsec", "echo admin"),
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


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    """An empty guide."""
    return Mini(tmp_path)


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


@pytest.mark.parametrize(("text", "problem"), MISSPELT.values(), ids=MISSPELT)
def test_problems(text: str, problem: str) -> None:
    """Each mistake is told."""
    assert problem in verdict(text).reason


def test_every_recogniser_is_tested() -> None:
    """Of each kind there is one that is known and one that is not."""
    tested = {*KNOWN, *REAL, "mode of files"}
    assert {kind for kinds in RECOGNISERS.values() for kind in kinds} == tested


def test_a_literal_of_two_kinds_needs_a_role() -> None:
    """What may be two things is none."""
    two = verdict("venv", **{"supervisord.conf": "[program:venv]\n"})

    assert two.outcome == "unrecognised"
    assert two.reason == "this may be service or module of Python: give it a role"


def test_problems_name_page_and_line() -> None:
    """A problem says where, what and why."""
    name = "PARSEC_QQQQQQQQQQQQ"
    (problem,) = claims_of(FILES, claim(name)).problems("native")

    assert problem == f"docs/index.rst:7: ``{name}``: the server reads no variable {name}"


def test_a_problem_is_told_once() -> None:
    """A page that both flavours read has each of its mistakes only once."""
    known = claims_of(FILES, claim("PARSEC_DBB"))

    assert known.problems("native", "docker") == known.problems("native")


@pytest.mark.parametrize(
    ("text", "role", "hint"),
    [
        ("parsec-sever", "", "(the nearest is 'parsec-server')"),
        ("PARSEC_EMAL_HOST", "", "(the nearest is 'PARSEC_EMAIL_HOST')"),
        ("invoke upp", "", "(the nearest is 'up')"),
        ("3.7.0-rc.2", "number", "write :fact:`parsec`"),
        ("zxcvbnm", "", "mark it by '.. beyond:: LITERAL - REASON'"),
    ],
)
def test_what_may_be_meant(text: str, role: str, hint: str) -> None:
    """A literal that nothing knows is told with the nearest name, a number with its fact."""
    text = facts.tell("parsec") if role else text

    assert hint in verdict(text, role).reason


@pytest.mark.parametrize(
    ("text", "mark", "outcome"),
    [
        ("/etc/other", "beyond", "excepted"),
        ("TLS_NAMES", "beyond", "failed"),
        # Known, and refused: a neighbour's program may have such an option.
        ("curl --nosuch", "beyond", "excepted"),
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


def test_modes_of_files(tmp_path: Path) -> None:
    """The file is asked of which the mode is told, and no other."""
    for name, mode in (("parsec-server.key", 0o600), ("parsec-proxy.key", 0o640)):
        (tmp_path / name).touch(mode=mode)
        (tmp_path / name).chmod(mode)
    wanted = claim("0640")
    assert settled(tmp_path, 0, wanted) == ["failed"]
    assert settled(tmp_path, 0, replace(wanted, reason="parsec-proxy.key")) == ["checked"]
    # Of another flavour it is not asked here.
    assert settled(tmp_path, 0, replace(wanted, reason="absent.key with docker")) == ["checked"]


@pytest.mark.parametrize("text", ["0640", "https://localhost:6777", "127.0.0.1:5432", "8443"])
def test_what_a_number_is_true_of_must_be_said(text: str) -> None:
    """It would be true of something else as well."""
    alone = replace(claim(text, "open-port" if text == "8443" else ""), mark="", reason="")
    (problem,) = claims_of(FILES, alone).problems("native")
    assert "say of what this is true by '.. subject:: LITERAL - NAME'" in problem


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


def denials_of(mini: Mini, text: str) -> list[str]:
    """What is wrong with the denials of a page on a block with the check ``shown``."""
    guide = mini.page(command("c", "true") + text).load()
    registry = Registry()

    @registry.after("c")
    def shown(site: object) -> None:
        """It is so."""

    class Tested(Project):
        recognisers: ClassVar[Recognisers] = {"": {}}

        def is_tested(self, name: str) -> bool:
            return name == "test_elsewhere"

    claims = Tested().claims_of(guide, registry)
    return [verdict.reason for verdict in claims.of("native") if verdict.outcome != "checked"]


@pytest.mark.parametrize("word", ["cannot read", "never reads", "does not read", "has no"])
def test_what_denies_is_shown(mini: Mini, word: str) -> None:
    """A sentence that denies something names a check that there is, or a test, or a reason."""
    sentence = f"First. The server {word} it: that is all.\n"

    assert "this denies something" in denials_of(mini, sentence)[0]
    for check in ("shown", "test_elsewhere"):
        assert not denials_of(mini, f".. denied:: server {word} - {check}\n\n{sentence}")
    (missing,) = denials_of(mini, f".. denied:: server {word} - showed\n\n{sentence}")
    assert missing.startswith("there is no check showed")
    beyond = f".. beyond:: server {word} - elsewhere\n\n{sentence}"
    assert denials_of(mini, beyond) == ["elsewhere"]


def test_what_denies_nothing_needs_no_check(mini: Mini) -> None:
    """Headings, blocks and other sentences are no denials."""
    assert not denials_of(mini, "It reads all.\n\nIt does not\n~~~~~~~~~~~\n\nText.\n")


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
        ("2", "``keepalive`` and ``Host``", "'Host' is explained, but no emphasised line has it"),
        ("2-3", "``Host``", "deploy/parsec-nginx.conf:2: 'keepalive 32;' is emphasised"),
        ("3-4", "``Host``", "4: '}' is emphasised"),
    ],
)
def test_emphasised_lines(mini: Mini, lines: str, prose: str, problem: str) -> None:
    """A page explains the lines that it emphasises, and emphasises those that it explains."""
    mini.artifact("parsec-nginx.conf", "gzip on;\nkeepalive 32;\nproxy_set_header Host $h;\n}\n")
    shown = include("parsec-nginx.conf", "nginx", f"   :emphasize-lines: {lines}\n")
    guide = mini.page(f"{shown}{prose}\n").load()

    problems = list(emphasis.problems(ParsecGuide().claims_of(guide, Registry())))

    assert len(problems) == bool(problem)
    assert all(problem in told for told in problems)
