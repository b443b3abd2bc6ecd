"""Everything is read, written and printed in UTF-8, whatever the user's locale is."""

import shutil
import subprocess
from pathlib import Path

import pytest

from invoking import invoke
from parsec_stack.stack import Stack


@pytest.fixture
def latin(tmp_path: Path) -> dict[str, str]:
    """The variables of a locale of one byte a letter."""
    if not shutil.which("localedef"):
        pytest.skip("localedef is missing: it makes locales")
    make = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(tmp_path / "de_DE")]
    if subprocess.run(make, capture_output=True).returncode:
        pytest.skip("this machine has no sources of locales")
    return {"LOCPATH": str(tmp_path), "LC_ALL": "de_DE", "PYTHONUTF8": "0"}


def test_letters_that_the_locale_lacks(tmp_path: Path, latin: dict[str, str]) -> None:
    """A path with such letters is remembered as it is; what a program says with some is printed."""
    folder = tmp_path / "Ж✔"
    done = invoke(folder, "tls", "adminToken", **latin)
    assert done.returncode == 0, done.stderr
    script = folder / "gen-admin-token.sh"
    script.write_text(script.read_text().replace("set -euo", "echo 'migrated ✔'; set -euo", 1))

    done = invoke(folder, "adminToken", **latin)

    assert done.returncode == 0, done.stderr
    assert "migrated ✔" in done.stdout
    assert invoke(folder, "status", "--json").returncode == 0


def test_what_tasks_start_speaks_utf8(tmp_path: Path) -> None:
    """So do the server and the other programs in Python."""
    assert Stack(tmp_path).environment()["PYTHONUTF8"] == "1"
