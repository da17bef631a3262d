"""Turns raw ids and features into codes and numbers, fitted on history and the training days alone.

Code 0 is the unknown: whatever was not met while fitting. The tables are saved with the log artifact, so that serving
encodes a raw request exactly as training did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from model.data.dataset import Columns, Float32, Int32, Int64
from model.data.schema import Feature, LogSchema
from model.errors import Fault

Float64 = npt.NDArray[np.float64]


def as_text(raw: pl.Series) -> pl.Series:
    """Raw ids or categories as text: 3, 3.0 and "3" are the same one; null and NaN stay null."""
    return pl.DataFrame({"raw": raw}).select(_text(pl.col("raw"), raw.dtype)).to_series()


def _text(raw: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if not dtype.is_float():
        return raw.cast(pl.String)
    known = raw.fill_nan(None)
    whole = (known == known.floor()) & (known.abs() < 2**53)
    return pl.when(whole).then(known.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(known.cast(pl.String))


@dataclass(frozen=True)
class Vocabulary:
    """Known values of one column; the value at place c - 1 has code c, everything else code 0."""

    values: pl.Series

    def __len__(self) -> int:
        """Size of the code space, the unknown included."""
        return len(self.values) + 1

    def encode(self, text: pl.Series) -> Int32:
        """Codes int32 [N] of text [N]."""
        table = pl.DataFrame({"value": self.values, "code": np.arange(1, len(self), dtype=np.int32)})
        joined = pl.DataFrame({"value": text}).join(table, on="value", how="left", maintain_order="left")
        return joined["code"].fill_null(0).to_numpy().astype(np.int32)

    @classmethod
    def of(cls, counts: pl.DataFrame, min_count: int) -> Vocabulary:
        """Values with a count of at least `min_count`, the most frequent first; counts: columns value and count."""
        kept = counts.filter((pl.col("count") >= min_count) & pl.col("value").is_not_null())
        return cls(kept.sort(["count", "value"], descending=[True, False])["value"])


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of a transformed dense feature; (value - mean) / deviation, and 0 where missing."""

    mean: float
    deviation: float

    def encode(self, value_N: Float64) -> Float32:
        scaled = (value_N - self.mean) / self.deviation
        return np.where(np.isfinite(scaled), scaled, 0.0).astype(np.float32)


@dataclass
class Moments:
    """Weighted count, sum and sum of squares, added up batch by batch."""

    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value_N: Float64, weight_N: Float64) -> None:
        known = np.isfinite(value_N)
        value, weight = value_N[known], weight_N[known]
        self.weight += float(weight.sum())
        self.total += float((weight * value).sum())
        self.squares += float((weight * value**2).sum())

    def scale(self) -> Scale:
        if self.weight == 0:
            return Scale(0.0, 1.0)
        mean = self.total / self.weight
        variance = max(self.squares / self.weight - mean**2, 0.0)
        return Scale(mean, float(np.sqrt(variance)) if variance > 1e-12 else 1.0)


@dataclass
class Fitting:
    """Statistics of the features of one owner, added up over batches of rows; `finish` turns them into encoders."""

    features: Sequence[Feature]
    timezone: str
    counts: dict[str, pl.DataFrame] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)

    def add(self, frame: pl.DataFrame, weight_N: Float64, time_N: Int64 | None = None) -> None:
        """Rows of `frame` (raw columns), each met `weight` times; time_N: unix seconds, for derived features."""
        for feature in self.features:
            if feature.kind == "dense":
                self.moments.setdefault(feature.name, Moments()).add(_numbers(frame, feature), weight_N)
                continue
            table = pl.DataFrame({"value": _texts(frame, feature, time_N, self.timezone), "count": weight_N})
            if feature.kind == "multi":
                # A value that only ever stands behind those that a row keeps is never trained on: it gets no code.
                kept = pl.col("value").list.unique(maintain_order=True).list.head(feature.max_length)
                table = table.with_columns(kept).explode("value", empty_as_null=True, keep_nulls=True)
            known = [self.counts[feature.name]] if feature.name in self.counts else []
            table = table.filter(pl.col("value").is_not_null() & (pl.col("count") > 0))
            self.counts[feature.name] = pl.concat([*known, table]).group_by("value").agg(pl.col("count").sum())

    def finish(self) -> dict[str, Vocabulary | Scale]:
        empty = pl.DataFrame(schema={"value": pl.String, "count": pl.Float64})
        return {
            feature.name: self.moments.get(feature.name, Moments()).scale()
            if feature.kind == "dense"
            else Vocabulary.of(self.counts.get(feature.name, empty), feature.min_count)
            for feature in self.features
        }


