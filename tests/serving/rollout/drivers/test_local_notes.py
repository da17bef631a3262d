"""Who wrote which stratum, where two rollouts of one machine write at the same moment."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from serving.gateway.folder import GatewayFolder
from serving.gateway.live import LiveSplit
from serving.rollout.drivers.local import LocalDriver, _Note


def test_no_note_is_lost_where_two_rollouts_write_theirs_at_the_same_moment(tmp_path: Path) -> None:
    unused: Any = None
    driver = LocalDriver(LiveSplit(GatewayFolder(tmp_path)), unused, unused, unused, {}, {})
    for stratum in range(5):
        together = threading.Barrier(2)

        def note(name: str, stratum: int = stratum, together: threading.Barrier = together) -> None:
            together.wait(10)
            driver._note(_Note(name, stratum, "run", name))

        writers = [threading.Thread(target=note, args=(name,)) for name in ("a", "b")]
        for each in writers:
            each.start()
        for each in writers:
            each.join(10)
    assert {(each.experiment, each.stratum) for each in driver._notes()} == {(n, i) for n in "ab" for i in range(5)}
