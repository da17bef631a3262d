"""The sharded graph builder at growing sizes: `python -m benchmarks.graph --edges 10e6,100e6`.

Each size gets a synthetic log in parts (a tenth as many users, a hundredth as many items), made in streaming, and a
build in a process of its own. Writes benchmarks/results/graph.{json,md}.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmarks.graph.watch import Watched, size_of, watch
from benchmarks.results import machine_facts, markdown_table, write_results

GIB = 2**30
ROWS_PER_PART = 5_000_000


def main(
    *,
    edges: Annotated[str, typer.Option(help="Interactions of each size, as 10e6,100e6.")] = "10e6",
    groups: Annotated[int, typer.Option(help="Macro nodes of either side.")] = 200,
    top_k: Annotated[int, typer.Option(help="Macro edges kept per node and hop.")] = 16,
    recent: Annotated[int, typer.Option(help="Micro neighbours kept per node.")] = 5,
    rank: Annotated[int, typer.Option(help="Rank of the folded decomposition.")] = 32,
    threads: Annotated[int, typer.Option(help="Shards side by side.")] = 2,
    memory_mb: Annotated[int, typer.Option(help="Working memory that the build aims at.")] = 2048,
    equal_up_to: Annotated[float, typer.Option(help="Sizes up to here are built in memory too and compared.")] = 10e6,
    update_up_to: Annotated[float, typer.Option(help="Sizes up to here get a day added, too.")] = 100e6,
    daily_up_to: Annotated[float, typer.Option(help="Sizes up to here are built with daily snapshots too.")] = 10e6,
    folder: Annotated[Path | None, typer.Option(help="Where graphs and working files are made and removed.")] = None,
    logs: Annotated[Path | None, typer.Option(help="Where logs are kept and found again.")] = None,
) -> None:
    """Measure seconds, memory and disk of the graph build by size."""
    console = Console(width=140)
    options = {
        "user_groups": groups,
        "item_groups": groups,
        "top_k": top_k,
        "two_hop_top_k": 2 * top_k,
        "recent": recent,
        "svd_rank": rank,
        "features": "folded",
        "threads": threads,
        "memory_mb": memory_mb,
        "shards": 2,
    }
    daily_options = options | {"snapshots": "daily", "neighbour_means": True}
    rows: list[dict[str, Any]] = []
    daily_rows: list[dict[str, Any]] = []
    stages: list[dict[str, Any]] = []
    updates: list[dict[str, Any]] = []
    for size in (int(float(text)) for text in edges.split(",")):
        work = Path(tempfile.mkdtemp(prefix="mgoe-bench-", dir=folder))
        try:
            log = (logs or work) / f"log-{size}"
            row, built = measure(size, options, work / "single", log, compare=size <= equal_up_to)
            if size <= daily_up_to:
                daily, _ = measure(size, daily_options, work / "daily", log, compare=size <= equal_up_to)
                daily_rows.append(daily)
            if size <= update_up_to:
                updates.append(measure_update(size, options, work / "update", log))
        finally:
            shutil.rmtree(work)
        for what, against in (("build s", "time to linear"), ("processor s", "processor to linear")):
            row[against] = _to_linear(rows, size, what, row[what])
        rows.append(row)
        stages += _stages(size, built)
        console.print("\n".join(markdown_table([row])))
        if size <= daily_up_to:
            console.print("\n".join(markdown_table(daily_rows[-1:])))
        if size <= update_up_to:
            console.print("\n".join(markdown_table(updates[-1:])))
    command = f"python -m benchmarks.graph --edges {edges} --groups {groups} --top-k {top_k} --recent {recent}"
    command += f" --rank {rank} --daily-up-to {daily_up_to:.0e} --update-up-to {update_up_to:.0e}"
    command += f" --threads {threads} --memory-mb {memory_mb}"
    tables = {f"Sharded build, streamed from Parquet, K = {groups}": rows, "Seconds by stage": stages}
    if updates:
        tables["A day added to a graph of the days before"] = updates
    if daily_rows:
        tables["The same with a snapshot of each of 14 days and neighbour means"] = daily_rows
    console.print(f"written to {write_results('graph', command, machine_facts(('numpy', 'scipy', 'pyarrow')), tables)}")


def measure(
    size: int, options: dict[str, Any], work: Path, log: Path, *, compare: bool
) -> tuple[dict[str, Any], Watched]:
    """One size's row of the table, and what was seen of its build."""
    graph, scratch, child = work / "graph", work / "scratch", "benchmarks.graph.child"
    scratch.mkdir(parents=True)
    if not log.exists():
        watch([child, "log", str(log), str(size), str(-(-size // ROWS_PER_PART))], scratch)
    built = watch([child, "graph", str(log), str(graph), "--options", json.dumps(options)], scratch)
    same = "not compared"
    if compare:
        watch([child, "memory", str(log), str(work / "memory"), "--options", json.dumps(options)], scratch)
        same = "yes" if same_arrays(graph, work / "memory") else "NO"
    seconds = built.facts["seconds"]
    row = {
        "edges": f"{size:,}",
        "build s": round(seconds, 1),
        "processor s": round(built.facts["processor"], 1),
        "edges/s": round(size / seconds),
        "private GiB": round(built.private / GIB, 2),
        "resident GiB": round(built.resident / GIB, 2),
        "log GB": round(size_of(log) / 1e9, 2),
        "working files GB": round(built.scratch / 1e9, 2),
        "graph GB": round(size_of(graph) / 1e9, 2),
        "as in memory": same,
    }
    return row, built


def measure_update(size: int, options: dict[str, Any], work: Path, log: Path) -> dict[str, Any]:
    """One size's row: a day added to a graph of the log's training days, with the second hop counted anew or later."""
    child, scratch = "benchmarks.graph.child", work / "scratch"
    scratch.mkdir(parents=True)
    base = watch([child, "updatable", str(log), str(work / "base"), "--options", json.dumps(options)], scratch)
    day = watch([child, "day", str(log), str(work / "day"), str(base.facts["last_moment"])], scratch)
    row: dict[str, Any] = {
        "edges": f"{size:,}",
        "day's rows": f"{day.facts['rows']:,}",
        "pairs beside the graph GB": round(size_of(work / "base" / "pairs") / 1e9, 2),
        "build with pairs, processor s": round(base.facts["processor"], 1),
    }
    for two_hop in ("later", "exact"):
        out = work / two_hop
        arguments = [child, "update", str(work / "base"), str(work / "day"), str(out), "--two-hop", two_hop]
        added = watch(arguments, scratch)
        row |= {
            f"update, second hop {two_hop}: s": round(added.facts["seconds"], 1),
            f"{two_hop}: processor s": round(added.facts["processor"], 1),
            f"{two_hop}: private GiB": round(added.private / GIB, 2),
        }
        shutil.rmtree(out)
    return row


def same_arrays(left: Path, right: Path) -> bool:
    """Whether two graphs hold the same files with the same arrays."""
    names = [sorted(path.relative_to(root) for path in root.rglob("*.npy")) for root in (left, right)]
    if names[0] != names[1] or not names[0]:
        return False
    pairs = ((np.load(left / name, mmap_mode="r"), np.load(right / name, mmap_mode="r")) for name in names[0])
    return all(np.array_equal(one, other) for one, other in pairs)


def _to_linear(before: list[dict[str, Any]], size: int, what: str, seconds: float) -> float:
    """Seconds an edge against the first size's."""
    if not before:
        return 1.0
    first_size, first_seconds = int(before[0]["edges"].replace(",", "")), float(before[0][what])
    return round(seconds / size * first_size / first_seconds, 2)


def _stages(size: int, built: Watched) -> list[dict[str, Any]]:
    found = built.facts["stages"]
    ends = [*found[1:], {"at": built.facts["seconds"], "processor": built.facts["processor"]}]
    return [
        {"edges": f"{size:,}", "stage": stage["stage"]}
        | {f"{what}s": round(end[clock] - stage[clock], 1) for what, clock in (("", "at"), ("processor ", "processor"))}
        for stage, end in zip(found, ends, strict=True)
    ]


if __name__ == "__main__":
    typer.run(main)
