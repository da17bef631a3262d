"""What the scale benchmark tells of two servers, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.scale import __main__ as command
from benchmarks.scale.served import Memory, Served
from benchmarks.scale.table import memory_row, parts_rows, speed_row
from benchmarks.serving.load import Outcome
from model.bundle.footprint import Footprint

SMALL = Served(
    bundle=Path("small"),
    footprint=Footprint(2_001, 1_001, 100_050, 50_050, 128_064, 64_064, 5_000),
    computed_mb=1.0,
    load_s=(6.0, 5.0),
    one=Memory(500.0, 480.0, 300.0),
    two=Memory(1000.0, 700.0, 600.0),
    throughput=1000.0,
    latency=Outcome(240.0, 10.0, tuple(float(ms) for ms in range(1, 101)), failed=1),
)
LARGE = replace(
    SMALL,
    footprint=Footprint(10_000_001, 1_000_001, 500_000_050, 50_000_050, 640_000_064, 64_000_064, 5_000),
    one=Memory(2000.0, 1980.0, 310.0),
    two=Memory(4000.0, 2500.0, 620.0),
    throughput=800.0,
    latency=Outcome(240.0, 10.0, tuple(2.0 * ms for ms in range(1, 101)), failed=2),
)


def test_what_a_second_worker_adds_is_what_it_does_not_share() -> None:
    row = memory_row("mmoe", LARGE)
    assert (row["users"], row["items"]) == (10_000_000, 1_000_000)
    assert row["the second adds"] == 520
    assert row["PSS of two over resident of one"] == 1.25


def test_ratios_are_those_of_the_large_bundle_to_the_small_one() -> None:
    row = speed_row("mmoe", SMALL, LARGE)
    assert row["throughput over the small bundle's"] == 0.8
    assert row["p99 over the small bundle's"] == 2.0
    assert row["failed"] == 3


def test_parts_are_told_by_the_million_where_they_grow() -> None:
    parts = {row["part"]: (row["MB"], row["MB a million"]) for row in parts_rows("mmoe", LARGE)}
    assert parts["user tables"] == (500, 50)
    assert parts["item embeddings"] == (64, 64)
    assert parts["computed at load"] == (1, "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--users", "many"], "--users many: write a number from 50000 to 2 billion"),
        (["--items", "inf"], "--items inf: write a number"),
        (["--users", "10"], "--users 10: write a number"),
        (["--models", "ple"], "--models ple: write some of mmoe, mgoe"),
    ],
)
def test_sizes_and_models_that_cannot_be_made_are_refused(words: list[str], told: str) -> None:
    app = typer.Typer()
    app.command()(command.main)
    found = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert found.exit_code == 2
    assert told in " ".join(found.output.split())
