"""What docs-test makes of a part of a command's name, and of another guide than the project's."""

from __future__ import annotations

import json
from pathlib import Path

from follow import follow
from mini import Mini, command, output
from parsec_stack.stack import ROOT


def test_a_command_is_selected_with_its_output(tmp_path: Path) -> None:
    """A stated output that is wrong fails whoever selects its command, in each of its variants."""
    mini = Mini(tmp_path)
    variants = command("greet-native", "echo hello").replace(
        "\n\n", "\n   :class: native\n\n", 1
    ) + command("greet-docker", "echo hello").replace("\n\n", "\n   :class: docker\n\n", 1)
    mini.page(command("first", "true") + variants + output("good-bye") + command("other", "true"))

    assert follow(mini, "-k", "other").returncode == 0
    done = follow(mini, "-k", "greet-native")

    assert done.returncode == 1
    assert "the output of 'greet-native' is not as stated" in done.stdout


def test_another_guide_has_its_own_inventory(tmp_path: Path) -> None:
    """Accepting its blocks leaves the project's list as it is."""
    mini = Mini(tmp_path).page(command("first", "true"))
    inventory = Path("tests", "docs", "inventory.txt")
    before = (ROOT / inventory).read_text()

    done = follow(mini, "--accept-inventory")

    assert "accepted 1 blocks" in done.stdout + done.stderr
    assert "index-first  command" in (mini.root / inventory).read_text()
    assert (ROOT / inventory).read_text() == before


def test_what_needs_no_command(tmp_path: Path) -> None:
    """The first check of a maintainer runs nothing of the guide, and writes no report."""
    mini = Mini(tmp_path).page(command("first", f"touch {tmp_path}/ran"))

    whole = follow(mini, "--static", test="test_the_guide_is_whole")
    block = follow(mini, "--static")

    assert "+index-first  command" in whole.stdout
    assert whole.returncode == 1
    assert "1 deselected" in block.stdout
    assert not (tmp_path / "ran").exists()
    assert not (mini.root / "build" / "docs-test" / "report.json").exists()


def test_findings_for_who_writes(tmp_path: Path) -> None:
    """They are in a file as well, which is empty once all is well, and are no failure."""
    mini = Mini(tmp_path).page("See ``PARSEC_DBB``.\n")
    assert follow(mini, "--accept-inventory").returncode == 0
    file = tmp_path / "live" / "findings.json"
    options = ("--static", "--findings", str(file))

    wrong = follow(mini, *options, test="test_claims")
    found = json.loads(file.read_text())
    mini.page("See this.\n")
    right = follow(mini, *options, test="test_claims")

    assert (wrong.returncode, right.returncode) == (0, 0)
    assert len(found) == 1
    assert "index.rst:4: ``PARSEC_DBB``: the server reads no" in found[0]
    assert found[0] in wrong.stdout
    assert json.loads(file.read_text()) == []


def test_findings_where_nothing_can_be_read(tmp_path: Path) -> None:
    """A project of which Sphinx can read nothing has that as its finding."""
    mini = Mini(tmp_path).page("Fine.\n")
    (mini.docs / "conf.py").write_text("raise RuntimeError('odd')\n")
    file = tmp_path / "findings.json"

    done = follow(mini, "--static", "--findings", str(file))

    assert done.returncode == 0
    assert "Sphinx cannot read the guide" in json.loads(file.read_text())[0]


def test_all_mistakes_in_one_run(tmp_path: Path) -> None:
    """What Sphinx, a mark, a block, a literal and a file of the guide have wrong, each once."""
    mini = Mini(tmp_path).artifact("unshown.sh", "true\n")
    mini.page(
        "See :ref:`nosuch` and ``PARSEC_DBB``.\n\n.. beyond:: /x - theirs\n\n"
        ".. code-block:: bash\n\n   true\n\n.. code-block:: bsh\n\n   true\n"
    )

    done = follow(mini, "--static", test="")
    mistakes = ["undefined label: 'nosuch'", "index.rst:4: ``PARSEC_DBB``", "stale 'beyond: /x'",
                "a bash block needs a :name:", "unknown language 'bsh'",
                "no page shows deploy/unshown.sh"]  # fmt: skip

    assert done.returncode == 1
    # Where CI is set pytest repeats each message whole in its summary.
    said = done.stdout.partition("short test summary")[0]
    assert [said.count(mistake) for mistake in mistakes] == [1] * len(mistakes)
