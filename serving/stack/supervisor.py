"""The process that keeps a stack running: starts what does not run, adopts what does, ends all in order.

`python -m serving.stack.supervisor FOLDER`, started by `mgoe up`. Why not supervisord or circus: they know their own
children alone, so a supervisor that follows a killed one would have to end all and start anew
(docs/decisions/0019-local-stack.md). A handle of the kernel (pidfd) tells of any process' end, a child's or not.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import Fault, MgoeError, UserError
from serving.gateway.admin import Admin
from serving.stack.folder import StackFolder
from serving.stack.health import readiness
from serving.stack.identity import NAME_VARIABLE, STACK_VARIABLE, Identity, boot, ended, identity_of, send
from serving.stack.plan import read_plan
from serving.stack.promotions import follow
from serving.stack.records import SUPERVISOR, ProcessRecord, Records, living, read_records, write_records
from serving.stack.services import Service, services_of

log = logging.getLogger("serving.stack.supervisor")


AFTER_S = 120.0
"""How long a process waits for those that it is started after."""


@dataclass(frozen=True)
class Backoff:
    """How long a process that ended waits for its next start."""

    first_s: float = 0.1
    most_s: float = 15.0
    settled_s: float = 20.0
    """A process that ran for so long is started again as if it had never failed."""

    def wait_s(self, failures: int) -> float:
        """After so many ends in a row, from 1."""
        return float(min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 30)))


class Supervisor:
    """One stack's processes."""

    def __init__(self, folder: StackFolder, services: Sequence[Service], backoff: Backoff | None = None) -> None:
        self.folder = folder
        self.services = {service.name: service for service in services}
        self.backoff = backoff or Backoff()
        self.stop = asyncio.Event()
        """Set: all processes are to end."""
        self._records: dict[str, ProcessRecord] = {}
        self._before: Mapping[str, ProcessRecord] = {}
        """What the supervisor before this one noted."""
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._since = time.time()

    async def run(self) -> None:
        """Until `stop` is set and every process has ended."""
        found = living(self.folder)
        before = read_records(self.folder)
        self._before = before.processes if before is not None and before.boot == boot() else {}
        for name, identity in found.items():
            if name not in self.services and name != SUPERVISOR:
                log.info("%s (process %d) is no part of this stack any more: ended", name, identity.pid)
                send(identity, signal.SIGTERM)
        keepers = {name: asyncio.create_task(self._keep(one, found.get(name))) for name, one in self.services.items()}
        stopping = asyncio.create_task(self.stop.wait())
        done, _ = await asyncio.wait({stopping, *keepers.values()}, return_when=asyncio.FIRST_COMPLETED)
        for keeper in done - {stopping}:
            keeper.result()  # a keeper ends by an error alone
        await self._end_all(keepers)

    async def _keep(self, service: Service, found: Identity | None) -> None:
        """Runs one process for ever. found: one that runs already."""
        if found is None and service.after:
            await self._others_ready(service)
        now = self._started(service, 0, None) if found is None else self._adopted(service, found)
        failures = 0
        while True:
            began = time.monotonic()
            if now.identity is not None:
                await ended(now.identity)
            failures = 1 if time.monotonic() - began >= self.backoff.settled_s else failures + 1
            wait_s = self.backoff.wait_s(failures)
            last_end = self._how_it_ended(service.name)
            log.warning("%s has ended (%s); it starts again in %.1f s", service.name, last_end, wait_s)
            restarts = now.restarts + 1
            self._note(service, ProcessRecord(state="waits", since=time.time(), restarts=restarts, last_end=last_end))
            await asyncio.sleep(wait_s)
            now = self._started(service, restarts, last_end)

    async def _others_ready(self, service: Service) -> None:
        """Waits for the processes that it is started after; too long, and it is started all the same."""
        deadline = time.monotonic() + AFTER_S
        others = [self.services[name] for name in service.after]
        while time.monotonic() < deadline and not all((await readiness(others)).values()):
            await asyncio.sleep(0.2)

    def _adopted(self, service: Service, found: Identity) -> ProcessRecord:
        log.info("%s goes on as process %d", service.name, found.pid)
        before = self._before.get(service.name)
        known = before is not None and before.identity == found
        return self._note(service, before if known and before else _running(found, 0, None))

    def _started(self, service: Service, restarts: int, last_end: str | None) -> ProcessRecord:
        """A record without a process where it could not be started, or has ended at once."""
        identity = self._start(service)
        if identity is None:
            return ProcessRecord(state="waits", since=time.time(), restarts=restarts, last_end=last_end)
        log.info("%s starts as process %d", service.name, identity.pid)
        return self._note(service, _running(identity, restarts, last_end))

    def _start(self, service: Service) -> Identity | None:
        """None: it could not be started, or has ended at once."""
        mark = {STACK_VARIABLE: str(self.folder.root), NAME_VARIABLE: service.name}
        try:
            with self.folder.opened_log(service.name) as file:
                child = subprocess.Popen(  # noqa: S603
                    service.command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    env={**surroundings(os.environ), "PYTHONUNBUFFERED": "1", **mark},
                    cwd=self.folder.root,
                    start_new_session=True,
                )
        except OSError as error:
            log.error("%s cannot be started: %s", service.name, error)  # noqa: TRY400  # a sentence, not a traceback
            return None
        self._children[service.name] = child
        return identity_of(child.pid)

    def _how_it_ended(self, name: str) -> str:
        child = self._children.pop(name, None)
        if child is None:
            return "ended"  # only a parent is told more
        code = child.wait()
        return f"exit code {code}" if code >= 0 else f"signal {-code}, {signal.strsignal(-code)}"

    def _note(self, service: Service, record: ProcessRecord) -> ProcessRecord:
        """Writes it down, and gives it back."""
        self._records[service.name] = record
        me = identity_of(os.getpid())
        own = ProcessRecord(state="runs", pid=me and me.pid, start=me and me.start, since=self._since)
        try:
            write_records(self.folder, Records(boot=boot(), supervisor=own, processes=dict(self._records)))
        except Fault as error:  # a full disk must not end what runs
            log.error("%s", error)  # noqa: TRY400
        return record

    async def _end_all(self, keepers: Mapping[str, asyncio.Task[None]]) -> None:
        for keeper in keepers.values():
            keeper.cancel()
        await asyncio.gather(*keepers.values(), return_exceptions=True)
        alive = {name: one.identity for name, one in self._records.items() if one.identity is not None}
        await end_in_waves(alive, self.services)
        for service in self.services.values():
            self._note(service, ProcessRecord(state="stopped", since=time.time(), last_end="stopped"))


