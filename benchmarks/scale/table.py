"""Rows of the tables."""

from __future__ import annotations

from benchmarks.results import Row
from benchmarks.scale.served import Served


def parts_rows(model: str, served: Served) -> list[Row]:
    """What lies on disk and is mapped, by part."""
    lines = [*served.footprint.lines(), ("computed at load", served.computed_mb, None)]
    return [
        {"model": model, "part": name, "MB": round(size), "MB a million": "" if each is None else round(each)}
        for name, size, each in lines
    ]


def memory_row(model: str, served: Served) -> Row:
    """Memory of one worker and of two, and the time until they serve."""
    one, two = served.one, served.two
    return {
        "model": model,
        "users": served.footprint.users - 1,
        "items": served.footprint.items - 1,
        "one worker, resident": round(one.resident),
        "one, its own pages": round(one.dirty),
        "two, resident": round(two.resident),
        "two, shared pages once (PSS)": round(two.shared),
        "the second adds": round(two.shared - one.shared),
        "PSS of two over resident of one": round(two.shared / one.resident, 2),
        "ready, first time, s": round(served.load_s[0], 1),
        "ready, two workers, s": round(served.load_s[1], 1),
    }


def speed_row(model: str, small: Served, large: Served) -> Row:
    """The large bundle, and its ratios to the small one."""
    return {
        "model": model,
        "requests/s": round(large.throughput),
        "throughput over the small bundle's": round(large.throughput / small.throughput, 2),
        "p50, ms": round(large.latency.p50, 2),
        "p99, ms": round(large.latency.p99, 2),
        "p99 over the small bundle's": round(large.latency.p99 / small.latency.p99, 2),
        "requests": len(large.latency.latency_ms),
        "failed": small.latency.failed + large.latency.failed,
    }
