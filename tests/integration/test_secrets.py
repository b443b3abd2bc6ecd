"""Secrets appear in no report, page, log, JUnit file or terminal: planted, and searched for."""

from __future__ import annotations

import base64
import html
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from follow import build_html, follow
from mini import Mini, command
from parsec_stack import account, native
from parsec_stack.redact import Redactor
from parsec_stack.stack import Stack
from parsec_stack.verify import reader
from searching import found_in

# Characters that each encoding writes otherwise.
ODD = "Pl4nted/+&<\"'%:"
KEY = "MC4CAQAwBQYDK2VwBCIEIPl4ntedPr1vateKeyOfTheAuthority000000000000"
TOKEN = "xBBPl4ntedT0kenOfALink12"
ENV_FILES = {
    "parsec-admin-token.env": {
        "PARSEC_ADMINISTRATION_TOKEN": "Pl4ntedAdministrationToken0123456789",
        "PARSEC_FAKE_ACCOUNT_PASSWORD_ALGORITHM_SEED": "Pl4ntedSeed0123456789abcdef",
    },
    "parsec-credentials.env": {
        "POSTGRES_PASSWORD": f"{ODD}database",
        "S3_ACCESS_KEY": "Pl4ntedAccessKey0001",
        "S3_SECRET_KEY": f"{ODD}secretkey",
        "S3_CONSOLE_PASSWORD": "Pl4ntedConsolePassword",
    },
}
SIGNING_KEY = "Pl4ntedDeviceSigningKey0123456789abcdefghijk="
OF_THE_CALLER = "Pl4ntedTokenOfTheCallersShell"
INDEX_PASSWORD = "Pl4ntedPasswordOfAnIndex"
PLANTED = [
    *(value for content in ENV_FILES.values() for value in content.values()),
    *(KEY, TOKEN, SIGNING_KEY, OF_THE_CALLER, INDEX_PASSWORD),
]


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    """A guide whose first block lays secrets into the reader's folder, without naming them."""
    lay_out(tmp_path / "planted")
    if who := reader.reader():
        account.give(tmp_path / "planted", who)
    made = Mini(tmp_path)
    return made.page(command("plant", f"cp -rp {tmp_path}/planted/. ."))


def lay_out(folder: Path) -> None:
    """Write every secret into the file in which a stack has it."""
    (folder / "secrets").mkdir(parents=True)
    (folder / "log").mkdir()
    for name, content in ENV_FILES.items():
        lines = [f"{variable}={value}\n" for variable, value in content.items()]
        (folder / name).write_text("".join(lines))
        (folder / name).chmod(0o600)
    # In parts, so that who looks for keys in this repository does not find one here.
    kind = "PRIVATE" + " KEY"
    pem = f"-----BEGIN {kind}-----\n{KEY}\n-----END {kind}-----\n"
    (folder / "custom-ca.key").write_text(pem)
    (folder / "secrets" / "device-signing-key").write_text(SIGNING_KEY)
    (folder / "links").write_text(links())
    (folder / "caller").write_text(OF_THE_CALLER)
    (folder / "encoded").write_text("".join(f"{text}\n" for text in encoded()))
    everything = "".join(path.read_text() for path in folder.glob("*") if path.is_file())
    (folder / "log" / "parsec-server.log").write_text(everything)


def links() -> str:
    """Links as the API, the server's log and mails have them."""
    bootstrap, claim = f"a=bootstrap_organization&p={TOKEN}", f"a=claim_user&p={TOKEN}"
    return (
        f'{{"bootstrap_url":"parsec3://localhost:6777/Org?{bootstrap}"}}\n'
        f'"GET /redirect/Org?{claim} HTTP/1.1" 302\n'
        f'<a href="https://localhost/redirect/Org?{html.escape(claim)}">\n'
        f"https://localhost/redirect/Org?{claim.replace('=', '=3D')}\n"
        f"{quote(f'parsec3://localhost/Org?{claim}', safe='')}\n"
        f"postgresql://parsec:{INDEX_PASSWORD}@localhost/parsec\n"
    )


def encoded() -> Iterator[str]:
    """Every secret that stands in a file, as programs write them."""
    for value in PLANTED[:-3]:
        yield from (value, quote(value), quote(value, safe=""), json.dumps({"a": value}))
        yield from (html.escape(value), value.encode().hex())
        for before in ("", "u", "us"):
            plain = f"{before}{value}:x".encode()
            yield base64.b64encode(plain).decode()
            yield base64.urlsafe_b64encode(plain).decode()


def planted_in(text: str) -> list[str]:
    """What was planted and is in the text."""
    return found_in(text, (*PLANTED, ODD))


def left_by(mini: Mini, done: subprocess.CompletedProcess[str]) -> Iterator[tuple[str, str]]:
    """Name and content of everything that a run has left behind."""
    yield "terminal", done.stdout + done.stderr
    for path in (mini.root / "build").rglob("*"):
        if path.is_file():
            yield str(path.relative_to(mini.root)), path.read_bytes().decode(errors="replace")


