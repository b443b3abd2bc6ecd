"""What the proxy keeps from the server, and what the server bears by itself."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

from checks.common import activated, after, values
from checks.services import flavour_of
from guidewalk.tool import output_of
from parsec_stack import docker, smoke
from parsec_stack.verify.stack_site import StackSite

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
# So many bytes of a body are taken.
LONGEST_BODY = 1024 * 1024
# So many requests fail, while so many clients ask something else.
FAILURES, OTHERS = 60, 3
ADMINISTRATION = "/administration/organizations"
RELOAD = ["nginx", "-p", "/tmp", "-c", "/etc/nginx/nginx.conf", "-s", "reload"]
POLL = 0.05


def answer(
    site: StackSite, port: str, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str]:
    """Status and text of what is answered at the port to the path as it is written."""
    with connection(site, port) as asked:
        asked.request(method, path, body, headers)
        answered = asked.getresponse()
        return answered.status, answered.read().decode(errors="replace")


@contextmanager
def connection(site: StackSite, port: str) -> Iterator[http.client.HTTPSConnection]:
    """A connection to the port."""
    context = ssl.create_default_context(cafile=str(site.folder / "custom-ca.crt"))
    number = site.stack.ports[port]
    opened = http.client.HTTPSConnection("localhost", number, timeout=20, context=context)
    try:
        yield opened
    finally:
        opened.close()


def records_of(site: StackSite, path: str, word: str = "") -> list[str]:
    """The lines of the server's log from the last one on that tells of a request of this path.

    The word is in one of them.
    """
    deadline = time.monotonic() + site.patience
    while True:  # the log follows the answer
        lines = flavour_of(site).log_tail(site.stack, "parsec-server", 400).splitlines()
        found = [number for number, line in enumerate(lines) if path in line]
        records = lines[found[-1] :] if found else []
        if any(word in line for line in records):
            return records
        told = f"the log of the server has no {word!r} of the request {path[:80]}"
        assert time.monotonic() < deadline, told
        time.sleep(POLL)


@after("proxy-check-native", "proxy-check-docker")
def the_interface_is_hidden(site: StackSite) -> None:
    """What the server tells developers is not found at the proxy, and never asked of the server."""
    for path in OF_THE_INTERFACE:
        status, text = answer(site, "PROXY", "GET", path)
        assert status == 404, f"{path} answers {status}"
        assert "nginx" in text, f"{path} is answered by the server"


@after("proxy-check-native", "proxy-check-docker")
def an_error_is_cheap(site: StackSite) -> None:
    """An error costs the server little time, and one short object in its log, with a traceback."""
    path, started = f"/openapi.json?cheap-{time.monotonic_ns()}", time.monotonic()
    assert answer(site, "SERVER", "GET", path)[0] == 500
    assert answer(site, "SERVER", "GET", "/")[0] == 200
    took = time.monotonic() - started
    assert took < SECONDS_OF_AN_ERROR, f"an error, and the next request, took {took:.1f} s"
    records = [json.loads(line) for line in records_of(site, path, "Traceback")]
    traces = [record for record in records if "Traceback" in record.get("exception", "")]
    assert len(traces) == 1, f"{len(traces)} of {len(records)} records have a traceback"
    assert len(json.dumps(traces)) < LOG_OF_A_REQUEST


@after("proxy-check-native", "proxy-check-docker")
def what_a_request_logs_is_bounded(site: StackSite) -> None:
    """The longest request that the proxy lets pass makes one short line of the server's log."""
    mark = f"/{time.monotonic_ns()}-"
    # Of these each becomes three characters of the log.
    path = mark + '"' * (LONGEST_PATH - len(mark))
    assert answer(site, "PROXY", "GET", path)[0] == 404
    assert answer(site, "PROXY", "GET", f"{path}xx")[0] == 414
    assert len(records_of(site, mark)[0]) < LOG_OF_A_REQUEST


