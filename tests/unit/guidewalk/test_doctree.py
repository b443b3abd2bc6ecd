"""The reading of the guide: kinds of blocks, options, mistakes, and the cache."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from guidewalk import cache, doctree
from guidewalk.guide import GuideError
from mini import Mini, command, include, output


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

    with pytest.raises(GuideError, match=r"rst:4: .* says 'b.sh', but the file is 'deploy/a.sh'"):
        mini.load()


def test_output_and_message(mini: Mini) -> None:
    """Stated output follows a command; a message says who prints it."""
    message = ".. code-block:: text\n   :message: parsec-server\n\n   no such bucket\n"
    mini.page(command("first", "echo hi") + output("hi") + message)

    _, stated, printed = mini.load().blocks

    assert stated.kind == "output"
    assert (printed.kind, printed.origin) == ("message", "parsec-server")


def test_options_say_what_a_block_means(mini: Mini) -> None:
    """Of those that may have several values, each has a line."""
    options = (
        "   :needs: parsec-cli - it is in no registry\n      curl - it is old\n"
        "   :placeholder: <org> Acme Ltd\n"
        "   :capture: <link> parsec3://\\S+: x\n      <a> b - c\n"
        "   :since: 3.7.0-rc.2\n   :role: asks slow\n   :last: the rest\n      needs it\n"
    )
    block = mini.page(command("first", "curl | parsec-cli create <org>", options=options)).only()

    assert block.needs == {"parsec-cli": "it is in no registry", "curl": "it is old"}
    assert block.placeholders == {"<org>": "Acme Ltd"}
    assert block.captures == {"<link>": r"parsec3://\S+: x", "<a>": "b - c"}
    assert (block.since, block.last) == ("3.7.0-rc.2", "the rest needs it")
    assert block.roles == ["asks", "slow"]


@pytest.mark.parametrize("directive", ["code-block", "sourcecode", "code"])
def test_every_directive_of_code_says_it(mini: Mini, directive: str) -> None:
    """Docutils' own keeps the option that only it has."""
    own = "   :number-lines:\n" if directive == "code" else ""
    text = command("a", "true", options=f"   :last: it ends\n{own}")

    assert mini.page(text.replace("code-block", directive)).only().last == "it ends"


@pytest.mark.parametrize(
    "comment",
    ["SPDX-License-Identifier: MIT", "TODO: say more", "except: why", "needs", "beyond: a - b", ""],
)
def test_comments_mean_nothing(mini: Mini, comment: str) -> None:
    """Whatever they say and wherever they stand."""
    block = mini.page(f".. {comment}\n\n" + command("a", "true") + f"\n.. {comment}\n").only()

    assert (block.kind, block.reason, block.needs) == ("command", "", {})


def test_a_guide_builds_without_being_asked_for_blocks(mini: Mini) -> None:
    """A guide whose configuration does not name the extension is read as well."""
    mini.page(command("a", "true", options="   :last: it ends\n"))
    (mini.docs / "conf.py").write_text("extensions = []\n")

    assert mini.only().last == "it ends"


def test_exception_keeps_its_reason(mini: Mini) -> None:
    """A block that is not executed says why."""
    block = mini.page(
        command("stop", "halt", options="   :reason: it would end\n      the test\n")
    ).only()

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


def test_excluded_pages(mini: Mini) -> None:
    """What they hold is nobody's to follow; what Sphinx warns of still counts."""
    (mini.root / "pyproject.toml").write_text('[tool.guidewalk]\nexclude = ["inside/*"]\n')
    (mini.docs / "inside").mkdir()
    mini.page(".. toctree::\n\n   inside/page\n\n" + command("a", "true"))
    mini.page("Some ``literal`` of 3.\n\n.. code-block:: odd\n\n   x\n", "inside/page")

    guide = mini.load()

    assert [block.name for block in guide.blocks] == ["a"]
    assert guide.claims == []
    mini.page("See :ref:`nosuch`.\n", "inside/page")
    with pytest.raises(GuideError, match=r"docs/inside/page.rst:4: WARNING"):
        mini.load()


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


def with_option(option: str) -> str:
    """A command block with this option."""
    return command("a", "true", options=f"   :{option}\n")


