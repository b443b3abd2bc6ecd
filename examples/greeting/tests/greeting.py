"""What the guide has of its own: a port, and what its prose promises."""

from __future__ import annotations

import random
from dataclasses import replace

from guidewalk.project import Project
from guidewalk.registry import Registry
from guidewalk.site import Site, is_free

PORT = 8000
registry = Registry()


class Greeting(Project):
    """A guide with one web server."""

    version = "1.0"

    def prepare(self, flavour: str, port_offset: int | None) -> Site:
        """A folder, and a port that nobody uses."""
        offsets = [port_offset] if port_offset is not None else random.sample(range(1000, 9000), 20)
        free = next(PORT + offset for offset in offsets if is_free(PORT + offset))
        site = replace(super().prepare(flavour, port_offset), ports={PORT: free})
        site.environment["GREETING_PORT"] = str(free)
        return site


@registry.after("keep")
def the_number_is_kept(site: Site) -> None:
    """The number of the greeting is in the file."""
    assert (site.folder / "number.txt").read_text() == "35\n"
