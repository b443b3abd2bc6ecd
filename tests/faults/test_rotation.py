"""Rotate secrets while clients write, and kill the rotation at every step.

The figures go to ``build/rotation/FLAVOUR.json``: for each secret the longest time without an
answer at the proxy, in seconds, and the number of blocks that were acknowledged and read back.
"""

from __future__ import annotations

import asyncio
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parsec_stack import outage, probes, smoke, store
from parsec_stack.errors import StackError
from parsec_stack.services import FLAVOURS
from parsec_stack.stack import Stack
from parsec_stack.verify import trial_stack
from parsec_stack.verify.trial_stack import invoke, without_secrets
from writing import SERVES_WITHIN, writing

SCRIPT = "rotate-secrets.sh"
SEED = "PARSEC_FAKE_ACCOUNT_PASSWORD_ALGORITHM_SEED"
# Far more than it takes on a machine that does nothing else.
WITHIN = 120.0
POLL = 0.1
# A line of the script that changes something.
CHANGES = re.compile(
    r"^ +(mv|rm|derive|switch|restart|restart_server|reload_keys|install_pair|record_pairs|trust"
    r"|renew|renew_trust|forget|said=\$\(change_password)\b"
)
# Names each line before it is run, and kills the script before it runs line $KILL_AT.
TRACE = """
if [ "${0##*/}" = rotate-secrets.sh ]; then
    set -o functrace
    trap 'echo $LINENO >>"$LINES_RUN"; [ $LINENO != "$KILL_AT" ] || kill -$KILL_BY $$' DEBUG
fi
"""
Values = dict[str, str]


