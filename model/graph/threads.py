"""Work spread over threads whose results arrive in order; numpy and scipy let threads run side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew(Protocol):
    """Who works on the shards. A piece of work may be begun twice: it writes to places of its own, or only answers.

    count: of those that work side by side. elsewhere: whether in other processes, so that arrays must lie in files.
    """

    @property
    def count(self) -> int: ...

    @property
    def elsewhere(self) -> bool: ...

    def in_order(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """work(item) of every item, in the order of items; few results are made or wait at a time."""
        ...


@dataclass(frozen=True)
class Threads:
    """Threads of this process."""

    count: int = 1
    elsewhere: bool = False

    def in_order(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        return in_order(self.count, work, items)


def in_order(threads: int, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """work(item) of every item, in the order of items; at most `threads` results are made or wait at a time."""
    if threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(ahead) == threads:
                    yield ahead.popleft().result()
                ahead.append(pool.submit(work, item))
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
