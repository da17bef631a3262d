"""Starts TorchServe with every door shut that the ranker does not need, and stops it without dropping a request.

TorchServe's own starter leaves the frontend behind when it is told to stop, keeps one process id for a whole machine,
and the frontend cuts connections at SIGTERM. So the frontend is run directly: at SIGTERM readiness fails first,
requests are answered for `settle_s` more, then the frontend is told to stop. It dies with this process in any case.
"""

from __future__ import annotations

import ctypes
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from model.errors import Fault, UserError
from serving.ranker.torchserve.archive import Name
from serving.ranker.torchserve.tokens import LOOPBACK, TOKENS, renew
from serving.ranker.torchserve.worker_metrics import model_metrics

MAIN = "org.pytorch.serve.ModelServer"
CONFIG = "config.properties"
METRICS = "metrics.yaml"
LOGGING = "log4j2.xml"
STORE = "store"
"""Folder of the run folder that holds the one archive."""
DRAINING = "draining"
"""File of the run folder that is there from SIGTERM on."""
_STOP_S = 30.0
_AGAIN_S = 60.0
"""A renewal of tokens that failed is tried again so often."""
_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent dies."""

Port = Annotated[int, Field(ge=1, le=65535)]
RUN = "MGOE_TORCHSERVE_RUN"
"""Environment variable by which workers know the run folder."""
REASON = "not_ready"
"""File of the run folder that holds a worker's last failure to load, in one sentence."""

_LOGGING_TEXT = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN" shutdownHook="disable">
  <Appenders>
    <Console name="console"><PatternLayout pattern="%d{ISO8601} %-5p %t %c{1} - %m%n"/></Console>
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="warn"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="org.pytorch.serve.job" level="warn"/>
    <Logger name="org.pytorch.serve.http" level="warn"/>
    <Logger name="org.pytorch.serve.ServerInitializer" level="warn"/>
    <Logger name="org.pytorch.serve.wlm" level="warn"/>
    <Root level="info"><AppenderRef ref="console"/></Root>
  </Loggers>
</Configuration>
"""


class ServerOptions(BaseModel):
    """How TorchServe's frontend is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = LOOPBACK
    """Address of the inference port. All other ports stay on loopback."""
    port: Port = 8080
    """Inference: /predictions, /v1/models, /v2/models, /ping."""
    management_port: Port = 8081
    """Loopback only. It describes models and renews tokens; changing models through it is off."""
    metrics_port: Port = 8082
    """Prometheus metrics."""
    metrics_host: str = LOOPBACK
    """Address of the metrics port, for a Prometheus elsewhere."""
    grpc_port: Port = 7070
    """TorchServe's own gRPC, which cannot be turned off; loopback only."""
    grpc_management_port: Port = 7071
    """Loopback only."""
    tokens: bool = True
    """Calls must carry the token that TorchServe writes to key_file.json in its run folder."""
    token_minutes: Annotated[int, Field(ge=1, le=60 * 24 * 30)] = 60 * 24
    """How long a token holds. After half of it both are renewed, and the old ones end: callers read the file again."""
    body_bytes: Annotated[int, Field(ge=1024)] = 4 * 2**20
    """Largest body of a call; a larger one is answered with 413 by the frontend."""
    answer_bytes: Annotated[int, Field(ge=1024)] = 64 * 2**20
    """Largest answer of a worker."""
    settle_s: Annotated[float, Field(ge=0)] = 2.0
    """After SIGTERM requests are answered for so long, while load balancers learn that the server is not ready."""
    heap_mb: Annotated[int, Field(ge=64)] = 512
    """Memory of the frontend."""
    netty_threads: Annotated[int, Field(ge=0)] = 2
    """Threads of the frontend's HTTP server."""


def serve(archive: Path, run: Path, options: ServerOptions) -> None:
    """Serves `archive` (a .mar) from the working folder `run` until SIGTERM or SIGINT, then drains.

    Raises UserError where TorchServe, Java or the archive is missing or broken, Fault where the frontend ends itself.
    """
    command = prepare(archive, run, options)
    stopping = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stopping.set())
    frontend = subprocess.Popen(  # noqa: S603  # a command made here
        command,
        cwd=run,
        env=environment(run),
        preexec_fn=_die_with_parent,  # noqa: PLW1509  # this process has one thread
        start_new_session=True,
    )
    _watch(frontend, stopping, run, options)
    if frontend.returncode is not None:
        raise Fault(f"TorchServe ended by itself with code {frontend.returncode}; its log says why")
    (run / DRAINING).touch()
    time.sleep(options.settle_s)
    frontend.terminate()
    try:
        frontend.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        frontend.kill()
        frontend.wait()
        raise Fault(f"TorchServe did not stop within {_STOP_S:g} s of SIGTERM and was killed") from None


def _watch(frontend: subprocess.Popen[bytes], stopping: threading.Event, run: Path, options: ServerOptions) -> None:
    """Until the frontend ends or is to be stopped; tokens are renewed at half of their time."""
    pause = options.token_minutes * 30.0
    due = time.monotonic() + pause
    while frontend.poll() is None and not stopping.wait(0.2):
        if not options.tokens or time.monotonic() < due:
            continue
        try:
            renew(run, options.management_port)
            due = time.monotonic() + pause
        except (OSError, http.client.HTTPException, ValueError) as error:
            due = time.monotonic() + min(_AGAIN_S, pause)
            sys.stderr.write(f"tokens are not renewed yet: {error}\n")


