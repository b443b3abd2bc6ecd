"""Every note of the settings reference still holds for the installed server, and the page is whole.

The notes contradict the server's help, so each is shown by the server itself.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from guidewalk.guide import GuideError
from mini import Mini
from parsec_stack import facts, option_releases, options, probes
from parsec_stack.setting_notes import NOTES
from parsec_stack.stack import DOCS, ROOT

COMPLETE = {
    "PARSEC_DB": "MOCKED",
    "PARSEC_BLOCKSTORE": "MOCKED",
    "PARSEC_ADMINISTRATION_TOKEN": "token",
    "PARSEC_FAKE_ACCOUNT_PASSWORD_ALGORITHM_SEED": "seed",
    "PARSEC_SERVER_ADDR": "parsec3://localhost",
    "PARSEC_EMAIL_HOST": "MOCKED",
}
WITHIN = 60.0


def parsed(*arguments: str, **variables: str) -> dict[str, Any]:
    """What the server makes of these arguments and variables, beside those that it requires."""
    from parsec.cli import cli

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PARSEC_")]:
            patch.delenv(name)
        for name, value in (COMPLETE | variables).items():
            patch.setenv(name, value)
        context = cli.commands["run"].make_context("run", list(arguments))
    return dict(context.params)


def environment(**variables: str) -> dict[str, str]:
    """The variables of a server's process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PARSEC_")}
    return kept | COMPLETE | variables


def ended(**variables: str) -> tuple[int, str]:
    """The exit status and last words of a server that is started with these variables."""
    done = subprocess.run(
        [sys.executable, "-m", "parsec", "run"],
        env=environment(**variables), capture_output=True, text=True, timeout=WITHIN,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).strip()


def connections(*arguments: str, **variables: str) -> tuple[int, int]:
    """How many connections to the database the server would open, at least and at most."""
    database = parsed(*arguments, PARSEC_DB="postgresql://localhost/x", **variables)["db"]
    return database.min_connections, database.max_connections


def test_of_connections() -> None:
    """Neither number is heeded from the environment; both are on the command line."""
    usual = connections()

    assert connections(PARSEC_DB_MIN_CONNECTIONS="3", PARSEC_DB_MAX_CONNECTIONS="20") == usual
    assert parsed(PARSEC_DB_MAX_CONNECTIONS="20")["db_max_connections"] == 20
    assert connections("--db-min-connections=3", "--db-max-connections=20") == (3, 20)
    assert usual == (1, 7)
    flags = {option.flag: option.variable for option in options.server_options()}
    of_notes = {flags["--db-min-connections"], flags["--db-max-connections"]}
    assert of_notes == options.WITHOUT_EFFECT


def test_of_blockstore() -> None:
    """A space makes two stores of one."""
    refusal = options.refusal("PARSEC_BLOCKSTORE", "s3:e:r:b:key:with space")

    assert options.refusal("PARSEC_BLOCKSTORE", "s3:e:r:b:key:withoutspace") == ""
    assert "Multiple blockstore" in refusal
    assert options.refusal("PARSEC_BLOCKSTORE", "raid1:0:MOCKED raid1:1:MOCKED") == ""


@contextmanager
def mail_server() -> Iterator[tuple[int, list[bytes]]]:
    """A port that greets as an SMTP server, with the first lines that a client sends to it."""
    said: list[bytes] = []

    def greet() -> None:
        with listener.accept()[0] as connection:
            connection.settimeout(5)
            connection.sendall(b"220 here\r\n")
            said.append(connection.recv(100))
            with suppress(OSError):  # a client that wanted TLS has left
                connection.sendall(b"250-here\r\n250 STARTTLS\r\n")
                said.append(connection.recv(100))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=greet, daemon=True)
        thread.start()
        yield listener.getsockname()[1], said
        thread.join(WITHIN)


def first_words(*, use_ssl: bool, use_tls: bool, login: str | None = None) -> list[bytes]:
    """What the server says first to a mail server that offers no login, with these settings."""
    import asyncio
    from email.message import EmailMessage

    from parsec._parsec import EmailAddress
    from parsec.components.email import send_email
    from parsec.config import SmtpEmailConfig

    sender = EmailAddress("parsec@example.com")
    message = EmailMessage()
    message["Subject"] = "note"
    with mail_server() as (port, said):
        config = SmtpEmailConfig("127.0.0.1", port, login, login, use_ssl, use_tls, sender)
        asyncio.run(send_email(config, sender, message))
    return said


def test_of_email_use_ssl() -> None:
    """This begins with a TLS handshake, whether or not the other is set too."""
    for use_tls in (False, True):
        assert first_words(use_ssl=True, use_tls=use_tls)[0].startswith(b"\x16\x03")
    help_text = help_of("--email-use-ssl")
    assert "explicit" in help_text
    assert "587" in help_text


def test_of_email_use_tls() -> None:
    """This greets in the clear and then asks for STARTTLS."""
    greeting, request = first_words(use_ssl=False, use_tls=True)

    assert greeting.startswith(b"ehlo ")
    assert request == b"STARTTLS\r\n"
    assert "465" in help_of("--email-use-tls")


