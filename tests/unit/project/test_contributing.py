"""The table of rules in CONTRIBUTING names functions and tests that exist."""

from __future__ import annotations

import importlib
import re

from parsec_stack.stack import ARTIFACTS, ROOT

PACKAGES = ("parsec_stack", "guidewalk")
TITLE = "Rules that keep a user's work"


def test_what_the_rules_name_exists() -> None:
    """Each row names something to use, and a test."""
    text = (ROOT / "CONTRIBUTING.rst").read_text()
    table = text.partition(TITLE)[2].partition("Everyday work")[0]
    rows = re.split(r"^   \* - ", table, flags=re.MULTILINE)[2:]
    assert len(rows) > 9
    for row in rows:
        _, use, tests = row.split("\n     - ")
        functions = re.findall(r"``(\w+)\.(\w+)``", use)
        assert functions, row
        for module, name in functions:
            if (ARTIFACTS / f"{module}.{name}").exists():
                continue
            place = "stack" if module == "Stack" else module
            there = [one for one in PACKAGES if (ROOT / "src" / one / f"{place}.py").exists()]
            found = [importlib.import_module(f"{package}.{place}") for package in there]
            holders = [getattr(one, module, one) for one in found]
            assert any(hasattr(one, name) for one in holders), f"{module}.{name}"
        names = re.findall(r"``(test_\w+\.py)``", tests)
        assert names, row
        for name in names:
            assert list((ROOT / "tests").rglob(name)), name
