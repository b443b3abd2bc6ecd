"""The scripts on their own: what they say and refuse, and what is left when they cannot finish."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from email import message_from_string
from functools import partial
from pathlib import Path

from checks.certificates import foreign
from checks.common import activated, mode, registry, values
from checks.services import object_store
from checks.squatter import Squatter
from parsec_stack import probes
from parsec_stack.services import KEY_GROUPS
from parsec_stack.verify.stack_site import StackSite

# Each tries its script on a desk of its own.
after = partial(registry.after, aside=True)

TLS = "setup-tls.sh"
TOKEN = ("gen-admin-token.sh", "parsec-admin-token.env")
CREDENTIALS = ("gen-credentials.sh", "parsec-credentials.env")
BUCKET = ("create-bucket.sh", "parsec-credentials.env", "custom-ca.crt")
CLIENT = ("database-client", "custom-ca.crt", "parsec-native.env", "parsec-credentials.env")
# No container gets it, so it is its owner's alone; each folder has another.
BACKUP_KEY = "backup-key"
# The names of files that a script makes only to move them into their place.
TEMPORARY = re.compile(r"\.\d+$|^\.setup-tls\.")
WITHIN, MOMENT = 120, 0.01
NOBODY = 65534

# What the watch finds, question by question: the next of the states, until there is none.
SEEN_BY_THE_WATCH = {
    "sleep": 'echo "$@" >>asked; [ -s states ] || exit 1; head -n 1 states >now; sed -i 1d states',
    "curl": 'echo "$@" >>asked; grep -q answers now',
    "supervisorctl": """
echo "$@" >>told
case "$*" in *status*) if grep -q stopped now; then echo STOPPED; else echo RUNNING; fi ;; esac""",
}

Done = subprocess.CompletedProcess[str]


class Desk:
    """A folder of its own with copies of some files, in which scripts are tried."""

    def __init__(self, site: StackSite, folder: Path) -> None:
        self.folder = folder
        self.environment = site.environment

    def run(
        self, script: str, user: int | None = None, groups: Sequence[int] = (), **variables: str
    ) -> Done:
        """How the script ends that runs as this user, also of these groups."""
        return self.do([f"./{script}"], user, groups, **variables)

    def follow(self, command: str, **variables: str) -> Done:
        """How a command block of the guide ends."""
        return self.do(["bash", "-euo", "pipefail", "-c", command], None, (), **variables)

    def do(
        self, argv: list[str], user: int | None, groups: Sequence[int], **variables: str
    ) -> Done:
        """How the program ends."""
        deadline = time.monotonic() + WITHIN
        while True:
            try:
                return subprocess.run(
                    argv,
                    cwd=self.folder,
                    env=self.environment | variables,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=WITHIN,
                    user=user,
                    group=user,
                    extra_groups=groups if user else None,
                )
            except OSError as error:
                # A process that another check starts just now holds the copy open for a moment.
                if error.errno != errno.ETXTBSY or time.monotonic() > deadline:
                    raise
                time.sleep(MOMENT)

    def succeeds(self, script: str, **variables: str) -> str:
        """What the script prints, which must succeed."""
        done = self.run(script, None, (), **variables)
        assert done.returncode == 0, f"{script} ends with {done.returncode}: {done.stderr.strip()}"
        assert not done.stderr, f"{script} says beside: {done.stderr}"
        return done.stdout

    def refuses(self, script: str, *words: str, **variables: str) -> None:
        """The script ends with 1 and says on stderr who it is and these words."""
        self.is_refusal(script, self.run(script, None, (), **variables), *words)

    def refuses_after_curl(self, script: str, *words: str, **variables: str) -> None:
        """The same, after what curl says."""
        done = self.run(script, None, (), **variables)
        done.stderr = done.stderr[max(0, done.stderr.find(f"{script}: ")) :]
        self.is_refusal(script, done, *words)

    def is_refusal(self, script: str, done: Done, *words: str) -> None:
        """See that the script has ended so."""
        told = f"{script} ends with {done.returncode} and says: {done.stderr}"
        assert done.returncode == 1, told
        assert not done.stdout, f"{script} refuses, and says before: {done.stdout}"
        assert done.stderr.startswith(f"{script}: "), told
        assert all(word in done.stderr for word in words), told

    def ends_at_once(self, script: str, program: str) -> None:
        """When the program fails the script fails, before it has asked anybody."""
        path = self.acting({program: "exit 1", "curl": "touch asked"})
        assert self.run(script, None, (), **path).returncode, f"it succeeds when {program} fails"
        assert not (self.folder / "asked").exists(), f"it goes on when {program} fails"

    def failing(self, program: str, does: str = "exit 1") -> dict[str, str]:
        """The variable PATH with which this program does something else: it fails."""
        return self.acting({program: does})

    def acting(self, programs: dict[str, str]) -> dict[str, str]:
        """The variable PATH with which these programs are what these shell commands do."""
        folder = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix="acting-"))
        for program, does in programs.items():
            (folder / program).write_text(f"#!/bin/sh\n{does}\n")
            (folder / program).chmod(0o755)
        return {"PATH": f"{folder}{os.pathsep}{self.environment['PATH']}"}

    def bare(self) -> dict[str, str]:
        """The variable PATH with which nothing is found but bash."""
        folder = self.folder.with_name("bare")
        folder.mkdir()
        (folder / "bash").symlink_to(shutil.which("bash", path=self.environment["PATH"]) or "")
        return {"PATH": str(folder)}

    def temporary(self) -> list[str]:
        """What is left of a script's work."""
        return [path.name for path in self.folder.rglob("*") if TEMPORARY.search(path.name)]


