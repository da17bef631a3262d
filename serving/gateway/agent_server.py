"""The agent's process: its HTTP paths, its workers, and an end that lets Envoy drain first."""

from __future__ import annotations

import logging
import signal
import threading
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from model.errors import Fault
from serving.gateway.agent import STUCK_S, Agent
from serving.gateway.agent_metrics import AgentMetrics
from serving.listening import bound, listen

log = logging.getLogger(__name__)

FLUSH_S = 0.5
"""Envoy writes its log every 0.2 s."""


@dataclass(frozen=True)
class AgentServerSettings:
    """Where it listens, and how it ends."""

    address: str = "127.0.0.1"
    port: int = 9902
    settle_s: float = 5.0
    """From SIGTERM on requests are taken for so long: until every node knows that this pod goes."""
    drain_s: float = 10.0
    """Active requests get this long after that."""


def make_app(agent: Agent) -> FastAPI:
    """The paths. None takes a word from its caller: what is routed comes from the ConfigMap alone."""
    app = FastAPI(title="mgoe gateway agent", docs_url=None, redoc_url=None, openapi_url=None)
    metrics = AgentMetrics(agent)

    @app.get("/v1/split")
    def split() -> Response:
        """What this Envoy routes by."""
        try:
            return JSONResponse(dict(agent.told()))
        except Fault as error:
            return JSONResponse({"replica": agent.replica, "problem": str(error)}, 503)

    @app.post("/v1/look")
    def look() -> Response:
        """Read the ConfigMap now, then the same answer: for the driver, which has just written it."""
        agent.look()
        return split()

    @app.get("/health/live")
    def live() -> Response:
        """The process answers, and its workers come round."""
        idle = agent.idle_s()
        good = all(seconds < STUCK_S for seconds in idle.values())
        told = {worker: round(seconds, 1) for worker, seconds in idle.items()}
        return JSONResponse({"live": good, "seconds_since_turn": told}, 200 if good else 503)

    @app.get("/health/ready")
    def ready() -> Response:
        """The gateway routes by what the cluster said."""
        return JSONResponse({"ready": agent.ready, "problem": agent.health.problem}, 200 if agent.ready else 503)

    @app.get("/metrics")
    def scrape() -> Response:
        """Envoy's statistics and the agent's own."""
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")

    return app


def run(agent: Agent, settings: AgentServerSettings) -> None:
    """Until SIGTERM or SIGINT; then drains Envoy and sends what is left of the log. Raises Fault for a taken port."""
    config = uvicorn.Config(make_app(agent), log_config=None, access_log=False)
    sock = bound(settings.address, settings.port)
    listen(sock)
    log.info("listening on http %s:%d", *sock.getsockname()[:2])
    server = uvicorn.Server(config)
    asked, stop = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    workers = [
        # Off the main thread uvicorn leaves signals alone.
        threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="http"),
        threading.Thread(target=agent.follow, args=(stop,), name="follow", daemon=True),
        threading.Thread(target=agent.send, args=(stop,), name="send"),
    ]
    for worker in workers:
        worker.start()
    asked.wait()
    agent.drain(settings.settle_s, settings.drain_s)
    stop.wait(FLUSH_S)
    stop.set()
    workers[2].join()
    server.should_exit = True
    workers[0].join()
