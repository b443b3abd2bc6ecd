"""The guide's files as a reader creates them, for checks that need no service."""

from __future__ import annotations

from pathlib import Path

from guidewalk.guide import Guide


class Files:
    """The content of the reader's folder before anything has run."""

    def __init__(self, folder: Path, guide: Guide) -> None:
        self.folder = folder
        self.guide = guide

    def text(self, name: str) -> str:
        """Return the content of a file."""
        return (self.folder / name).read_text()
