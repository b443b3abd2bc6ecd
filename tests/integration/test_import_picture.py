"""The contributors' picture of the imports, in a page that Sphinx builds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mini import Mini
from parsec_stack.stack import DOCS


@pytest.mark.parametrize("grimp", ["here", "missing"])
def test_the_page(grimp: str, tmp_path: Path) -> None:
    """It shows this project's groups in a picture and in words, where grimp is installed."""
    mini = Mini(tmp_path).page(".. import-picture:: groups.toml\n")
    hidden = "" if grimp == "here" else 'sys.modules["grimp"] = None\n'
    (mini.docs / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(DOCS / 'extensions')!r})\n{hidden}"
        'extensions = ["architecture"]\n'
    )
    shutil.copy(DOCS / "architecture" / "groups.toml", mini.docs)
    command = [sys.executable, "-m", "sphinx", "-W", "-q", str(mini.docs), str(tmp_path / "html")]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    text = (tmp_path / "html" / "index.html").read_text()

    assert ("which is not installed here" in text) == (grimp == "missing")
    boxes = text.count('class="layers-name"')
    assert boxes == text.count('<tr class="row-') - (grimp == "here")
    assert (boxes > 15) == (grimp == "here")
