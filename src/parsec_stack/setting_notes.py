"""Notes on what the help text of a setting leaves out or has wrong, as seen with the real server.

tests/integration/test_setting_notes.py shows that each of these still holds.
"""

from __future__ import annotations

NOTES = {
    "--db-min-connections": "The server reads the variable but uses the default all the same. "
    "Only the command-line option works.",
    "--db-max-connections": "The server reads the variable but uses the default all the same. "
    "Only the command-line option works.",
    "--blockstore": "A space separates several stores, and the first word says how they work "
    "together. So no part of a single store may contain a space.",
    "--email-use-ssl": "This is TLS from the first byte, usually on port 465; the help text "
    "describes the two options the other way round. This one takes precedence "
    "if both are set.",
    "--email-use-tls": "This is STARTTLS, usually on port 587; the help text describes the two "
    "options the other way round.",
    "--email-sender": "Required as soon as the host is a real mail server.",
    "--server-addr": "Without a port the address means port 443, or port 80 with no_ssl=true, and "
    "never the port on which the server listens.",
    "--proxy-trusted-addresses": "A host name never matches, and the server reports no error.",
    "--ssl-keyfile": "Set both key and certificate, or neither. If only one is set, the server "
    "ends without giving a reason.",
    "--ssl-certfile": "Set both key and certificate, or neither. If only one is set, the server "
    "ends without giving a reason.",
    "--ssl-ciphers": "The default is not the default list of Python's ssl module: for TLS 1.2 it "
    "leaves only suites in CBC mode. You can separate suites with colons as well "
    "as commas.",
    "--log-level": "WARNING still lets informational lines of the HTTP server through.",
    "--log-file": "The server empties the file at each start.",
    "--dev": "For developers of Parsec: the server keeps database, object store and mails only in "
    "memory.",
    "--debug": "Its variable is the only one without the prefix.",
}
