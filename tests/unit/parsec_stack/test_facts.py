"""The facts that the guide names: derived from their sources, all used, and versions that agree."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from guidewalk.guide import Block, Guide, GuideError
from mini import Mini
from parsec_stack import facts
from parsec_stack.errors import StackError
from parsec_stack.stack import ARTIFACTS, DOCS, ROOT
from parsec_stack.verify import same_versions
from parsec_stack.verify.sources import Sources
from parsec_stack.versions import REQUIREMENTS

SERVICE, OTHER = "\n  parsec-smtp:", "\n  extra: {image: a:1}\n  parsec-mail:"
# A change to an artifact, and what the fact says then: fact, file, old and new text, answer.
CHANGES = {
    "renewal-days": ("setup-tls.sh", "renew_days=30", "renew_days=20", "20"),
    "ca-years": ("setup-tls.sh", "ca_days=3650", "ca_days=730", "two"),
    "certificate-years": ("setup-tls.sh", "\ndays=365", "\ndays=1095", "three"),
    "proxy-finds-within": ("parsec-nginx.conf", "valid=2s", "valid=7s", "seven"),
    "postgres-group": ("parsec-server.docker.yaml", ":1235", ":5321", "5321"),
    "s3-group": ("parsec-server.docker.yaml", ":1236", ":6321", "6321"),
    "smtp-group": ("parsec-server.docker.yaml", ":1237", ":7321", "7321"),
    "server-group": ("parsec-server.docker.yaml", "1234:1234", "4321:4321", "4321"),
    "proxy-group": ("parsec-server.docker.yaml", ":1238", ":8321", "8321"),
    "proxy-port": ("parsec-server.docker.yaml", "PROXY_PORT:-443", "PROXY_PORT:-444", "444"),
    "services": ("parsec-server.docker.yaml", SERVICE, OTHER, "six"),
    "other-services": ("parsec-server.docker.yaml", SERVICE, OTHER, "five"),
    "requests-at-once": ("parsec-nginx.conf", "max_conns=256", "max_conns=512", "512"),
    "event-clients": ("parsec-nginx.conf", "max_conns=1200", "max_conns=2400", "2400"),
    "requests-of-an-address": ("parsec-nginx.conf", "requests 200;", "requests 50;", "50"),
    "events-of-an-address": ("parsec-nginx.conf", "events 1000;", "events 90;", "90"),
    "events-begun": ("parsec-nginx.conf", "rate=100r/s", "rate=70r/s", "70"),
    "suites": ("parsec.env", "TLS_AES_256_GCM_SHA384:", "", "eleven"),
    "suites-in-effect": ("parsec.env", "ECDHE-RSA-AES256-GCM-SHA384:", "", "ten"),
    "suites-ecdsa": ("parsec.env", "ECDHE-ECDSA-AES256-CCM:", "", "four"),
    "suites-rsa": ("parsec.env", "ECDHE-RSA-AES256-GCM-SHA384:", "", "two"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_facts_follow_their_artifact(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the artifact changes, so does what the guide says."""
    file, old, new, answer = CHANGES[name]
    changed = tmp_path / "deploy"
    shutil.copytree(ARTIFACTS, changed)
    text = (changed / file).read_text()
    (changed / file).write_text(text.replace(old, new))
    before = facts.tell(name)
    monkeypatch.setattr(facts, "ARTIFACTS", changed)

    assert old in text
    assert before != answer
    assert facts.tell(name) == answer


def test_a_fact_whose_source_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that has changed its form is told of, with its name."""
    (tmp_path / "setup-tls.sh").write_text("days=many\n")
    monkeypatch.setattr(facts, "ARTIFACTS", tmp_path)

    with pytest.raises(StackError, match=r"deploy/setup-tls.sh has no line"):
        facts.tell("renewal-days")


def test_every_fact_is_told_in_the_guide() -> None:
    """No fact is derived for nothing, and each says something."""
    text = "".join(page.read_text() for page in DOCS.glob("*.rst"))
    used = set(re.findall(r":fact:`([^`]+)`", text)) | set(re.findall(r"\|(\w+)\|", text))

    assert used == set(facts.FACTS)
    assert all(facts.tell(name) for name in used)


def test_an_unknown_fact_is_a_mistake_of_its_page(tmp_path: Path) -> None:
    """A misspelt fact is told with page and line."""
    mini = Mini(tmp_path).page("In :fact:`no-such`.\n")
    conf = f'import sys\nsys.path.insert(0, "{DOCS / "extensions"}")\nextensions = ["facts"]\n'
    (mini.docs / "conf.py").write_text(conf)

    with pytest.raises(GuideError, match=r"docs/index.rst:4: ERROR: there is no fact 'no-such'"):
        mini.load()


def guide_of(requirements: str = "", compose: str = "") -> Sources:
    """A guide with these requirements, or with this compose file."""
    pages = ("index", "docs/index.rst", 1)
    flavours = ("native", "docker")
    files = {REQUIREMENTS: requirements, "parsec-server.docker.yaml": compose}
    blocks = [
        Block(*pages, text, "text", "file", flavours, target=name)
        for name, text in files.items()
        if text
    ]
    return Sources(Guide(blocks), ROOT)


def test_versions_agree() -> None:
    """Packages and images have pyproject's versions, and the lock's hashes; each other is told."""
    right = (ARTIFACTS / REQUIREMENTS).read_text()
    image = "services: {parsec-proxy: {image: 'nginx:1.2.3-alpine'}}"
    older = re.sub("maildump==[0-9.]+", "maildump==1.0", right)
    lacking = re.sub(r"maildump==.*\n( .*\n)*", "", right)
    other = re.sub(r"(maildump==.*\n.*sha256:)....", r"\g<1>beef", right)

    def found(requirements: str = "", compose: str = "") -> list[str]:
        """What is held against them."""
        return list(same_versions.problems(guide_of(requirements, compose)))

    assert found(right) == []
    assert "maildump is 1.0 here" in found(older)[0]
    assert "or has other hashes there" in found(other)[0]
    assert "lacks maildump" in found(lacking)[0]
    assert "runs nginx 1.2.3-alpine" in found(compose=image)[0]
