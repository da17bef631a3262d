"""Shards as Ray tasks: any number of workers, on this machine or a cluster, makes the same graph.

What the shards are made of lies in one working folder that every worker mounts; a task is told where (references), not
given it. So Ray's object store holds no more than the answers of the tasks under way, and spills nothing else. A task
whose worker dies is begun again by Ray: it writes to places of its own, from their beginning on.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import ray
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError

from model.errors import Fault
from model.graph.mapped_reference import attach, reference_of
from model.graph.ray_address import refuse_a_dead_address

Item = TypeVar("Item")
Result = TypeVar("Result")
RETRIES = 3
"""Times that a task is begun again whose worker died."""
STORE_BYTES = 1 << 29
"""Of Ray's object store on one machine."""


class _Packer(cloudpickle.CloudPickler):
    """Messages between the processes of one build; nothing of it is ever kept."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray) and (reference := reference_of(value)) is not None:
            return attach, (reference,)
        return super().reducer_override(value)  # type: ignore[no-untyped-call]


def packed(value: Any) -> bytes:
    """The value as a message, in which arrays that lie in files are references."""
    message = io.BytesIO()
    _Packer(message, protocol=pickle.HIGHEST_PROTOCOL).dump(value)  # type: ignore[no-untyped-call]
    return message.getvalue()


def _begin(work: bytes, item: bytes) -> Any:
    return pickle.loads(work)(pickle.loads(item))  # noqa: S301 (of our own driver)


@dataclass(frozen=True)
class RayTasks:
    """count: tasks side by side."""

    count: int
    elsewhere: bool = True

    def in_order(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """As `Threads`. Raises what the work raises, and Fault where a task's workers died too often."""
        task = ray.remote(max_retries=RETRIES, num_cpus=1)(_begin)
        sent, ahead = ray.put(packed(work)), deque[Any]()
        try:
            for item in items:
                if len(ahead) == self.count:
                    yield _answer(ahead.popleft())
                ahead.append(task.remote(sent, packed(item)))
            while ahead:
                yield _answer(ahead.popleft())
        finally:
            for waiting in ahead:
                ray.cancel(waiting)


def _answer(task: Any) -> Any:
    try:
        return ray.get(task)
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise Fault(f"a worker of the graph build died {RETRIES + 1} times at one shard: {_line(error)}") from error


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def ray_tasks(workers: int, address: str | None = None) -> Iterator[RayTasks]:
    """Tasks on the cluster at `address` (or RAY_ADDRESS), else on a Ray of our own on loopback that ends after it.

    Raises UserError or Fault where there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = address or os.environ.get("RAY_ADDRESS")
    if ray.is_initialized():
        yield RayTasks(workers)
        return
    if address:
        refuse_a_dead_address(address)
        try:
            ray.init(address=address, logging_level=logging.WARNING)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise Fault(f"Ray at {address}: {_line(error)}") from error
    else:
        # Ray listens on every interface whatever it is told. It asks for a token, and this one is known here alone.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        ray.init(
            address="local",
            num_cpus=workers,
            include_dashboard=False,
            object_store_memory=STORE_BYTES,
            _node_ip_address="127.0.0.1",
            logging_level=logging.WARNING,
        )
    try:
        yield RayTasks(workers)
    finally:
        ray.shutdown()
