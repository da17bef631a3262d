"""Which split was wanted and which was seen, over time: stretches in which both stayed, gaps where nobody looked."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, insert, select, update

from serving.console.schema import splits
from serving.evidence.engine import reading, writing

GAP_S = 30.0
"""Without a look for longer than this, nothing is said about the time between."""
MOST = 2000


@dataclass(frozen=True)
class Stretch:
    """A time in which the split was seen and stayed."""

    since: float
    until: float
    wanted: int
    observed: int | None
    """None: the router could not be read."""


class SplitRecord:
    """The table of stretches."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def saw(self, uid: str, at: float, wanted: int, observed: int | None) -> None:
        """One look. Raises Fault."""
        with writing(self._engine) as connection:
            query = select(splits).where(splits.c.uid == uid).order_by(splits.c.until.desc()).limit(1)
            last = connection.execute(query).first()
            recent = last is not None and 0 <= at - last.until <= GAP_S
            if last is not None and recent:
                # Up to this look the last split was there, as far as anybody can tell.
                connection.execute(update(splits).where(splits.c.id == last.id).values(until=at))
            if last is None or not recent or (last.wanted, last.observed) != (wanted, observed):
                row = {"uid": uid, "since": at, "until": at, "wanted": wanted, "observed": observed}
                connection.execute(insert(splits), row)

    def of(self, uid: str) -> tuple[Stretch, ...]:
        """The latest stretches of a rollout, oldest first. Raises Fault."""
        query = select(splits).where(splits.c.uid == uid).order_by(splits.c.id.desc()).limit(MOST)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return tuple(Stretch(row.since, row.until, row.wanted, row.observed) for row in reversed(rows))
