"""Files that people edit: what one of their readers would misread is refused by name and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from parsec_stack import edited
from parsec_stack.errors import StackError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A=1\nB=2\r\n", "line 2, ends as on Windows"),
        (b"A=1\rB=2\n", "line 1, ends as on Windows"),
        (b"\xef\xbb\xbfA=1\n", "line 1, begins with a byte order mark"),
        ("A=1\n".encode("utf-16"), "line 1, contains a zero byte"),
    ],
)
def test_what_other_editors_leave(tmp_path: Path, content: bytes, message: str) -> None:
    """It is named; the rest of the bytes are the reader's own matter."""
    path = tmp_path / "x.env"
    path.write_bytes(content)

    with pytest.raises(StackError, match=f"^{path}, {message}"):
        edited.require_text(path)
    path.write_bytes(b"export A=1 # \xff\n")
    edited.require_text(path)


@pytest.mark.parametrize(
    "line",
    ["P='p@ss:w/rd#%41 x'", "P=p@ss", "export P=a", "P=a # b", 'P="a"', " P=a", "P=a ", "P=", "P"],
)
def test_values_that_need_quotes(tmp_path: Path, line: str) -> None:
    """Where a file is generated, other files hold its values without; nothing of them is shown."""
    path = tmp_path / "x.env"
    path.write_text(f"# a\n\nQ=1\n{line}\n")

    with pytest.raises(StackError, match=f"^{path}, line 4, is not of the form") as raised:
        edited.generated_values(path)
    assert "p@ss" not in str(raised.value)
    path.write_text("# a\n\nQ=1\n")
    assert edited.generated_values(path) == {"Q": "1"}
