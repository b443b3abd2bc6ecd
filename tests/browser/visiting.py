"""Visit pages of a folder in a browser, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from parsec_stack.stack import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Route

HTML = ROOT / "build" / "html"
DESKTOP: Any = {"width": 1280, "height": 900}
# No server listens there.
ADDRESS = "http://localhost:1"


def serve(context: BrowserContext, folder: Path) -> None:
    """Answer what the context asks at ADDRESS with the folder's files, without any network.

    Chromium breaks all connections with ERR_NETWORK_CHANGED, even those to the machine itself, when
    an interface comes or goes, such as that of a container.
    """

    def answer(route: Route) -> None:
        path = folder / unquote(urlsplit(route.request.url).path).lstrip("/")
        if path.is_file():
            route.fulfill(path=path)
        else:
            route.fulfill(status=404, body="there is no such file")

    context.route(f"{ADDRESS}/**", answer)


@contextmanager
def opened(browser: Browser, address: str, page_name: str, **options: Any) -> Iterator[Page]:
    """The page in a browser that knows nothing of the others."""
    context = browser.new_context(**({"viewport": DESKTOP} | options))
    serve(context, HTML)
    try:
        page = context.new_page()
        page.goto(f"{address}/{page_name}.html")
        yield page
    finally:
        context.close()
