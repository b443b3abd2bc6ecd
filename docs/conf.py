"""Sphinx configuration of the guide."""

import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "extensions"))
with (DOCS.parent / "pyproject.toml").open("rb") as file:
    VERSIONS = tomllib.load(file)["tool"]["parsec-stack"]

project = "Parsec server: a tested deployment guide"
author = "the authors of the guide"
project_copyright = author
release = VERSIONS["parsec"]
version = release

extensions = [
    "guidewalk.directives", "sphinx_copybutton",
    "facts", "settings_reference", "evidence", "verified_versions", "ways", "labels",
    "architecture", "folding", "downloads",
]  # fmt: skip
# While somebody writes: nox -s docs-live.
extensions += ["live"] if tags.has("live") else []  # noqa: F821 - Sphinx gives it to this file
exclude_patterns = ["extensions", "templates"]
templates_path = ["templates"]
nitpicky = True
# The reader's own services; nobody else reaches them.
linkcheck_ignore = [r"\w+://(localhost|127\.0\.0\.1)\b"]
linkcheck_timeout = 10
linkcheck_retries = 1
highlight_language = "none"
# Roles of literals whose meaning their shape does not tell (verify/recognisers.py).
ROLES = (
    "program", "bucket", "login", "database-role", "idle-suite", "trusted", "untrusted",
    "open-port", "log-field",
    "alike", "alike-quoted", "unlike", "unlike-quoted",
)  # fmt: skip
rst_prolog = "\n".join(
    [
        # The versions that the text names come from one place.
        *(f".. |{name}| replace:: :fact:`{name}`" for name in ("parsec", "python")),
        *(f".. role:: {name}(literal)" for name in ROLES),
    ]
)

# Where the guide is published, such as "https://guide.example.org": pages then name it as their
# canonical address, and commands that fetch something from the guide have it.
html_baseurl = ""
html_theme = "furo"
html_title = f"Deploying Parsec server {release}"
html_static_path = ["static"]
html_css_files = ["guide.css"]
html_favicon = "static/favicon.svg"
html_theme_options = {"top_of_page_buttons": []}
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
# What software prints is not for copying, and neither is the evidence below a block.
copybutton_selector = "div:not(.output):not(.message) > div.highlight > pre"
