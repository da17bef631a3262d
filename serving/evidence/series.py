"""The course of the evidence over time: snapshots, fewer the older they are, and read one after the other."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator

import orjson
from sqlalchemy import Connection, Engine, delete, insert, select

from serving.evidence import experiment_store
from serving.evidence.engine import reading, writing
from serving.evidence.event import DAY, SECOND
from serving.evidence.readout import read_evidence, run_of
from serving.evidence.run import Run
from serving.evidence.schema import snapshots
from serving.experiment.evidence import ExperimentEvidence

_AGES = ((2 * DAY, 1), (28 * DAY, DAY))
"""Of snapshots up to an age, the last of each stretch is kept; of older ones the last of each week. A stretch lies in
one of the next, so that what is let go is never asked for later."""


def snapshot(engine: Engine, name: str, now_us: int) -> ExperimentEvidence:
    """Keeps the evidence of the latest run as it is now, for its course over time; returns it."""
    evidence = read_evidence(engine, name, now_us)
    document = zlib.compress(json.dumps(evidence.to_json()).encode())
    with writing(engine) as connection:
        experiment = experiment_store.lock_one(connection, name)
        run = next(run for run in experiment.catalogue.runs.values() if run.design.run == evidence.design.run)
        as_of = round(evidence.as_of * SECOND)
        known = _times(connection, run)
        if as_of not in known:
            connection.execute(insert(snapshots), {"run_id": run.id, "as_of_us": as_of, "evidence": document})
        gone = sorted({*known} - thinned(known, as_of))
        connection.execute(delete(snapshots).where(snapshots.c.run_id == run.id, snapshots.c.as_of_us.in_(gone)))
    return evidence


def thinned(times_us: Iterable[int], now_us: int) -> set[int]:
    """The snapshots that are kept: all of two days, the last of each day for four weeks, then the last of each week."""
    kept: dict[tuple[int, int], int] = {}
    for time_us in sorted(times_us):
        stretch = next((stretch for age, stretch in _AGES if now_us - time_us <= age), 7 * DAY)
        kept[stretch, time_us // stretch] = time_us
    return set(kept.values())


def series_json(engine: Engine, name: str, now_us: int, candidate_digest: str | None = None) -> Iterator[bytes]:
    """`EvidenceSeries` as JSON: the snapshots of a run in their order, and its evidence as of now; part by part, one
    snapshot in memory at a time. Raises at once as `read_evidence` does."""
    now = read_evidence(engine, name, now_us, candidate_digest)
    with reading(engine) as connection:
        run = run_of(experiment_store.read(connection, name), candidate_digest)
        times = [time_us for time_us in _times(connection, run) if time_us < round(now.as_of * SECOND)]
    return _parts(engine, run, times, now)


def _parts(engine: Engine, run: Run, times: list[int], now: ExperimentEvidence) -> Iterator[bytes]:
    yield b'{"design":' + orjson.dumps(now.design.to_json()) + b',"snapshots":['
    for time_us in times:
        query = select(snapshots.c.evidence).where(snapshots.c.run_id == run.id, snapshots.c.as_of_us == time_us)
        with reading(engine) as connection:  # a reader that is slow holds no connection
            document = connection.execute(query).scalar()
        if document is not None:  # else thinned out meanwhile
            yield _moment(orjson.loads(zlib.decompress(document))) + b","
    yield _moment(now.to_json()) + b"]}"


def _moment(evidence: dict[str, object]) -> bytes:
    return orjson.dumps({name: value for name, value in evidence.items() if name != "design"})


def _times(connection: Connection, run: Run) -> list[int]:
    query = select(snapshots.c.as_of_us).where(snapshots.c.run_id == run.id).order_by(snapshots.c.as_of_us)
    return list(connection.execute(query).scalars())