MISTAKES = {
    "misspelt language": (".. code-block:: bahs\n   :name: a\n\n   true\n", "language 'bahs'"),
    "unknown class": (command("a", "true", options="   :class: dokcer\n"), "class 'dokcer'"),
    "unknown flavour": (":flavour: podman\n\nText.\n", "flavour 'podman'"),
    "block against page": (
        ":flavour: native\n\n" + command("a", "true", options="   :class: docker\n"),
        "the block is for docker, but its page is for native",
    ),
    "odd version": (with_option("since: now"), "'now' is no version"),
    "misspelt option": (with_option("raeson: why"), 'unknown option: "raeson"'),
    "no reason": (with_option("reason:"), "it says nothing"),
    "needs without reason": (with_option("needs: true"), "'true' is incomplete: write NAME - REA"),
    "images without reason": (with_option("needs-images: true"), "write NAME - REASON, one a line"),
    "no placeholder": (with_option("capture: link x"), "'link x' is incomplete: write <NAME> EXP"),
    "no value": (with_option("placeholder: <a>"), "'<a>' is incomplete: write <NAME> VALUE"),
    "invalid expression": (with_option("capture: <a> ("), "no regular expression"),
    "unknown role": (with_option("role: sings"), '"sings" unknown; choose from "asks"'),
    "said twice": (with_option("reason: a\n   :reason: b"), "duplicate option"),
    "one name for two": (with_option("needs: true - a\n      true - b"), "'true' stands twice"),
    "stale needs": (with_option("needs: curl - x"), "stale 'needs: curl'"),
    "stale images": (with_option("needs-images: rue - x"), "stale 'needs-images: rue'"),
    "stale placeholder": (with_option("placeholder: <a> x"), "stale 'placeholder"),
    "output without command": (output("hi"), "without a command block"),
    "stale exception": (
        command("a", "true") + output("hi").replace("output\n", "output\n   :reason: varies\n"),
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


def test_all_mistakes_are_told_at_once(mini: Mini) -> None:
    """Each once, of all pages, with page and line."""
    mini.page(
        ".. toctree::\n\n   other\n\n"
        + command("a", "true", options="   :class: odd\n")
        + with_option("needs: curl - x").replace("a\n", "b\n", 1)
    )
    mini.page(".. beyond:: /x - theirs\n\n" + output("hi"), "other")

    with pytest.raises(GuideError) as caught:
        mini.load()

    places = [line.partition(": ")[0] for line in str(caught.value).splitlines()]
    assert places == [
        "docs/index.rst:8",
        "docs/index.rst:14",
        "docs/other.rst:6",
        "docs/other.rst:4",
    ]


def test_only_a_changed_page_is_read_again(mini: Mini) -> None:
    """Others come from the last reading, unless something else than a page has changed."""
    pages = mini.root / "read"
    with (mini.docs / "conf.py").open("a") as conf:
        conf.write(
            "def setup(app):\n    app.connect('source-read', note)\n"
            "def note(app, page, text):\n"
            f"    with open({str(pages)!r}, 'a') as file:\n        print(page, file=file)\n"
        )
    mini.artifact("a.sh", "true\n").page(".. toctree::\n\n   other\n\n" + include("a.sh"))
    mini.page(command("a", "true"), "other").load()

    pages.write_text("")
    names = [block.name for block in mini.page(command("b", "true"), "other").load().blocks]
    changed = pages.read_text()
    mini.artifact("a.sh", "false\n").load()

    assert (changed, names) == ("other\n", [None, "b"])
    assert pages.read_text() == "other\nindex\nother\n"


def test_a_warning_is_repeated(mini: Mini) -> None:
    """Sphinx warns of a page while it reads it; until it is mended, it is read every time."""
    mini.page(".. toctree::\n\n   other\n\n" + command("a", "true"))
    mini.page("Fine.\n", "other").load()
    mini.page("See :ref:`nosuch` and\n\n* odd\n list\n", "other")

    for text in ("One.\n", "Two.\n"):
        mini.page(".. toctree::\n\n   other\n\n" + text)
        with pytest.raises(GuideError, match=r"docs/other.rst:7: WARNING: Bullet list ends"):
            mini.load()


def test_the_guide_is_known_as_far_as_it_can_be_read(mini: Mini) -> None:
    """An error has all else, so that the rest can be checked as well."""
    mini.page(command("a", "true", options="   :class: odd\n") + command("b", "true"))

    with pytest.raises(GuideError) as caught:
        mini.load()

    assert caught.value.guide
    assert [(one.name, one.kind) for one in caught.value.guide.blocks] == [
        ("a", "unexplained"),
        ("b", "command"),
    ]
