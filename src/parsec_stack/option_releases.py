"""Find the first of the tested releases that has each option of the server.

``python -m parsec_stack.option_releases`` installs every release of the matrix that runs on this
Python into a folder of its own, reads its option table, and compares the result with
docs/option-releases.json; ``--write`` writes that file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
import venv

from packaging.version import Version

from parsec_stack.errors import StackError
from parsec_stack.stack import DOCS, ROOT

FILE = DOCS / "option-releases.json"
# pip's word for a package that needs another Python.
OTHER_PYTHON = "Requires-Python"


def matrix() -> list[str]:
    """Return the tested releases, oldest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return sorted(project["tool"]["parsec-stack"]["matrix"], key=Version)


def options_of(release: str) -> list[str] | None:
    """Return the flags of this release's options; None if it runs on another Python."""
    with tempfile.TemporaryDirectory(prefix="parsec-") as folder:
        venv.create(folder, with_pip=True)
        python = f"{folder}/bin/python"
        pip = [python, "-m", "pip", "install", "--quiet", f"parsec-cloud=={release}"]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode and OTHER_PYTHON in done.stderr:
            return None
        if done.returncode:
            raise StackError(f"parsec-cloud {release} cannot be installed: {done.stderr.strip()}")
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        read = [python, "-m", "parsec_stack.options"]
        done = subprocess.run(read, env=environment, capture_output=True, text=True, check=True)
        return [option["flag"] for option in json.loads(done.stdout)]


def first_releases(tables: dict[str, list[str]]) -> dict[str, str]:
    """Return for each flag the first release that has it; the releases come oldest first."""
    first: dict[str, str] = {}
    for release, flags in tables.items():
        for flag in flags:
            first.setdefault(flag, release)
    return dict(sorted(first.items()))


def generate() -> str:
    """Return the text of the file."""
    tables = {}
    for release in matrix():
        flags = options_of(release)
        if flags is None:
            print(f"{release}: runs on another Python, skipped")
        else:
            print(f"{release}: {len(flags)} options")
            tables[release] = flags
    return json.dumps(first_releases(tables), indent=2) + "\n"


def main() -> None:
    """Compare the file with the releases, or write it."""
    try:
        text = generate()
    except StackError as error:
        sys.exit(f"error: {error}")
    if "--write" in sys.argv[1:]:
        FILE.write_text(text)
    elif text != FILE.read_text():
        command = "nox -s option-releases -- --write"
        sys.exit(f"error: {FILE.relative_to(ROOT)} does not match the releases: run '{command}'")


if __name__ == "__main__":
    main()
