"""Follow a small guide by docs-test itself, as ``nox -s docs-test`` does the real one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mini import Mini
from parsec_stack.stack import ROOT
from parsec_stack.versions import declared

# What the project's guide is about, whose checks follow the small one.
VERSION = str(declared(ROOT)["parsec"])


def follow(
    mini: Mini, *options: str, test: str = "test_block", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Execute the guide's native blocks, or another ``test``; an empty name means all tests.

    What it leaves lies in the ``build`` of the guide.
    """
    pages = ROOT / "tests" / "docs" / "test_pages.py"
    argv = ["--docs", str(mini.docs), "--flavour", "native", "-p", "no:cacheprovider", *options]
    return subprocess.run(
        [sys.executable, "-m", "pytest", f"{pages}::{test}" if test else str(pages), *argv],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def build_html(mini: Mini, builder: str = "html") -> Path:
    """Build the guide as HTML with its evidence; the folder of its pages."""
    extensions = str(ROOT / "docs" / "extensions")
    (mini.docs / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {extensions!r})\n"
        f'project = copyright = "mini"\nversion = release = {VERSION!r}\n'
        'extensions = ["evidence"]\n'
    )
    target = mini.root / "build" / "html"
    trees = f"-d{mini.root / 'build' / 'trees'}"
    argv = [sys.executable, "-m", "sphinx", "-Wqb", builder, trees, str(mini.docs), str(target)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return target
