"""maildump behind TLS and a login: mail-catcher.py ADDRESS SMTP_PORT INBOX_PORT"""

# Reads parsec-smtp.crt, parsec-smtp.key and secrets/mail-users in the current folder, and keeps
# the mails in data/mail. Only who knows the login hands in a mail, or reads one; no page of
# another site reads or changes anything, under whatever name it calls.
import asyncio
import logging
import sys
import threading
import warnings
from concurrent.futures import Future
from pathlib import Path
from ssl import Purpose, SSLError, create_default_context

import gevent
import gevent.ssl
from aiosmtpd.smtp import SMTP, AuthResult
from flask import abort, request
from gevent.pywsgi import WSGIServer
from maildump import db
from maildump.smtp import smtp_handler
from maildump.web import app
from passlib.apache import HtpasswdFile

CERTIFICATE, KEY, USERS = "parsec-smtp.crt", "parsec-smtp.key", "secrets/mail-users"
# For TLS 1.2: none that is out of date.
SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"
hub = gevent.get_hub()
# Who speaks no TLS, or hangs up, is no error of ours.
hub.NOT_ERROR = (*hub.NOT_ERROR, SSLError, ConnectionError)


def fail(reason):
    """End with a message."""
    sys.exit(f"mail-catcher.py: {reason}")


@app.before_request
def refuse_other_pages():
    """Answer the inbox's own pages, and who is no page."""
    if request.origin not in (None, request.host_url.removesuffix("/")):
        abort(403)


@app.after_request
def confine(response):
    """Run no script of a mail, and appear in no page of others."""
    policy = "frame-ancestors 'self'"
    if request.path.startswith("/messages/"):
        policy += "; sandbox allow-same-origin allow-popups"
    response.headers["Content-Security-Policy"] = policy
    return response


class Handler:
    """Takes the mails, in the thread of the SMTP server; maildump keeps them, in the inbox's."""

    async def handle_DATA(self, server, session, envelope):
        """Say that the mail was taken when it has been stored."""
        stored = Future()
        hub.loop.run_callback_threadsafe(gevent.spawn, self.store, envelope, stored)
        await asyncio.wrap_future(stored)
        return "250 OK"

    @staticmethod
    def store(envelope, stored):
        """Store the mail and show it."""
        try:
            stored.set_result(smtp_handler(envelope.mail_from, envelope.rcpt_tos, envelope.content))
        except Exception as error:
            stored.set_exception(error)


def serve_smtp(address, port, users):
    """Take mails over TLS from the first byte, after a login."""

    def check(server, session, envelope, mechanism, given):
        known = users.check_password(given.login, given.password)
        return AuthResult(success=bool(known), handled=False)

    # aiosmtpd takes a connection that is TLS from the first byte for one without.
    warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS")
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    options = {"auth_required": True, "auth_require_tls": False, "authenticator": check}
    loop = asyncio.new_event_loop()
    tls = create_default_context(Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATE, KEY)
    tls.set_ciphers(SUITES)
    loop.run_until_complete(
        loop.create_server(lambda: SMTP(Handler(), loop=loop, **options), address, port, ssl=tls)
    )
    threading.Thread(target=loop.run_forever, daemon=True).start()


def serve_inbox(address, port, users):
    """Show the mails, under the names of this machine's loopback alone."""
    app.config.update(
        MAILDUMP_HTPASSWD=users,
        MAILDUMP_NO_QUIT=True,
        TRUSTED_HOSTS=["localhost", "127.0.0.1", "::1"],
    )
    tls = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE, KEY)
    tls.set_ciphers(SUITES)
    WSGIServer((address, port), app, ssl_context=tls).serve_forever()


def main():
    """Serve until the process is ended."""
    address, smtp_port, inbox_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for name, maker in ((KEY, "setup-tls.sh"), (USERS, "gen-credentials.sh")):
        if not Path(name).exists():
            fail(f"{name} is missing: run {maker} first")
    users = HtpasswdFile(USERS)
    db.connect("data/mail/mails.sqlite")
    db.create_tables()
    try:
        serve_smtp(address, smtp_port, users)
        serve_inbox(address, inbox_port, users)
    except OSError as error:
        fail(error)


main()