@contextmanager
def desk(site: StackSite, *files: str) -> Iterator[Desk]:
    """A fresh folder with copies of the site's files of these names."""
    base = Path(tempfile.mkdtemp(dir=site.folder.parent, prefix="desk-"))
    try:
        folder = base / "files"
        folder.mkdir()
        for name in files:
            shutil.copy(site.folder / name, folder / name)
        yield Desk(site, folder)
    finally:
        shutil.rmtree(base, ignore_errors=True)


@after("admin-token")
def the_token_script_says_what_it_did(site: StackSite) -> None:
    """The script says that it has created the file, and the next time that it has kept it."""
    says_what_it_did(site, "admin-token", *TOKEN)


@after("admin-token")
def the_token_script_refuses_what_it_cannot_use(site: StackSite) -> None:
    """A file without a usable token or seed is refused, and stays as it is."""
    refuses_incomplete(site, *TOKEN)


@after("admin-token")
def the_token_script_leaves_nothing_half_made(site: StackSite) -> None:
    """When the script cannot finish, there is no token, and nothing else is left."""
    leaves_nothing(site, *TOKEN, programs=("openssl", "ln"))


@after("credentials")
def the_credentials_script_says_what_it_did(site: StackSite) -> None:
    """The script says that it has created the file, and the next time that it has kept it."""
    says_what_it_did(site, "credentials", *CREDENTIALS)


@after("credentials")
def the_credentials_script_refuses_what_it_cannot_use(site: StackSite) -> None:
    """A file without one of the credentials is refused, and stays as it is."""
    refuses_incomplete(site, *CREDENTIALS)


@after("credentials")
def an_older_file_is_given_what_it_lacks(site: StackSite) -> None:
    """A file from before the mail catcher's login gets one, below what it holds; once."""
    script, file = CREDENTIALS
    with desk(site, *CREDENTIALS) as place:
        path = place.folder / file
        older = "".join(
            f"{line}\n" for line in path.read_text().splitlines() if not line.startswith("MAIL_")
        )
        path.write_text(older.rstrip("\n"))
        said = place.succeeds(script)
        assert said == f"{file}: MAIL_USER MAIL_PASSWORD added\n", said
        assert path.read_text().startswith(older)
        added = values(path)
        assert added["MAIL_USER"] == "parsec"
        assert len(added["MAIL_PASSWORD"]) == 40
        assert added["MAIL_PASSWORD"] != values(site.folder / file)["MAIL_PASSWORD"]
        assert mode(path) == 0o600
        assert place.succeeds(script) == f"{file}: kept\n"
        assert values(path) == added
        path.write_text(older)
        done = place.run(script, None, (), **place.failing("openssl"))
        assert done.returncode != 0
        assert "added" not in done.stdout, done.stdout
        assert path.read_text() == older


@after("credentials")
def lost_files_are_made_again(site: StackSite) -> None:
    """From the copies in secrets/, unless those are damaged."""
    for script, file in (TOKEN, CREDENTIALS):
        with desk(site, script, file) as place:
            place.succeeds(script)
            path, copies = place.folder / file, place.folder / "secrets"
            before = values(path)
            path.unlink()
            said = place.succeeds(script)
            lost = {"MAIL_PASSWORD"} if script == CREDENTIALS[0] else set()
            after_it = values(path)
            assert said.startswith(f"{file}: made again from secrets/"), said
            assert {name for name in before if before[name] != after_it[name]} == lost
            assert (mode(path), mode(copies)) == (0o600, 0o700)
            path.unlink()
            for copy in copies.iterdir():
                copy.write_text("a b")
            place.refuses(script, "is damaged: restore it or")
            assert not path.exists()


@after("credentials")
def the_last_copy_of_a_password_is_kept(site: StackSite) -> None:
    """Whether the file or the copy is another's."""
    script, file = CREDENTIALS
    with desk(site, script, file) as place:
        place.succeeds(script)
        path, copy = place.folder / file, place.folder / "secrets" / "postgres-password"
        before = copy.read_text()
        path.write_text(path.read_text().replace(before, "another1"))
        assert "changed; the one before is kept as secrets/postgres-password." in place.succeeds(
            script
        )
        kept = [one.read_text() for one in copy.parent.glob("postgres-password*")]
        assert sorted(kept) == sorted([before, "another1"])
        path.write_text(path.read_text().replace("\n", "\r\n"))
        place.refuses(script, "lines that end as on Windows")
    for there in ("data/postgres", "made/postgres", "secrets/s3-access-key"):
        with desk(site, script) as place:
            (place.folder / there).mkdir(parents=True)
            place.refuses(script, f"{file} is gone, and so is secrets/postgres-password")
            assert not (place.folder / file).exists()


