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
    from model.graph.build import build_from
    from model.graph.config import GraphConfig
    from model.graph.dense_log import dense_log

    config, stages = GraphConfig.model_validate(json.loads(options)), []
    started = time.perf_counter()

    def tell(stage: str) -> None:
        stages.append({"stage": stage, "at": round(time.perf_counter() - started, 2)})

    graph = build_from(dense_log(log), config, "benchmark", tell)
    tell("write")
    write_graph(graph, out)
    _report({"seconds": time.perf_counter() - started, "stages": stages})


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


def _report(facts: dict[str, Any]) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    facts |= {"peak": used.ru_maxrss * 1024, "processor": used.ru_utime + used.ru_stime}
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    app()
