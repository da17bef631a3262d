"""The servers that are compared: how each is started, where it listens, what it reads."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.serving import grpc_load
from benchmarks.serving.grpc_load import GrpcTarget
from benchmarks.serving.load import Reachable, Target
from serving.ranker.request import RankRequest
from serving.ranker.settings import RankerSettings, ScorerName
from serving.ranker.torchserve.archive import ArchiveOptions, archive_in, manifest_of, write_archive
from serving.ranker.torchserve.launch import ServerOptions
from serving.ranker.torchserve.readiness import why_not_ready

MODEL = "ranker"
PLAIN = "plain FastAPI, eager torch"
KSERVE = "mgoe on KServe"
KSERVE_GRPC = "mgoe on KServe, gRPC"
START_S = 300.0
Body = Callable[[RankRequest], bytes]
Probabilities = Callable[[Any], Any]


@dataclass(frozen=True)
class Process:
    """One process to start, and how to ask whether it serves."""

    command: list[str]
    port: int
    ready: Callable[[], bool]
    environment: dict[str, str]


@dataclass(frozen=True)
class Contender:
    """plan: the processes that serve `bundle` on so many cores from the working folder given."""

    name: str
    path: str
    body: Body
    probabilities: Probabilities
    """From an answer (JSON, or a gRPC message) to what must equal the ranker's probabilities, in any shape."""
    plan: Callable[[Path, Path, int], list[Process]]
    grpc: bool = False
    fast_path: bool = False
    """Whether it is there to show one way of scoring: its throughput on one core is measured, nothing else."""

    def target(self, ports: Sequence[int], requests: Sequence[RankRequest]) -> Reachable:
        bodies = [self.body(request) for request in requests]
        return GrpcTarget(tuple(ports), tuple(bodies)) if self.grpc else Target.of(ports, self.path, bodies)

    def answer(self, port: int, request: RankRequest) -> Any:
        """Probabilities of one request. Raises RuntimeError where the status is not 200."""
        if self.grpc:
            return self.probabilities(grpc_load.call(port, self.body(request)))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", self.path, self.body(request), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{self.name} answers {answer.status}: {text[:300]!r}")
        return self.probabilities(json.loads(text))


@dataclass(frozen=True)
class Running:
    """A contender that serves."""

    ports: tuple[int, ...]
    pids: tuple[int, ...]

    def memory_mb(self, kind: str = "Pss") -> float:
        """Proportional set size of all its processes, where shared pages are counted once; or "Rss", where each counts
        them."""
        return sum(_kb_of(pid, kind) for parent in self.pids for pid in _family(parent)) / 1000


def contenders(cache: Path) -> list[Contender]:
    """The plain server first: its throughput sets the loads of all."""
    every: tuple[ScorerName, ...] = ("factorised", "aoti", "onnx")
    return [
        Contender(PLAIN, "/rank", plain_body, _of_rows, _plain),
        Contender("TorchServe, stock handler", f"/predictions/{MODEL}", plain_body, _of_rows, _stock),
        *(_kserve(f"mgoe on KServe, {name}", (name,), cache, fast_path=True) for name in ("eager", *every)),
        _kserve(KSERVE, every, cache),
        _kserve(KSERVE_GRPC, every, cache, grpc=True),
        _torchserve("mgoe on TorchServe", every, cache),
    ]


def unbatched(cache: Path) -> Contender:
    """The model server that scores every request alone."""
    return _kserve("mgoe on KServe, no batches", ("factorised", "aoti", "onnx"), cache, options=("--batch-rows", "1"))


