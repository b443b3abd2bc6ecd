"""The mutants: what is planted where, what is drawn, kept, grouped and counted."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from guidewalk.errors import UserError
from guidewalk.guide import Block, Guide
from guidewalk.mutants import changed, equivalents, pages, plan, results
from guidewalk.mutants.bench import MutantResult
from guidewalk.mutants.command import options, selected
from guidewalk.mutants.operators import changes
from guidewalk.mutants.plan import Mutant
from guidewalk.mutants.results import Store
from guidewalk.mutants.run import grouped
from guidewalk.mutants.score import STATES, Report, Row
from guidewalk.mutants.shared_stack import SharedStack
from guidewalk.registry import Registry
from parsec_stack.stack import ROOT
from parsec_stack.verify.parsec_guide import ParsecGuide


def becomes(line: str, language: str, operator: str) -> list[str]:
    """What a line becomes by this operator."""
    found = changes(line, language)
    return [new for one in found if one.operator == operator for new in one.lines]


@pytest.mark.parametrize(
    ("line", "language", "operator", "expected"),
    [
        ("umask 077", "bash", "mode", ["umask 022"]),
        ("chmod = 0600", "ini", "mode", ["chmod = 0666"]),
        ("ssl_protocols TLSv1.2 TLSv1.3;", "nginx", "cipher",
         ["ssl_protocols TLSv1.3;", "ssl_protocols TLSv1.2;"]),
        ("proxy_set_header Host $http_host;", "nginx", "header",
         ["proxy_set_header Hostx $http_host;"]),
        ("if hangs; then", "bash", "condition", ["if ! hangs; then"]),
        ("curl --silent --max-time 5 x", "bash", "flag",
         ["curl --max-time 5 x", "curl --silent 5 x"]),
        ('weed -ip="$S3_HOST" -v=1', "bash", "flag", ["weed -v=1", 'weed -ip="$S3_HOST"']),
        ("  - -webdav=false", "yaml", "flag", []),
        ("test: [CMD, x, --quiet]", "yaml", "flag", ["test: [CMD, x]"]),
        ("HOST=127.0.0.1", "env", "address", ["HOST=0.0.0.0"]),
        ("PORT=${P:-5432}", "env", "port", ["PORT=${P:-15432}"]),
        ("interval: 2s", "yaml", "number", ["interval: 12s"]),
        ("image: nginx:1.31.3", "yaml", "number", []),
        ("mv a/b.crt c", "bash", "path", ["mv a/bx.crt c"]),
        ("http2 on;", "nginx", "switch", ["http2 off;"]),
        ("export NAME=x", "bash", "name", ["export NAMEx=x"]),
        ("read_only: true", "yaml", "name", ["read_onlyx: true"]),
        ("plain HTTP: 301", "text", "number", ["plain HTTP: 1301"]),
        ('fail "nothing of this is code"', "bash", "word", []),
        ("name=${1:?name the file} text", "bash", "word", ["name=${1:?name the file} textx"]),
        ("    if seen:", "python", "condition", ["    if not seen:"]),
        ('    sys.exit(f"x: {reason}")', "python", "word", []),
    ],
)  # fmt: skip
def test_tokens_are_recognised(
    line: str, language: str, operator: str, expected: list[str]
) -> None:
    """Each kind of token becomes a wrong one, and only in its languages."""
    assert becomes(line, language, operator) == expected


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("# a comment\n\n   # another\n    -- of SQL\n    -- of two lines", "bash"),
        ("; a comment", "ini"),
        ('    """What it does."""', "python"),
        ("", "text"),
    ],
)
def test_what_changes_nothing_is_not_mutated(text: str, language: str) -> None:
    """Comments and blank lines are left alone."""
    assert changes(text, language) == []


def test_the_interpreter_is_no_comment() -> None:
    """The first line of a script can be removed."""
    assert next(one.operator for one in changes("#!/usr/bin/env bash\n", "bash")) == "remove"


def test_commands_are_swapped() -> None:
    """Two commands change places, but no part of a longer one."""
    text = "mkdir x\ntouch x/y\nif a; then\n    b \\\n        c\nfi"

    swaps = [one for one in changes(text, "bash") if one.operator == "swap"]

    assert [one.lines for one in swaps] == [("touch x/y", "mkdir x")]


def test_a_healthcheck_is_content() -> None:
    """The whole test gives way to one that cannot fail."""
    text = "healthcheck:\n  test:\n    - CMD\n    - probe\n  interval: 2s"

    (change,) = [one for one in changes(text, "yaml") if one.operator == "healthcheck"]

    assert (change.start, change.count) == (1, 3)
    assert change.lines == ('  test: [CMD, "true"]',)


def test_markup_is_mutated() -> None:
    """Tags are misspelt; options, markers, marks and the flavour are left out."""
    text = (
        ":flavour: native\n\n.. beyond:: /x - a reason\n\n.. a comment: of nobody\n\n"
        ".. code-block:: bash\n   :name: x\n   :role: asks\n   :last: it ends\n\n   true\n\n"
        ".. literalinclude:: a.yaml\n   :language: yaml\n   :end-at: z\n"
    )

    found = [(one.operator, one.token, one.lines) for one in pages.changes(text)]

    assert found == [
        ("mark", "beyond:: /x - a reason", ()),
        ("language", "bash", (".. code-block:: bsah",)),
        ("name", ":name: x", ()),
        ("meaning", ":last: it ends", ()),
        ("language", "yaml", ("   :language: ymal",)),
        ("marker", ":end-at: z", ()),
        ("flavour", "native", ()),
    ]


def block(name: str, text: str, kind: str = "command", file: str | None = None) -> Block:
    """A block of a guide."""
    return Block(
        page="p", source="docs/p.rst", line=1, text=text, language="bash", kind=kind,  # type: ignore[arg-type]
        flavours=("native",), id=f"p-{name}", file=file, text_line=5,
        name=name if kind == "command" else None, target=name if file else None,
    )  # fmt: skip


def asking(name: str, text: str) -> Block:
    """A command that changes nothing."""
    return replace(block(name, text), roles=["asks"])


@pytest.fixture
def guide() -> Guide:
    """A guide of a script, which it also shows in part, and two commands."""
    script = "#!/bin/bash\nfirst 1\nsecond 2"
    excerpt = block("excerpt", "second 2", "excerpt", "deploy/s")
    return Guide(
        [
            Block(**vars(block("s", script, "file", "deploy/s")) | {"text_line": 1}),
            Block(**vars(excerpt) | {"text_line": 3, "target": "s"}),
            block("one", "./s --all"),
            block("two", "rm x"),
        ]
    )


@pytest.fixture
def every(guide: Guide, tmp_path: Path) -> list[Mutant]:
    """All its mutants."""
    return plan.candidates(guide, tmp_path)


def find(every: list[Mutant], operator: str, token: str) -> Mutant:
    """The mutant of this operator and token."""
    (found,) = [one for one in every if (one.operator, one.token) == (operator, token)]
    return found


def test_an_artifact_is_mutated_wherever_it_is_shown(guide: Guide, every: list[Mutant]) -> None:
    """The whole file and its excerpt get the same fault."""
    whole, excerpt, *_ = plan.mutated(guide, [find(every, "number", "2")]).blocks

    assert whole.text == "#!/bin/bash\nfirst 1\nsecond 12"
    assert excerpt.text == "second 12"


def test_faults_are_planted_together(guide: Guide, every: list[Mutant]) -> None:
    """Of several faults each finds its line, whatever the others remove."""
    some = [find(every, "remove", "first 1"), find(every, "number", "2")]

    assert plan.mutated(guide, some).blocks[0].text == "#!/bin/bash\nsecond 12"


def test_blocks_are_swapped(guide: Guide, every: list[Mutant]) -> None:
    """Commands that follow each other get each other's text."""
    *_, one, two = plan.mutated(guide, [find(every, "swap blocks", "p-two")]).blocks

    assert (one.text, two.text) == ("rm x", "./s --all")


