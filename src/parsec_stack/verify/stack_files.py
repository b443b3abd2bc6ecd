"""The guide's files as a reader creates them, for checks that need no service."""

from __future__ import annotations

from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

from guidewalk.files import Files
from guidewalk.guide import Guide
from guidewalk.tool import output_of
from parsec_stack.verify import compose, env_files


class StackFiles(Files):
    """The content of the reader's folder before anything has run."""

    def __init__(self, folder: Path, guide: Guide) -> None:
        super().__init__(folder, guide)
        self.known: dict[object, Any] = {}

    @cached_property
    def generated(self) -> dict[str, str]:
        """Return a value for each variable that the reader's commands generate."""
        return env_files.required("".join(map(self.text, self.guide.files())))

    def composed(self, *names: str, **variables: str) -> Any:
        """Return what compose makes of these files together, with these variables set."""
        asked = (names, *variables.items())
        if asked not in self.known:
            given = self.generated | variables
            self.known[asked] = compose.config(list(names), self.folder, given)
        return deepcopy(self.known[asked])

    def sourced(self, *names: str, **variables: str) -> dict[str, str]:
        """Return bash's environment after it has sourced these env files in their order."""
        given = self.generated | variables
        said = output_of(["bash", "-c", env_files.STRICT, "bash", *names], self.folder, given)
        assert not said.status, said.last_line
        pairs = (pair.partition("=") for pair in said.text.split("\0") if pair)
        return {name: value for name, _, value in pairs}
