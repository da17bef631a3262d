"""The operator: kopf watches, a Lease decides who may write, the controller does the rest.

kopf is only the ear. Its handlers of changes keep notes in annotations and finalizers of their own; `on.event` keeps
none, so that nothing but this room writes to the resource.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import kopf

from model.errors import Fault
from serving.rollout.controller import Controller
from serving.rollout.lease import LeaseKeeper
from serving.rollout.resource import GROUP, PLURAL, VERSION
from serving.rollout.store import Key

log = logging.getLogger(__name__)


def ears(controller: Controller) -> kopf.OperatorRegistry:
    """kopf's handlers: a change wakes the controller."""
    registry = kopf.OperatorRegistry()

    async def changed(namespace: str | None, name: str | None, **_: Any) -> None:
        if namespace is not None and name is not None:
            controller.wake(Key(namespace, name))

    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(changed)
    return registry


async def lead(keeper: LeaseKeeper, stop: asyncio.Event, retry_s: float) -> None:
    """Get the lease and renew it until `stop`, then hand it over."""
    while not stop.is_set():
        held = keeper.held.holds
        try:
            leads = await keeper.attempt()
        except Fault as error:
            log.warning("%s", error)
            leads = keeper.held.holds
        if leads != held:
            log.info("this operator %s", "leads now" if leads else "leads no longer")
        try:
            await asyncio.wait_for(stop.wait(), retry_s)
        except TimeoutError:
            continue
    try:
        await keeper.give_up()
    except Fault as error:
        log.warning("%s; others wait until the lease is over", error)


async def operate(
    controller: Controller,
    keeper: LeaseKeeper,
    stop: asyncio.Event,
    *,
    namespaces: Sequence[str] = (),
    retry_s: float = 2.0,
    registry: kopf.OperatorRegistry | None = None,
) -> None:
    """Run until `stop`; a look that has begun is ended before the lease goes. namespaces: to watch; none: all."""
    looked = asyncio.Event()

    async def look() -> None:
        try:
            await controller.run(stop)
        finally:
            looked.set()

    async def hear() -> None:
        try:
            await kopf.operator(
                registry=registry or ears(controller),
                standalone=True,  # peering is no leader election
                clusterwide=not namespaces,
                namespaces=tuple(namespaces),
                stop_flag=stop,
            )
        finally:
            stop.set()  # kopf takes SIGTERM and SIGINT for itself, and ends by them

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lead(keeper, looked, retry_s))
        tasks.create_task(look())
        tasks.create_task(hear())