def test_a_seed_draws_the_same(every: list[Mutant]) -> None:
    """One mutant of each line and kind, the same whenever the seed is."""
    drawn = plan.chosen(every, 7)
    lines = [(one.place, one.edits[0][1].start, one.operator) for one in drawn]

    assert drawn == plan.chosen(every, 7)
    assert len(lines) == len(set(lines))


def test_a_control_changes_nothing(guide: Guide, every: list[Mutant]) -> None:
    """There is one for each place, and it leaves the guide as it is."""
    controls = plan.controls(every)

    assert {one.place for one in controls} == {one.place for one in every}
    assert plan.mutated(guide, controls).blocks == guide.blocks


def test_keys_do_not_depend_on_line_numbers(guide: Guide, tmp_path: Path) -> None:
    """A line that moves keeps its key."""
    before = find(plan.candidates(guide, tmp_path), "number", "2")
    first = guide.blocks[0]
    moved = Guide([Block(**vars(first) | {"text": first.text.replace("\n", "\n\n", 1)})])

    assert find(plan.candidates(moved, tmp_path), "number", "2").key == before.key


def test_neighbours_are_not_grouped(every: list[Mutant]) -> None:
    """A group holds no two faults of one line or of lines side by side, and not too many."""
    for group in grouped(every, 3):
        assert len(group) <= 3
        for number, one in enumerate(group):
            assert not any(plan.overlap(one, other) for other in group[number + 1 :])


