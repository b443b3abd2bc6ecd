"""Claims of a guide with some files, for tests of what is known of them."""

from __future__ import annotations

from pathlib import Path

from guidewalk.claims import Claims, Verdict
from guidewalk.guide import Block, Claim, Guide, Kind
from guidewalk.registry import Registry
from parsec_stack.stack import Stack
from parsec_stack.verify.parsec_guide import ParsecGuide
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
    "commands": "curl --fail --cacert custom-ca.crt https://x\npython -m venv venv\n"
    "A=b true <orgname>\n",
    "said": "the store said no\n",
}
KINDS: dict[str, Kind] = {"commands": "command", "said": "message"}
# Of what a literal is told.
SUBJECTS = {
    "https://localhost:6777": "SERVER",
    "https://localhost:6778": "SERVER",
    "127.0.0.1:5432": "POSTGRES",
    "127.0.0.1:5433": "POSTGRES",
    "http://127.0.0.1:8025": "INBOX",
    "127.0.0.1:8025": "INBOX",
    "8443": "PROXY",
    "8444": "PROXY",
    "0640": "parsec-server.key",
}
# What other sources than the guide's files know, each with a misspelt twin and its problem.
REAL = {
    "setting of the server": ("PARSEC_EMAIL_USE_SSL=true", "", "PARSEC_EMAIL_USE_SSL=maybe",
                              "refuses"),
    "option of the server": ("--server-addr", "", "--server-address", "knows this"),
    "command": ("docker compose down --volumes", "", "docker compose down --volume", "no option"),
    "address of the stack": ("https://localhost:6777", "", "https://localhost:6778", "is 6777"),
    "port of the stack": ("127.0.0.1:5432", "", "127.0.0.1:5433", "POSTGRES is 5432"),
    "file": ("custom-ca.crt", "", "custom-ca.crd", "knows this"),
    "ending of file names": (".crt", "", ".CRT", "knows this"),
    "form of the block store": ("s3:E:R:B:K:S", "", "s3:E:R:B:K", "Invalid S3 config"),
    "anything, in stated output": ("...", "", "....", "knows this"),
    "project's site": ("https://parsec.cloud", "link", "https://parsec.clout", "knows this"),
    "attack": ("test_private_keys", "", "test_private_kees", "no attack"),
    "port that answers anybody": ("8443", "open-port", "8444", "PROXY is 443 or 8443"),
    "field of the server's log": ("event", "log-field", "events", "the server logs event"),
    "version of TLS": ("1.2", "number", "1.4", "knows this"),
    "trusted address": ("172.16.0.0/12", "trusted", "localhost", "a mere name"),
    "name that is never trusted": ("localhost", "untrusted", "127.0.0.1", "may well match"),
    "the same to bash and compose": ("${NAME:-x}", "alike", "$$", "is "),
    "not the same to bash and compose": ("$$", "unlike", "$NAME", "read it alike"),
}  # fmt: skip


def block(name: str, text: str) -> Block:
    """A file of the guide, or what else KINDS says."""
    kind = KINDS.get(name, "file")
    target = name if kind == "file" else None
    return Block(
        "index", "docs/index.rst", 1, text, "bash", kind, ("native", "docker"), name, target=target
    )


def claims_of(files: dict[str, str], *claims: Claim) -> Claims:
    """The claims of a guide that shows these files."""
    guide = Guide([block(*item) for item in files.items()], claims)
    return ParsecGuide().claims_of(guide, Registry())


def claim(text: str, role: str = "", mark: str = "") -> Claim:
    """A claim of a page for both flavours; some say of what they are told."""
    reason = "why"
    if not mark and text in SUBJECTS:
        mark, reason = "subject", SUBJECTS[text]
    return Claim("index", "docs/index.rst", 7, text, ("native", "docker"), role, mark, reason)


def verdict(text: str, role: str = "", mark: str = "", **changed: str) -> Verdict:
    """What becomes of this claim in a guide with FILES."""
    one = claim(text, role, mark)
    return claims_of(FILES | changed, one).verdict(one, "native")


def settled(folder: Path, offset: int, *claims: Claim) -> list[str]:
    """The outcomes after the stack in this folder has been asked."""
    known = claims_of(FILES, *claims)
    before = {known.verdict(one, "native").outcome for one in claims}
    known.settle(site_of(Stack(folder, "native", offset), {}))

    assert before == {"not reached"}
    return [known.verdict(one, "native").outcome for one in claims]
