"""From page to page a reader stays on the way that they have chosen."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from mini import Mini
from parsec_stack.stack import DOCS


def test_neighbours_are_of_one_way(tmp_path: Path) -> None:
    """A page of one flavour leads to none of the other; pages for all lead to every page."""
    mini = Mini(tmp_path).page(".. toctree::\n\n   both\n   docker\n   native\n   end\n")
    mini.page("Text.\n", "both").page("Text.\n", "end")
    for flavour in ("docker", "native"):
        mini.page(f":flavour: {flavour}\n\nText.\n", flavour)
    extensions = str(DOCS / "extensions")
    (mini.docs / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {extensions!r})\nextensions = ['ways']\n"
    )
    built = mini.root / "html"
    argv = [sys.executable, "-m", "sphinx", "-W", "-q", str(mini.docs), str(built)]
    subprocess.run(argv, check=True, timeout=120)

    def leads(page: str, to: str) -> str:
        """The page to which this one leads by "next" or "prev"."""
        found = re.search(rf'<link rel="{to}"[^>]* href="(\w+)\.html"', read(page))
        return found[1] if found else ""

    def read(page: str) -> str:
        return (built / f"{page}.html").read_text()

    pages = ("both", "docker", "native", "end")
    assert [leads(page, "next") for page in pages] == ["docker", "end", "end", ""]
    assert [leads(page, "prev") for page in pages] == ["index", "both", "both", "native"]
