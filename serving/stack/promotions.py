"""A rollout of this machine that has succeeded moves the registry's alias: `mgoe registry promote`, once a run.

Asked as a process of its own: MLflow takes seconds and hundreds of megabytes, and whoever keeps a stack stays small.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Promotion:
    """A run that has succeeded. bundle: digest of its candidate. run: a name that no other run has."""

    bundle: str
    run: str


def promotion_of(read: Stored) -> Promotion | None:
    """None: it has not succeeded, or names its models by alias: moving what it reads would begin another run.

    Raises UserError for a rollout that is none.
    """
    spec, status = checked(read.spec), status_of(read)
    if status.phase != "Succeeded" or status.run is None:
        return None
    if spec.baseline.model is not None or spec.candidate.model is not None:
        return None
    return Promotion(status.run.candidate, Naming.of(spec, read.identity).experiment(status.run.id))


async def follow(folder: StackFolder, registry: str) -> None:
    """For ever. What cannot be promoted is told once; a registry that does not answer is asked again."""
    done: set[Promotion] = set()
    while True:
        try:
            found = await asyncio.to_thread(succeeded, folder)
            for promotion in sorted(found - done, key=lambda one: one.run):
                await _promote(promotion, registry)
                done.add(promotion)
        except Fault as error:
            log.warning("%s", error)
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
    code, said = await asyncio.to_thread(promoted, promotion, registry)
    if code == 0:
        log.info("%s", said)
    elif code == UserError.exit_code:
        log.warning("%s is not promoted in the registry: %s", promotion.run, said)
    else:
        raise Fault(f"{promotion.run} is not promoted in the registry yet: {said}")


def promoted(promotion: Promotion, registry: str) -> tuple[int, str]:
    """Exit code and last line of the command. The address goes by the environment: it may hold a password."""
    words = ("registry", "promote", promotion.bundle, "--run", promotion.run)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-m", "mgoe", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, REGISTRY_VARIABLE: registry},
        check=False,
    )
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return done.returncode, lines[-1][:300] if lines else "it said nothing"
