"""guidewalk is of use without this project: a wheel, and a second guide that it follows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parsec_stack.stack import ROOT

SOURCES = ROOT / "src" / "guidewalk"
EXAMPLE = ROOT / "examples" / "greeting"
# What the wheel needs to follow a guide, and what reads pages in Markdown.
NEEDED = ("sphinx", "docutils", "jinja2", "packaging", "psutil", "rich", "pytest", "myst-parser")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has the wheel and what it needs, and nothing of this project."""
    base = tmp_path_factory.mktemp("wheel")
    sources, folder = base / "sources", base / "environment"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("__pycache__"))
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", base, sources)
    (wheel,) = base.glob("guidewalk-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    locked = ROOT / "scripts" / "requirements-checks.lock", ROOT / "scripts" / "requirements.lock"
    pins = folder / "pins.txt"
    pins.write_text("".join(path.read_text() for path in locked))
    # pip obeys what the user has configured of it.
    run(*pip, "--python", python, "install", "--constraint", versions(pins), *NEEDED)
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel)
    return folder


def versions(pins: Path) -> Path:
    """The versions of the locks, without their hashes, as constraints."""
    path = pins.with_name("versions.txt")
    lines = {line.rstrip(" \\") for line in pins.read_text().splitlines() if "==" in line}
    path.write_text("\n".join(sorted(line for line in lines if not line.startswith(" "))))
    return path


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What the command prints; it must succeed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_block_of_a_project_is_listed(environment: Path, tmp_path: Path) -> None:
    """Those too that are of no known language or class, of whatever Sphinx project."""
    (tmp_path / "conf.py").write_text("")
    (tmp_path / "index.rst").write_text(
        "T\n=\n\n.. code-block:: rust\n\n   fn main() {}\n\n::\n\n   a\n\n>>> 1\n1\n\n"
        ".. code-block:: bash\n   :class: odd\n   :name: odd\n\n   ls\n\n"
        ".. code-block:: bash\n   :name: fine\n\n   ls\n"
    )
    command = environment / "bin" / "guidewalk"

    said = run(command, "list", tmp_path)
    listed = json.loads(run(command, "list", "--json", tmp_path))

    assert said.endswith("5 blocks, 4 of them unexplained\n")
    kinds = [(one["place"].rpartition(":")[2], one["kind"]) for one in listed]
    assert kinds[0] == ("4", "unexplained")
    assert kinds[-1] == ("21", "command")
    assert "unknown class 'odd'" in listed[3]["reason"]


def test_pages_in_markdown(environment: Path, tmp_path: Path) -> None:
    """Blocks of MyST pages are those of the directives, with their options, and plain fences."""
    (tmp_path / "conf.py").write_text('extensions = ["myst_parser", "guidewalk.directives"]\n')
    (tmp_path / "index.md").write_text(
        "# T\n\n```{code-block} bash\n:name: hello\n:needs: sh - it is a shell\n\nsh\n```\n\n"
        "```{code-block} text\n:class: output\n\nhi\n```\n\n```python\n1\n```\n"
    )

    listed = json.loads(run(environment / "bin" / "guidewalk", "list", "--json", tmp_path))

    assert [(one["kind"], one["language"]) for one in listed] == [
        ("command", "bash"), ("output", "text"), ("unexplained", "python"),
    ]  # fmt: skip


def test_no_sphinx_project(environment: Path, tmp_path: Path) -> None:
    """One message says what is missing."""
    command = [str(environment / "bin" / "guidewalk"), "list", str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"guidewalk: {tmp_path}/conf.py is missing: name the folder of a Sphinx project\n"
    )


@pytest.mark.parametrize("flavour", ["local", "web"])
def test_a_second_guide_is_followed(environment: Path, flavour: str, tmp_path: Path) -> None:
    """The example is followed as its own project, and a command that fails is noticed."""
    project = tmp_path / "greeting"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("build", "__pycache__"))
    python = str(environment / "bin" / "python")
    command = [python, "-m", "pytest", "-q", "--rootdir=.", "tests", "--flavour", flavour]

    said = run(*command, cwd=project)
    script = project / "deploy" / "greet.sh"
    script.write_text(script.read_text().replace("Hello", "Hallo"))
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)

    assert f"0 unexplained ({flavour})" in said
    assert done.returncode == 1
    assert "is not as stated" in done.stdout
