"""Every builder of Sphinx writes the whole guide, without a warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parsec_stack.stack import DOCS

# What each writes that has the text of the page about requirements, HTML aside (nox -s docs).
WRITTEN = {
    "singlehtml": "index.html",
    "text": "requirements.txt",
    "latex": "*.tex",
    "epub": "requirements.xhtml",
    "gettext": "requirements.pot",
}
# Doctrees can be shared by all but this one, which keeps more in them.
APART = "gettext"


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for what the builders read, so that the pages are read once."""
    return tmp_path_factory.mktemp("trees")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("builder", WRITTEN)
def test_builder(builder: str, trees: Path, tmp_path: Path) -> None:
    """It writes the guide's pages, and warns of nothing."""
    read = trees / ("apart" if builder == APART else "shared")
    argv = [sys.executable, "-m", "sphinx", "-Wqb", builder, "-d", str(read)]
    done = subprocess.run(
        [*argv, str(DOCS), str(tmp_path)], capture_output=True, text=True, timeout=600
    )
    found = list(tmp_path.glob(WRITTEN[builder]))

    assert (done.returncode, done.stderr) == (0, "")
    assert any("Make an empty folder" in file.read_text() for file in found), found