def prepare(archive: Path, run: Path, options: ServerOptions) -> list[str]:
    """Fills `run` with configuration and a model store of this one archive; returns the frontend's command."""
    java, home = _java(), _torchserve()
    name = _check(archive)
    store = run / STORE
    for old in (store, run / "tmp"):
        shutil.rmtree(old, ignore_errors=True)
    for folder in (run, store, run / "tmp"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    run.chmod(0o700)  # tokens and code lie there; it may have been open to others before
    shutil.copyfile(archive, store / f"{name}.mar")
    for left in (TOKENS, REASON, DRAINING):
        (run / left).unlink(missing_ok=True)
    (run / CONFIG).write_text(properties_text(properties(name, run, options)))
    (run / METRICS).write_text(yaml.safe_dump(metrics_file(home), sort_keys=False))
    (run / LOGGING).write_text(_LOGGING_TEXT)
    return [
        java,
        f"-Dmodel_server_home={home}",
        f"-Djava.io.tmpdir={run.resolve() / 'tmp'}",
        f"-Dlog4j.configurationFile=file://{quote(str((run / LOGGING).resolve()))}",
        f"-Xmx{options.heap_mb}m",
        "-XX:+ExitOnOutOfMemoryError",
        "-cp",
        f"{home / 'ts' / 'frontend'}/*",
        MAIN,
        "--python",
        sys.executable,
        "-f",
        CONFIG,
        "-s",
        str(store.resolve()),
        "-ncs",
    ]


def properties(name: str, run: Path, options: ServerOptions) -> dict[str, str | int]:
    """config.properties."""
    store = (run / STORE).resolve()
    return {
        "inference_address": f"http://{options.host}:{options.port}",
        "management_address": f"http://{LOOPBACK}:{options.management_port}",
        "metrics_address": f"http://{options.metrics_host}:{options.metrics_port}",
        "grpc_inference_address": LOOPBACK,
        "grpc_management_address": LOOPBACK,
        "grpc_inference_port": options.grpc_port,
        "grpc_management_port": options.grpc_management_port,
        "model_store": str(store),
        "load_models": f"{name}.mar",
        "enable_model_api": "false",
        # Models come from the store alone; TorchServe's default is any address.
        "allowed_urls": f"file://{re.escape(quote(str(store)))}/{re.escape(name)}\\.mar",
        "disable_token_authorization": "false" if options.tokens else "true",
        "token_expiration_min": options.token_minutes,
        "install_py_dep_per_model": "false",
        "enable_envvars_config": "false",
        "use_env_allowed_urls": "false",
        "ts_open_inference_protocol": "oip",
        # Bodies reach the handler as they came, so that it is the one to refuse what is no JSON.
        "decode_input_request": "false",
        "max_request_size": options.body_bytes,
        "max_response_size": options.answer_bytes,
        "metrics_mode": "prometheus",
        "metrics_config": str((run / METRICS).resolve()),
        "disable_system_metrics": "true",
        "number_of_netty_threads": options.netty_threads,
        "netty_client_threads": options.netty_threads,
        "number_of_gpu": 0,
        "default_workers_per_model": 1,
    }


def properties_text(values: Mapping[str, str | int]) -> str:
    """As Java reads properties: a backslash is written twice."""
    return "".join(f"{key}={value}\n" for key, value in values.items()).replace("\\", "\\\\")


def metrics_file(home: Path) -> dict[str, object]:
    """TorchServe's own metrics and the ranker's."""
    shipped = yaml.safe_load((home / "ts" / "configs" / "metrics.yaml").read_text())
    own = model_metrics()
    gauges = shipped["model_metrics"]["gauge"]
    return {"dimensions": ["arm", "digest", "reason"], "ts_metrics": shipped["ts_metrics"]} | {
        "model_metrics": {**own, "gauge": gauges}
    }


def environment(run: Path) -> dict[str, str]:
    """This process's, with what TorchServe reads from it set."""
    tools = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}",
        "TMPDIR": str(run.resolve() / "tmp"),
        "LOG_LOCATION": str(run.resolve()),
        "METRICS_LOCATION": str(run.resolve()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "TS_OPEN_INFERENCE_PROTOCOL": "oip",
        RUN: str(run.resolve()),
    }


def _die_with_parent() -> None:
    """Runs in the frontend's process before it becomes Java: a killed parent takes it along."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(str(Path(home) / "bin" / "java") if home else "java")
    if java is None:
        raise UserError("TorchServe needs Java 17, and there is no `java`: apt install openjdk-17-jre-headless")
    return java


def _torchserve() -> Path:
    found = find_spec("ts")
    if found is None or found.origin is None:
        raise UserError("TorchServe is not installed: pip install 'mgoe[torchserve]'")
    return Path(found.origin).parent.parent


def _check(archive: Path) -> str:
    """The model's name in the archive."""
    try:
        with zipfile.ZipFile(archive) as opened:
            broken = opened.testzip()
            if broken is not None:
                raise UserError(f"{archive}: {broken} is broken; make the archive anew")
            manifest = yaml.safe_load(opened.read("MAR-INF/MANIFEST.json"))
            return TypeAdapter(Name).validate_python(manifest["model"]["modelName"])
    except ValidationError:
        raise UserError(
            f"{archive} names its model in another way than letters, digits, dots, dashes and underscores; make it anew"
        ) from None
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"{archive} is no model archive: {error}") from None