async def end_in_waves(alive: Mapping[str, Identity], services: Mapping[str, Service]) -> None:
    """Ends processes in the order of their services; one that is none of them is ended first."""
    unknown = Service("", (), 0, "", wave=-1)
    of = {name: services.get(name, unknown) for name in alive}
    for wave in sorted({service.wave for service in of.values()}):
        await asyncio.gather(*(end(alive[name], one) for name, one in of.items() if one.wave == wave))


def surroundings(variables: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what it sets for commands of its own: a stack's processes are told by their
    options which store, evidence and registry they mean, and a variable would name another."""
    return {name: value for name, value in variables.items() if not name.startswith("MGOE_")}


def _running(identity: Identity, restarts: int, last_end: str | None) -> ProcessRecord:
    return ProcessRecord(
        state="runs", pid=identity.pid, start=identity.start, since=time.time(), restarts=restarts, last_end=last_end
    )


async def end(identity: Identity, service: Service) -> None:
    """Drains where that can be asked for, then SIGTERM, and after the grace SIGKILL."""
    if service.drained is not None:
        try:
            await asyncio.to_thread(Admin(service.drained, 1.0).drain, 0.2, 3.0)
        except MgoeError as error:
            log.warning("%s is not drained: %s", service.name, error)
    for number, wait_s in ((signal.SIGTERM, service.grace_s), (signal.SIGKILL, 5.0)):
        if not send(identity, number):
            return
        try:
            await asyncio.wait_for(ended(identity), wait_s)
        except TimeoutError:
            log.warning("%s still runs %g s after %s", service.name, wait_s, number.name)
        else:
            return


def serve(folder: StackFolder) -> None:
    """Until SIGTERM or SIGINT. Raises UserError where there is no plan, or a supervisor runs here."""
    plan = read_plan(folder)
    if plan is None:
        raise UserError(f"{folder.root} holds no stack: `mgoe up --state {folder.root}` makes one")
    with folder.locked(SUPERVISOR) as mine:
        if not mine:
            raise UserError(f"a supervisor already runs in {folder.root}")
        asyncio.run(_serve(Supervisor(folder, services_of(plan, folder)), plan.registry))


async def _serve(supervisor: Supervisor, registry: str | None) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, supervisor.stop.set)
    if registry is None:
        await supervisor.run()
        return
    following = asyncio.create_task(follow(supervisor.folder, registry))
    try:
        await supervisor.run()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def launch(folder: StackFolder) -> Identity:
    """Starts the supervisor of a folder in a session of its own. Raises Fault where it ends at once."""
    try:
        with folder.opened_log(SUPERVISOR) as file:
            child = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", "serving.stack.supervisor", str(folder.root)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**surroundings(os.environ), STACK_VARIABLE: str(folder.root), NAME_VARIABLE: SUPERVISOR},
                start_new_session=True,
            )
    except OSError as error:
        raise Fault(f"the supervisor cannot be started in {folder.root}: {error.strerror}") from None
    identity = identity_of(child.pid)
    if identity is None:
        raise Fault(f"the supervisor ended at once with {child.wait()}; {folder.log(SUPERVISOR)} says why")
    return identity


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        serve(StackFolder(Path(sys.argv[1])))
    except MgoeError as failure:
        sys.stderr.write(f"supervisor: {failure}\n")
        sys.exit(failure.exit_code)
