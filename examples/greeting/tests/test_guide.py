"""Every block, in each flavour."""

import pytest

from guidewalk.guide import Block
from guidewalk.plugin import judge
from guidewalk.session import Session


@pytest.mark.static
def test_the_guide_is_whole(docs_session: Session) -> None:
    """Its blocks are those of the inventory."""
    if mistakes := list(docs_session.mistakes()):
        pytest.fail("\n".join(mistakes), pytrace=False)


def test_block(flavour: str, block: Block, docs_session: Session) -> None:
    """The block does what the guide says."""
    judge(docs_session.runner(flavour).reach(block))