def run(mini: Mini) -> dict[str, str]:
    """Follow the guide and build its pages; all that this leaves, by name."""
    junit = mini.root / "build" / "junit.xml"
    before = set(Path(tempfile.gettempdir()).glob("docs-test-*/parsec/custom-ca.key"))
    done = follow(
        mini, f"--junitxml={junit}", "-v", PARSEC_ADMINISTRATION_TOKEN=OF_THE_CALLER,
        PIP_INDEX_URL=f"https://user:{INDEX_PASSWORD}@localhost/simple",
    )  # fmt: skip
    build_html(mini)
    left = dict(left_by(mini, done))

    folders = set(Path(tempfile.gettempdir()).glob("docs-test-*/parsec/custom-ca.key")) - before
    assert not [path for path in folders if KEY in path.read_text()]
    assert {"terminal", "build/junit.xml", "build/html/index.html"} <= set(left)
    return left


def test_the_search_finds(tmp_path: Path) -> None:
    """What is planted would be found, in every form, if it were there."""
    lay_out(tmp_path)
    plain = "\n".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())

    assert set(planted_in(plain)) == {*PLANTED, ODD}
    for text in encoded():
        assert planted_in(text), text
        assert planted_in(html.escape(json.dumps(text))), text
    assert planted_in("Pl4ntedAccess\n  Key0001") == ["Pl4ntedAccessKey0001"]


def test_a_secret_may_be_any_bytes(tmp_path: Path) -> None:
    """A process's environment may hold what is no text; it is a secret like any other."""
    value = b"Pl4nted\xba\xff0001".decode(errors="surrogateescape")
    redact = Redactor(tmp_path)
    redact.learn({"SIGNING_KEY": value})

    assert redact(f"it is {value}, {quote(value, errors='surrogateescape')}") == (
        "it is [redacted], [redacted]"
    )


@pytest.mark.parametrize("ending", ["true", "false"], ids=["succeeds", "fails"])
def test_printed_secrets(mini: Mini, ending: str) -> None:
    """A block may print every secret, and succeed or fail: none is in what the run leaves."""
    show = 'cat ./*.env ./*.key secrets/* links encoded caller; echo "$PIP_INDEX_URL"'
    mini.page((mini.docs / "index.rst").read_text() + command("show", show, ending))

    left = run(mini)

    assert not {name: planted_in(text) for name, text in left.items() if planted_in(text)}
    report = json.loads(left["build/docs-test/report.json"])
    outcomes = {block["name"]: block["outcome"] for block in report["blocks"]}
    assert outcomes["show"] == ("executed" if ending == "true" else "failed")
    assert "[redacted]" in left["build/docs-test/log/native/parsec-server.log"]
    assert "[redacted]" in left["build/html/index.html"]


def test_a_secret_in_pieces(mini: Mini) -> None:
    """A block may print a secret over several lines: no piece of it is kept."""
    pieces = "fold -w 9 secrets/device-signing-key | tee log/parsec-s3.log"
    mini.page((mini.docs / "index.rst").read_text() + command("show", pieces))

    left = run(mini)

    assert not {name: planted_in(text) for name, text in left.items() if planted_in(text)}
    # The file was folded: its pieces are sought as well.
    assert not [name for name, text in left.items() if SIGNING_KEY[9:18] in text]
    assert "[redacted]" in left["build/docs-test/log/native/parsec-s3.log"]


def test_a_secret_past_the_redactor(mini: Mini) -> None:
    """A secret that becomes known only after it was printed keeps the report from being written."""
    late = "word=Pl4ntedL4te$((40 + 2))ZZ; echo $word; sleep 0.1"
    mini.page(command("say", late) + command("keep", "mkdir secrets", 'echo "$word" >secrets/late'))

    done = follow(mini)

    assert done.returncode != 0
    assert "report.json was not written, because it would contain a secret of late" in done.stdout
    assert not (mini.root / "build" / "docs-test" / "report.json").exists()
    assert not (mini.root / "build" / "evidence.json").exists()


def test_logs_are_shown_without_secrets(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What services have logged is printed by the task without the stack's secrets."""
    lay_out(tmp_path)
    log = tmp_path / "log" / "parsec-server.log"
    key = ENV_FILES["parsec-credentials.env"]["S3_ACCESS_KEY"]
    log.write_text(f"{links()}s3_key={key}\nthe end\n")

    native.follow_logs(Stack(tmp_path), ("parsec-server",), follow=False)

    printed = "".join(capfd.readouterr())
    assert not planted_in(printed)
    assert "s3_key=[redacted]" in printed
    assert printed.endswith("the end\n")


def test_words_of_the_guide_are_no_secrets(tmp_path: Path) -> None:
    """Settings and what the guide shows itself stay readable."""
    (tmp_path / "parsec.env").write_text("PARSEC_SERVER_ADDR=parsec3://example.com\n")
    (tmp_path / "own.env").write_text("DB_PASSWORD=password-of-the-guide\n")
    text = "parsec3://example.com password-of-the-guide ...?a=bootstrap_organization&p=..."

    assert Redactor(tmp_path, ["use password-of-the-guide"])(text) == text


def test_names_and_ports_are_no_secrets(tmp_path: Path) -> None:
    """What compose reads of a stack's names and ports is shown, but not a token beside it."""
    path, shown = tmp_path / ".env", "COMPOSE_PROJECT_NAME=stack-0123456789abcdef\n"
    for mode in (0o600, 0o644):
        for hidden, seen in (("", ""), (f"MY_TOKEN={TOKEN}\n", "MY_TOKEN=[redacted]\n")):
            path.write_text(shown + hidden)
            path.chmod(mode)
            assert Redactor(tmp_path)(path.read_text()) == shown + seen
