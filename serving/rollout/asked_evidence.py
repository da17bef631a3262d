"""The evidence asked within a bound, whatever hangs behind it: guardrails are acted on after the wait."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from model.errors import Fault
from serving.experiment.design import Design
from serving.experiment.evidence import ExperimentEvidence
from serving.rollout.evidence_store import EvidenceStore

T = TypeVar("T")

ANSWER_S = 3.0
"""With the interval of 5 s, a breach is decided on within 8 s though the evidence hangs."""
SLOW_S = 1.0
"""A fault that took so long is silence too: the next look would wait as long."""
SILENT_S = 6.0
"""How long a store that did not answer in time is not asked again."""
QUESTIONS = 8
"""At once. One that hangs keeps its place until its thread ends."""


class AskedEvidence:
    """One evidence store for all rollouts of a process. A thread a question, none of them asyncio's: what hangs here
    takes no thread from the Lease or from a store of rollouts, and holds no exit up. Late answers are thrown away."""

    def __init__(self, store: EvidenceStore) -> None:
        self._store = store
        self._silent_until = 0.0
        self._places = threading.BoundedSemaphore(QUESTIONS)

    async def begin(self, design: Design, phase: int, start: float, weight: float) -> None:
        """EvidenceStore.begin. What comes too late does no harm: it is registered once."""
        await self._asked(lambda: self._store.begin(design, phase, start, weight))

    async def read(self, experiment: str, candidate: str) -> ExperimentEvidence:
        """EvidenceStore.read."""
        return await self._asked(lambda: self._store.read(experiment, candidate))

    async def _asked(self, question: Callable[[], T]) -> T:
        """Raises Fault, after ANSWER_S at the latest."""
        begun = time.monotonic()
        if begun < self._silent_until:
            raise Fault(f"evidence: no answer within {ANSWER_S:g} s; asked again later")
        try:
            async with asyncio.timeout(ANSWER_S):
                while not self._places.acquire(blocking=False):
                    await asyncio.sleep(0.02)
                return await self._in_thread(question)
        except TimeoutError:
            self._silent_until = time.monotonic() + SILENT_S
            raise Fault(f"evidence: no answer within {ANSWER_S:g} s") from None
        except Fault:
            if time.monotonic() - begun >= SLOW_S:
                self._silent_until = time.monotonic() + SILENT_S
            raise

    def _in_thread(self, question: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(result)  # type: ignore[arg-type]
            else:
                answer.set_exception(error)

        def ask() -> None:
            result, failed = None, None
            try:
                result = question()
            except BaseException as error:  # noqa: BLE001  # raised where the answer is awaited
                failed = error
            finally:
                self._places.release()
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, failed)

        threading.Thread(target=ask, name="evidence", daemon=True).start()
        return answer