def test_of_a_mail_server_without_login() -> None:
    """With a user and a password no mail is handed in where no login is offered."""
    _, without = first_words(use_ssl=False, use_tls=False)
    _, with_login = first_words(use_ssl=False, use_tls=False, login="parsec")

    assert without.lower().startswith(b"mail from:")
    assert b"mail" not in with_login.lower()


def help_of(flag: str) -> str:
    """The server's help on an option."""
    return next(option.help for option in options.server_options() if option.flag == flag)


def test_of_email_sender() -> None:
    """A real mail host without a sender ends the server."""
    status, said = ended(PARSEC_EMAIL_HOST="localhost")

    assert status != 0
    assert "--email-sender is required" in said


def test_of_server_addr() -> None:
    """What a missing port means."""
    from parsec._parsec import ParsecAddr

    assert ParsecAddr.from_url("parsec3://localhost").port == 443
    assert ParsecAddr.from_url("parsec3://localhost?no_ssl=true").port == 80
    assert facts.default("PARSEC_PORT") not in ("443", "80")


def test_of_proxy_trusted_addresses() -> None:
    """The name of this machine does not match its address."""
    from uvicorn.middleware.proxy_headers import _TrustedHosts

    assert "127.0.0.1" not in _TrustedHosts("localhost")
    assert "127.0.0.1" in _TrustedHosts("127.0.0.0/8")
    assert parsed(PARSEC_PROXY_TRUSTED_ADDRESSES="localhost")["proxy_trusted_addresses"]


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a server's key and certificate."""
    folder = tmp_path_factory.mktemp("tls")
    script = ROOT / "deploy" / "setup-tls.sh"
    subprocess.run(["bash", script], cwd=folder, check=True, capture_output=True)
    return folder


def test_of_key_and_certificate(certified: Path) -> None:
    """With one alone the server ends, and does not name the other."""
    one = ended(PARSEC_SSL_CERTFILE=str(certified / "parsec-server.crt"), PARSEC_PORT="0")
    other = ended(PARSEC_SSL_KEYFILE=str(certified / "parsec-server.key"), PARSEC_PORT="0")

    for status, said in (one, other):
        assert status != 0
        assert not any(word in said.splitlines()[-1].lower() for word in ("certfile", "keyfile"))


def test_of_ssl_ciphers() -> None:
    """The default leaves suites in CBC mode for TLS 1.2; commas and colons mean the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(facts.default("PARSEC_SSL_CIPHERS"))
    older = [one for one in context.get_ciphers() if one["protocol"] != "TLSv1.3"]

    assert older
    assert not any(one["aead"] for one in older)
    assert "default cipher list from Python" in " ".join(help_of("--ssl-ciphers").split())
    joined = [":".join(parsed(PARSEC_SSL_CIPHERS=text)["ssl_ciphers"]) for text in ("A,B", "A:B")]
    assert joined == ["A:B", "A:B"]


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_of_logs(tmp_path: Path) -> None:
    """The log file is emptied, and the HTTP server writes its lines into it at level WARNING."""
    log, port = tmp_path / "server.log", free_port()
    log.write_text("what an earlier server said\n")
    variables = environment(
        PARSEC_LOG_FILE=str(log), PARSEC_LOG_LEVEL="WARNING", PARSEC_PORT=str(port)
    )
    process = subprocess.Popen([sys.executable, "-m", "parsec", "run"], env=variables,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        deadline = time.monotonic() + WITHIN
        while probes.status(port) != 200:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.terminate()
        process.wait(WITHIN)

    said = log.read_text()
    assert "what an earlier server said" not in said
    assert "info" in said.lower()
    assert "Uvicorn running" in said


def test_of_dev() -> None:
    """Database, block store and mails are made up."""
    made = parsed("--dev", PARSEC_DB="", PARSEC_BLOCKSTORE="", PARSEC_EMAIL_HOST="")

    assert made["db"].is_mocked()
    assert type(made["blockstore"]).__name__ == "MockedBlockStoreConfig"
    assert made["email_host"] == "MOCKED"


def test_of_debug() -> None:
    """Of all variables one lacks the prefix, and it works."""
    table = [option.variable for option in options.server_options() if option.variable]

    assert [name for name in table if not name.startswith("PARSEC_")] == ["DEBUG"]
    assert parsed(DEBUG="true")["debug"] is True


SHOWN_BY: dict[str, Callable[..., None]] = {
    "--db-min-connections": test_of_connections,
    "--db-max-connections": test_of_connections,
    "--blockstore": test_of_blockstore,
    "--email-use-ssl": test_of_email_use_ssl,
    "--email-use-tls": test_of_email_use_tls,
    "--email-sender": test_of_email_sender,
    "--server-addr": test_of_server_addr,
    "--proxy-trusted-addresses": test_of_proxy_trusted_addresses,
    "--ssl-keyfile": test_of_key_and_certificate,
    "--ssl-certfile": test_of_key_and_certificate,
    "--ssl-ciphers": test_of_ssl_ciphers,
    "--log-level": test_of_logs,
    "--log-file": test_of_logs,
    "--dev": test_of_dev,
    "--debug": test_of_debug,
}


def test_every_note_is_shown() -> None:
    """There is no note without a test."""
    assert SHOWN_BY.keys() == NOTES.keys()


def test_an_empty_variable_counts_as_missing() -> None:
    """As the page says of all of them."""
    import click

    for name in COMPLETE:
        with pytest.raises(click.MissingParameter):
            parsed(**{name: ""})


def test_variables_that_help_does_not_show() -> None:
    """What the reference says of the server's help is so."""
    import click
    from parsec.cli import cli

    wide = click.Context(cli.commands["run"], info_name="run", terminal_width=2000)
    shown = set(re.findall(r"env var: (\w+)", cli.commands["run"].get_help(wide)))
    variables = {one.variable: one.shown for one in options.server_options() if one.variable}

    assert shown == {name for name, is_shown in variables.items() if is_shown}
    assert not variables["PARSEC_EMAIL_HOST_USER"]


