"""The reading of the guide: kinds of blocks, annotations, mistakes, and the cache."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mini import Mini, command, include, output

from guidewalk import cache, doctree
from guidewalk.guide import GuideError


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    """An empty guide."""
    return Mini(tmp_path)


def test_command(mini: Mini) -> None:
    """A named bash block is a command, and knows where its lines stand."""
    block = mini.page("Text.\n\n" + command("first", "true", "false")).only()

    assert block.kind == "command"
    assert block.id == "index-first"
    assert block.flavours == ("native", "docker")
    assert block.place == "docs/index.rst:6"
    assert block.place_of(2) == "docs/index.rst:10"


def test_file_and_excerpt(mini: Mini) -> None:
    """A captioned include is a file, or an excerpt if it leaves out anything."""
    mini.artifact("a.sh", "#!/bin/bash\n# hello\ntrue\n")
    mini.page(include("a.sh") + include("a.sh", options="   :lines: 3-\n"))

    whole, part = mini.load().blocks

    assert (whole.kind, whole.target, whole.file) == ("file", "a.sh", "deploy/a.sh")
    assert whole.text == "#!/bin/bash\n# hello\ntrue\n"
    assert part.kind == "excerpt"
    assert part.place == "deploy/a.sh:3 (docs/index.rst:8)"
    assert list(mini.load().files()) == ["a.sh"]


def test_caption_names_another_file(mini: Mini) -> None:
    """A file is shown under its own name."""
    mini.artifact("a.sh", "true\n").page(include("a.sh").replace("caption: a.sh", "caption: b.sh"))

    with pytest.raises(GuideError, match=r"rst:4: .* says 'b.sh', the file is 'deploy/a.sh'"):
        mini.load()


def test_output_and_message(mini: Mini) -> None:
    """Stated output follows a command; a message says who prints it."""
    message = ".. message: parsec-server\n\n.. code-block:: text\n\n   no such bucket\n"
    mini.page(command("first", "echo hi") + output("hi") + message)

    _, stated, printed = mini.load().blocks

    assert stated.kind == "output"
    assert (printed.kind, printed.origin) == ("message", "parsec-server")


def test_annotations_stack(mini: Mini) -> None:
    """Several comments before a block all count, over labels in between."""
    notes = (
        ".. needs: parsec-cli - it is in no\n   registry\n"
        ".. placeholder <org>: Acme\n"
        ".. capture <link>: parsec3://\\S+: x\n\n.. _label:\n\n"
    )
    block = mini.page(notes + command("first", "parsec-cli create <org>")).only()

    assert block.needs == {"parsec-cli": "it is in no registry"}
    assert block.placeholders == {"<org>": "Acme"}
    assert block.captures == {"<link>": r"parsec3://\S+: x"}


def test_exception_keeps_its_reason(mini: Mini) -> None:
    """A block that is not executed says why."""
    block = mini.page(".. except: it would end\n   the test\n\n" + command("stop", "halt")).only()

    assert (block.kind, block.reason) == ("exception", "it would end the test")


def test_flavours(mini: Mini) -> None:
    """A page or a block may be for one flavour; a command is found with its flavour's suffix."""
    mini.page(
        ":flavour: native\n\n" + command("up-native", "true") + command("tls", "true"), "native"
    )
    toctree = ".. toctree::\n\n   native\n\n"
    mini.page(toctree + command("up-docker", "true", options="   :class: docker\n"))

    loaded = mini.load()

    assert [block.id for block in loaded.of("native")] == ["native-up-native", "native-tls"]
    assert loaded.command("up", "native").name == "up-native"
    assert loaded.command("up", "docker").name == "up-docker"
    with pytest.raises(GuideError, match="no command block named 'tls' for the docker flavour"):
        loaded.command("tls", "docker")


def test_reading_order(mini: Mini) -> None:
    """Pages come as the table of contents lists them, not by name."""
    mini.page(".. toctree::\n\n   zeta\n   alpha\n")
    mini.page(command("last", "true"), "alpha").page(command("first", "true"), "zeta")

    assert [block.name for block in mini.load().blocks] == ["first", "last"]


@pytest.mark.parametrize(
    "text",
    [
        "Look::\n\n   some text\n",
        ".. code-block:: bash\n\n   echo unnamed\n",
        ".. parsed-literal::\n\n   *some* text\n",
        ">>> 1 + 1\n2\n",
        ".. raw:: html\n\n   <pre>echo hidden</pre>\n",
        ".. literalinclude:: conf.py\n   :language: python\n",
        ".. only:: html\n\n   .. code-block:: text\n\n      unexplained\n",
        "Look:\n\n  .. highlight:: bash\n\n  ::\n\n    echo hi\n",
    ],
)
def test_every_literal_block_counts(mini: Mini, text: str) -> None:
    """Whatever renders as a literal block and has no meaning is unexplained."""
    block = mini.page(text).only()

    assert block.kind == "unexplained"
    assert block.reason


@pytest.mark.parametrize(
    "text", [".. only:: latex\n\n   Look::\n\n      text\n", "..\n   ::\n\n   x\n"]
)
def test_what_is_not_rendered_does_not_count(mini: Mini, text: str) -> None:
    """A block for another output, or commented out, is none."""
    assert mini.page(text).load().blocks == []


