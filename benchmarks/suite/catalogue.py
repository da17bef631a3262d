"""Every benchmark of `make bench`, the short ones first, and the figures that are compared."""

from __future__ import annotations

from benchmarks.suite.benchmark import Benchmark, Ratio
from model.errors import UserError

_LOAD = ("model", "cores", "candidates", "server")
_REBUILD = "build with pairs, processor s"
_SIZE = "per core of the store over the smallest store's (range)"
_OURS = (("candidate", ("mgoe", "mgoe_history")),)

SPEED = Benchmark(
    "speed",
    (
        Ratio("counting", "Graph counting", ("step",), "ratio", "higher"),
        Ratio("training", "Training", ("case", "threads"), "ratio", "higher"),
        Ratio("epochs", "Whole epochs", ("case",), "ratio", "higher"),
        Ratio("two workers", "one and two workers", ("case", "id tables"), "efficiency", "higher"),
    ),
    full=(),
    quick=("--rows", "500000", "--steps", "3", "--epoch-rows", "10000"),
)
GRAPH = Benchmark(
    "graph",
    (
        Ratio("growth", "Sharded build", ("edges",), "processor to linear", "lower"),
        Ratio("a day added", "A day added", ("edges",), "exact: processor s", "lower", over=_REBUILD),
    ),
    full=("--edges", "10e6,100e6"),
    quick=("--edges", "500e3,2e6", "--daily-up-to", "0", "--update-up-to", "0"),
)
EVIDENCE = Benchmark(
    "evidence",
    (
        Ratio("intake", "Events a second", ("database", "stored", "events"), "times one insert an event", "higher"),
        Ratio("size", "Events a second", ("database", "stored", "events"), _SIZE, "higher"),
        Ratio("reading", "Reading the evidence", ("database", "stored"), "ratio", "higher"),
    ),
    full=(),
    quick=("--quick",),
    programs=("/usr/lib/postgresql/*/bin/postgres",),
)
FAULTS = Benchmark(
    "faults",
    (
        Ratio("requests lost", "Faults", ("fault",), "lost at a healthy arm", "lower", "difference", "answered"),
        Ratio("outcomes lost", "Faults", ("fault",), "of them lost", "lower", "difference", "outcomes acknowledged"),
    ),
    full=("--seed", "{seed}"),
    quick=("--only", "erroring-candidate", "--seed", "{seed}"),
)
SERVING = Benchmark(
    "serving",
    (
        Ratio("throughput", "Throughput, requests a second", _LOAD, "times the first", "higher"),
        Ratio("p99", "Latency in ms", (*_LOAD, "share"), "p99 over the first's, by round", "lower"),
    ),
    full=(),
    quick=("--quick", "--out", "{results}"),
    programs=("/usr/bin/java",),
)
SCALE = Benchmark(
    "scale",
    (
        Ratio("shared memory", "Memory in MB", ("model", "users", "items"), "PSS of two over resident of one", "lower"),
        Ratio("throughput", "One worker", ("model",), "throughput over the small bundle's", "higher"),
        Ratio("p99", "One worker", ("model",), "p99 over the small bundle's", "lower"),
    ),
    full=(),
    quick=("--quick",),
)
STATISTICS = Benchmark(
    "statistics",
    (
        Ratio("misses", "ever miss the truth", ("world",), "always-valid", "lower", "difference"),
        Ratio("power", "Power by", ("lift",), "power", "higher", "difference"),
        Ratio("width", "Power by", ("lift",), "width over literal, last look", "lower"),
    ),
    full=("--seed", "{seed}"),
    quick=("--runs", "100", "--seed", "{seed}"),
    needs=("ab_asos",),
)
QUALITY = Benchmark(
    "quality",
    tuple(
        Ratio(
            f"lead {of}",
            f"{of} paired differences",
            ("candidate", "baseline"),
            "difference",
            "higher",
            "difference",
            "",
            _OURS,
        )
        for of in ("(a)", "(b)")
    ),
    full=(
        *("--data", "{data}/kuairand_pure", "--seeds", "5", "--settings", "a,b", "--ablation-seeds", "2"),
        *("--ablate", "a", "--probe-seeds", "2", "--history", "b"),
        *("--out", "{work}/quality-{commit}", "--first-seed", "{seed}00"),
    ),
    quick=(
        *("--data", "{data}/kuairand_pure", "--out", "{work}/quality-{commit}", "--only", "mmoe,mgoe", "--seeds", "1"),
        *("--settings", "a", "--ablation-seeds", "0", "--probe-seeds", "0", "--draws", "100"),
        *("--first-seed", "{seed}"),
    ),
    needs=("kuairand_pure",),
)

BENCHMARKS = (SPEED, GRAPH, EVIDENCE, FAULTS, SERVING, SCALE, STATISTICS, QUALITY)
NAMES = tuple(each.name for each in BENCHMARKS)


def chosen(only: str) -> list[Benchmark]:
    """Benchmarks by their names, with commas between. Raises UserError."""
    wanted = [name.strip() for name in only.split(",")]
    for name in wanted:
        if name not in NAMES:
            raise UserError(f"--only {name}: write some of {', '.join(NAMES)}, with commas between")
    return [each for each in BENCHMARKS if each.name in wanted]
