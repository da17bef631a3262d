"""A console over a folder of rollouts."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.testclient import TestClient

from serving.console.app import make_app
from serving.console.server import ConsoleSettings, Entrance, make_site
from serving.console.site import Site
from tests.serving.console.console_browser import Browser
from tests.serving.console.console_world import ConsoleWorld


@dataclass
class Console:
    """On the world's clock."""

    world: ConsoleWorld
    site: Site

    def browser(self, address: str = "testclient") -> Browser:
        """A browser without cookies. address: its own."""
        return browser_of(self.site, address)


def browser_of(site: Site, address: str = "testclient") -> Browser:
    """A browser without cookies before a site. address: its own."""
    app = make_app(site, {"localhost"})
    return Browser(TestClient(app, base_url="http://localhost", follow_redirects=False, client=(address, 50_000)))


def console_over(world: ConsoleWorld, entrance: Entrance) -> Console:
    """A console with a door of one's own."""
    database = f"sqlite:///{world.folder / 'console.db'}"
    settings = ConsoleSettings("a test", database, entrance, evidence=world.database)
    site = make_site(world.store, settings, world.clock)
    site.rollouts.fresh_s = -1.0
    return Console(world, site)