@dataclass(frozen=True)
class Encoders:
    """Everything that turns raw rows into node indices and codes. users, items: node ids; code = node index."""

    schema: LogSchema
    users: Vocabulary
    items: Vocabulary
    features: Mapping[str, Vocabulary | Scale]

    def user_index(self, ids: Iterable[object]) -> Int32:
        """Node indices [N] of raw user ids, 0 where unknown."""
        return self.users.encode(_id_text(ids))

    def item_index(self, ids: Iterable[object]) -> Int32:
        """Node indices [N] of raw item ids, 0 where unknown."""
        return self.items.encode(_id_text(ids))

    def columns(self, owner: str, frame: pl.DataFrame, time_N: Int64 | None = None) -> Columns:
        """Encoded features of `owner` for the raw rows of `frame`; a column that is absent counts as missing.

        time_N: unix seconds, needed where a feature is derived from time.
        """
        zone = self.schema.interactions.time.timezone
        sparse, dense, multi = [], [], []
        for feature in self.schema.features_of(owner):
            encoder = self.features[feature.name]
            if isinstance(encoder, Scale):
                dense.append(encoder.encode(_numbers(frame, feature)))
            elif feature.kind == "multi":
                multi.append(_padded(encoder, _texts(frame, feature, time_N, zone), feature.max_length))
            else:
                sparse.append(encoder.encode(_texts(frame, feature, time_N, zone)))
        rows = len(frame) if time_N is None else len(time_N)
        return Columns(
            sparse=np.stack(sparse, axis=1) if sparse else np.zeros((rows, 0), np.int32),
            dense=np.stack(dense, axis=1) if dense else np.zeros((rows, 0), np.float32),
            multi=tuple(multi),
        )

    def cardinalities(self, owner: str) -> dict[str, int]:
        """Vocabulary size (unknown included) of each sparse and multi feature of `owner`, in column order by kind."""
        named = (*self.schema.features_of(owner, "sparse"), *self.schema.features_of(owner, "multi"))
        return {f.name: len(v) for f in named if isinstance(v := self.features[f.name], Vocabulary)}


