"""The docs-test: pytest's hooks, with the checks of this folder."""

from pathlib import Path

import pytest

from guidewalk import plugin
from guidewalk.plugin import (  # noqa: F401 - pytest finds its hooks and fixtures here
    docs_session,
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_generate_tests,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from parsec_stack.stack import DOCS
from parsec_stack.verify.parsec_guide import ParsecGuide, docker_required


def pytest_configure(config: pytest.Config) -> None:
    """Begin with the guide and the checks, whose assertions are to tell what they saw."""
    pytest.register_assert_rewrite("checks")
    from checks import registry

    required = ("docker",) if docker_required() else ()
    plugin.configure(
        config, Path(__file__).parent, registry, ParsecGuide(), docs=DOCS, required=required
    )
