"""A worker that loads a bundle, reads all of its mapped tables, and says how much of them it shares."""

from __future__ import annotations

import re
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

from serving.ranker.ranker import Ranker
from serving.ranker.request import RankRequest
from serving.ranker.settings import RankerSettings


def proportional_kib(bundle: str, settings: str, queue: Queue[object], measure: Event, leave: Event) -> None:
    """Puts "loaded", waits for `measure`, puts (resident, proportional) KiB of bundle and cache files.

    Then stays until `leave`: its pages count half only while the other worker maps them, too.
    """
    ranker = Ranker.load(bundle, RankerSettings.model_validate_json(settings))
    ranker.rank(RankRequest("3", tuple(str(item) for item in range(60)), time=0.0))
    queue.put("loaded")
    measure.wait(120)
    queue.put(_mapped_kib((bundle, str(ranker.settings.cache))))
    leave.wait(120)


def _mapped_kib(folders: tuple[str, ...]) -> tuple[int, int]:
    resident = proportional = 0
    mine = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
            mine = any(folder in line for folder in folders)
        elif mine and line.startswith("Rss:"):
            resident += int(line.split()[1])
        elif mine and line.startswith("Pss:"):
            proportional += int(line.split()[1])
    return resident, proportional
