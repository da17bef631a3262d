"""Small raw logs on disk for the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import yaml

from model.data.place import LogPlace, open_place
from model.data.schema import LogSchema

DAY = 86_400
START = 1_704_067_200
"""2024-01-01 00:00 UTC."""

Content = dict[str, Any]


def schema_content() -> Content:
    """A schema with every kind of part: two entire tasks, history, side files, all kinds of features."""
    return {
        "name": "toy",
        "interactions": {
            "path": "rows.parquet",
            "user": "user",
            "item": "item",
            "time": {"column": "time"},
            "request": "request",
        },
        "tasks": [{"name": "click", "level": 1}, {"name": "buy", "level": 2}],
        "history": {"path": "history.parquet", "user": "user", "item": "item", "order": "place", "tasks": ["click"]},
        "users": {"path": "users.parquet", "key": "user"},
        "items": {"path": "items.parquet", "key": "item"},
        "features": [
            {"name": "slot", "of": "context", "kind": "sparse", "column": "slot"},
            {"name": "hour", "of": "context", "kind": "sparse", "derive": "hour_of_day"},
            {"name": "city", "of": "user", "kind": "sparse", "column": "city"},
            {"name": "age", "of": "user", "kind": "dense", "column": "age"},
            {"name": "tags", "of": "item", "kind": "multi", "column": "tags", "separator": ",", "max_length": 2},
            {"name": "price", "of": "item", "kind": "dense", "column": "price", "transform": "log1p"},
        ],
        "split": {"validate_from": "2024-01-07 00:00:00", "test_from": "2024-01-09 00:00:00"},
    }


def schema(**changes: Any) -> LogSchema:
    return LogSchema.model_validate({**schema_content(), **changes})


def rows() -> pl.DataFrame:
    """240 impressions in ten days: 24 a day, users u0..u11, items 0..9; u11 and item 9 appear on the last day only."""
    n = 240
    row = pl.int_range(n, eager=True)
    last_day = row >= n - 24
    return pl.DataFrame(
        {
            "user": pl.Series(
                [f"u{11 if late and r % 3 == 0 else r % 11}" for r, late in zip(row, last_day, strict=True)]
            ),
            "item": pl.Series(
                [9 if late and r % 4 == 0 else (r * 7 + r // 11) % 9 for r, late in zip(row, last_day, strict=True)]
            ),
            "time": START + row * 3600,
            "request": row // 2,
            "click": (row % 3 == 0).cast(pl.Int8),
            "buy": (row % 6 == 0).cast(pl.Int8),
            "slot": row % 4,
        }
    )


def history() -> pl.DataFrame:
    """Thirty older impressions, newest first within a user; u20 and item 8 are met here."""
    row = pl.int_range(30, eager=True)
    return pl.DataFrame(
        {
            "user": pl.Series([f"u{20 if r % 10 == 9 else r % 5}" for r in row]),
            "item": row % 9,
            "place": 29 - row,
            "click": (row % 2 == 0).cast(pl.Int8),
        }
    )


def users() -> pl.DataFrame:
    """u0..u11 and u99, whom no impression knows."""
    names = [*(f"u{u}" for u in range(12)), "u99"]
    city = ["Rome" if u % 2 == 0 else "Oslo" for u in range(11)] + ["Lima", "Rome"]
    return pl.DataFrame({"user": names, "city": city, "age": [20.0 + u for u in range(12)] + [None]})


def items() -> pl.DataFrame:
    tags = ["a,b", "b", "", "c, a,b", None, "a", "b,b,c", "c", "a", "only-here"]
    return pl.DataFrame({"item": range(10), "tags": tags, "price": [float(i) for i in range(10)]})


def write(folder: Path, content: Content | None = None, **tables: pl.DataFrame) -> LogPlace:
    """Writes the log with `tables` (rows, history, users, items) in place of the usual ones."""
    folder.mkdir(parents=True, exist_ok=True)
    usual = {"rows": rows(), "history": history(), "users": users(), "items": items()}
    for name, table in {**usual, **tables}.items():
        table.write_parquet(folder / f"{name}.parquet")
    (folder / "schema.yaml").write_text(yaml.safe_dump(content or schema_content()))
    return open_place(str(folder))
