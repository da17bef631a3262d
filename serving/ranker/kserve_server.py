"""The process of the KServe model server: both transports, the loading of the bundle, signals and the drain.

kserve's own ModelServer is not used, its parts are: the model, repository and data plane classes, the gRPC service and
the metrics. ModelServer binds every interface, needs a ready model before it listens, answers malformed input with 500
and closes connections at SIGTERM before the load balancer knows.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import grpc  # type: ignore[import-untyped]
import uvloop
from prometheus_client import REGISTRY, CollectorRegistry

from model.errors import Fault, MgoeError
from serving.listening import bound, listen
from serving.ranker.aside import end_all
from serving.ranker.host import RankerHost
from serving.ranker.kserve_grpc import grpc_server
from serving.ranker.kserve_http import RestServer, rest_server
from serving.ranker.kserve_model import RankerModel, RankerRepository
from serving.ranker.kserve_rest import RestOptions, rest_app
from serving.ranker.metrics import RankerMetrics
from serving.ranker.settings import RankerSettings

log = logging.getLogger("serving.ranker.kserve_server")  # whose __name__ may be __main__


@dataclass(frozen=True)
class ServerSettings:
    """How the server is reached, and how it goes away."""

    bundle: str
    """Folder, file:// or s3:// address of the bundle."""
    name: str = "mgoe"
    """Name of the model in paths."""
    address: str = "127.0.0.1"
    """What both ports are bound to; 0.0.0.0 or :: in a container."""
    http_port: int = 8080
    """0: any free port; the log says which."""
    grpc_port: int | None = 8081
    """None: no gRPC."""
    settle_s: float = 0.5
    """After SIGTERM, readiness fails at once and requests are still answered for so long: load balancers look away."""
    drain_s: float = 20.0
    """How long accepted requests may take to end after that."""
    retry_s: float = 30.0
    """A bundle that could not be loaded is tried again so often."""
    reload_by_api: bool = False
    """Whether the v2 repository API may load the bundle again; SIGHUP always does."""
    ranker: RankerSettings = field(default_factory=RankerSettings)


def run(settings: ServerSettings, http: socket.socket | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then drains. Raises Fault where a port cannot be bound.

    Where a bundle is still being loaded then, the process ends here, with code 0.
    http: a socket that holds the HTTP port already; None: it is bound here.
    """
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for ours in ("serving", "model"):  # compilers tell of every node at this level
        logging.getLogger(ours).setLevel(logging.INFO)
    gc.freeze()  # what was imported stays, and no full collection need look at it
    server = Server(settings, REGISTRY)
    uvloop.run(server.serve(http))
    if server.model.loads:
        # Python's own exit ends a thread that comes back from torch or ONNX Runtime, whose C++ then aborts it all.
        logging.shutdown()
        os._exit(0)


class Server:
    """One process' servers, model and tasks. registry: what /metrics shows; kserve's own metrics are in REGISTRY."""

    def __init__(self, settings: ServerSettings, registry: CollectorRegistry) -> None:
        self.settings = settings
        self.registry = registry
        metrics = RankerMetrics(registry)
        self.host = RankerHost(settings.ranker, metrics)
        self.model = RankerModel(settings.name, settings.bundle, self.host, settings.ranker, metrics)
        self.repository = RankerRepository(self.model)
        self.stop = asyncio.Event()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.failure: BaseException | None = None

    async def serve(self, http: socket.socket | None = None) -> None:
        settings = self.settings
        sock = http or bound(settings.address, settings.http_port)
        listen(sock)
        try:
            rpc, rpc_port = await self._start_grpc()
        except OSError as error:
            raise Fault(f"cannot listen on {settings.address}: {error}; choose another address or port") from None
        rest = self._rest()
        serving = asyncio.create_task(rest.serve([sock]))
        self._handle_signals()
        where = f"http {_at(settings.address, sock.getsockname()[1])}"
        log.info("listening on %s%s", where, "" if rpc is None else f", grpc {_at(settings.address, rpc_port)}")
        self._spawn(self._load())
        stopping = asyncio.create_task(self.stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await self._drain(rest, rpc)
        await serving
        log.info("stopped")
        if self.failure is not None:
            raise Fault(f"bundle {settings.bundle} could not be loaded: {self.failure!r}") from self.failure

    def _rest(self) -> RestServer:
        batch = self.settings.ranker.batch
        options = RestOptions(self.registry, batch.deadline_s, 2 * batch.queue, self.settings.reload_by_api)
        app = rest_app(self.repository, options)
        return rest_server(app, self.model, self.settings.drain_s)

    async def _start_grpc(self) -> tuple[grpc.aio.Server | None, int]:
        if self.settings.grpc_port is None:
            return None, 0
        server, port = grpc_server(
            self.repository,
            _at(self.settings.address, self.settings.grpc_port),
            deadline_s=self.settings.ranker.batch.deadline_s,
            reload_by_api=self.settings.reload_by_api,
            in_flight=2 * self.settings.ranker.batch.queue,
        )
        await server.start()
        return server, port

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._on_stop, name)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload)

    def _on_stop(self, name: signal.Signals) -> None:
        log.info("%s: draining", name.name)
        self.stop.set()
        # The second one means now.
        asyncio.get_running_loop().remove_signal_handler(name)

    def _on_reload(self) -> None:
        log.info("SIGHUP: the bundle is loaded again%s", ", and the old one serves on" if self.host.ready else "")
        self._spawn(self._reload())

    async def _load(self) -> None:
        """Until a bundle serves. The server answers all the while, and its readiness says what is wrong."""
        while not self.host.ready:
            if await self._reload():
                return
            await asyncio.sleep(self.settings.retry_s)

    async def _reload(self) -> bool:
        try:
            digest = await self.model.reload()
        except MgoeError as error:
            log.error("not loaded: %s", error)  # noqa: TRY400  # a sentence, not a traceback
            return False
        log.info("bundle %s serves", digest)
        return True

    async def _drain(self, rest: RestServer, rpc: grpc.aio.Server | None) -> None:
        self.model.draining = True
        await asyncio.sleep(self.settings.settle_s)
        rest.should_exit = True
        if rpc is not None:
            await rpc.stop(self.settings.drain_s)
        for task in self.tasks:
            task.cancel()
        end_all()

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        """A load that fails in a way that nobody thought of ends a server without a bundle, and no other."""
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a load failed", exc_info=error)
            if not self.host.ready:
                self.failure = error
                self.stop.set()


def _at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _main() -> None:
    """`python -m serving.ranker.kserve_server` is `mgoe serve`."""
    from serving.ranker.commands import app  # noqa: PLC0415  # it imports this module when it is called

    try:
        app(["serve", *sys.argv[1:]], prog_name="mgoe")
    except MgoeError as error:
        sys.stderr.write(f"kserve_server: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _main()
