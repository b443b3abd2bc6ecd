"""A small guide in a temporary folder, for tests of what reads and follows guides."""

from __future__ import annotations

from pathlib import Path

from guidewalk import cache
from guidewalk.guide import Block, Guide


class Mini:
    """A guide of one page, ``index``, and artifacts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # The guide's reader is somebody else where root runs the tests.
        root.chmod(0o755)
        self.docs = root / "docs"
        self.deploy = root / "deploy"
        self.docs.mkdir()
        self.deploy.mkdir()
        (root / "pyproject.toml").write_text(
            '[tool.guidewalk]\nflavours = ["native", "docker"]\nclasses = ["no-copybutton"]\n'
        )
        (self.docs / "conf.py").write_text('extensions = ["guidewalk.directives"]\n')

    def page(self, text: str, name: str = "index") -> Mini:
        """Write the page; its title and what it needs to be valid are added."""
        fields, body = split_fields(text)
        (self.docs / f"{name}.rst").write_text(
            f"{fields}Mini {name}\n=====================\n\n{body}"
        )
        return self

    def artifact(self, name: str, text: str) -> Mini:
        """Write a file of ``deploy``."""
        (self.deploy / name).write_text(text)
        return self

    def load(self) -> Guide:
        """Read the guide."""
        return cache.load(self.docs)

    def only(self) -> Block:
        """The one block that the guide has."""
        (block,) = self.load().blocks
        return block


def split_fields(text: str) -> tuple[str, str]:
    """The field list at the top of a page, and the rest."""
    head, _, rest = text.partition("\n\n")
    return (f"{head}\n\n", rest) if head.startswith(":") else ("", text)


def command(name: str, *lines: str, options: str = "") -> str:
    """A command block of these lines."""
    body = "\n".join(f"   {line}" if line else "" for line in lines)
    return f".. code-block:: bash\n   :name: {name}\n{options}\n{body}\n\n"


def output(*lines: str) -> str:
    """A block of stated output."""
    body = "\n".join(f"   {line}" if line else "" for line in lines)
    return f".. code-block:: text\n   :class: output\n\n{body}\n\n"


def include(name: str, language: str = "bash", options: str = "") -> str:
    """A block that shows an artifact."""
    return (
        f".. literalinclude:: ../deploy/{name}\n   :language: {language}\n"
        f"   :caption: {name}\n{options}\n"
    )