@after("credentials")
def the_credentials_script_leaves_nothing_half_made(site: StackSite) -> None:
    """When the script cannot finish, it fails, and nothing half-made is left."""
    leaves_nothing(site, *CREDENTIALS, programs=("openssl", "ln"))
    for program in ("mv", "chmod"):
        with desk(site, *CREDENTIALS) as place:
            done = place.run(CREDENTIALS[0], None, (), **place.failing(program))
            assert done.returncode != 0, f"it succeeds when {program} fails"
            assert not place.temporary(), place.temporary()


@after("credentials")
def secret_files_are_made_again(site: StackSite) -> None:
    """The files in secrets/ follow the credentials, whatever was there, and are closed again."""
    with desk(site, *CREDENTIALS) as place:
        folder = place.folder / "secrets"
        folder.mkdir(mode=0o755)
        (folder / "postgres-password").write_text("of yesterday")
        place.succeeds(CREDENTIALS[0])
        assert mode(folder) == 0o700
        (earlier,) = folder.glob("postgres-password.*")
        assert earlier.read_text() == "of yesterday", "the password of the database may be lost"
        earlier.unlink()
        for path in folder.iterdir():
            private = path.name == BACKUP_KEY
            allowed = 0o600 if private else 0o644
            assert mode(path) == allowed, f"secrets/{path.name} has mode {mode(path):o}"
            if private:
                continue
            if path.name.startswith("postgres-password."):
                continue
            expected = (site.folder / "secrets" / path.name).read_bytes()
            assert path.read_bytes() == expected, f"secrets/{path.name}"


def says_what_it_did(site: StackSite, block: str, script: str, file: str) -> None:
    """The script's words on both occasions; an open file is closed again."""
    assert site.outputs[block].strip() == f"{file}: created", site.outputs[block]
    with desk(site, script, file) as place:
        (place.folder / file).chmod(0o644)
        assert place.succeeds(script).strip() == f"{file}: kept"
        assert mode(place.folder / file) == 0o600
        assert not place.temporary(), place.temporary()


def refuses_incomplete(site: StackSite, script: str, file: str) -> None:
    """Each of the file's lines is missed."""
    lines = (site.folder / file).read_text().splitlines()
    for missing in lines:
        with desk(site, script) as place:
            name = missing.partition("=")[0]
            text = "".join(f"{line}\n" for line in lines if line != missing) + f"{name}=\n"
            (place.folder / file).write_text(text)
            place.refuses(script, file, name)
            assert (place.folder / file).read_text() == text


def leaves_nothing(site: StackSite, script: str, file: str, programs: tuple[str, ...]) -> None:
    """When one of the programs fails the file is not made; nor through a dangling link."""
    for program in programs:
        with desk(site, script) as place:
            done = place.run(script, None, (), **place.failing(program))
            assert done.returncode != 0, f"it succeeds when {program} fails"
            assert "created" not in done.stdout, f"it says so when {program} fails: {done.stdout}"
            assert [path.name for path in place.folder.iterdir()] == [script], program
    with desk(site, script) as place:
        (place.folder / file).symlink_to("nowhere")
        done = place.run(script)
        assert done.returncode != 0
        assert "created" not in done.stdout, done.stdout
        assert not place.temporary(), place.temporary()


