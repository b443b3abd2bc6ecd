"""Files that people have edited so that one of their readers would misread them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from invoking import invoke, prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack that has never been started."""
    return prepare(tmp_path_factory.mktemp("edited"))


@pytest.mark.parametrize("flavour", ["native", "docker"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("parsec-credentials.env", "POSTGRES_PASSWORD='p@ss:w/rd#%41 x'\n"),
        ("parsec.env", "PARSEC_SENDER=x\r\n"),
        ("parsec-nginx.conf", "# mine\r\n"),
    ],
)
def test_every_task_says_so(
    prepared: Path, tmp_path: Path, name: str, text: str, flavour: str
) -> None:
    """In one message, before anything is started."""
    folder = shutil.copytree(prepared, tmp_path / "s")
    record = folder / ".stack.json"
    noted = record.read_text().replace('"native"', f'"{flavour}"')
    record.write_text(noted.replace(str(prepared), str(folder)))
    with (folder / name).open("a", newline="") as file:
        file.write(text)

    for task in ("up", "adminToken"):
        done = invoke(folder, task, STACK_FLAVOUR=flavour)
        assert done.returncode == 1
        (said,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
        assert f"{folder / name}, line " in said
