"""Faults of a page, as the reading of a whole guide sees them."""

from __future__ import annotations

from pathlib import Path

from guidewalk.mutants import plan
from guidewalk.mutants.bench import Bench
from guidewalk.registry import Registry
from parsec_stack.stack import DOCS, ROOT
from parsec_stack.verify.parsec_guide import ParsecGuide


def test_only_the_fault_is_held_against_a_page(tmp_path: Path) -> None:
    """The copy of the guide into which it is planted is as good as the guide, before and after."""
    bench = Bench(ParsecGuide(), Registry(), DOCS, ROOT / "tests" / "docs", tmp_path, 0)
    fault = next(one for one in plan.of_pages(DOCS) if one.operator == "name")
    (harmless,) = plan.controls([fault])
    assert bench.misread(harmless) == ""
    assert "the guide's blocks are not those of the inventory" in bench.misread(fault)
    assert bench.misread(harmless) == ""
