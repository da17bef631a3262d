"""Writes a synthetic log: Parquet files and schema.yaml as any other log has them, made row group by row group.

Memory follows the nodes and never the rows, so that a log of any length can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from model.artifact.staging import Staging, as_fault
from model.data.schema import Feature, LogFiles, LogSchema, NodeFile, Split, Task, TimeColumn
from model.data.schema_file import SCHEMA_NAME, dump_schema
from model.data.synthetic_config import SyntheticConfig
from model.data.synthetic_world import Members, Rows, World, make_rows, make_world
from model.errors import UserError

GROUP_ROWS = 1 << 17
"""Rows of a Parquet row group: bounds the memory of the writer."""
TRUTH = "ground_truth"
"""Folder of the planted clusters: for tests, named by no schema."""
_FEATURE_STREAM = 4


@dataclass(frozen=True)
class Layout:
    """How a log lies on disk; its rows are the same in any.

    parts: Parquet files of the interactions, one folder of them where there are several. bare: no side tables, no
    context and no features, for logs whose length is the point. group_rows: rows of a row group.
    """

    parts: int = 1
    bare: bool = False
    group_rows: int = GROUP_ROWS

    @property
    def interactions(self) -> str:
        return "interactions.parquet" if self.parts == 1 else "interactions"

    def files(self, rows: int) -> Iterator[tuple[str, range]]:
        """Name and rows of every file, in order."""
        if self.parts == 1:
            yield self.interactions, range(rows)
            return
        bounds = [rows * part // self.parts for part in range(self.parts + 1)]
        for part, (start, stop) in enumerate(pairwise(bounds)):
            yield f"{self.interactions}/part-{part:05}.parquet", range(start, stop)


def write_synthetic(
    out: Path, config: SyntheticConfig, layout: Layout | None = None, progress: Callable[[int], None] | None = None
) -> None:
    """Writes the log of `config` as the folder `out`, whole or not at all; `progress` is told of the rows written.

    Raises UserError where `out` holds something that is no synthetic log, Fault when the disk is full.
    """
    if out.exists() and not (out / TRUTH).is_dir() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is no synthetic log; name an empty or a new folder")
    layout = layout or Layout()
    staging: Staging | None = None
    try:
        staging = Staging(out)
        world = make_world(config)
        _write_truth(world, staging.path / TRUTH)
        if not layout.bare:
            _write_sides(world, staging.path)
        for name, rows in layout.files(config.rows):
            (staging.path / name).parent.mkdir(exist_ok=True)
            _write_rows(world, staging.path / name, rows, layout, progress)
        (staging.path / SCHEMA_NAME).write_text(dump_schema(synthetic_schema(config, layout)), encoding="utf-8")
        staging.commit()
    except OSError as error:
        raise as_fault(out, error) from error
    finally:
        if staging is not None:
            staging.discard()


def synthetic_schema(config: SyntheticConfig, layout: Layout | None = None) -> LogSchema:
    """The schema of the log of `config`."""
    layout = layout or Layout()
    test = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=config.days * (1 - config.test_share))
    validate = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=config.days * (1 - 2 * config.test_share))
    whole = LogSchema(
        name="synthetic",
        interactions=LogFiles(
            path=layout.interactions,
            user="user",
            item="item",
            time=TimeColumn(column="time_ms", unit="ms"),
            request="request",
        ),
        tasks=tuple(Task(name=task.name, level=place + 1) for place, task in enumerate(config.tasks)),
        users=NodeFile(path="users.parquet", key="user"),
        items=NodeFile(path="items.parquet", key="item"),
        features=(
            Feature(name="region", of="user", kind="sparse", column="region"),
            Feature(name="interests", of="user", kind="multi", column="interests", max_length=3),
            Feature(name="age", of="user", kind="dense", column="age"),
            Feature(name="category", of="item", kind="sparse", column="category"),
            Feature(name="tags", of="item", kind="multi", column="tags", separator="|", max_length=3),
            Feature(name="price", of="item", kind="dense", column="price", transform="log1p"),
            Feature(name="slot", of="context", kind="sparse", column="slot"),
            Feature(name="hour", of="context", kind="sparse", derive="hour_of_day"),
        ),
        split=Split(validate_from=validate.replace(tzinfo=None), test_from=test.replace(tzinfo=None)),
    )
    if not layout.bare:
        return whole
    rows_alone = whole.interactions.model_copy(update={"request": None})
    bare = {"interactions": rows_alone, "users": None, "items": None, "features": (), "rates": "none"}
    return whole.model_copy(update=bare)


def _write_rows(world: World, path: Path, rows: range, layout: Layout, progress: Callable[[int], None] | None) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for start in range(rows.start, rows.stop, layout.group_rows):
            stop = min(start + layout.group_rows, rows.stop)
            table = _table(make_rows(world, start, stop), world.config, layout)
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=layout.group_rows)
            if progress is not None:
                progress(stop - start)
    finally:
        if writer is not None:
            writer.close()


def _table(rows: Rows, config: SyntheticConfig, layout: Layout) -> pa.Table:
    shown = {"user": rows.user, "item": rows.item, "time_ms": rows.time}
    if not layout.bare:
        shown |= {"request": rows.request, "slot": rows.slot}
    labels = {task.name: rows.label[:, place] for place, task in enumerate(config.tasks)}
    return pl.DataFrame({**shown, **labels}).to_arrow()


def _write_sides(world: World, folder: Path) -> None:
    """Side tables with features that tell a little of the cluster."""
    rng = np.random.default_rng([world.config.seed, _FEATURE_STREAM])
    users, items = world.users, world.items
    hint = world.config.feature_signal
    pl.DataFrame(
        {
            "user": np.arange(len(users.cluster)),
            "region": pl.Series(_noisy(rng, users, world.config.user_clusters, hint)).map_elements(
                lambda code: f"region-{code}", return_dtype=pl.String
            ),
            "interests": _several(rng, users, world.config.user_clusters, hint),
            "age": np.clip(38 + 8 * users.lift[:, 0] + rng.normal(0, 12, len(users.cluster)), 16, 90).round(1),
        }
    ).write_parquet(folder / "users.parquet")
    pl.DataFrame(
        {
            "item": np.arange(len(items.cluster)),
            "category": _noisy(rng, items, world.config.item_clusters, hint),
            "tags": _several(rng, items, world.config.item_clusters, hint).cast(pl.List(pl.String)).list.join("|"),
            "price": np.exp(3 - 0.5 * items.lift[:, -1] + rng.normal(0, 0.8, len(items.cluster))).round(2),
        }
    ).write_parquet(folder / "items.parquet")


def _write_truth(world: World, folder: Path) -> None:
    folder.mkdir()
    for name, side in (("user", world.users), ("item", world.items)):
        table = {name: np.arange(len(side.cluster)), "cluster": side.cluster, "born_ms": side.born}
        pl.DataFrame(table).write_parquet(folder / f"{name}s.parquet")


def _noisy(rng: np.random.Generator, side: Members, clusters: int, hint: float) -> np.ndarray:
    noise = rng.integers(0, clusters, size=len(side.cluster))
    return np.where(rng.random(len(side.cluster)) < hint, side.cluster, noise)


def _several(rng: np.random.Generator, side: Members, clusters: int, hint: float) -> pl.Series:
    """One to three noisy values a member."""
    drawn = np.stack([_noisy(rng, side, clusters, hint / 2) for _ in range(3)], axis=1)
    length = rng.integers(1, 4, size=len(side.cluster))
    return pl.Series([values[:count].tolist() for values, count in zip(drawn, length, strict=True)])
