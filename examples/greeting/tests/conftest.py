"""Follow the guide by pytest."""

from pathlib import Path

import pytest
from greeting import Greeting, registry

from guidewalk import plugin
from guidewalk.plugin import (  # noqa: F401 - pytest finds its hooks and fixtures here
    docs_session,
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_generate_tests,
    pytest_sessionfinish,
    pytest_terminal_summary,
)

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Begin with the guide and its checks."""
    plugin.configure(config, HERE, registry, Greeting(), docs=HERE.parent / "docs")