@after("proxy-check-native", "proxy-check-docker")
def an_error_costs_nobody_else_an_answer(site: StackSite) -> None:
    """Who asks after a request that failed inside the server is answered; nothing is sent twice."""
    import parsec._parsec as parsec

    from parsec_stack import client

    device = smoke.new_organization(site.stack, smoke.server_of(site.stack))
    path, body = f"/authenticated/{device.organization}", {"Content-Type": client.MSGPACK}
    command = parsec.authenticated_cmds.latest.ping.Req(ping="x").dump()
    ended, failed = Event(), Counter[int]()
    with ThreadPoolExecutor(OTHERS) as pool:
        others = [pool.submit(keep_asking, site, ended) for _ in range(OTHERS)]
        try:
            for _ in range(FAILURES):
                headers = device.headers() | body | {"Api-Version": client.api_version()}
                failed[answer(site, "PROXY", "POST", path, command, **headers)[0]] += 1
        finally:
            ended.set()
    answered = sum((other.result() for other in others), Counter[int]())
    assert failed == {500: FAILURES}, failed
    assert set(answered) == {200}, answered
    log = flavour_of(site).log_tail(site.stack, "parsec-server", 10_000)
    sent = [line for line in log.splitlines() if f"POST {path} HTTP" in line and " 500" in line]
    assert len(sent) == FAILURES, f"{len(sent)} requests for {FAILURES}"


def keep_asking(site: StackSite, ended: Event) -> Counter[int]:
    """Ask the proxy again and again, until others have ended; what was answered."""
    answered: Counter[int] = Counter()
    with connection(site, "PROXY") as asked:
        while not ended.is_set():
            asked.request("GET", "/")
            answer = asked.getresponse()
            answer.read()
            answered[answer.status] += 1
    return answered


@after("proxy-check-native", "proxy-check-docker")
def bodies_are_bounded(site: StackSite) -> None:
    """The proxy takes bodies as long as the server does, and no longer ones, on every path."""
    for path in ("/", "/anonymous/NoSuch", "/authenticated/NoSuch", "/administration/x"):
        assert answer(site, "PROXY", "POST", path, bytes(LONGEST_BODY + 1))[0] == 413, path
    assert answer(site, "PROXY", "POST", "/anonymous/NoSuch", bytes(LONGEST_BODY))[0] != 413
    headers = {"Api-Version": "5.3", "Content-Type": "application/msgpack"}
    long = bytes(LONGEST_BODY + 1)
    assert answer(site, "SERVER", "POST", "/anonymous/NoSuch", long, **headers)[0] in (404, 413)


def administer(site: StackSite) -> tuple[int, str]:
    """What the proxy answers to who creates an organization with the right token."""
    token = values(site.folder / "parsec-admin-token.env")["PARSEC_ADMINISTRATION_TOKEN"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({"organization_id": "ThroughProxy"}).encode()
    return answer(site, "PROXY", "POST", ADMINISTRATION, body, **headers)


@after("proxy-check-native", "proxy-check-docker")
def administrators_are_let_in_by_their_address(site: StackSite) -> None:
    """Nobody administrates through the proxy, but from where the site allows it.

    The link of the organization that is made then leads to the proxy.
    """
    assert administer(site)[0] == 403
    path = site.folder / "parsec-nginx.conf"
    kept = path.read_text()
    try:
        # In place, for the container has this file and no other.
        path.write_text(kept.replace("deny all;", f"allow {own_address(site)};\n        deny all;"))
        apply_site(site)
        link = eventually(site, 200)
    finally:
        path.write_text(kept)
        apply_site(site)
    host = f"parsec3://localhost:{site.stack.ports['PROXY']}/"
    assert json.loads(link)["bootstrap_url"].startswith(host), "the link leads elsewhere"
    eventually(site, 403)
    guesses = Counter(administer(site)[0] for _ in range(30))
    assert guesses[429], guesses


def own_address(site: StackSite) -> str:
    """From where the proxy sees this machine's clients come."""
    if site.flavour == "native":
        return "127.0.0.1"
    from checks.containers import network_of

    return network_of(site, "parsec-proxy", "local")["Gateway"]


def apply_site(site: StackSite) -> None:
    """Let nginx read the site anew."""
    if site.flavour == "native":
        restart = ["supervisorctl", "--configuration", "supervisord.conf", "restart"]
        said = output_of([*restart, "parsec-proxy"], site.folder, activated(site))
        assert not said.status, said.last_line
    else:
        proxy = docker.containers(site.stack)["parsec-proxy"]
        assert proxy.exec_run(RELOAD).exit_code == 0


def eventually(site: StackSite, wanted: int) -> str:
    """The answer to an administrator, once it is of this kind."""
    deadline = time.monotonic() + site.patience
    while True:
        try:
            status, text = administer(site)
        except OSError:
            status, text = 0, ""
        if status == wanted:
            return text
        assert time.monotonic() < deadline, f"an administrator is answered {status}"
        time.sleep(1.0)  # faster would be too many guesses