MISTAKES = {
    "misspelt language": (".. code-block:: bahs\n   :name: a\n\n   true\n", "language 'bahs'"),
    "unknown class": (command("a", "true", options="   :class: dokcer\n"), "class 'dokcer'"),
    "unknown flavour": (":flavour: podman\n\nText.\n", "flavour 'podman'"),
    "block against page": (
        ":flavour: native\n\n" + command("a", "true", options="   :class: docker\n"),
        "the block is for docker and its page for native",
    ),
    "odd version": (".. since: now\n\n" + command("a", "true"), "'now' is no version"),
    "misspelt annotation": (".. excpet: why\n\n" + command("a", "true"), "annotation '.. excpet"),
    "remark before a block": (".. just a note\n\n" + command("a", "true"), "just a note"),
    "annotation without block": (".. except: why\n\nText.\n", "no block follows"),
    "misspelt annotation without block": (".. exept: why\n\nText.\n", "no block follows"),
    "annotation after the block": (command("a", "true") + ".. except: why\n", "no block follows"),
    "no reason": (".. except:\n\n" + command("a", "true"), "says nothing"),
    "needs without reason": (
        ".. needs: curl\n\n" + command("a", "curl"),
        "needs: NAME - REASON",
    ),
    "images without reason": (
        ".. needs-images: a.yaml\n\n" + command("a", "cat a.yaml"),
        "needs-images: NAME - REASON",
    ),
    "no placeholder": (".. capture link: x\n\n" + command("a", "true"), "write <link>"),
    "invalid expression": (".. capture <a>: (\n\n" + command("a", "true"), "no regular expression"),
    "said twice": (".. except: a\n.. except: b\n\n" + command("a", "true"), "twice"),
    "stale needs": (".. needs: curl - x\n\n" + command("a", "curly"), "stale 'needs: curl'"),
    "stale images": (
        ".. needs-images: a.yaml - x\n\n" + command("a", "cat aa.yaml"),
        "stale 'needs-images: a.yaml'",
    ),
    "stale placeholder": (".. placeholder <a>: x\n\n" + command("a", "true"), "stale 'placeholder"),
    "output without command": (output("hi"), "no command block"),
    "stale exception": (
        command("a", "true") + ".. except: varies\n\n" + output("hi"),
        "stale exception 'varies'",
    ),
    "named and no command": (".. code-block:: text\n   :name: a\n\n   true\n", "no command"),
    "one name twice": (
        command("a", "true") + command("b", "true") + command("a", "false"),
        "Duplicate explicit target name|the name 'a' is taken",
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(mini: Mini, text: str, message: str) -> None:
    """Each mistake is told with page and line, and without anything else."""
    mini.page(text)

    with pytest.raises(GuideError, match=message) as caught:
        mini.load()

    assert "docs/index.rst:" in str(caught.value)


def test_one_name_on_two_pages(mini: Mini) -> None:
    """A name is unique in the whole guide."""
    mini.page(".. toctree::\n\n   other\n\n" + command("a", "true"))
    mini.page(command("a", "false"), "other")

    with pytest.raises(GuideError, match=r"docs/other.rst:4: the name 'a' is taken by docs/index"):
        mini.load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (include("nosuch.sh"), r"docs/index.rst:4: WARNING: Include file"),
        (include("a.sh", options="   :start-after: nosuch\n"), r"docs/index.rst:4: WARNING"),
        ("See :ref:`nosuch`.\n", r"docs/index.rst:4: WARNING"),
    ],
    ids=["missing file", "missing marker", "missing reference"],
)
def test_warnings_of_sphinx(mini: Mini, text: str, message: str) -> None:
    """What Sphinx only warns of, such as a block that it drops, fails."""
    mini.artifact("a.sh", "true\n").page(text)

    with pytest.raises(GuideError, match=message):
        mini.load()


def test_no_guide(tmp_path: Path) -> None:
    """A folder without a guide is told of."""
    with pytest.raises(GuideError, match="Sphinx cannot read the guide"):
        cache.load(tmp_path / "docs")


def test_cache_is_used(mini: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unchanged guide is not read by Sphinx again, even if its files were touched."""
    expected = mini.page(command("a", "true")).load().blocks
    monkeypatch.setattr(doctree, "read", lambda docs: pytest.fail("read again"))
    page = mini.docs / "index.rst"

    assert mini.load().blocks == expected
    page.write_text(page.read_text())
    assert mini.load().blocks == expected


@pytest.mark.parametrize("change", ["page", "artifact", "new artifact"])
def test_cache_is_rebuilt(mini: Mini, change: str) -> None:
    """Whatever changes, the next reading shows it."""
    mini.artifact("a.sh", "true\n").page(include("a.sh")).load()

    if change == "page":
        mini.page(command("a", "true"))
    else:
        mini.artifact("a.sh" if change == "artifact" else "b.sh", "false\n")

    expected = {"page": "true", "artifact": "false\n", "new artifact": "true\n"}[change]
    assert mini.only().text == expected


@pytest.mark.parametrize("content", ["", "{", "[]", '{"stamps": {}}'])
def test_corrupt_cache(mini: Mini, content: str) -> None:
    """A cache that cannot be read is made anew."""
    mini.page(command("a", "true")).load()
    cache = mini.root / "build" / "guide.json"
    cache.write_text(content)

    assert mini.only().name == "a"
    assert json.loads(cache.read_text())["blocks"]


def test_a_cache_that_cannot_be_written(mini: Mini) -> None:
    """Another user may have made the folder: then every process reads anew."""
    mini.page(command("a", "true"))
    (mini.root / "build").write_text("no folder")

    assert mini.only().name == "a"


def test_cached_reading_needs_no_sphinx(mini: Mini) -> None:
    """The tasks read the guide without the time that Sphinx's import takes."""
    mini.page(command("a", "true")).load()
    script = (
        "import sys; from pathlib import Path; from guidewalk import cache; "
        "print(cache.load(Path(sys.argv[1])).blocks[0].name, 'sphinx' in sys.modules)"
    )
    argv = [sys.executable, "-c", script, str(mini.docs)]

    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == "a False\n"
