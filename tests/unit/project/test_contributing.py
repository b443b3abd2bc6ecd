"""The table of rules in CONTRIBUTING names functions and tests that exist."""

from __future__ import annotations

import re

from naming import exists, is_there
from parsec_stack.stack import ARTIFACTS, ROOT

TITLE = "Rules that keep a user's work"


def test_what_the_rules_name_exists() -> None:
    """Each row names something to use, and a test."""
    text = (ROOT / "CONTRIBUTING.rst").read_text()
    table = text.partition(TITLE)[2].partition("Everyday work")[0]
    rows = re.split(r"^   \* - ", table, flags=re.MULTILINE)[2:]
    assert len(rows) > 9
    for row in rows:
        _, use, tests = row.split("\n     - ")
        functions = re.findall(r"``([\w-]+(?:\.\w+)+)``", use)
        assert functions, row
        for name in functions:
            assert (ARTIFACTS / name).exists() or exists(name), name
        names = re.findall(r"``(test_\w+\.py)``", tests)
        assert names, row
        for name in names:
            assert is_there(name), name
