"""The checks: ``nox`` runs those that need no Docker; ``nox --list`` lists all."""

import re
from pathlib import Path

import nox

# scripts/run locks and installs everything, so sessions share its environment.
nox.options.default_venv_backend = "none"
nox.options.stop_on_first_error = True

SHELL = [
    "scripts/run",
    "scripts/site",
    "scripts/set-up",
    "scripts/lock",
    "scripts/docker-engine",
    ".ci/run",
]
SHELL += ["tests/support/watch/bash_env.sh"]
PROSE = ["README.rst", "CONTRIBUTING.rst", "SECURITY.rst", "src/guidewalk/README.rst", "docs"]
PROSE += ["examples"]
PYTHON = ["src", "tests", "docs", "examples", "scripts/bench", "tasks.py", "noxfile.py"]
# Runs a command in an environment that also has a browser driver.
WITH_BROWSER = ("scripts/run", "--with", "browser")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, shell, prose and spelling."""
    session.run("ruff", "check", *PYTHON)
    session.run("ruff", "format", "--check", *PYTHON)
    session.run("mypy")
    session.run("lint-imports", "--no-cache")
    session.run("shellcheck", *SHELL)
    session.run("sphinx-lint", "--enable=all", "--disable=line-too-long", *PROSE, *session.posargs)
    session.run("codespell", *PROSE, "deploy", "scripts", "src", "tests")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the unit tests, which need no service, or those of a file that is named."""
    session.run("pytest", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """Run what starts programs and services: scripts, tasks, servers, environments."""
    session.run("pytest", "tests/integration", *session.posargs)


@nox.session(name="docs-test")
def docs_test(session: nox.Session) -> None:
    """Do what the guide's reader does, from an empty folder, and account for every block."""
    session.run("pytest", "tests/docs", *session.posargs)


@nox.session(name="docs-matrix", default=False)
def docs_matrix(session: nox.Session) -> None:
    """Follow the guide with each version of Parsec, and upgrade from each to the next."""
    session.run("python", "-m", "parsec_stack.verify.matrix", *session.posargs)


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """Kill parts of a stack while clients write; the docker flavour needs root."""
    session.run("pytest", "tests/faults", *session.posargs)


@nox.session(default=False)
def attack(session: nox.Session) -> None:
    """Attack running stacks as another user (needs root), a web page and a remote client."""
    session.run(*WITH_BROWSER, "pytest", "tests/attack", *session.posargs, external=True)


@nox.session(default=False)
def bundle(session: nox.Session) -> None:
    """Write the bundle, and bring both flavours up from it without a network; needs root."""
    session.run("invoke", "bundle")
    session.run("unshare", "--net", "pytest", "tests/bundle", *session.posargs, external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the guide as HTML, with the evidence of docs-test; every warning is an error."""
    session.run(
        "sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "build/html", *session.posargs
    )


@nox.session(default=False)
def linkcheck(session: nox.Session) -> None:
    """Visit the guide's external links and report; this never fails."""
    session.run(
        "sphinx-build", "--quiet", "-b", "linkcheck", "docs", "build/linkcheck",
        success_codes=[0, 1],
    )  # fmt: skip


@nox.session
def browser(session: nox.Session) -> None:
    """Check the built guide in a headless Chromium, as its readers see it."""
    session.run(*WITH_BROWSER, "pytest", "tests/browser", *session.posargs, external=True)


@nox.session(name="option-releases", default=False)
def option_releases(session: nox.Session) -> None:
    """Compare docs/option-releases.json with the option table of every tested release."""
    session.run("python", "-m", "parsec_stack.option_releases", *session.posargs)


@nox.session(default=False)
def release(session: nox.Session) -> None:
    """Write the change log, build the site and guidewalk's wheel, and tag: -- VERSION."""
    if len(session.posargs) != 1:
        session.error("name the version: nox -s release -- 1.0.0")
    (version,) = session.posargs
    if session.run("git", "status", "--porcelain", silent=True, external=True):
        session.error(
            "commit or stash your changes first: a release contains only what is committed"
        )
    for path in map(Path, ("pyproject.toml", "src/guidewalk/pyproject.toml")):
        text = re.sub(r'^version = ".*"$', f'version = "{version}"', path.read_text(), flags=re.M)
        path.write_text(text)
    session.run("towncrier", "build", "--yes", "--version", version)
    session.run("sphinx-build", "-W", "--quiet", "-b", "html", "docs", "build/release/site")
    session.run(
        "python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--wheel-dir", "build/release", "src/guidewalk",
    )  # fmt: skip
    session.run("git", "add", "--all", external=True)
    session.run("git", "commit", "--quiet", "--message", f"Release {version}", external=True)
    session.run("git", "tag", f"v{version}", external=True)


@nox.session(name="docs-live", default=False)
def docs_live(session: nox.Session) -> None:
    """Serve the guide, rebuild it on every change and show what docs-test finds, there and here."""
    session.run(
        "sphinx-autobuild", "docs", "build/live", "--tag", "live", "--host=127.0.0.1",
        "--watch=deploy", "--watch=tests/docs", "--re-ignore=__pycache__",
        "--post-build=pytest tests/docs --static --findings=build/live/_static/findings.json "
        "-q --no-header -r N",
        *session.posargs,
    )  # fmt: skip


@nox.session(name="docs-mutants", default=False)
def docs_mutants(session: nox.Session) -> None:
    """Plant faults in the guide, one at a time, to check that docs-test notices; see --help."""
    session.run("python", "tests/docs/mutate.py", *session.posargs)