@after("bucket-native", "bucket-docker")
def the_bucket_script_says_what_it_did(site: StackSite) -> None:
    """The script says that it has created the bucket, and the next time that it has kept it."""
    for block in ("bucket-native", "bucket-docker"):
        said = site.outputs.get(block, "bucket parsec: created, with object lock")
        assert said.strip() == "bucket parsec: created, with object lock", said
    with desk(site, *BUCKET) as place:
        said = place.succeeds(BUCKET[0], TMPDIR="/no/such/folder").strip()
        assert said == "bucket parsec: kept, with object lock"
        assert {path.name for path in place.folder.iterdir()} == set(BUCKET)
    with another_bucket(site) as name, desk(site, *BUCKET) as place:
        use_bucket(place, name)
        assert place.succeeds(BUCKET[0]) == f"bucket {name}: created, with object lock\n"
        lock = object_store(site).get_object_lock_configuration(Bucket=name)
        assert lock["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"


@after("bucket-native", "bucket-docker")
def the_bucket_script_refuses_what_it_cannot_use(site: StackSite) -> None:
    """Without credentials, a store or the right keys, and for an unlocked bucket, it says why."""
    script = BUCKET[0]
    with desk(site, script) as place:
        place.refuses(script, "parsec-credentials.env is missing", "gen-credentials.sh")
    with desk(site, *BUCKET) as place:
        nowhere = "https://localhost:1"
        place.refuses_after_curl(script, f"{nowhere} could not be asked", S3_ENDPOINT=nowhere)
        (place.folder / "custom-ca.crt").write_bytes(
            (site.folder / "parsec-proxy.crt").read_bytes()
        )
        said = place.run(script).stderr
        assert re.match(r"curl: \(60\).*certificate", said), said
        place.refuses_after_curl(script, "could not be asked, for the reason above")
    with desk(site, *BUCKET) as place:
        path = place.folder / "parsec-credentials.env"
        path.write_text(re.sub("(?<=S3_SECRET_KEY=).*", "0" * 40, path.read_text()))
        place.refuses(script, "refuses the keys of parsec-credentials.env")
    with another_bucket(site) as name, desk(site, *BUCKET) as place:
        object_store(site).create_bucket(Bucket=name)
        use_bucket(place, name)
        place.refuses(script, f"the bucket {name} exists without object lock")


@contextmanager
def another_bucket(site: StackSite) -> Iterator[str]:
    """The name of a bucket that does not exist yet, and is removed afterwards."""
    from botocore.exceptions import ClientError

    name = f"other-{secrets.token_hex(4)}"
    try:
        yield name
    finally:
        with suppress(ClientError):  # there is none if the script has failed
            object_store(site).delete_bucket(Bucket=name)


def use_bucket(place: Desk, name: str) -> None:
    """Let the script on the desk be about this bucket."""
    path = place.folder / BUCKET[0]
    path.write_text(path.read_text().replace("bucket=parsec\n", f"bucket={name}\n"))


@after("bucket-native", "bucket-docker")
def the_bucket_script_waits_for_nobody(site: StackSite) -> None:
    """The script waits 20 s for an answer, and its keys never stand on a command line."""
    with desk(site, *BUCKET) as place:
        spied = place.failing("curl", 'printf "%s " "$@" >arguments; cat >/dev/null; exit 28')
        place.refuses(BUCKET[0], "could not be asked", STACK_S3_PORT="", **spied)
        arguments = (place.folder / "arguments").read_text()
        known = values(place.folder / "parsec-credentials.env")
        assert "--max-time 20 " in arguments, arguments
        assert "--silent --show-error" in arguments, arguments
        assert arguments.endswith(" https://localhost:9000/parsec "), arguments
        assert known["S3_SECRET_KEY"] not in arguments
        assert known["S3_ACCESS_KEY"] not in arguments


@after("bucket-native", "bucket-docker")
def the_bucket_script_says_what_the_store_answers(site: StackSite) -> None:
    """Of a store that answers in no known way the script says how, and claims no lock."""
    for answers, words in (
        ("printf '\\n503'", "answered 503 to the question for the bucket parsec"),
        (
            "case $* in *PUT*) printf 'why\\n500' ;; *) printf '\\n404' ;; esac",
            "it answered 500: why",
        ),
        ("printf '\\n200'", "the bucket parsec exists without object lock"),
    ):
        with desk(site, *BUCKET) as place:
            place.refuses(BUCKET[0], words, **place.failing("curl", f"cat >/dev/null; {answers}"))


PING = ("ping-mailhog.sh", "parsec-credentials.env", "custom-ca.crt")


@after("ping-mail-native", "ping-mail-docker")
def the_mail_script_says_where_it_arrived(site: StackSite) -> None:
    """The script names the inbox; without a catcher, or without its inbox, it says so."""
    script, ports = PING[0], site.stack.ports
    inbox = f"https://localhost:{ports['INBOX']}"
    for block in ("ping-mail-native", "ping-mail-docker"):
        said = site.outputs.get(block, f"mail arrived: {inbox}").strip()
        assert said == f"mail arrived: {inbox}", said
    with desk(site, *PING) as place:
        nap = place.acting({"sleep": "exit 0"})
        done = place.run(script, None, (), STACK_SMTP_PORT="1", **nap)
        reason, _, said = done.stderr.partition("\n")
        assert reason.startswith("curl: ("), done.stderr
        assert said.startswith(f"{script}: no mail was taken at smtps://localhost:1:"), said
        done = place.run(script, None, (), STACK_INBOX_PORT="1", **nap)
        assert done.returncode == 1
        assert "did not arrive in the inbox at https://localhost:1" in done.stderr, done.stderr


@after("ping-mail-native", "ping-mail-docker")
def the_mail_script_names_what_is_missing(site: StackSite) -> None:
    """Without the CA or the login the script names the script that makes it."""
    for missing, maker in ((PING[1], "gen-credentials.sh"), (PING[2], "setup-tls.sh")):
        with desk(site, *(name for name in PING if name != missing)) as place:
            place.refuses(PING[0], f"{missing} is missing: run {maker} first")
    for name in ("MAIL_USER", "MAIL_PASSWORD"):
        with desk(site, *PING) as place:
            path = place.folder / PING[1]
            lines = path.read_text().splitlines()
            path.write_text("".join(f"{x}\n" for x in lines if not x.startswith(name)))
            done = place.run(PING[0])
            assert done.returncode == 1
            assert f"{name}: run gen-credentials.sh first" in done.stderr, done.stderr


@after("ping-mail-native", "ping-mail-docker")
def the_mail_script_sends_what_the_page_says(site: StackSite) -> None:
    """The mail says from whom and to whom it is, and what it proves; the script says it arrived."""
    script, ports = PING[0], site.stack.ports
    with desk(site, *PING) as place:
        curl = "case $* in *smtps:*) cat >mail ;; *) cat mail ;; esac"
        said = place.succeeds(script, **place.acting({"curl": curl, "sleep": "exit 1"}))
        assert said == f"mail arrived: https://localhost:{ports['INBOX']}\n"
        mail = message_from_string((place.folder / "mail").read_text())
        place.ends_at_once(script, "date")
    assert mail["From"] == "ping@example.com", mail["From"]
    assert mail["To"] == "admin@example.com", mail["To"]
    assert re.fullmatch(r"ping \d+-\d+", mail["Subject"] or ""), mail["Subject"]
    assert mail.get_payload() == "The mail catcher works.\n"


@after("ping-mail-native", "ping-mail-docker")
def the_mail_script_is_patient(site: StackSite) -> None:
    """The script asks for some seconds, each time in both ways, and shows nobody the login."""
    script, inbox = PING[0], "https://localhost:8025"
    usual = {"STACK_SMTP_PORT": "", "STACK_INBOX_PORT": ""}
    login = values(site.folder / PING[1])
    with desk(site, *PING) as place:
        curl = (
            'echo "$@" | sed "s/--config [^ ]*/--config PIPE/" >>asked; '
            'while [ "$1" != --config ]; do shift; done; cat "$2" >>configured; '
            "case $* in *smtps:*) cat >mail ;; *) exit 22 ;; esac"
        )
        path = place.acting({"sleep": 'echo "$@" >>slept', "curl": curl})
        place.refuses(script, f"did not arrive in the inbox at {inbox}", **usual, **path)
        sent, *asked = (place.folder / "asked").read_text().splitlines()
        slept = (place.folder / "slept").read_text().splitlines()
        (configured,) = set((place.folder / "configured").read_text().splitlines())
    how = "--disable --noproxy * --silent --show-error --cacert custom-ca.crt --capath /dev/null"
    how += " --config PIPE"
    assert sent == (
        f"{how} --max-time 10 smtps://localhost:1025 "
        "--mail-from ping@example.com --mail-rcpt admin@example.com --upload-file -"
    )
    ways = [f"{inbox}/api/v1/messages?limit=50", f"{inbox}/messages/"]
    assert asked == [f"{how} --fail --max-time 5 {way}" for way in ways] * 26, asked[:4]
    assert slept == ["0.2"] * 25
    assert configured == f'user = "{login["MAIL_USER"]}:{login["MAIL_PASSWORD"]}"'


SERVICES = (
    "parsec-postgres", "parsec-s3", "parsec-s3-inner", "parsec-smtp", "parsec-server",
    "parsec-proxy",
)  # fmt: skip


def made_of(site: StackSite) -> list[str]:
    """The script, with all that it has made for the reader."""
    names = ("custom-ca", *SERVICES)
    made = [f"{name}.{ending}" for name in names for ending in ("key", "csr", "crt")]
    return [
        TLS,
        "issued-certificates.txt",
        *(name for name in made if (site.folder / name).exists()),
    ]


def states(printed: str) -> dict[str, str]:
    """What the script says of each file."""
    pairs = (line.partition(": ") for line in printed.splitlines())
    return {name: state for name, _, state in pairs}


@after("tls")
def the_tls_script_says_what_it_did(site: StackSite) -> None:
    """Each key and certificate is named as created, and the next time the certificates as kept."""
    names = ("custom-ca", *SERVICES)
    endings = [f"{name}.{ending}" for name in names for ending in ("key", "crt")]
    said = states(site.outputs["tls"])
    assert {name: said.get(name) for name in endings} == dict.fromkeys(endings, "created"), said
    with desk(site, *made_of(site)) as place:
        kept = {f"{name}.crt": "kept" for name in names}
        said = states(place.succeeds(TLS))
        assert {name: said.get(name) for name in kept} == kept, said
        assert "created" not in said.values(), said
        assert not place.temporary(), place.temporary()


@after("tls")
def public_files_are_readable(site: StackSite) -> None:
    """Everybody can read certificates and signing requests, and keys that stood open are closed."""
    for name in made_of(site):
        if name.endswith((".crt", ".csr")):
            assert mode(site.folder / name) == 0o644, (
                f"{name} has mode {mode(site.folder / name):o}"
            )
    with desk(site, *made_of(site)) as place:
        for path in place.folder.glob("*.key"):
            path.chmod(0o644)
        place.succeeds(TLS)
        for path in place.folder.glob("*.key"):
            assert mode(path) in (0o600, 0o640), f"{path.name} has mode {mode(path):o}"


@after("tls")
def what_changed_is_issued_anew(site: StackSite) -> None:
    """A lost request or certificate is made again, and a new key gets a new certificate."""
    with desk(site, *made_of(site)) as place:
        (place.folder / "parsec-s3.csr").unlink()
        (place.folder / "parsec-server.crt").unlink()
        (place.folder / "parsec-proxy.key").unlink()
        said = states(place.succeeds(TLS))
        assert (place.folder / "parsec-s3.csr").exists()
        assert said["parsec-server.crt"] == "created", said
        assert said["parsec-proxy.key"] == "created", said
        assert said["parsec-proxy.crt"] == "renewed: its names or key have changed", said
        assert said["custom-ca.crt"] == "kept", said
        before = {path.name: path.read_bytes() for path in place.folder.glob("*.crt")}
        said = states(place.succeeds(TLS))
        assert set(said.values()) - {"kept"} <= {said.get("keys")}, said
        assert before == {path.name: path.read_bytes() for path in place.folder.glob("*.crt")}


@after("tls")
def another_authority_signs_all_anew(site: StackSite) -> None:
    """With another CA every certificate is issued again, under keys that stay."""
    with desk(site, *made_of(site)) as place:
        keys = {path.name: path.read_bytes() for path in place.folder.glob("parsec-*.key")}
        (place.folder / "custom-ca.key").unlink()
        said = states(place.succeeds(TLS))
        assert said["custom-ca.key"] == "created", said
        assert said["custom-ca.crt"] == "renewed, so clients must trust the new one", said
        for name in SERVICES:
            assert (
                said[f"{name}.crt"]
                == "renewed: the CA of today has not signed it, or not for these dates"
            ), said
        assert keys == {path.name: path.read_bytes() for path in place.folder.glob("parsec-*.key")}


@after("tls")
def what_expires_is_renewed(site: StackSite) -> None:
    """What ends within 30 days is renewed, and what lasts a little longer is kept."""
    from checks.certificates import expiring

    with desk(site, *made_of(site)) as place:
        (place.folder / "parsec-s3.crt").write_bytes(expiring(site, "parsec-s3", days=29))
        (place.folder / "parsec-proxy.crt").write_bytes(expiring(site, "parsec-proxy", days=31))
        said = states(place.succeeds(TLS))
        assert said["parsec-s3.crt"] == "renewed: it had expired, or would soon"
        assert said["parsec-proxy.crt"] == "kept", said
        (place.folder / "custom-ca.crt").write_bytes(expiring(site, "custom-ca", days=29))
        said = states(place.succeeds(TLS))
        assert said["custom-ca.crt"] == "renewed, so clients must trust the new one", said


@after("tls")
def names_can_be_added(site: StackSite) -> None:
    """TLS_NAMES adds names and addresses to what clients reach, not to the object store."""
    from checks.certificates import names_in

    given = "parsec.example.com *.example.org 192.0.2.7 2001:db8::7"
    with desk(site, *made_of(site)) as place:
        said = states(place.succeeds(TLS, TLS_NAMES=given))
        assert said["parsec-s3.crt"] == "kept", said
        for name in ("parsec-server", "parsec-proxy"):
            assert said[f"{name}.crt"] == "renewed: its names or key have changed", said
            assert names_in(place.folder / f"{name}.crt") == {
                f"DNS:{name}", "DNS:localhost", "IP:127.0.0.1", "IP:::1",
                "DNS:parsec.example.com", "DNS:*.example.org", "IP:192.0.2.7", "IP:2001:db8::7",
            }  # fmt: skip
            assert names_in(place.folder / f"{name}.csr") == names_in(place.folder / f"{name}.crt")
        said = states(place.succeeds(TLS, TLS_NAMES=given))
        assert said["parsec-proxy.crt"] == "kept", said
        place.refuses(TLS, "TLS_NAMES", TLS_NAMES="parsec.example.com,other")


@after("tls")
def broken_keys_are_refused(site: StackSite) -> None:
    """A key that cannot be used is never replaced."""
    with desk(site, *made_of(site)) as place:
        key = place.folder / "parsec-proxy.key"
        key.write_text("no key\n")
        place.refuses(TLS, "parsec-proxy.key")
        assert key.read_text() == "no key\n"
        assert not place.temporary(), place.temporary()


@after("tls")
def the_tls_script_leaves_nothing_half_made(site: StackSite) -> None:
    """When the script cannot finish, it fails, says why, and leaves nothing half-made."""
    with desk(site, TLS) as place:
        place.refuses(TLS, "openssl is missing", **place.bare())
        place.refuses(TLS, "is full: nothing was changed", **place.failing("head"))
        for program in ("mv", "ln"):
            done = place.run(TLS, None, (), **place.failing(program))
            assert done.returncode != 0, f"it succeeds when {program} fails"
            assert not place.temporary(), place.temporary()
    with desk(site, TLS) as place:
        (place.folder / "custom-ca.key").symlink_to("nowhere")
        place.refuses(TLS, "custom-ca.key cannot be written")
        assert not place.run(TLS).stdout
    if os.geteuid() == 0:
        with desk(site, TLS) as place:
            place.is_refusal(TLS, place.run(TLS, NOBODY), "nothing can be written in")


@after("tls")
def a_key_of_another_run_is_kept(site: StackSite) -> None:
    """A key that another run has made in the meantime is not replaced, nor given a certificate."""
    with desk(site, TLS) as place:
        key = site.folder / "parsec-proxy.key"
        done = place.run(TLS, None, (), **place.failing("ln", f"cp {key} $2; exit 1"))
        assert "another run has just made it: run this again" in done.stderr, done.stderr
        assert done.returncode == 1
        (made,) = place.folder.glob("*.key")
        assert made.read_bytes() == key.read_bytes(), made.name
        assert not list(place.folder.glob("*.crt"))


@after("tls")
def the_authority_cannot_sign_for_others(site: StackSite) -> None:
    """Whoever has the CA's key cannot pretend to be another site to those who trust the CA."""
    sign = (
        "echo subjectAltName=DNS:www.example.com >names; "
        "openssl x509 -req -in parsec-s3.csr -CA custom-ca.crt -CAkey custom-ca.key "
        "-days 1 -extfile names -set_serial 7 -out elsewhere.crt"
    )
    with desk(site, *made_of(site)) as place:
        assert not place.follow(sign).returncode
        done = place.follow("openssl verify -CAfile custom-ca.crt elsewhere.crt")
        assert "permitted subtree violation" in done.stderr, done


@after("tls")
def what_is_no_certificate_is_kept(site: StackSite) -> None:
    """What somebody has put in a certificate's place, and is none, is named and not replaced."""
    for name in ("custom-ca", "parsec-proxy"):
        with desk(site, *made_of(site)) as place:
            (place.folder / f"{name}.crt").write_text("damaged\n")
            place.refuses(TLS, f"{name}.crt is no certificate")
            assert (place.folder / f"{name}.crt").read_text() == "damaged\n"


@after("tls")
def certificates_of_another_ca_are_kept(site: StackSite) -> None:
    """The proxy's certificate may be another CA's: it is kept. Others must be this CA's."""
    with desk(site, *made_of(site)) as place, desk(site, TLS) as elsewhere:
        elsewhere.succeeds(TLS)
        for ending in ("key", "crt"):
            shutil.copy(elsewhere.folder / f"parsec-proxy.{ending}", place.folder)
        before = (place.folder / "parsec-proxy.crt").read_bytes()
        assert states(place.succeeds(TLS))["parsec-proxy.crt"] == "kept, of another CA"
        assert (place.folder / "parsec-proxy.crt").read_bytes() == before
        shutil.copy(elsewhere.folder / "parsec-server.key", place.folder / "parsec-proxy.key")
        place.refuses(TLS, "parsec-proxy.crt does not belong to parsec-proxy.key")
    with desk(site, *made_of(site)) as place, desk(site, TLS) as elsewhere:
        elsewhere.succeeds(TLS)
        shutil.copy(elsewhere.folder / "parsec-s3.crt", place.folder)
        place.refuses(TLS, "parsec-s3.crt is signed by another CA")
        (place.folder / "parsec-s3.crt").unlink()
        (place.folder / "issued-certificates.txt").unlink()
        (place.folder / "custom-ca.key").unlink()
        place.refuses(TLS, "custom-ca.crt does not belong to custom-ca.key")
        assert not (place.folder / "custom-ca.key").exists()


@after("tls")
def an_interruption_leaves_nothing(site: StackSite) -> None:
    """Ended by a signal, the script removes its work; what a killed one has left goes next day."""
    with desk(site, TLS) as place:
        path = place.failing("openssl", "sleep 20")
        process = subprocess.Popen(
            [f"./{TLS}"], cwd=place.folder, env=place.environment | path,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + WITHIN
        while not place.temporary():
            assert time.monotonic() < deadline, "the script does not begin"
            time.sleep(0.01)
        time.sleep(0.1)  # until it waits for the program
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(WITHIN) == 130
        assert not place.temporary(), place.temporary()
    with desk(site, *made_of(site)) as place:
        for name, hours in (("old", 30), ("new", 1)):
            left = place.folder / f".setup-tls.{name}"
            left.mkdir()
            (left / "ca.cnf").touch()
            os.utime(left, (time.time() - hours * 3600,) * 2)
        place.succeeds(TLS)
        assert place.temporary() == [".setup-tls.new"], place.temporary()


@after("tls")
def keys_are_handed_over(site: StackSite) -> None:
    """Root opens each key to the group of its container; anybody else is told to run it as root."""
    said = site.outputs["tls"]
    if os.geteuid() != 0:
        assert "keys: only yours" in said, said
        return
    assert "only yours" not in said, said
    for name in SERVICES:
        stat = (site.folder / f"{name}.key").stat()
        assert stat.st_gid == KEY_GROUPS[name], f"{name}.key belongs to group {stat.st_gid}"
        assert stat.st_uid == os.geteuid(), f"{name}.key belongs to user {stat.st_uid}"
    with desk(site, TLS) as place:
        for path in (place.folder.parent, place.folder):
            os.chown(path, NOBODY, NOBODY)
        done = place.run(TLS, NOBODY)
        assert done.returncode == 0, done.stderr
        assert "keys: only yours" in done.stdout, done.stdout
        assert not done.stderr, done.stderr
        assert mode(place.folder / "parsec-server.key") == 0o600
        done = place.run(TLS, NOBODY, [KEY_GROUPS["parsec-server"]])
        assert done.returncode == 0, done.stderr
        assert mode(place.folder / "parsec-server.key") == 0o640
        assert (place.folder / "parsec-server.key").stat().st_gid == KEY_GROUPS["parsec-server"]


@after("services-executable-native")
def the_watch_ends_a_silent_server(site: StackSite) -> None:
    """A running server that leaves four questions in a row unanswered is killed, and no other."""
    assert kills(site, ["silent"] * 3) == 0
    assert kills(site, ["silent"] * 7) == 1
    assert kills(site, ["silent"] * 8) == 2
    assert kills(site, [*["silent"] * 3, "answers", *["silent"] * 3]) == 0
    assert kills(site, ["stopped"] * 5) == 0


def kills(site: StackSite, states: list[str]) -> int:
    """How often the watch kills a server whose states, one for each question, are these."""
    with desk(site, "watch-parsec-server", "parsec-native.env") as place:
        (place.folder / "states").write_text("".join(f"{state}\n" for state in states))
        done = place.run("watch-parsec-server", None, (), **place.acting(SEEN_BY_THE_WATCH))
        told = (place.folder / "told").read_text().splitlines()
        asked = (place.folder / "asked").read_text().splitlines()
    status, kill = (f"--configuration supervisord.conf {what} parsec-server"
                    for what in ("status", "signal KILL"))  # fmt: skip
    assert not done.returncode, done.stderr
    assert told.count(status) == len(states), told
    assert set(told) <= {status, kill}, told
    assert done.stdout.splitlines() == ["parsec-server does not answer: killed"] * told.count(kill)
    question = (
        "--disable --noproxy * --silent --output /dev/null --max-time 5 --cacert custom-ca.crt "
        f"https://localhost:{site.stack.ports['SERVER']}/"
    )
    expected = ["5"] * (len(states) + 1) + [question for one in states if one != "stopped"]
    assert Counter(asked) == Counter(expected), asked
    return told.count(kill)


@after("migrate-native", "migrate-docker")
def a_failed_migration_fails(site: StackSite) -> None:
    """The command fails when the server marks a migration as failed, and only then."""
    files = ("parsec-native.env", "parsec-credentials.env", "parsec-db.env")
    command = site.commands[f"migrate-{site.flavour}"]
    for mark, fails in (("✔", False), ("✘", True)):
        with desk(site, *(name for name in files if (site.folder / name).exists())) as place:
            (place.folder / "log").mkdir()
            says = f"echo '0001_initial.sql {mark}'"
            path = place.acting({"python": says, "docker": says})
            done = place.follow(command, **path)
            assert bool(done.returncode) == fails, f"after {mark} it ends with {done.returncode}"


@after("wait-native")
def the_database_is_waited_for(site: StackSite) -> None:
    """The command asks the database five times a second until it accepts connections."""
    with desk(site, *CLIENT) as place:
        asks = 'echo "$@" "$PGSSLMODE" "$PGPORT" >>asked; [ "$(wc -l <asked)" -ge 3 ]'
        naps, finds = 'echo "$@" >>slept', 'dirname "$0"'
        path = place.acting({"pg_isready": asks, "sleep": naps, "python": finds})
        done = place.follow(site.commands["wait-native"], **path)
        assert done.returncode == 0, done.stderr
        question = f"verify-full {site.stack.ports['POSTGRES']}"
        assert (place.folder / "asked").read_text().splitlines() == [question] * 3
        assert (place.folder / "slept").read_text().splitlines() == ["0.2"] * 2


@after("wait-native")
def clients_of_the_database_are_not_fooled(site: StackSite) -> None:
    """Who takes the database's port is told no password, and is not taken for the database."""
    for certificate in ("", foreign()):
        with desk(site, *CLIENT) as place, Squatter(certificate) as squatter:
            here = activated(site) | {"STACK_POSTGRES_PORT": str(squatter.port)}
            for program in ("psql", "pg_dump", "pg_isready"):
                visits = squatter.visits
                done = place.do(["./database-client", program], None, (), **here)
                assert done.returncode, f"{program} succeeds with another program"
                assert squatter.visits > visits, f"{program} has asked elsewhere: {done.stderr}"
            assert not probes.asks_for_password(squatter.port, site.folder / "custom-ca.crt")
            assert not squatter.told, "whoever takes the database's port is told its password"


@after("wait-native")
def clients_of_the_database_are_as_installed(site: StackSite) -> None:
    """What somebody has set for their own psql disturbs nothing."""
    with desk(site, *CLIENT) as place:
        (place.folder / ".psqlrc").write_text("\\echo disturbed\n")
        here = activated(site) | {"HOME": str(place.folder)}
        done = place.do(["./database-client", "psql", "--command=SELECT 1"], None, (), **here)
        assert done.returncode == 0, done.stderr
        assert "disturbed" not in done.stdout, done.stdout


@after("wait-native")
def a_client_of_the_database_needs_a_name(site: StackSite) -> None:
    """Without a program the script says that it wants one; what it is given goes to the program."""
    with desk(site, *CLIENT) as place:
        done = place.run("database-client")
        assert done.returncode, "it succeeds without a program"
        assert "name a program, such as psql" in done.stderr, done.stderr
        path = place.acting({"psql": 'printf "%s\n" "$@"', "python": 'dirname "$0"'})
        done = place.do(["./database-client", "psql", "a b", "c"], None, (), **path)
        assert done.stdout == "a b\nc\n", done.stdout
        for name in CLIENT[2:]:
            (place.folder / name).rename(place.folder / "away")
            done = place.do(["./database-client", "psql"], None, (), **path)
            assert done.returncode, f"it succeeds without {name}"
            (place.folder / "away").rename(place.folder / name)
