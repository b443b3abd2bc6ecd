"""The token and credentials that the scripts generate, and the env files that hold them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from checks.common import after, mode, unchanged_by, values
from guidewalk import processes
from parsec_stack import docker, redact
from parsec_stack.flavour import flavour_of
from parsec_stack.services import SERVICES
from parsec_stack.verify import compose, env_files
from parsec_stack.verify.stack_site import StackSite

MIN_SECRET = 20
# As many letters and digits as the keys of S3 services have, and as much as nobody guesses.
LENGTHS = {
    "PARSEC_ADMINISTRATION_TOKEN": 64,
    "PARSEC_FAKE_ACCOUNT_PASSWORD_ALGORITHM_SEED": 64,
    "POSTGRES_PASSWORD": 40,
    "S3_ACCESS_KEY": 20,
    "S3_SECRET_KEY": 40,
    "S3_CONSOLE_USER": len("parsec"),
    "S3_CONSOLE_PASSWORD": 40,
    "MAIL_USER": len("parsec"),
    "MAIL_PASSWORD": 40,
}

TOKEN_NAMES = {"PARSEC_ADMINISTRATION_TOKEN", "PARSEC_FAKE_ACCOUNT_PASSWORD_ALGORITHM_SEED"}
# Each credential with the file in secrets/ that holds it alone.
CREDENTIALS = {
    "POSTGRES_PASSWORD": "postgres-password",
    "S3_ACCESS_KEY": "s3-access-key",
    "S3_SECRET_KEY": "s3-secret-key",
    "S3_CONSOLE_USER": None,
    "S3_CONSOLE_PASSWORD": "s3-console-password",
    "MAIL_USER": None,
    "MAIL_PASSWORD": None,
}
ENV_FILES = (
    "parsec-credentials.env",
    "parsec-admin-token.env",
    "parsec-db.env",
    "parsec-smtp.env",
    "parsec-s3.env",
    "parsec.env",
)


@after("admin-token")
def the_token_is_complete_and_private(site: StackSite) -> None:
    """The token and the seed are long, and in a file that its owner alone can read."""
    complete_and_private(site.folder / "parsec-admin-token.env", TOKEN_NAMES)


@after("admin-token")
def the_token_is_never_printed(site: StackSite) -> None:
    """Neither token nor seed is printed."""
    never_printed(site, "admin-token", "parsec-admin-token.env")


@after("admin-token")
def the_token_stays(site: StackSite) -> None:
    """Running it again overwrites nothing."""
    unchanged_by(site, "gen-admin-token.sh", ["parsec-admin-token.env"])


@after("credentials")
def the_credentials_are_complete_and_private(site: StackSite) -> None:
    """The credentials are complete, and in a file that its owner alone can read."""
    complete_and_private(site.folder / "parsec-credentials.env", set(CREDENTIALS))
    assert values(site.folder / "parsec-credentials.env")["S3_CONSOLE_USER"] == "parsec"


@after("credentials")
def the_credentials_need_no_quoting(site: StackSite) -> None:
    """The credentials are of letters and digits, so no file has to quote them."""
    for name, value in values(site.folder / "parsec-credentials.env").items():
        assert value.isascii(), name
        assert value.isalnum(), name


@after("credentials")
def the_credentials_are_never_printed(site: StackSite) -> None:
    """No credential is printed."""
    never_printed(site, "credentials", "parsec-credentials.env")


@after("credentials")
def the_credentials_stay(site: StackSite) -> None:
    """Running it again overwrites nothing."""
    unchanged_by(site, "gen-credentials.sh", ["parsec-credentials.env"])


@after("credentials")
def secret_files_hold_the_credentials(site: StackSite) -> None:
    """The folder secrets/ is private and holds the same credentials, for containers."""
    folder = site.folder / "secrets"
    assert mode(folder) == 0o700, f"secrets/ has mode {mode(folder):o}"
    expected = values(site.folder / "parsec-credentials.env")
    for name, file in CREDENTIALS.items():
        if file:
            assert (folder / file).read_text().strip() == expected[name], f"secrets/{file}"
    identities = json.loads((folder / "s3-identities.json").read_text())["identities"]
    keys = [
        (key["accessKey"], key["secretKey"]) for one in identities for key in one["credentials"]
    ]
    assert keys == [(expected["S3_ACCESS_KEY"], expected["S3_SECRET_KEY"])]
    assert [one["name"] for one in identities] == ["parsec"]
    assert [one["actions"] for one in identities] == [["Admin"]]
    user, _, kept = (folder / "mail-users").read_text().strip().partition(":")
    assert user == expected["MAIL_USER"]
    hashing = ["openssl", "passwd", "-apr1", "-salt", kept.split("$")[2], "-stdin"]
    word = expected["MAIL_PASSWORD"]
    done = subprocess.run(hashing, input=word, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == kept


@after("credentials")
def env_files_agree(site: StackSite) -> None:
    """All env files together mean the same to bash and to compose."""
    files = list(ENV_FILES)
    if site.flavour == "native":
        files.insert(0, "parsec-native.env")
    present = [name for name in files if (site.folder / name).exists()]
    if compose.TOOL.path:
        ports = {name: site.environment[name] for name in site.environment if "_PORT" in name}
        differences = env_files.differences(present, site.folder, ports)
        assert not differences, "; ".join(differences)


@after("status-native", "check-docker")
def command_lines_show_no_secret(site: StackSite) -> None:
    """No other user of the machine sees a secret in the list of processes."""
    lines = list(command_lines(site))
    assert any("parsec" in line and "run" in line for line in lines), "no service is seen"
    known = redact.of_stack(site.stack)
    known.look()
    for line in lines:
        assert not known.leak(line), f"a secret of {known.leak(line)}: {known(line)}"


@after("start-native")
def what_services_write_is_private(site: StackSite) -> None:
    """Other users of the machine can read neither the services' logs nor their data."""
    written = [site.folder / "data", *(site.folder / "log" / f"{name}.log" for name in SERVICES)]
    for path in written:
        assert not mode(path) & 0o077, f"{path.name} has mode {mode(path):o}"


