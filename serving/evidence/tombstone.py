"""Which units were deleted, without their names: what happened before a deletion is not taken again.

A digest is keyed with a salt of its experiment, so that the same unit looks different in each and a list of digests
from elsewhere tells nothing. Whoever holds the database and a unit's id can still ask whether it was deleted.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection

from sqlalchemy import Connection, delete, select, update

from serving.evidence.experiment_store import Experiment
from serving.evidence.schema import deletions, experiments


def keep(connection: Connection, experiment: Experiment, unit: str, until_us: int) -> None:
    """Remembers that a unit was deleted, with all that happened until then."""
    salt = experiment.salt
    if salt is None:
        salt = secrets.token_bytes(32)
        connection.execute(update(experiments).where(experiments.c.id == experiment.id).values(salt=salt))
    digest = _digest(salt, unit)
    mine = (deletions.c.experiment_id == experiment.id, deletions.c.digest == digest)
    connection.execute(delete(deletions).where(*mine))
    record = {"experiment_id": experiment.id, "digest": digest, "until_us": until_us}
    connection.execute(deletions.insert(), record)


def deleted(connection: Connection, experiment: Experiment, units: Collection[str]) -> dict[str, int]:
    """Until when what is told of these units is not taken; absent: all is."""
    if experiment.salt is None or not units:
        return {}
    names = {_digest(experiment.salt, unit): unit for unit in units}
    found: dict[str, int] = {}
    known = list(names)
    for first in range(0, len(known), _AT_ONCE):
        mine = deletions.c.digest.in_(known[first : first + _AT_ONCE])
        rows = connection.execute(select(deletions).where(deletions.c.experiment_id == experiment.id, mine))
        found |= {names[bytes(row.digest)]: row.until_us for row in rows}
    return found


def let_go(connection: Connection, experiment: Experiment, horizon_us: int) -> None:
    """Forgets deletions from before the horizon: nothing from before it is taken anyway."""
    old = (deletions.c.experiment_id == experiment.id, deletions.c.until_us < horizon_us)
    connection.execute(delete(deletions).where(*old))


_AT_ONCE = 500


def _digest(salt: bytes, unit: str) -> bytes:
    return hmac.digest(salt, unit.encode(), hashlib.sha256)
