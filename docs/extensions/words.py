"""What the extensions write for readers, as whole sentences that a catalog may translate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.locale import get_translation

if TYPE_CHECKING:
    from sphinx.application import Sphinx

CATALOG = "guide"
# Where translations are, by language: LANGUAGE/LC_MESSAGES/guide.po.
FOLDER = Path(__file__).parent.parent / "locale"
_ = get_translation(CATALOG)


def register(app: Sphinx) -> None:
    """Let the language of the build choose the words."""
    app.add_message_catalog(CATALOG, str(FOLDER))