def save_encoders(encoders: Encoders, folder: Path) -> None:
    """Writes the tables as Parquet into `folder` (the schema is kept beside it by the log artifact)."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_values(encoders.users, folder / "users.parquet")
    _write_values(encoders.items, folder / "items.parquet")
    values, scales = [], []
    for feature in encoders.schema.features:
        encoder = encoders.features[feature.name]
        if isinstance(encoder, Scale):
            scales.append((feature.name, encoder.mean, encoder.deviation))
        else:
            values.append(
                pl.DataFrame({"value": encoder.values}).select(pl.lit(feature.name).alias("feature"), "value")
            )
    no_values = pl.DataFrame(schema={"feature": pl.String, "value": pl.String})
    pl.concat([no_values, *values]).write_parquet(folder / "vocabularies.parquet")
    scale_types = {"feature": pl.String, "mean": pl.Float64, "deviation": pl.Float64}
    pl.DataFrame(scales, schema=scale_types, orient="row").write_parquet(folder / "scales.parquet")


def load_encoders(folder: Path, schema: LogSchema) -> Encoders:
    """Reads what `save_encoders` wrote. Raises Fault where a table is missing or broken."""
    try:
        tables = {name: pl.read_parquet(folder / f"{name}.parquet") for name in _TABLES}
    except (OSError, pl.exceptions.PolarsError) as error:
        raise Fault(f"encoder tables in {folder} cannot be read: {error}") from None
    scales = {name: Scale(mean, deviation) for name, mean, deviation in tables["scales"].iter_rows()}
    vocabularies = tables["vocabularies"]
    features: dict[str, Vocabulary | Scale] = {}
    for feature in schema.features:
        if feature.kind == "dense":
            features[feature.name] = scales[feature.name]
        else:
            features[feature.name] = Vocabulary(vocabularies.filter(pl.col("feature") == feature.name)["value"])
    return Encoders(schema, Vocabulary(tables["users"]["value"]), Vocabulary(tables["items"]["value"]), features)


_TABLES = ("users", "items", "vocabularies", "scales")


def _write_values(vocabulary: Vocabulary, path: Path) -> None:
    pl.DataFrame({"value": vocabulary.values}).write_parquet(path)


def _id_text(ids: Iterable[object]) -> pl.Series:
    if isinstance(ids, pl.Series):
        return as_text(ids)
    return pl.Series("id", [None if raw is None else _scalar_text(raw) for raw in ids], dtype=pl.String)


def _scalar_text(raw: object) -> str:
    return str(int(raw)) if isinstance(raw, float) and raw.is_integer() else str(raw)


def _numbers(frame: pl.DataFrame, feature: Feature) -> Float64:
    if feature.column not in frame.columns:
        return np.full(len(frame), np.nan)
    value_N = frame[feature.column].cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    if feature.transform == "log1p":
        # Below -1 there is no logarithm; such a value says nothing, so it counts as missing.
        return np.log1p(np.where(value_N > -1, value_N, np.nan))
    return value_N


def _texts(frame: pl.DataFrame, feature: Feature, time_N: Int64 | None, timezone: str) -> pl.Series:
    """Text [N], or lists of text [N] for a multi feature."""
    if feature.derive is not None:
        rows = len(frame) if time_N is None else len(time_N)
        return _of_time(time_N, feature.derive, timezone) if time_N is not None else _nulls(rows)
    if feature.column not in frame.columns:
        return _nulls(len(frame), pl.List(pl.String) if feature.kind == "multi" else pl.String)
    raw = frame[feature.column]
    if feature.kind != "multi":
        return as_text(raw)
    if isinstance(raw.dtype, pl.List):
        inner = raw.dtype.inner
        return raw.list.eval(_text(pl.element(), pl.Series(dtype=inner).dtype).str.strip_chars())
    return as_text(raw).str.split(feature.separator or ",").list.eval(pl.element().str.strip_chars())


def _of_time(time_N: Int64, derive: str, timezone: str) -> pl.Series:
    local = pl.from_epoch(pl.Series(time_N)).dt.replace_time_zone("UTC").dt.convert_time_zone(timezone)
    part = local.dt.hour() if derive == "hour_of_day" else local.dt.weekday()
    return part.cast(pl.String)


def _nulls(rows: int, dtype: pl.DataType | type[pl.DataType] = pl.String) -> pl.Series:
    return pl.Series("missing", [None] * rows, dtype=dtype)


def _padded(vocabulary: Vocabulary, lists: pl.Series, width: int) -> Int32:
    """Codes int32 [N, width]: the first known values of each list, in order, without repeats, zeros on the right."""
    table = pl.DataFrame({"row": np.arange(len(lists)), "value": lists}).explode(
        "value", empty_as_null=True, keep_nulls=True
    )
    code = vocabulary.encode(table["value"])
    pairs = table.select("row").with_columns(code=code).filter(pl.col("code") > 0).unique(maintain_order=True)
    pairs = pairs.with_columns(place=pl.int_range(pl.len()).over("row")).filter(pl.col("place") < width)
    padded = np.zeros((len(lists), width), dtype=np.int32)
    padded[pairs["row"].to_numpy(), pairs["place"].to_numpy()] = pairs["code"].to_numpy()
    return padded