def test_beside_a_stack_lie_the_mutants_files(
    guide: Guide, every: list[Mutant], tmp_path: Path
) -> None:
    """Beside a stack its files and commands are the mutants', and the stack's own stay."""
    folder = tmp_path / "parsec"
    (folder / "data").mkdir(parents=True)
    (folder / "s").write_text("as it was")
    (folder / "secret").write_text("kept")
    shared = SharedStack("native", folder, 100, {"A": "b"}, {"two": "said"}, {"two": "rm x"}, {})
    mutants = [find(every, "number", "1"), find(every, "word", "rm")]

    with shared.beside(ParsecGuide(), plan.mutated(guide, mutants)) as site:
        assert (site.folder / "s").read_text() == "#!/bin/bash\nfirst 11\nsecond 2\n"
        assert sorted(path.name for path in site.folder.iterdir()) == ["s", "secret"]
        assert site.commands == {"two": "rmx x"}
        assert site.outputs == {"two": "said"}
        assert site.port_offset == 100
        beside = site.folder

    assert not beside.parent.exists()
    assert (folder / "s").read_text() == "as it was"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("echo asked; cat own", ""),
        ("echo asks; cat own", "the output of 'check-native' is not as stated"),
        ("echo asked; false", "docs/p.rst:5: exit status 1: echo asked; false\nasked\n"),
    ],
)
def test_questions_are_asked_at_the_stack(command: str, told: str, tmp_path: Path) -> None:
    """A command that only asks runs in the stack's folder, and its stated output is compared."""
    shared = stand(tmp_path, "check-native")
    own = Guide([asking("check-native", command), block("said", "asked\n...", "output"),
                 asking("check-more", "echo more"), block("more", "more", "output")])  # fmt: skip

    with shared.beside(ParsecGuide(), own) as site:
        problem = shared.ask(own.blocks, own, site)

        assert problem[: len(told) or None] == told
        if not told:
            assert site.outputs == {"check-native": "asked\nthe stack's\n"}


def test_what_does_more_than_ask_is_not_repeated(tmp_path: Path) -> None:
    """A command that changes the stack is not run again, nor one that was never run."""
    shared = stand(tmp_path, "stop-native")
    own = Guide([block("stop-native", "touch done"), asking("check-native", "touch done")])

    with shared.beside(ParsecGuide(), own) as site:
        assert shared.ask(own.blocks, own, site) == ""

    assert not (shared.folder / "done").exists()


def stand(base: Path, name: str) -> SharedStack:
    """A stack with a file of its own, on whose way this command was run."""
    folder = base / "parsec"
    folder.mkdir()
    (folder / "own").write_text("the stack's\n")
    return SharedStack("native", folder, 0, {"PATH": os.environ["PATH"]}, {}, {name: "true"}, {})


def test_results_belong_to_a_state(tmp_path: Path) -> None:
    """What was found is found again, in the same state alone; a broken line is passed over."""
    path = tmp_path / "results.jsonl"
    Store(path, "one", ["native"]).add([("a", MutantResult(True, "tools", "why"))])
    with path.open("a") as file:
        file.write('{"mutant": "b", "sta')

    assert Store(path, "one", ["native"]).known() == {"a": MutantResult(True, "tools", "why")}
    assert Store(path, "two", ["native"]).known() == {}
    assert set(Store(path, "two", ["native"]).known(of_any_state=True)) == {"a"}


