"""One step in a process of its own, so that its peak memory is its own: `python -m benchmarks.graph.child STEP ...`.

Prints one line of JSON: seconds and peak bytes of the whole step, and when each stage of a build began.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

TASKS = (("click", 0.97), ("cart", 0.3), ("buy", 0.3))

app = typer.Typer(add_completion=False)


@app.command("log")
def make_log(out: Path, rows: int, parts: int) -> None:
    """A bare synthetic log: a tenth as many users as rows, a hundredth as many items; most rows have a positive."""
    from model.data.synthetic import Layout, write_synthetic
    from model.data.synthetic_config import SyntheticConfig, SyntheticTask

    config = SyntheticConfig(
        rows=rows,
        users=rows // 10,
        items=max(rows // 100, 2),
        user_clusters=64,
        item_clusters=64,
        tasks=tuple(SyntheticTask(name=name, rate=rate) for name, rate in TASKS),
    )
    started = time.perf_counter()
    write_synthetic(out, config, Layout(parts=parts, bare=True))
    _report({"seconds": time.perf_counter() - started})


@app.command("graph")
def make_graph(
    log: Path,
    out: Path,
    options: Annotated[str, typer.Option(help="Graph options as JSON.")] = "{}",
) -> None:
    """The graph artifact of a raw log with dense ids, streamed."""
    from model.graph.artifact import write_graph
    from model.graph.build import build_with_pairs
    from model.graph.config import GraphConfig
    from model.graph.dense_log import dense_log

    config, stages = GraphConfig.model_validate(json.loads(options)), _Stages()
    out.mkdir(parents=True, exist_ok=True)
    graph = build_with_pairs(dense_log(log), config, "benchmark", stages.begin, keep=False, out=out).graph
    stages.begin("write")
    write_graph(graph, out)
    _report(stages.facts())


@app.command("updatable")
def make_updatable(log: Path, out: Path, options: str = "{}") -> None:
    """The same with the pairs that an update goes on from, as `mgoe graph stream --updatable` makes it."""
    from model.graph.config import GraphConfig
    from model.graph.run import stream_graph

    stages = _Stages()
    manifest = stream_graph(
        str(log), out, GraphConfig.model_validate(json.loads(options)), stages.begin, updatable=True
    )
    _report(stages.facts() | {"last_moment": manifest.facts["last_moment"]})


@app.command("day")
def make_day(log: Path, out: Path, first: int, seconds: int = 86_400) -> None:
    """The rows of a raw synthetic log from a second on, for a day, under the same schema."""
    import polars as pl

    (out / "interactions").mkdir(parents=True)
    (out / "schema.yaml").write_text((log / "schema.yaml").read_text())
    inside = pl.col("time_ms").is_between(first * 1000, (first + seconds) * 1000, closed="left")
    rows = pl.scan_parquet(log / "interactions" / "*.parquet").filter(inside).collect(engine="streaming")
    rows.write_parquet(out / "interactions" / "part-00000.parquet")
    _report({"rows": len(rows)})


@app.command("update")
def add_day(graph: Path, day: Path, out: Path, two_hop: str = "exact") -> None:
    """A day added to an updatable graph; the earlier snapshots are left out, as a daily job would."""
    from model.graph.run import update_graph
    from model.graph.update import UpdateOptions

    stages, options = _Stages(), UpdateOptions(two_hop="later" if two_hop == "later" else "exact", keep=0)
    manifest = update_graph(graph, str(day), out, options, progress=stages.begin)
    _report(stages.facts() | {"rows": manifest.facts["added_rows"]})


@app.command("memory")
def make_graph_in_memory(log: Path, out: Path, options: str = "{}") -> None:
    """The same graph from the whole log as arrays in memory."""
    from model.graph.artifact import write_graph
    from model.graph.build import build_from
    from model.graph.config import GraphConfig
    from model.graph.dense_log import dense_log

    config = GraphConfig.model_validate(json.loads(options) | {"shards": 1, "memory_mb": 1 << 20})
    started = time.perf_counter()
    write_graph(build_from(dense_log(log), config, "benchmark"), out)
    _report({"seconds": time.perf_counter() - started})


class _Stages:
    """When each stage began, in seconds and in the process's own processor seconds."""

    def __init__(self) -> None:
        self._clocks = (time.perf_counter(), time.process_time())
        self._begun: list[dict[str, Any]] = []

    def begin(self, stage: str) -> None:
        at, processor = self._now()
        self._begun.append({"stage": stage, "at": round(at, 2), "processor": round(processor, 2)})

    def facts(self) -> dict[str, Any]:
        return {"seconds": self._now()[0], "stages": self._begun}

    def _now(self) -> tuple[float, float]:
        return time.perf_counter() - self._clocks[0], time.process_time() - self._clocks[1]


def _report(facts: dict[str, Any]) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    facts |= {"peak": used.ru_maxrss * 1024, "processor": used.ru_utime + used.ru_stime}
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    app()
