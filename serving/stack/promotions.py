"""A rollout of this machine that has succeeded moves the registry's alias: `mgoe registry promote`, once a run.

Asked as a process of its own: MLflow takes seconds and hundreds of megabytes, and whoever keeps a stack stays small.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import dataclass, field
from subprocess import DEVNULL, PIPE

from pydantic import ValidationError

from model.errors import Fault, UserError
from serving.rollout.judgement import Naming
from serving.rollout.sqlite_store import SqliteStore, checked
from serving.rollout.status_text import status_of
from serving.rollout.store import Stored
from serving.stack.folder import StackFolder

log = logging.getLogger("serving.stack.promotions")

LOOK_S = 2.0
REGISTRY_VARIABLE = "MGOE_REGISTRY"
AGAIN_S = 30.0
"""After a registry that could not be reached."""
PROMOTE_S = 120.0
"""MLflow's own start is the most of it."""


@dataclass(frozen=True)
class Promotion:
    """A run that has succeeded. bundle: digest of its candidate. run: a name that no other run has. at: when, in Unix
    seconds; the alias ends at the latest."""

    bundle: str
    run: str
    at: float = field(compare=False)


def promotion_of(read: Stored) -> Promotion | None:
    """None: it has not succeeded, or names its models by alias: moving what it reads would begin another run.

    Raises UserError for a rollout that is none.
    """
    spec, status = checked(read.spec), status_of(read)
    if status.phase != "Succeeded" or status.run is None:
        return None
    if spec.baseline.model is not None or spec.candidate.model is not None:
        return None
    at = status.entered_at if status.entered_at is not None else status.run.started_at
    return Promotion(status.run.candidate, Naming.of(spec, read.identity).experiment(status.run.id), at)


async def follow(folder: StackFolder, registry: str) -> None:
    """For ever. What cannot be promoted is told once; a registry that does not answer is asked again, and so it goes
    after an error that nobody foresaw: it must not be the last promotion."""
    done: set[Promotion] = set()
    while True:
        try:
            found = await asyncio.to_thread(succeeded, folder)
            for promotion in sorted(found - done, key=lambda one: (one.at, one.run)):
                await _promote(promotion, registry)
                done.add(promotion)
        except Fault as error:
            log.warning("%s", error)
            await asyncio.sleep(AGAIN_S)
        except Exception:
            log.exception("promotions are not told to the registry; tried again in %g s", AGAIN_S)
            await asyncio.sleep(AGAIN_S)
        await asyncio.sleep(LOOK_S)


def succeeded(folder: StackFolder) -> set[Promotion]:
    """Of all rollouts of a stack. Raises Fault."""
    if not folder.rollouts.exists():
        return set()
    found = set()
    for read in SqliteStore(folder.rollouts).all():
        with contextlib.suppress(UserError, ValidationError):  # the controller says what is wrong with it
            found.add(promotion_of(read))
    return {one for one in found if one is not None}


async def _promote(promotion: Promotion, registry: str) -> None:
    """Raises Fault where it may be asked again."""
    code, said = await asked(promotion, registry)
    if code == 0:
        log.info("%s", said)
    elif code == UserError.exit_code:
        log.warning("%s is not promoted in the registry: %s", promotion.run, said)
    else:
        raise Fault(f"{promotion.run} is not promoted in the registry yet: {said}")


def promoted(promotion: Promotion, registry: str) -> tuple[int, str]:
    """As `asked`, for who waits."""
    return asyncio.run(asked(promotion, registry))


async def asked(promotion: Promotion, registry: str) -> tuple[int, str]:
    """Exit code and last line of the command; that of a Fault where it cannot be started or does not end in time.

    The address goes by the environment: it may hold a password. Whoever stops waiting ends the command, so that no
    alias moves behind his back.
    """
    words = ("registry", "promote", promotion.bundle, "--run", promotion.run)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "mgoe", *words),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env={**os.environ, REGISTRY_VARIABLE: registry},
            process_group=0,
        )
    except OSError as error:
        return Fault.exit_code, f"`mgoe registry promote` cannot be started: {error.strerror}"
    try:
        out, err = await asyncio.wait_for(process.communicate(), PROMOTE_S)
    except TimeoutError:
        return Fault.exit_code, f"the registry does not answer within {PROMOTE_S:g} s"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    lines = [line.strip() for line in (out + err).decode(errors="replace").splitlines() if line.strip()]
    return process.returncode or 0, lines[-1][:300] if lines else "it said nothing"