def test_a_kill_holds_for_all_flavours(tmp_path: Path) -> None:
    """What one flavour has killed is killed; what survived there must be tried in the other."""
    path = tmp_path / "results.jsonl"
    killed, survived = MutantResult(True, "native", "why"), MutantResult(False, "native")
    Store(path, "one", ["native"]).add([("a", killed), ("b", survived)])

    assert Store(path, "one", ["native"]).known() == {"a": killed, "b": survived}
    assert Store(path, "one", ["native", "docker"]).known() == {"a": killed}


def entries(tmp_path: Path, text: str) -> list[equivalents.Entry]:
    """What a file of equivalents says."""
    path = tmp_path / "equivalents.toml"
    path.write_text(text)
    return equivalents.load(path)


def test_reasons_cover_their_mutants(every: list[Mutant], tmp_path: Path) -> None:
    """An entry covers the mutants of its line; one that covers none is stale."""
    text = (
        '[[equivalent]]\nplace = "deploy/*"\nline = "second 2"\noperator = "number"\nreason = "r"\n'
        '[[equivalent]]\nplace = "deploy/s"\nline = "third 3"\nreason = "gone"\n'
    )
    known = entries(tmp_path, text)

    assert equivalents.reason_for(find(every, "number", "2"), known) == "r"
    assert not equivalents.reason_for(find(every, "number", "1"), known)
    assert list(equivalents.without_mutant(known, every)) == [
        "stale: there is no such mutant any more: deploy/s: any: third 3"
    ]


@pytest.mark.parametrize(
    "text", ['[[equivalent]]\nplace = "x"\nline = "y"', "no toml", '[[equivalent]]\nwhy = ""']
)
def test_reasons_are_complete(text: str, tmp_path: Path) -> None:
    """An entry without a reason is refused, and so is a file that cannot be read."""
    with pytest.raises(UserError, match=r"equivalents\.toml"):
        entries(tmp_path, text)


def test_one_flavour_has_reasons_of_its_own(tmp_path: Path) -> None:
    """What is equivalent in one flavour is not so in a run of both."""
    text = '[[equivalent]]\nplace = "x"\nline = "y"\nreason = "z"\nflavour = "native"'
    known = entries(tmp_path, text)

    assert equivalents.applicable(known, ("native",)) == known
    assert equivalents.applicable(known, ("native", "docker")) == []
    assert equivalents.applicable(known, ("docker",)) == []


def test_touched_lines_are_those_added(every: list[Mutant]) -> None:
    """The diff's new line numbers choose the mutants."""
    diff = "--- a/deploy/s\n+++ b/deploy/s\n@@ -3,0 +3 @@\n+second 2\n@@ -9,2 +9,0 @@\n-x\n-y\n"
    lines = changed.parse(diff)

    assert lines == {"deploy/s": {3}}
    concerned = changed.concerned(every, lines)
    assert concerned
    assert all("second 2" in one.original for one in concerned)


def test_a_bound_draws_some_and_says_so(every: list[Mutant]) -> None:
    """At most so many, the same for a seed; a bound that is not reached changes nothing."""
    some, scope = selected(every, options(["--at-most", "3"]), ROOT)

    assert len(some) == 3
    assert scope == f"the whole guide, 3 of {len(every)}"
    assert selected(every, options(["--at-most", "3"]), ROOT)[0] == some
    assert selected(every, options(["--at-most", "9999"]), ROOT) == (every, "the whole guide")


def test_the_score_leaves_equivalents_out(every: list[Mutant], tmp_path: Path) -> None:
    """Killed of those that are not equivalent; an equivalent that is killed is stale."""
    first, second, third, fourth = every[:4]
    rows = [
        Row(first, MutantResult(True, "tools")),
        Row(second, MutantResult(False, "native")),
        Row(third, MutantResult(False, "native"), "a reason"),
        Row(fourth, MutantResult(True, "tools"), "a stale reason"),
    ]
    report = Report(rows, seed=0, flavours=("native",), scope="the whole guide", state="s",
                    started=datetime.now(UTC), notes=[], versions={})  # fmt: skip
    content = report.as_json()
    report.write(tmp_path)

    assert (content["killed"], content["survived"], content["equivalent"]) == (2, 1, 1)
    assert content["score"] == pytest.approx(2 / 3, abs=1e-4)
    assert [row.mutant for row in report.stale] == [fourth]
    assert second.title in (tmp_path / "report.html").read_text().replace("&gt;", ">")


