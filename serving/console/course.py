"""The course of an experiment: its kept snapshots, analysed one after the other, each only once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

import httpx
import orjson
from sqlalchemy import Engine

from model.errors import Fault, MgoeError
from serving.evidence.event import SECOND
from serving.evidence.series import series_json
from serving.experiment.analysis import Analysis, analyse
from serving.experiment.document import ExperimentError
from serving.experiment.evidence import EvidenceSeries, ExperimentEvidence
from serving.experiment.report import Report, report_over

LOOKS = 60
"""Of a chart: more would not be told apart."""
TIMEOUT_S = 10.0
FRESH_S = 4.0
COST = 10
"""A course that took a second to read is not read again for so many."""


class SeriesSource(Protocol):
    """Where the evidence over time is."""

    def read(self, experiment: str, candidate: str) -> EvidenceSeries:
        """The snapshots of a candidate's run, and now. Raises Fault or UserError."""


class DatabaseSeries:
    """The evidence's own database."""

    def __init__(self, engine: Engine, now: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._now = now

    def read(self, experiment: str, candidate: str) -> EvidenceSeries:
        """The snapshots of a candidate's run, and now."""
        parts = series_json(self._engine, experiment, round(self._now() * SECOND), candidate)
        return _series(orjson.loads(b"".join(parts)))


class HttpSeries:
    """The evidence service."""

    def __init__(self, client: httpx.Client) -> None:
        """client: with the service's address as its base_url, and a token of the role read."""
        self._client = client

    def read(self, experiment: str, candidate: str) -> EvidenceSeries:
        """The snapshots of a candidate's run, and now."""
        path = f"/v1/experiments/{quote(experiment)}/series?candidate={quote(candidate)}"
        try:
            answer = self._client.get(path, timeout=TIMEOUT_S)
            document = answer.json()
        except httpx.HTTPError as error:
            raise Fault(f"evidence: {self._client.base_url} does not answer: {error!r}") from error
        except ValueError as error:
            raise Fault(f"evidence: {self._client.base_url} answers {answer.status_code} without JSON") from error
        if not answer.is_success:
            told = document.get("error") if isinstance(document, dict) else document
            raise Fault(f"evidence: {str(told)[:200]} ({answer.status_code})")
        return _series(document)


def _series(document: object) -> EvidenceSeries:
    try:
        return EvidenceSeries.from_json(document)
    except ExperimentError as error:
        raise Fault(f"evidence: {' '.join(str(error).split())[:300]}") from error


@dataclass(frozen=True)
class Course:
    """What the charts are drawn from."""

    report: Report | None
    problem: str | None = None
    """Why there is none, or why it is an old one."""


@dataclass
class _Known:
    """What this process remembers of one run."""

    looks: dict[float, Analysis] = field(default_factory=dict)
    course: Course | None = None
    until: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Courses:
    """Courses of all runs; a page never waits for one that another page is reading."""

    def __init__(self, source: SeriesSource, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._monotonic = monotonic
        self._known: dict[tuple[str, str], _Known] = {}
        self._lock = threading.Lock()

    def of(self, experiment: str, candidate: str) -> Course:
        """The course of a run, some seconds old at most."""
        with self._lock:
            known = self._known.setdefault((experiment, candidate), _Known())
        if known.course is not None and (self._monotonic() < known.until or known.lock.locked()):
            return known.course
        with known.lock:
            if known.course is None or self._monotonic() >= known.until:
                begun = self._monotonic()
                known.course = self._read(known, experiment, candidate)
                ended = self._monotonic()
                known.until = ended + max(FRESH_S, COST * (ended - begun))
        return known.course

    def _read(self, known: _Known, experiment: str, candidate: str) -> Course:
        try:
            series = self._source.read(experiment, candidate)
            return Course(_report(series, known.looks))
        except (MgoeError, ExperimentError) as error:
            before = known.course.report if known.course is not None else None
            return Course(before, " ".join(str(error).split())[:300])


def _report(series: EvidenceSeries, looks: dict[float, Analysis]) -> Report:
    """As report_of, over fewer looks, of which those that are known are not analysed again."""
    past = thinned(series.snapshots[:-1])
    for gone in looks.keys() - {one.as_of for one in past}:
        del looks[gone]
    for snapshot in past:
        if snapshot.as_of not in looks:
            looks[snapshot.as_of] = analyse(snapshot, forecast=False)
    return report_over(series.last, [*(looks[snapshot.as_of] for snapshot in past), analyse(series.last)])


def thinned(snapshots: Iterable[ExperimentEvidence], most: int = LOOKS) -> tuple[ExperimentEvidence, ...]:
    """At most `most` of them: the last of each stretch, whose length doubles until they fit.

    What is left out at one length is left out at all longer ones, so that a look is analysed once.
    """
    kept, stretch = tuple(snapshots), 1.0
    while len(kept) > most:
        stretch *= 2
        last = {one.as_of // stretch: one for one in kept}
        kept = tuple(last.values())
    return kept
