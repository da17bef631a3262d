"""What Prometheus reads of the intake."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.evidence.event import Answer, Refusal
from serving.evidence.work import Work

log = logging.getLogger("serving.evidence.telemetry")


class Telemetry:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._events = Counter(
            "mgoe_evidence_events", "Events by kind and answer.", ("kind", "answer"), registry=self._registry
        )
        self._refused = Counter(
            "mgoe_evidence_refused_requests", "Requests refused whole, by status.", ("status",), registry=self._registry
        )
        self._lines = Counter(
            "mgoe_evidence_log_lines",
            "Lines of the gateway's log, by what they were.",
            ("kind",),
            registry=self._registry,
        )
        self._gone = Counter(
            "mgoe_evidence_log_gone",
            "Times that the file which was read last was cut or gone: what was written to it since may be lost.",
            registry=self._registry,
        )
        self.lines_read: dict[str, int] = {}
        self.refusals: dict[str, str] = {}
        """Of the log: by kind, the first reason."""
        self.queue = Gauge("mgoe_evidence_queue_events", "Events that wait for the database.", registry=self._registry)
        self._seconds = Histogram(
            "mgoe_evidence_transaction_seconds", "Time of a transaction of events.", registry=self._registry
        )
        sizes = (1, 10, 100, 500, 1000, 2000, 5000, 10000)
        self._sizes = Histogram(
            "mgoe_evidence_transaction_events", "Events of a transaction.", buckets=sizes, registry=self._registry
        )

        self._ages = Gauge(
            "mgoe_evidence_work_age_seconds",
            "Since work beside the requests last succeeded.",
            ("work",),
            registry=self._registry,
        )
        self._aside = Gauge(
            "mgoe_evidence_set_aside",
            "What of an experiment is no evidence: exposures that are foreign (of another bundle), a mismatch (of "
            "another weight), early (long before their phase) or forced; units that crossed over or are capped; "
            "outcomes that wait.",
            ("experiment", "kind"),
            registry=self._registry,
        )

    def watch(self, works: Iterable[Work]) -> None:
        """Tells the ages of work."""
        for work in works:
            self._ages.labels(work.name).set_function(lambda work=work: work.age_s)  # type: ignore[misc]

    def set_aside(self, experiment: str, kind: str, number: int) -> None:
        """What of an experiment is no evidence, by the store's own count."""
        self._aside.labels(experiment, kind).set(number)

    def answered(self, kind: str, answers: Iterable[Answer]) -> None:
        """Counts answers; kind: exposure, outcome or covariate."""
        counts: dict[str, int] = {}
        for answer in answers:
            name = answer.kind if isinstance(answer, Refusal) else "accepted"
            counts[name] = counts.get(name, 0) + 1
        for name, count in counts.items():
            self._events.labels(kind, name).inc(count)

    def refused(self, status: int) -> None:
        """Counts a request that was refused whole."""
        self._refused.labels(status).inc()

    def wrote(self, events: int, seconds: float) -> None:
        """Counts a transaction."""
        self._sizes.observe(events)
        self._seconds.observe(seconds)

    def read_lines(self, kind: str, count: int, reason: str | None = None) -> None:
        """Counts lines of the log: accepted, excluded (no evidence), other, malformed, or refused by another kind."""
        if count:
            if reason is not None:
                self.refusals.setdefault(kind, reason)
            self.lines_read[kind] = self.lines_read.get(kind, 0) + count
            self._lines.labels(kind).inc(count)

    def lost_place(self, reason: str) -> None:
        """Counts that the file which was read last is gone."""
        log.warning("access log: %s", reason)
        self.refusals.setdefault("gone", reason)
        self._gone.inc()

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)
