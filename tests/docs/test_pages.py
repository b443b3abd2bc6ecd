"""Follow the guide from an empty folder: every block of every page, in each flavour."""

import pytest

from parsec_stack.guide import Block
from parsec_stack.stack import Flavour
from parsec_stack.verify.plugin import judge
from parsec_stack.verify.session import Session


def test_the_guide_is_whole(docs_session: Session) -> None:
    """Its blocks are those of the inventory, and every artifact and check belongs to one."""
    mistakes = list(docs_session.mistakes())

    if mistakes:
        pytest.fail("\n".join(mistakes), pytrace=False)


def test_block(flavour: Flavour, block: Block, docs_session: Session) -> None:
    """The block does what the guide says, after all blocks before it."""
    judge(docs_session.walk(flavour).reach(block))
