"""What the proxy keeps from the server, and what the server bears by itself."""

from __future__ import annotations

import http.client
import json
import ssl
import time

from checks.common import after
from checks.services import flavour_of
from parsec_stack.verify.site import Site

# What the server tells of its interface, written in several ways.
OF_THE_INTERFACE = (
    *("/docs", "/redoc", "/openapi.json", "/openapi.json?x=1", "/docs/oauth2-redirect", "/docs/"),
    *("//openapi.json", "/%6fpenapi.json", "/x/../openapi.json", "/./docs", "/x/%2e%2e/redoc"),
)
# An error costs the server less than so many seconds, and so many bytes of its log.
SECONDS_OF_AN_ERROR = 2.0
LOG_OF_A_REQUEST = 64 * 1024
# nginx takes no longer line of a request (large_client_header_buffers), the server's word included.
LONGEST_PATH = 8 * 1024 - len("GET  HTTP/1.1\r\n") - 1
POLL = 0.05


def answer(site: Site, port: str, method: str, path: str) -> tuple[int, str]:
    """Status and text of what is answered at the port to the path as it is written."""
    ca_file = site.folder / "custom-ca.crt"
    context = ssl.create_default_context(cafile=str(ca_file))
    connection = http.client.HTTPSConnection(
        "localhost", site.stack.ports[port], timeout=20, context=context
    )
    try:
        connection.request(method, path)
        answered = connection.getresponse()
        return answered.status, answered.read().decode(errors="replace")
    finally:
        connection.close()


def records_of(site: Site, path: str) -> list[str]:
    """The lines of the server's log from the last one on that tells of a request of this path."""
    deadline = time.monotonic() + site.patience
    while True:  # the log follows the answer
        lines = flavour_of(site).log_tail(site.stack, "parsec-server", 400).splitlines()
        found = [number for number, line in enumerate(lines) if path in line]
        if found:
            return list(lines[found[-1] :])
        assert time.monotonic() < deadline, f"the request {path[:80]} is not in the server's log"
        time.sleep(POLL)


@after("proxy-check-native", "proxy-check-docker")
def the_interface_is_hidden(site: Site) -> None:
    """What the server tells developers is not found at the proxy, and never asked of the server."""
    for path in OF_THE_INTERFACE:
        status, text = answer(site, "PROXY", "GET", path)
        assert status == 404, f"{path} answers {status}"
        assert "nginx" in text, f"{path} is answered by the server"


@after("proxy-check-native", "proxy-check-docker")
def an_error_is_cheap(site: Site) -> None:
    """An error costs the server little time, and one short object in its log, with a traceback."""
    path, started = f"/openapi.json?cheap-{time.monotonic_ns()}", time.monotonic()
    assert answer(site, "SERVER", "GET", path)[0] == 500
    assert answer(site, "SERVER", "GET", "/")[0] == 200
    took = time.monotonic() - started
    assert took < SECONDS_OF_AN_ERROR, f"an error, and the next request, took {took:.1f} s"
    records = [json.loads(line) for line in records_of(site, path)]
    traces = [record for record in records if "Traceback" in record.get("exception", "")]
    assert len(traces) == 1, f"{len(traces)} of {len(records)} records have a traceback"
    assert len(json.dumps(traces)) < LOG_OF_A_REQUEST


@after("proxy-check-native", "proxy-check-docker")
def what_a_request_logs_is_bounded(site: Site) -> None:
    """The longest request that the proxy lets pass makes one short line of the server's log."""
    mark = f"/{time.monotonic_ns()}-"
    # Of these each becomes three characters of the log.
    path = mark + '"' * (LONGEST_PATH - len(mark))
    assert answer(site, "PROXY", "GET", path)[0] == 404
    assert answer(site, "PROXY", "GET", f"{path}xx")[0] == 414
    assert len(records_of(site, mark)[0]) < LOG_OF_A_REQUEST
