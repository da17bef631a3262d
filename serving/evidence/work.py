"""Work that a server does by itself, again and again, whatever goes wrong in between."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from model.errors import MgoeError

log = logging.getLogger("serving.evidence.work")

PATIENCE_S = 300.0
"""How much longer than three periods essential work may go without success before the server is not ready."""


@dataclass
class Work:
    """One piece of work, and when it last succeeded."""

    name: str
    period_s: float
    step: Callable[[], bool]
    """True: there is more to do at once."""
    essential: bool = False
    """Whether the server is not ready where this has not succeeded for long."""
    clock: Callable[[], float] = time.monotonic
    _succeeded: float = field(init=False)

    def __post_init__(self) -> None:
        self._succeeded = self.clock()

    @property
    def age_s(self) -> float:
        """Seconds since it last succeeded, or since the start."""
        return self.clock() - self._succeeded

    @property
    def stuck(self) -> bool:
        """Whether essential work has not succeeded for too long."""
        return self.essential and self.age_s > 3 * self.period_s + PATIENCE_S

    async def forever(self) -> None:
        """Does it until the task is cancelled; what fails is logged, and tried again."""
        more = False
        while True:
            await asyncio.sleep(0 if more else self.period_s)
            more = await asyncio.to_thread(self.once)

    def once(self) -> bool:
        """Does it once; returns whether there is more to do at once. Raises nothing."""
        try:
            more = self.step()
        except MgoeError as error:
            log.warning("%s: %s", self.name, error)
            return False
        except Exception:
            log.exception("%s failed", self.name)
            return False
        self._succeeded = self.clock()
        return more
