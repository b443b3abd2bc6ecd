"""The mails in the catcher's inbox, by MailHog's API or maildump's."""

from __future__ import annotations

import json
import time
from email import message_from_string, policy
from email.message import EmailMessage
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from parsec_stack.errors import StackError

# How long a mail that was sent may take to arrive, in seconds.
ARRIVES_WITHIN = 15.0
POLL = 0.05


def get(port: int, path: str) -> str | None:
    """What the inbox answers; None for a path that it does not have."""
    try:
        address = f"http://127.0.0.1:{port}{path}"
        with build_opener(ProxyHandler({})).open(address, timeout=10) as answer:
            return str(answer.read().decode(errors="replace"))
    except HTTPError:
        return None
    except (URLError, OSError) as error:
        raise StackError(f"the inbox at http://127.0.0.1:{port} does not answer: {error}") from None


def mails(port: int) -> list[EmailMessage]:
    """The latest mails, newest first."""
    if answer := get(port, "/api/v2/messages?limit=50"):
        return [parse(item) for item in mailhog_sources(json.loads(answer))]
    known = json.loads(get(port, "/messages/") or "{}").get("messages", [])
    newest = sorted((message["id"] for message in known), reverse=True)[:50]
    return [parse(get(port, f"/messages/{number}.source") or "") for number in newest]


def mailhog_sources(answer: dict[str, Any]) -> list[str]:
    """The mails of MailHog's answer, as they came."""
    return [item["Raw"]["Data"] for item in answer["items"]]


def parse(source: str) -> EmailMessage:
    """The mail that was sent as this text (RFC 5322)."""
    return message_from_string(source, policy=policy.default)


def text_of(mail: EmailMessage) -> str:
    """What a reader sees of the mail, decoded."""
    body = mail.get_body(preferencelist=("plain", "html"))
    return str(body.get_content()) if body else ""


def await_mail(port: int, recipient: str) -> EmailMessage:
    """The newest mail to this address, once it is there; StackError if it does not arrive."""
    deadline = time.monotonic() + ARRIVES_WITHIN
    while time.monotonic() < deadline:
        for mail in mails(port):
            if recipient in str(mail["To"]):
                return mail
        time.sleep(POLL)
    raise StackError(
        f"no mail to {recipient} arrived at http://127.0.0.1:{port} within {ARRIVES_WITHIN:.0f} s"
    )
