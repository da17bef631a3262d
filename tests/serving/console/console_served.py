"""A console as a process would serve it: on a port, with its watch, over rollouts that move by themselves."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import uvicorn

from serving.console.app import make_app
from serving.console.server import ConsoleSettings, Entrance, make_site
from serving.console.shield import LOOPBACK
from serving.console.site import Site
from serving.console.watch import Watch
from tests.serving.console.console_world import ConsoleWorld


@dataclass
class Served:
    """A console on loopback."""

    url: str
    site: Site
    world: ConsoleWorld
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextlib.contextmanager
def served(world: ConsoleWorld, entrance: Entrance | None = None, looks: bool = True) -> Iterator[Served]:
    """The world goes on in real time meanwhile: its controller looks several times a second."""
    database = f"sqlite:///{world.folder / 'console.db'}"
    settings = ConsoleSettings("runs/stack", database, entrance or Entrance(), evidence=world.database)
    site = make_site(world.store, settings, world.clock)
    config = uvicorn.Config(make_app(site, LOOPBACK), port=0, log_config=None, proxy_headers=False)
    sock = config.bind_socket()
    server = uvicorn.Server(config)
    watch = Watch(site.rollouts, site.splits, site.latencies, now=world.clock, every_s=0.5)
    made = Served(f"http://127.0.0.1:{sock.getsockname()[1]}", site, world)
    stop = threading.Event()

    def live() -> None:
        last = time.monotonic()
        while not stop.wait(0.25):
            with made.lock:
                now = time.monotonic()
                world.now += now - last
                last = now
                world.look()

    threads = [threading.Thread(target=server.run, args=([sock],))]
    threads += [threading.Thread(target=live)] if looks else []
    for thread in threads:
        thread.start()
    watch.start()
    try:
        yield made
    finally:
        stop.set()
        watch.stop()
        server.should_exit = True
        for thread in threads:
            thread.join(timeout=20)