def test_further_options_in_a_variable() -> None:
    """PARSEC_CMD_ARGS is read beside the table, by every subcommand."""
    for subcommand, understood in (("run", True), ("migrate", False)):
        done = subprocess.run(
            [sys.executable, "-m", "parsec", subcommand],
            env=environment(**{options.COMMAND_LINE: "--port=x"}),
            capture_output=True, text=True, timeout=WITHIN,
        )  # fmt: skip
        assert done.returncode == 2
        told = "is not a valid integer" if understood else "No such option"
        assert told in done.stderr


def test_unknown_names_are_ignored() -> None:
    """The server says nothing of a variable that it does not know."""
    usual = ended(PARSEC_EMAIL_HOST="localhost")

    assert ended(PARSEC_EMAIL_HOST="localhost", PARSEC_EMAIL_SENDR="a@example.com") == usual


def test_first_releases() -> None:
    """An option belongs to the oldest release that has it, even if a later one lost it."""
    tables = {"1.0": ["--a", "--b"], "1.1": ["--a", "--c"], "1.2": ["--c", "--d"]}

    first = option_releases.first_releases(tables)

    assert first == {"--a": "1.0", "--b": "1.0", "--c": "1.1", "--d": "1.2"}


def reference(mini: Mini) -> Mini:
    """A guide of one page with the reference, as the project's."""
    extensions = DOCS / "extensions"
    (mini.docs / "conf.py").write_text(
        f'import sys\nsys.path.insert(0, "{extensions}")\nextensions = ["settings_reference"]\n'
    )
    (mini.docs / "option-releases.json").write_text((DOCS / "option-releases.json").read_text())
    return mini.page("See ``PARSEC_DB``.\n\n.. settings-reference::\n").artifact(
        "parsec.env", "PARSEC_PORT=1\n# PARSEC_HOST=x\n"
    )


def test_the_page(tmp_path: Path) -> None:
    """It has every option, in groups, and each literal that names one leads to it."""
    mini = reference(Mini(tmp_path))
    mini.page("See ``PARSEC_DB`` and ``PARSEC_EMAIL_USE_SSL=true``.\n", "other")
    built = tmp_path / "html"
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(mini.docs), str(built)]
    subprocess.run(command, check=True, capture_output=True)
    page, other = (built / "index.html").read_text(), (built / "other.html").read_text()

    for option in options.server_options():
        assert f">{option.variable or option.flag}</span>" in page
    assert 'href="index.html#setting-parsec-db"' in other
    assert 'href="index.html#setting-parsec-email-use-ssl"' in other
    assert 'id="setting-parsec-db"' in page
    table = page.partition("</table>")[0]
    linked = re.findall(r'href="#(setting-[\w-]+)"', table)
    assert len(linked) == len(options.server_options())
    assert all(f'id="{anchor}"' in page for anchor in linked)
    assert page.count("set in <code") == 1
    assert page.index("PARSEC_ADMINISTRATION_TOKEN") < page.index("PARSEC_PORT</span>")


def test_stale_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note on an option that the server does not have fails, with page and line."""
    mini = reference(Mini(tmp_path))
    monkeypatch.setitem(NOTES, "--db-pool", "gone")

    with pytest.raises(GuideError, match=r"docs/index.rst:6: ERROR: the server has no --db-pool"):
        mini.load()


def test_options_of_an_unknown_release(tmp_path: Path) -> None:
    """An option that no tested release is known for fails, and says which command helps."""
    mini = reference(Mini(tmp_path))
    known = json.loads((mini.docs / "option-releases.json").read_text())
    del known["--blockstore"]
    (mini.docs / "option-releases.json").write_text(json.dumps(known))

    with pytest.raises(GuideError, match=r"has no --blockstore: run nox -s option-releases"):
        mini.load()
