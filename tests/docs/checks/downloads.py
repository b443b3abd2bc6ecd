"""The command that fetches all files from the guide, from a guide that is served here."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from checks.common import after
from checks.scripts import Desk, desk
from parsec_stack import downloads
from parsec_stack.stack import ARTIFACTS
from parsec_stack.verify.stack_site import StackSite

FETCHED = (downloads.ARCHIVE, downloads.CHECKSUM)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *told: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which the folder is served."""
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def guide_with_files(folder: Path) -> Iterator[str]:
    """The address of a guide that offers its files, as the build writes them."""
    downloads.write(downloads.contents(ARTIFACTS), folder)
    with served(folder) as address:
        yield address


@after("prerequisites", prepares=True)
def the_guide_is_served(site: StackSite) -> None:
    """A guide that offers its files is served until all has been tried."""
    folder = Path(site.resources.enter_context(tempfile.TemporaryDirectory()))
    address = site.resources.enter_context(guide_with_files(folder))
    site.values[downloads.ADDRESS] = address


@after("download-files", prepares=True)
def all_files_are_fetched(site: StackSite) -> None:
    """The command brings every file as it is, and nothing else; then each is made by hand."""
    wanted = downloads.contents(ARTIFACTS)
    for name, content in wanted.items():
        path = site.folder / name
        assert path.is_file(), f"{name} was not fetched"
        assert path.read_bytes() == content, f"{name} differs from the guide's"
    for name in (*wanted, *FETCHED):
        (site.folder / name).unlink()
    left = sorted(path.name for path in site.folder.iterdir())
    assert not left, f"{', '.join(left)} came with them"


@after("download-files")
def nothing_is_unpacked_that_did_not_come_whole(site: StackSite) -> None:
    """An archive that is not what its checksum says is not unpacked."""
    with tempfile.TemporaryDirectory() as folder, guide_with_files(Path(folder)) as address:
        archive = Path(folder) / downloads.FOLDER / downloads.ARCHIVE
        archive.write_bytes(archive.read_bytes()[:-100])
        with desk(site) as place:
            said = failure(site, place, address)
            left = {path.name for path in place.folder.iterdir()}
    assert left == set(FETCHED), f"unpacked all the same: {sorted(left)}: {said}"


@after("download-files")
def an_archive_that_is_missing_is_named(site: StackSite) -> None:
    """Where the guide has no archive, curl says so, and nothing is left."""
    with tempfile.TemporaryDirectory() as folder, guide_with_files(Path(folder)) as address:
        (Path(folder) / downloads.FOLDER / downloads.ARCHIVE).unlink()
        with desk(site) as place:
            said = failure(site, place, address)
            left = {path.name for path in place.folder.iterdir()}
    assert said.startswith("curl: (22) "), said
    assert downloads.ARCHIVE not in left, "what the server said instead is kept"


@after("download-files")
def own_files_are_kept(site: StackSite) -> None:
    """A file that a reader has changed is kept, and the command ends with an error."""
    with desk(site) as place:
        own = place.folder / "parsec.env"
        own.write_text("mine\n")
        done = place.follow(site.commands["download-files"])
        assert done.returncode != 0, "the command succeeds"
        assert own.read_text() == "mine\n", "the file was replaced"


def failure(site: StackSite, place: Desk, address: str) -> str:
    """What the command says, which must fail, of the guide at this address."""
    command = site.commands["download-files"]
    done = place.follow(command.replace(site.values[downloads.ADDRESS], address))
    assert done.returncode != 0, f"the command succeeds: {done.stdout}"
    return done.stderr
