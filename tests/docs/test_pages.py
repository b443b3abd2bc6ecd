"""Follow the guide from an empty folder: every block of every page, in each flavour."""

import pytest

from guidewalk.guide import Block
from guidewalk.plugin import judge, tell
from guidewalk.session import Session
from parsec_stack.services import FlavourName


@pytest.mark.static
def test_the_guide_is_whole(docs_session: Session) -> None:
    """Its blocks are those of the inventory, and every artifact and check belongs to one."""
    tell(docs_session, list(docs_session.mistakes()))


@pytest.mark.static
def test_claims(docs_session: Session) -> None:
    """Each literal, link and number of the prose is known to an artifact or a program."""
    tell(docs_session, docs_session.claims.problems(*docs_session.options.flavours))


def test_block(flavour: FlavourName, block: Block, docs_session: Session) -> None:
    """The block does what the guide says, after all blocks before it."""
    judge(docs_session.runner(flavour).reach(block))


def test_claims_of_the_stack(flavour: FlavourName, docs_session: Session) -> None:
    """What the prose says of files, ports and addresses is so when all commands have run."""
    if missing := docs_session.runner(flavour).reach_claims():
        if missing == docs_session.missing.get(flavour):
            pytest.skip(missing)
        pytest.fail(f"not all commands have run: {missing}", pytrace=False)

    tell(docs_session, docs_session.claims.denied_by_stack(flavour))