@after("restart-native", "restart-docker")
def logs_are_shown_without_secrets(site: StackSite) -> None:
    """What invoke logs prints of the services holds no secret, although one of them logs one."""
    known = redact.of_stack(site.stack)
    flavour = flavour_of(site.stack)
    logs = {name: flavour.log_tail(site.stack, name, 1000) for name in SERVICES}
    shown = {name: known(text) for name, text in logs.items()}
    assert known.leak(logs["parsec-server"]), "the server logs its key no more: drop the redaction"
    for name, text in shown.items():
        assert not known.leak(text), f"the log of {name} shows a secret of {known.leak(text)}"


def command_lines(site: StackSite) -> Iterator[str]:
    """The command line of each process of the services."""
    if site.flavour == "docker":
        for container in docker.containers(site.stack).values():
            yield from (" ".join(process) for process in container.top()["Processes"])
    for process in processes.within(site.folder):
        with contextlib.suppress(psutil.Error):
            yield " ".join(process.cmdline())


def complete_and_private(path: Path, names: set[str]) -> None:
    """The env file sets these names to values of their lengths, and is its owner's alone."""
    found = values(path)
    assert mode(path) == 0o600, f"{path.name} has mode {mode(path):o}"
    assert set(found) == names, f"{path.name} sets {', '.join(sorted(found))}"
    for name, value in found.items():
        assert len(value) == LENGTHS[name], f"{name} has {len(value)} characters"


def never_printed(site: StackSite, block: str, file: str) -> None:
    """No long value of the env file is in what the block has printed."""
    for name, value in values(site.folder / file).items():
        if len(value) >= MIN_SECRET:
            assert value not in site.outputs[block], f"{name} was printed"


@after("open-secrets", aside=True)
def open_secrets_are_found(site: StackSite) -> None:
    """No key and no credentials are open to all users; the command would print those that are."""
    assert not site.outputs["open-secrets"].strip()
    secret = ["a-credentials.env", "a-token.env", "a.key"]
    with tempfile.TemporaryDirectory() as folder:
        for name in (*secret, "a.crt", "closed.key"):
            path = Path(folder) / name
            path.touch()
            path.chmod(0o600 if name == "closed.key" else 0o644)
        command = ["bash", "-c", site.commands["open-secrets"]]
        said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert sorted(said.stdout.split()) == [f"./{name}" for name in secret]
