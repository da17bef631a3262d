"""The servers that are compared: how each is started, and what it reads."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from benchmarks.serving.load import Reachable
from benchmarks.serving.processes import Process, Running, answers, free_port, running
from benchmarks.serving.transports import GRPC, MODEL, PLAIN_JSON, REST_BINARY, REST_JSON, Transport
from serving.ranker.request import RankRequest
from serving.ranker.settings import RankerSettings, ScorerName
from serving.ranker.torchserve.archive import ArchiveOptions, archive_in, manifest_of, write_archive
from serving.ranker.torchserve.launch import ServerOptions
from serving.ranker.torchserve.readiness import why_not_ready

COMPILED: tuple[ScorerName, ...] = ("factorised", "aoti", "onnx", "native")
"""Fast paths that a server chooses among by default."""
FAST_PATHS: tuple[ScorerName, ...] = ("eager", *COMPILED)


@dataclass(frozen=True)
class Contender:
    """plan: the processes that serve `bundle` on so many cores from the working folder given. transports: the first is
    the one that is loaded."""

    name: str
    transports: tuple[Transport, ...]
    plan: Callable[[Path, Path, int], list[Process]]


@dataclass(frozen=True)
class Server:
    """A contender that serves."""

    name: str
    transports: tuple[Transport, ...]
    running: Running

    def ports(self, transport: Transport) -> tuple[int, ...]:
        return self.running.grpc_ports if transport.grpc else self.running.ports

    def target(self, requests: Sequence[RankRequest], transport: Transport | None = None) -> Reachable:
        transport = transport or self.transports[0]
        return transport.target(self.ports(transport), requests)


@contextmanager
def serving(contender: Contender, bundle: Path, folder: Path, cores: Sequence[int]) -> Iterator[Server]:
    """The contender on these cores. Raises RuntimeError with its log where it does not serve."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = contender.plan(bundle, folder, len(cores))
    with running(contender.name, plan, folder, cores) as started:
        yield Server(contender.name, contender.transports, started)


def plain() -> Contender:
    """FastAPI and eager torch: the peer whose throughput sets the loads of all."""

    def plan(bundle: Path, _: Path, cores: int) -> list[Process]:
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "benchmarks.serving.plain_server:app", "--port", str(port)]
        command += ["--workers", str(cores), "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
        return [Process(command, port, lambda: answers(port, "/ready"), {"BUNDLE": str(bundle)})]

    return Contender("plain FastAPI, eager torch", (PLAIN_JSON("/rank"),), plan)


def kserve(
    cache: Path, scorers: tuple[ScorerName, ...] = COMPILED, name: str = "mgoe on KServe", *options: str
) -> Contender:
    """Our model server, a process per core."""

    def plan(bundle: Path, _: Path, cores: int) -> list[Process]:
        return [one(bundle, free_port(), free_port()) for _ in range(cores)]

    def one(bundle: Path, port: int, grpc_port: int) -> Process:
        command = [sys.executable, "-m", "serving.ranker.kserve_server", "--bundle", str(bundle), "--name", MODEL]
        command += ["--http-port", str(port), "--grpc-port", str(grpc_port), "--scorers", ",".join(scorers)]
        command += ["--cache", str(cache), "--deadline", "10", "--settle", "0", *options]
        return Process(command, port, partial(answers, port, f"/v2/models/{MODEL}/ready"), {}, grpc_port)

    return Contender(name, (REST_JSON, REST_BINARY, GRPC), plan)


def unbatched(cache: Path) -> Contender:
    """The model server that scores every request alone."""
    return kserve(cache, COMPILED, "mgoe on KServe, no batches", "--batch-rows", "1")


def torchserve(cache: Path) -> Contender:
    """Our handler on TorchServe."""

    def plan(bundle: Path, folder: Path, cores: int) -> list[Process]:
        settings = RankerSettings(scorers=COMPILED, cache=cache)
        options = ArchiveOptions(name=MODEL, workers=cores, ranker=settings, deadline_ms=10_000)
        write_archive(bundle, folder / "archive", options)
        return [_torchserve_process(archive_in(folder / "archive"), folder)]

    return Contender("mgoe on TorchServe", (REST_JSON,), plan)


def stock() -> Contender:
    """TorchServe's defaults but for the number of workers; ports and logging as for our own handler."""

    def plan(bundle: Path, folder: Path, cores: int) -> list[Process]:
        archive = folder / f"{MODEL}.mar"
        config = {"minWorkers": cores, "maxWorkers": cores, "bundle": str(bundle.resolve())}
        manifest = manifest_of(ArchiveOptions(name=MODEL))
        manifest["model"]["handler"] = "stock_handler.py"
        with zipfile.ZipFile(archive, "w") as target:
            target.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
            target.writestr("model-config.yaml", yaml.safe_dump(config))
            target.write(Path(__file__).with_name("stock_handler.py"), "stock_handler.py")
        return [_torchserve_process(archive, folder)]

    return Contender("TorchServe, stock handler", (PLAIN_JSON(f"/predictions/{MODEL}"),), plan)


def _torchserve_process(archive: Path, folder: Path) -> Process:
    names = ("port", "management_port", "metrics_port", "grpc_port", "grpc_management_port")
    options = ServerOptions.model_validate({"tokens": False, **{name: free_port() for name in names}})
    run = folder / "run"
    source = folder / "options.yaml"
    source.write_text(yaml.safe_dump(options.model_dump(mode="json")))
    code = "from serving.ranker.torchserve.commands import app; app()"
    command = [sys.executable, "-c", code, "serve", str(archive), "--run", str(run), "--options", str(source)]
    environment = {"PYTHONPATH": str(Path.cwd())}
    return Process(command, options.port, lambda: why_not_ready(run, options, MODEL) is None, environment)