def test_what_only_repeats_a_value_proves_nothing(every: list[Mutant], tmp_path: Path) -> None:
    """A kill by transcription is counted for itself, and makes no reason stale."""
    by_value = MutantResult(True, "transcription", transcribed=True)
    rows = [
        Row(every[0], MutantResult(True, "native")),
        Row(every[1], by_value),
        Row(every[2], by_value, "a reason"),
    ]
    report = Report(rows, seed=0, flavours=("native",), scope="the whole guide", state="s",
                    started=datetime.now(UTC), notes=[], versions={})  # fmt: skip
    content = report.as_json()
    report.write(tmp_path)

    assert [content[state] for state in STATES] == [1, 1, 0, 1]
    assert content["score"] == 0.5
    assert not report.stale
    assert every[1].title in (tmp_path / "report.html").read_text().replace("&gt;", ">")


def test_transcriptions_are_told_from_behaviour() -> None:
    """They are asked apart, and stay part of docs-test."""
    registry = Registry()

    @registry.about("a.conf", transcribes=True)
    def repeated(files: object) -> None:
        """It is so."""

    @registry.about("a.conf")
    def shown(files: object) -> None:
        """It does so."""

    assert registry.files == {"a.conf": [repeated, shown]}
    assert [part.files for part in registry.parted()] == [
        {"a.conf": [shown]},
        {"a.conf": [repeated]},
    ]


def test_some_mutants_give_no_score_of_the_guide(every: list[Mutant], tmp_path: Path) -> None:
    """The report of a run of some mutants leaves that of the whole guide as it is."""
    (tmp_path / "report.json").write_text("kept")
    rows = [Row(every[0], MutantResult(True, "tools"))]
    report = Report(rows, seed=0, flavours=("native",), scope="the whole guide, 1 of 9", state="s",
                    started=datetime.now(UTC), notes=[], versions={})  # fmt: skip

    report.write(tmp_path)

    assert (tmp_path / "report.json").read_text() == "kept"
    assert every[0].source in (tmp_path / "part.html").read_text()


def test_limits_of_time_are_told_from_other_failures() -> None:
    """Only what a busy machine may cause is tried again."""
    assert MutantResult(True, "native", "not ready in time: parsec-s3").hasty
    assert not MutantResult(True, "native", "exit status 1").hasty


@pytest.mark.parametrize(
    "name",
    [
        "src/guidewalk/shell.py", "src/guidewalk/strict.sh", "src/parsec_stack/stack.py",
        "src/guidewalk/mutants/shared.py", "src/new/one.txt", "docs/conf.py", "docs/a.rst",
        "docs/extensions/new.py", "deploy/new", "tests/docs/checks/new.py",
        "tests/docs/conftest.py", "tests/docs/inventory.txt", "scripts/requirements.lock",
        "pyproject.toml", "tasks.py",
        ".python-version",
    ],
)  # fmt: skip
def test_a_result_belongs_to_a_state(name: str, tmp_path: Path) -> None:
    """Whatever can change what becomes of a mutant makes another state, and nothing else does."""
    for one in ("src/guidewalk/guide.py", "docs/index.rst", "README.rst"):
        (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / one).write_text("as it was")
    (tmp_path / "pyproject.toml").write_text('[tool.guidewalk]\nexclude = ["inside/*"]\n')
    before = results.state_of(tmp_path)
    for one in (
        "README.rst", "build/x", "src/guidewalk/__pycache__/guide.pyc", "tests/unit/x.py",
        "tests/docs/equivalents.toml", "docs/inside/page.rst",
    ):  # fmt: skip
        (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / one).write_text("changed")
    assert results.state_of(tmp_path) == before

    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("changed")

    assert results.state_of(tmp_path) != before
