"""The mails in the mail catcher's inbox, read by the API of Mailpit, MailHog or maildump."""

from __future__ import annotations

import base64
import json
import ssl
import time
from email import message_from_string, policy
from email.message import EmailMessage
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from parsec_stack.errors import StackError
from parsec_stack.stack import Stack

# How many seconds a sent mail may take to arrive.
ARRIVES_WITHIN = 15.0
POLL = 0.05
# How many of the latest mails are looked at.
LATEST = 50
CREDENTIALS = "parsec-credentials.env"


def address(stack: Stack) -> str:
    """Return the address at which a reader opens the inbox."""
    return f"https://localhost:{stack.ports['INBOX']}"


def login(stack: Stack) -> dict[str, str]:
    """Return the header that logs in to the inbox."""
    known = stack.env_file(CREDENTIALS)
    pair = f"{known.get('MAIL_USER', '')}:{known.get('MAIL_PASSWORD', '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def get(stack: Stack, path: str) -> str | None:
    """Return the inbox's answer; None for a path that it does not have."""
    trust = ssl.create_default_context(cafile=str(stack.folder / "custom-ca.crt"))
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=trust))
    try:
        request = Request(address(stack) + path, headers=login(stack))
        with opener.open(request, timeout=10) as answer:
            return str(answer.read().decode(errors="replace"))
    except HTTPError as error:
        if error.code == 401:
            raise StackError(
                f"the inbox at {address(stack)} refuses the login of {CREDENTIALS}: "
                "run 'invoke adminToken restart'"
            ) from None
        return None
    except (URLError, OSError) as error:
        raise StackError(f"the inbox at {address(stack)} does not answer: {error}") from None


def mails(stack: Stack) -> list[EmailMessage]:
    """Return the latest mails, newest first."""
    # MailHog lists the sources of all mails in one place, Mailpit and maildump give each its own.
    if answer := get(stack, f"/api/v1/messages?limit={LATEST}"):
        known = json.loads(answer)
        if isinstance(known, list):
            return [parse(item["Raw"]["Data"]) for item in known[:LATEST]]
        places = [f"/api/v1/message/{item['ID']}/raw" for item in known["messages"]]
    else:
        known = json.loads(get(stack, "/messages/") or "{}").get("messages", [])
        newest = sorted((message["id"] for message in known), reverse=True)[:LATEST]
        places = [f"/messages/{number}.source" for number in newest]
    return [parse(get(stack, place) or "") for place in places]


def parse(source: str) -> EmailMessage:
    """Return the mail with this source (RFC 5322)."""
    return message_from_string(source, policy=policy.default)


def text_of(mail: EmailMessage) -> str:
    """Return what a reader sees of the mail, decoded."""
    body = mail.get_body(preferencelist=("plain", "html"))
    return str(body.get_content()) if body else ""


def await_mail(stack: Stack, recipient: str) -> EmailMessage:
    """Wait for a mail to this address and return the newest; StackError if none arrives."""
    deadline = time.monotonic() + ARRIVES_WITHIN
    while time.monotonic() < deadline:
        for mail in mails(stack):
            if recipient in str(mail["To"]):
                return mail
        time.sleep(POLL)
    raise StackError(
        f"no mail to {recipient} arrived at {address(stack)} within {ARRIVES_WITHIN:.0f} s"
    )
