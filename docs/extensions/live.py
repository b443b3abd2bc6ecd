"""Show on each page of ``nox -s docs-live`` what docs-test finds wrong, which needs no command.

The pages ask for ``_static/findings.json``, which ``pytest tests/docs --static --findings FILE``
writes after every build.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SCRIPT = Path(__file__).with_suffix(".js")


def setup(app: Sphinx) -> dict[str, Any]:
    """Put the script into every page."""
    app.add_js_file(None, body=SCRIPT.read_text(), loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