@contextmanager
def running(contender: Contender, bundle: Path, folder: Path, cores: Sequence[int]) -> Iterator[Running]:
    """Starts the contender on these cores, waits until it serves, and ends it. Raises RuntimeError with its log."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = contender.plan(bundle, folder, len(cores))
    log = folder / "log.txt"
    started: list[subprocess.Popen[bytes]] = []
    try:
        with log.open("wb") as output:
            for process in plan:
                pinned = ["taskset", "-c", ",".join(map(str, cores)), *process.command]
                environment = {**os.environ, "OMP_NUM_THREADS": "1", **process.environment}
                started.append(
                    subprocess.Popen(
                        pinned, stdout=output, stderr=output, env=environment, start_new_session=True, cwd=Path.cwd()
                    )
                )
        _wait(contender.name, plan, started, log)
        yield Running(tuple(process.port for process in plan), tuple(process.pid for process in started))
    finally:
        for process_ in started:
            _end(process_)


def plain_body(request: RankRequest) -> bytes:
    body = {
        "user": request.user,
        "items": list(request.items),
        "time": request.time,
        "context": dict(request.context),
    }
    return json.dumps(body).encode()


def v2_body(request: RankRequest) -> bytes:
    inputs = [
        {"name": "user", "datatype": "BYTES", "shape": [1], "data": [request.user]},
        {"name": "items", "datatype": "BYTES", "shape": [len(request.items)], "data": list(request.items)},
        {"name": "time", "datatype": "FP64", "shape": [1], "data": [request.time]},
        *(
            {"name": f"context.{name}", "datatype": "BYTES", "shape": [1], "data": [value]}
            for name, value in request.context.items()
        ),
    ]
    return json.dumps({"inputs": inputs}).encode()


def _of_rows(answer: dict[str, Any]) -> Any:
    return answer["probabilities"]


def _of_v2(answer: dict[str, Any]) -> Any:
    (found,) = (output for output in answer["outputs"] if output["name"] == "probabilities")
    return np.asarray(found["data"]).reshape(found["shape"])


def _of_message(answer: Any) -> Any:
    place = [output.name for output in answer.outputs].index("probabilities")
    return np.frombuffer(answer.raw_output_contents[place], "<f4").reshape(answer.outputs[place].shape)


def _plain(bundle: Path, _: Path, cores: int) -> list[Process]:
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.serving.plain_server:app", "--port", str(port)]
    command += ["--workers", str(cores), "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    return [Process(command, port, lambda: _get(port, "/ready"), {"BUNDLE": str(bundle)})]


def _kserve(
    name: str,
    scorers: tuple[ScorerName, ...],
    cache: Path,
    *,
    grpc: bool = False,
    fast_path: bool = False,
    options: tuple[str, ...] = (),
) -> Contender:
    def plan(bundle: Path, _: Path, cores: int) -> list[Process]:
        return [one(bundle, _free_port(), _free_port()) for _ in range(cores)]

    def one(bundle: Path, port: int, grpc_port: int) -> Process:
        command = [sys.executable, "-m", "serving.ranker.kserve_server", "--bundle", str(bundle), "--name", MODEL]
        command += ["--http-port", str(port), "--scorers", ",".join(scorers), "--cache", str(cache)]
        command += ["--deadline", "10", "--settle", "0", *options]
        command += ["--grpc-port", str(grpc_port)] if grpc else ["--no-grpc"]
        ready = partial(_get, port, f"/v2/models/{MODEL}/ready")
        return Process(command, grpc_port if grpc else port, ready, {})

    if grpc:
        body = partial(grpc_load.message, model=MODEL)
        return Contender(name, "", body, _of_message, plan, grpc=True)
    return Contender(name, f"/v2/models/{MODEL}/infer", v2_body, _of_v2, plan, fast_path=fast_path)


def _torchserve(name: str, scorers: tuple[ScorerName, ...], cache: Path) -> Contender:
    def plan(bundle: Path, folder: Path, cores: int) -> list[Process]:
        settings = RankerSettings(scorers=scorers, cache=cache)
        options = ArchiveOptions(name=MODEL, workers=cores, ranker=settings, deadline_ms=10_000)
        write_archive(bundle, folder / "archive", options)
        return [_torchserve_process(archive_in(folder / "archive"), folder)]

    return Contender(name, f"/v2/models/{MODEL}/infer", v2_body, _of_v2, plan)


def _stock(bundle: Path, folder: Path, cores: int) -> list[Process]:
    """TorchServe's defaults but for the number of workers; ports and logging as for our own handler."""
    archive = folder / f"{MODEL}.mar"
    config = {"minWorkers": cores, "maxWorkers": cores, "bundle": str(bundle.resolve())}
    manifest = manifest_of(ArchiveOptions(name=MODEL))
    manifest["model"]["handler"] = "stock_handler.py"
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        target.writestr("model-config.yaml", yaml.safe_dump(config))
        target.write(Path(__file__).with_name("stock_handler.py"), "stock_handler.py")
    return [_torchserve_process(archive, folder)]


def _torchserve_process(archive: Path, folder: Path) -> Process:
    names = ("port", "management_port", "metrics_port", "grpc_port", "grpc_management_port")
    options = ServerOptions.model_validate({"tokens": False, **{name: _free_port() for name in names}})
    run = folder / "run"
    source = folder / "options.yaml"
    source.write_text(yaml.safe_dump(options.model_dump(mode="json")))
    code = "from serving.ranker.torchserve.commands import app; app()"
    command = [sys.executable, "-c", code, "serve", str(archive), "--run", str(run), "--options", str(source)]
    environment = {"PYTHONPATH": str(Path.cwd())}
    return Process(command, options.port, lambda: why_not_ready(run, options, MODEL) is None, environment)


def _wait(name: str, plan: Sequence[Process], started: Sequence[subprocess.Popen[bytes]], log: Path) -> None:
    end = time.monotonic() + START_S
    while not all(process.ready() for process in plan):
        if time.monotonic() > end or any(process.poll() is not None for process in started):
            raise RuntimeError(f"{name} does not serve:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its own session: the server and its workers alone
        process.wait(10)


def _get(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in children.read_text().split()] if children.exists() else []
    # Workers are started by other threads of the frontend than its first.
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split() if int(child) not in found]
    return [pid, *(each for child in found for each in _family(child))]


def _kb_of(pid: int, kind: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it ended meanwhile
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")), 0)
