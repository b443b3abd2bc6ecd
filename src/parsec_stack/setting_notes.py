"""What the help text of a setting leaves out or has wrong, each seen with the real server.

tests/integration/test_setting_notes.py shows that every one of these still holds.
"""

from __future__ import annotations

NOTES = {
    "--db-min-connections": "From the environment it is read, and the default used all the same. "
    "Only the command-line option works.",
    "--db-max-connections": "From the environment it is read, and the default used all the same. "
    "Only the command-line option works.",
    "--blockstore": "A space separates several stores, of which the first word says how they work "
    "together; so no part of a single one may contain a space.",
    "--email-use-ssl": "This is TLS from the first byte, usually on port 465: the help text has "
    "the two the other way round. It wins when both are set.",
    "--email-use-tls": "This is STARTTLS, usually on port 587: the help text has the two the "
    "other way round.",
    "--email-sender": "Required as soon as the host is a real one.",
    "--server-addr": "Without a port it means 443, or 80 with no_ssl=true; never the one on "
    "which the server listens.",
    "--proxy-trusted-addresses": "A host name never matches, and gives no error.",
    "--ssl-keyfile": "Set key and certificate, or neither: with one alone the server ends, and "
    "does not say why.",
    "--ssl-certfile": "Set key and certificate, or neither: with one alone the server ends, and "
    "does not say why.",
    "--ssl-ciphers": "The default is not the list of Python's module: it leaves only suites in "
    "CBC mode for TLS 1.2. A colon separates as well as a comma.",
    "--log-level": "WARNING still lets the HTTP server's informational lines through.",
    "--log-file": "The file is emptied at each start.",
    "--dev": "For developers of Parsec: database, object store and mails are kept in memory only.",
    "--debug": "Its variable is the only one without the prefix.",
}
