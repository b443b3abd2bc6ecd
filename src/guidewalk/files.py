"""The guide's files as a reader lays them out, for checks that need no service."""

from __future__ import annotations

from pathlib import Path

from guidewalk.guide import Guide


class Files:
    """What lies in the reader's folder before anything has run."""

    def __init__(self, folder: Path, guide: Guide) -> None:
        self.folder = folder
        self.guide = guide

    def text(self, name: str) -> str:
        """The content of a file."""
        return (self.folder / name).read_text()