@pytest.fixture(scope="module", params=FLAVOURS)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A complete stack that runs."""
    with trial_stack.running(request.param, "rotation") as made:
        yield made


def secrets_of(stack: Stack) -> Values:
    """The values of both generated files."""
    return stack.env_file("parsec-credentials.env") | stack.env_file("parsec-admin-token.env")


def token_works(stack: Stack, known: Values) -> bool:
    """Does the administration answer?"""
    server = smoke.server_of(stack)
    try:
        server.administrate("GET", "/stats?format=json", known["PARSEC_ADMINISTRATION_TOKEN"])
    except StackError as error:
        if "answered 403" not in str(error):
            raise
        return False
    return True


def password_works(stack: Stack, known: Values) -> bool:
    """Does PostgreSQL let in who has this password?"""
    import asyncpg

    async def log_in() -> None:
        trust = ssl.create_default_context(cafile=str(stack.ca_file))
        connection = await asyncpg.connect(
            host="127.0.0.1", port=stack.ports["POSTGRES"], user="parsec", database="parsec",
            password=known["POSTGRES_PASSWORD"], ssl=trust, timeout=20,
        )  # fmt: skip
        await connection.close()

    try:
        asyncio.run(log_in())
    except asyncpg.InvalidPasswordError:
        return False
    return True


def keys_work(stack: Stack, known: Values) -> bool:
    """Does the object store list the bucket for these keys?"""
    import boto3
    from botocore.exceptions import ClientError

    client = boto3.client(
        "s3",
        endpoint_url=f"https://localhost:{stack.ports['S3']}",
        region_name="us-east-1",
        aws_access_key_id=known["S3_ACCESS_KEY"],
        aws_secret_access_key=known["S3_SECRET_KEY"],
        verify=str(stack.ca_file),
    )
    try:
        client.list_objects_v2(Bucket=store.BUCKET)
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidAccessKeyId":
            raise
        return False
    return True


def console_works(stack: Stack, known: Values) -> bool:
    """Is the console below the path that this password leads to?"""
    path = f"{store.console_path(known['S3_CONSOLE_PASSWORD'])}/login"
    answer = probes.status(stack.ports["S3_CONSOLE"], path, stack.ca_file)
    assert answer in (200, 404), answer
    return answer == 200


def login_works(stack: Stack, known: Values) -> bool:
    """Does the inbox let in who has this login?"""
    import base64

    pair = f"{known['MAIL_USER']}:{known['MAIL_PASSWORD']}".encode()
    headers = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    answer = probes.status(stack.ports["INBOX"], "/", stack.ca_file, headers)
    assert answer in (200, 401), answer
    return answer == 200


# Of each secret, whether these values of it work.
VALUES: dict[str, Callable[[Stack, Values], bool]] = {
    "token": token_works,
    "database": password_works,
    "s3": keys_work,
    "console": console_works,
    "catcher": login_works,
}
PAIRS = {
    "inner": {"parsec-s3-inner"},
    "certificates": {
        *("parsec-postgres", "parsec-s3", "parsec-smtp", "parsec-server", "parsec-proxy")
    },
}


def soon(works: Callable[[], bool]) -> bool:
    """Does it succeed in time? What starts anew may refuse everybody for a moment."""
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        try:
            if works():
                return True
        except (StackError, AssertionError, OSError, ValueError):
            pass
        time.sleep(POLL)
    return False


def pairs_of(stack: Stack) -> dict[str, bytes]:
    """The keys and certificates of the stack, by the name of the file."""
    found = [path for suffix in ("key", "crt") for path in stack.folder.glob(f"*.{suffix}")]
    return {path.name: path.read_bytes() for path in found}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", [*VALUES, *PAIRS])
def test_a_rotation(stack: Stack, what: str) -> None:
    """The old value is refused, the new one works, and nothing acknowledged is lost."""
    before, pairs = secrets_of(stack), pairs_of(stack)
    with writing(stack) as writers, outage.watching(stack) as watch:
        done = invoke(stack, "rotate", what)
    assert done.returncode == 0, done.stdout + done.stderr
    blocks = writers.read_back()

    assert blocks > 1
    assert watch.longest < WITHIN
    assert_replaced(stack, what, before, pairs)
    smoke.write(stack)
    trial_stack.record(
        stack, "rotation", what, {"seconds_without_service": watch.longest, "blocks": blocks}
    )


def assert_replaced(stack: Stack, what: str, before: Values, pairs: dict[str, bytes]) -> None:
    """What is called so is another than before, the old one is dead, and all else is the same."""
    now, others = secrets_of(stack), pairs_of(stack)
    changed = {Path(name).stem for name, content in others.items() if content != pairs[name]}
    assert changed == PAIRS.get(what, set())
    assert all(others[f"{name}.key"] != pairs[f"{name}.key"] for name in changed)
    assert now[SEED] == before[SEED]
    assert (now == before) is (what in PAIRS)
    if works := VALUES.get(what):
        assert works(stack, now)
        assert not works(stack, before)
    assert not list((stack.folder / "secrets").glob("rotating-*"))
    assert not list((stack.folder / "secrets").glob("*.[0-9]*"))
    assert not (stack.folder / "secrets" / "s3-also").exists()


def traced(stack: Stack, what: str, at: int = 0, by: str = "KILL") -> tuple[int, list[int], str]:
    """Run the script, killed before this line: how it ends, the lines that it ran, what it says."""
    base = stack.folder.parent
    trace, lines = base / "trace.sh", base / "lines"
    trace.write_text(TRACE)
    lines.write_text("")
    for path in (trace, lines):
        path.chmod(0o666)
    how = {"BASH_ENV": str(trace), "LINES_RUN": str(lines), "KILL_AT": str(at), "KILL_BY": by}
    owner = stack.folder.stat()
    done = subprocess.run(
        [f"./{SCRIPT}", stack.flavour, what], cwd=stack.folder, env=stack.environment() | how,
        user=owner.st_uid, group=owner.st_gid, extra_groups=[] if owner.st_uid else None,
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    said = without_secrets(stack, done.stdout + done.stderr)
    return done.returncode, [int(line) for line in lines.read_text().split()], said


def steps(stack: Stack, ran: list[int]) -> list[int]:
    """Of these lines of the script those that change something, in the order of their first run."""
    text = (stack.folder / SCRIPT).read_text().splitlines()
    return [line for line in dict.fromkeys(ran) if CHANGES.match(text[line - 1])]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("what", [*VALUES, *PAIRS])
def test_a_killed_rotation(stack: Stack, what: str) -> None:
    """Killed before each of its steps, it leaves a secret that works, and can be finished."""
    status, ran, said = traced(stack, what)
    assert status == 0, said
    before, pairs = secrets_of(stack), pairs_of(stack)
    traces = smoke.write(stack)
    assert len(steps(stack, ran)) > 2
    for number, line in enumerate(steps(stack, ran)):
        by = ("KILL", "INT")[number % 2]
        status, _, said = traced(stack, what, line, by)
        if status == 0:  # a line that is reached only when it is needed
            before, pairs = secrets_of(stack), pairs_of(stack)
            continue
        assert status == (-signal.SIGKILL if by == "KILL" else 130), said
        values = [before, secrets_of(stack) | pending(stack, what)]
        assert soon(lambda: probes.serves_parsec(stack.ports["SERVER"], stack.ca_file)), line
        if works := VALUES.get(what):
            assert soon(lambda: any(works(stack, one) for one in values)), line  # noqa: B023

    status, _, said = traced(stack, what)
    assert status == 0, said
    smoke.read_back(stack, traces, within=SERVES_WITHIN)
    assert_replaced(stack, what, before, pairs)
    smoke.write(stack)


def pending(stack: Stack, what: str) -> Values:
    """The values that an interrupted rotation has noted as the next."""
    path = stack.folder / "secrets" / f"rotating-{what}"
    if not path.is_file():
        return {}
    return dict(re.findall(r"^next (\w+)=(\w+)$", path.read_text(), re.MULTILINE))


@pytest.mark.timeout(900)
def test_a_new_authority(stack: Stack) -> None:
    """While two CAs are trusted both kinds of clients are served; then the old one is dead."""
    before, traces = stack.ca_file.read_bytes(), smoke.write(stack)
    old = stack.folder.parent / "old-ca.crt"
    old.write_bytes(before)
    refused = invoke(stack, "rotate", "old-ca")
    assert refused.returncode == 1
    assert "no second CA is trusted yet: begin with ca" in refused.stdout + refused.stderr

    for _ in range(2):
        done = invoke(stack, "rotate", "ca")
        assert done.returncode == 0, done.stdout + done.stderr
    both = stack.ca_file.read_bytes()
    assert both.startswith(before)
    assert both.count(b"BEGIN CERTIFICATE") == 2
    assert probes.serves_parsec(stack.ports["PROXY"], old)

    with writing(stack) as writers, outage.watching(stack) as watch:
        done = invoke(stack, "rotate", "old-ca")
    assert done.returncode == 0, done.stdout + done.stderr
    writers.read_back()
    smoke.read_back(stack, traces, within=SERVES_WITHIN)
    new = stack.ca_file.read_bytes()
    assert new.count(b"BEGIN CERTIFICATE") == 1
    assert new in both
    assert new != before
    moved = stack.folder.parent / "both-ca.crt"
    moved.write_bytes(both)
    for port in ("PROXY", "SERVER"):
        assert probes.serves_parsec(stack.ports[port], moved)
        assert not probes.serves_parsec(stack.ports[port], old)
    assert not list((stack.folder / "secrets").glob("rotating-*"))
    assert invoke(stack, "tls", "up", "smoke").returncode == 0
    trial_stack.record(stack, "rotation", "old-ca", {"seconds_without_service": watch.longest})


@pytest.mark.timeout(300)
def test_what_cannot_be_rotated(stack: Stack) -> None:
    """An unknown word is refused, and the right ones are named; nothing else happens."""
    before = secrets_of(stack)
    done = invoke(stack, "rotate", "seed")

    assert done.returncode == 1
    assert "'seed' cannot be rotated: choose from token, database, s3" in done.stderr
    assert traced(stack, "seed")[0] == 1
    assert secrets_of(stack) == before
