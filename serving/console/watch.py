"""What goes on beside the pages: the split of every rollout is written down, and latency is measured."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from model.errors import MgoeError
from serving.console.latency import Latencies
from serving.console.rollouts import Rollouts, sight_of
from serving.console.split_record import SplitRecord

log = logging.getLogger(__name__)

LOOK_S = 2.0


class Watch:
    """A thread that looks every two seconds until it is stopped."""

    def __init__(
        self,
        rollouts: Rollouts,
        splits: SplitRecord,
        latencies: Latencies | None,
        now: Callable[[], float] = time.time,
        every_s: float = LOOK_S,
    ) -> None:
        self._rollouts = rollouts
        self._splits = splits
        self._latencies = latencies
        self._now = now
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._told: str | None = None
        self._ended: set[str] = set()
        """Rollouts whose end was written down."""

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Returns when the look that goes on has ended."""
        self._stop.set()
        self._thread.join(timeout=10)

    def look(self) -> None:
        """Once. What goes wrong is said once in the log, until it goes well again."""
        try:
            self._splits_seen()
            problem = None
        except MgoeError as error:
            problem = str(error)
        if problem != self._told:
            log.warning("%s", problem) if problem else log.info("the rollouts can be read again")
            self._told = problem
        if self._latencies is not None:
            self._latencies.look()

    def _splits_seen(self) -> None:
        for read in self._rollouts.all():
            sight = sight_of(read)
            if sight.over and read.uid in self._ended:
                continue
            if sight.status.run is None:
                continue
            self._splits.saw(read.uid, self._now(), sight.status.weight, sight.status.observed_weight)
            if sight.over:
                self._ended.add(read.uid)
            else:
                self._ended.discard(read.uid)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(self._every_s)
