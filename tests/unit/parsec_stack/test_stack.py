"""Which stack a line of tasks is about, and what its folder keeps."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from parsec_stack import ownership
from parsec_stack import stack as stacks
from parsec_stack.errors import StackError
from parsec_stack.stack import Stack

# What people, companies and other programs export.
FOREIGN = (
    *("SSL_CERT_FILE", "AWS_CA_BUNDLE", "AWS_PROFILE", "PARSEC_DB", "POSTGRES_HOST", "PGSERVICE"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy", "CURL_HOME"),
    *("COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_ENV_FILES"),
    *("STACK_PREFIX", "STACK_SERVER_PORT", "DOCKER_DEFAULT_PLATFORM", "OPENSSL_CONF"),
    *("PYTHONPATH", "PYTHONHOME", "BASH_ENV", "ENV", "CDPATH", "GREP_OPTIONS", "PIP_USER"),
    *("POSIXLY_CORRECT", "LISTEN_ADDRESS", "TLS_DIR", "FORWARDED_ALLOW_IPS", "WEED_S3_PORT"),
)


def choose(folder: Path, environment: Mapping[str, str] | None = None, **options: str) -> Stack:
    """The stack in the folder, by options and environment variables, which now has one."""
    stack = stacks.choose({"stack": str(folder), **options}, environment or {})
    ownership.enter(stack, creates=True)
    ownership.record(stack)
    return stack


def test_native_is_the_default(tmp_path: Path) -> None:
    """Without a word a stack is native, at the guide's own ports."""
    stack = choose(tmp_path / "s")

    assert stack.flavour == "native"
    assert stack.ports["PROXY"] == 8443


def test_option_beats_variable(tmp_path: Path) -> None:
    """What is typed on the line wins over the environment."""
    stack = choose(tmp_path / "s", {"STACK_PORT_OFFSET": "100"}, port_offset="200")

    assert stack.ports["SERVER"] == 6977


def test_flavour_and_offset_are_remembered(tmp_path: Path) -> None:
    """A later task needs the folder alone."""
    choose(tmp_path / "s", flavour="docker", port_offset="1000")

    again = choose(tmp_path / "s")

    assert (again.flavour, again.ports["PROXY"]) == ("docker", 1443)


def test_flavour_stays_once_started(tmp_path: Path) -> None:
    """A stack that has data does not change its flavour."""
    choose(tmp_path / "s", flavour="docker").remember(started=True)

    with pytest.raises(StackError, match="has flavour docker, not native"):
        choose(tmp_path / "s", flavour="native")


def test_ports_move_only_while_stopped(tmp_path: Path) -> None:
    """A taken port is evaded by another offset, but not under running services."""
    choose(tmp_path / "s", port_offset="10").remember(running=True)

    with pytest.raises(StackError, match="has port_offset 10, not 20"):
        choose(tmp_path / "s", port_offset="20")

    choose(tmp_path / "s").remember(running=False)

    assert choose(tmp_path / "s", port_offset="20").port_offset == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flavour": "podman"}, "unknown flavour 'podman'"),
        ({"port_offset": "many"}, "'many' is not a whole number"),
        ({"port_offset": "60000"}, "out of range"),
        ({"port_offset": "-1"}, "out of range"),
    ],
)
def test_bad_values_leave_nothing(tmp_path: Path, options: dict[str, str], message: str) -> None:
    """A mistyped option is told before anything is made."""
    with pytest.raises(StackError, match=message):
        choose(tmp_path / "s", None, **options)

    assert not (tmp_path / "s").exists()


def test_corrupt_state_is_told(tmp_path: Path) -> None:
    """A damaged memory is named, with the remedy."""
    (tmp_path / ".stack.json").write_text("{")

    with pytest.raises(StackError, match="is corrupt: put back a copy"):
        choose(tmp_path)


def test_second_run_is_refused(tmp_path: Path) -> None:
    """Two runs never work on one stack at the same time."""
    stack = choose(tmp_path / "s")

    with (
        stacks.locked(stack),
        pytest.raises(StackError, match="another run"),
        stacks.locked(stack),
    ):
        pass


def test_artifacts_are_refreshed_unless_edited(tmp_path: Path) -> None:
    """The guide's files follow the guide; those that a reader changed stay as they are."""
    stack = choose(tmp_path / "s")
    stack.install_artifacts()
    edited = stack.folder / "parsec.env"
    edited.write_text("# mine\n")
    stale = stack.folder / "parsec-db.env"
    stale.write_text("# old\n")
    stack.state["artifacts"]["parsec-db.env"] = stacks.digest(b"# old\n")

    kept = stack.install_artifacts()

    assert kept == ["parsec.env"]
    assert edited.read_text() == "# mine\n"
    assert stale.read_text() == (stacks.ARTIFACTS / "parsec-db.env").read_text()


def test_environment_is_free_of_foreign_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a machine exports for other purposes does not reach what is started."""
    for name in FOREIGN:
        monkeypatch.setenv(name, "foreign")

    environment = choose(tmp_path / "s", port_offset="5").environment()

    assert "foreign" not in environment.values()
    assert environment["STACK_SERVER_PORT"] == "6782"


def test_project_is_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is exported, compose works on the stack's own project, under its own names."""
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "foreign")
    monkeypatch.setenv("STACK_PREFIX", "foreign-")
    stack = choose(tmp_path / "s", flavour="docker", port_offset="5")

    environment = stack.environment()

    assert environment["COMPOSE_PROJECT_NAME"] == stack.project
    assert environment["STACK_PREFIX"] == f"{stack.project}-"


def test_variables_can_be_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How tests watch what is started, they must say by name."""
    monkeypatch.setenv("BASH_ENV", "/dev/null")
    stack = choose(tmp_path / "s")
    assert "BASH_ENV" not in stack.environment()

    monkeypatch.setenv("STACK_PASS", "OTHER BASH_ENV")

    assert stack.environment()["BASH_ENV"] == "/dev/null"
