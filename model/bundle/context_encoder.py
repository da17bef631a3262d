"""A request's raw context to the codes and numbers that training gave the same values, in plain Python.

model.data.encoding does it for frames of rows, through polars joins that cost milliseconds each; a request has one
context, and dictionaries answer in microseconds. Both agree on every value: a test's law.
Legend: N requests, F sparse features, G dense features, M values of a multi-valued one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.data.dataset import Columns, Float32, Int32
from model.data.schema import Feature, LogSchema
from model.errors import UserError

Context = Mapping[str, object]
"""Raw values by the name of a context feature; a feature that is left out is missing."""

VOCABULARIES = "vocabularies.parquet"
SCALES = "scales.parquet"
_VOCABULARIES: dict[str, pa.DataType] = {"feature": pa.string(), "value": pa.string()}
_SCALES: dict[str, pa.DataType] = {"feature": pa.string(), "mean": pa.float64(), "deviation": pa.float64()}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = 2**53
"""Whole numbers below it are exact as floats."""
# What Unicode calls white space, and polars strips. str.strip() would take four control characters more.
_SPACE = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)


@dataclass(frozen=True)
class Standard:
    """Mean and deviation of a transformed dense feature."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class ContextEncoder:
    """codes: per sparse or multi feature of the context, the code of every known text. scales: per dense feature."""

    schema: LogSchema
    codes: Mapping[str, Mapping[str, int]]
    scales: Mapping[str, Standard]

    @cached_property
    def accepted(self) -> dict[str, Feature]:
        """Features that a request may carry, by name; those derived from time come with the request's time."""
        return {feature.name: feature for feature in self.schema.features_of("context") if feature.derive is None}

    def encode(self, contexts: Sequence[Context], times: Sequence[float]) -> Columns:
        """Columns of N requests; times: unix seconds within the years 1 to 9999 of the log's zone.

        A value of a kind that the feature cannot have counts as missing: refusing it is the door's business.
        """
        sparse, dense, multi = [], [], []
        for feature in self.schema.features_of("context"):
            if feature.kind == "dense":
                dense.append(self._dense(feature, contexts))
            elif feature.kind == "multi":
                multi.append(self._multi(feature, contexts))
            else:
                sparse.append(self._sparse(feature, contexts, times))
        rows = len(contexts)
        return Columns(
            sparse=np.stack(sparse, axis=1) if sparse else np.zeros((rows, 0), np.int32),
            dense=np.stack(dense, axis=1) if dense else np.zeros((rows, 0), np.float32),
            multi=tuple(multi),
        )

    def _sparse(self, feature: Feature, contexts: Sequence[Context], times: Sequence[float]) -> Int32:
        code = self.codes[feature.name]
        texts: Iterable[str | None]
        if feature.derive is None:
            texts = (text_of(context.get(feature.name)) for context in contexts)
        else:
            part = _PARTS[feature.derive]
            texts = (str(part(self._local(time))) for time in times)
        return np.array([0 if text is None else code.get(text, 0) for text in texts], dtype=np.int32)

    def _multi(self, feature: Feature, contexts: Sequence[Context]) -> Int32:
        """The first known values of each list, in order, without repeats, zeros on the right: int32 [N, M]."""
        code = self.codes[feature.name]
        code_NM = np.zeros((len(contexts), feature.max_length), dtype=np.int32)
        for row, context in enumerate(contexts):
            texts = _texts_of(context.get(feature.name), feature.separator or ",")
            known = dict.fromkeys(code[text] for text in texts if text in code)
            kept = list(known)[: feature.max_length]
            code_NM[row, : len(kept)] = kept
        return code_NM

    def _dense(self, feature: Feature, contexts: Sequence[Context]) -> Float32:
        value_N = np.array([number_of(context.get(feature.name)) for context in contexts], dtype=np.float64)
        if feature.transform == "log1p":
            value_N = np.log1p(np.where(value_N > -1, value_N, np.nan))
        scale = self.scales[feature.name]
        scaled_N = (value_N - scale.mean) / scale.deviation
        return np.where(np.isfinite(scaled_N), scaled_N, 0.0).astype(np.float32)

    def _local(self, time: float) -> datetime:
        return (_EPOCH + timedelta(seconds=int(time // 1))).astimezone(self._zone)

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.schema.interactions.time.timezone)

    @staticmethod
    def load(folder: Path, schema: LogSchema) -> ContextEncoder:
        """Reads the Parquet tables in `folder`. Raises UserError, naming the file, where one cannot be read."""
        vocabularies = _table(folder / VOCABULARIES, _VOCABULARIES)
        scales = _table(folder / SCALES, _SCALES)
        codes: dict[str, dict[str, int]] = {
            feature.name: {} for feature in schema.features_of("context") if feature.kind != "dense"
        }
        for row in vocabularies.to_pylist():
            known = codes.get(row["feature"])
            if known is None:
                raise UserError(
                    f"bundle file {folder / VOCABULARIES} names the feature {row['feature']!r}, which has no vocabulary"
                )
            known[row["value"]] = len(known) + 1
        found = {row["feature"]: Standard(row["mean"], row["deviation"]) for row in scales.to_pylist()}
        for feature in schema.features_of("context"):
            if feature.kind == "dense" and feature.name not in found:
                raise UserError(f"bundle file {folder / SCALES} has no scale of the feature {feature.name!r}")
        return ContextEncoder(schema, codes, found)


_PARTS: Mapping[str, Callable[[datetime], int]] = {
    "hour_of_day": lambda local: local.hour,
    "day_of_week": datetime.isoweekday,
}


def text_of(raw: object) -> str | None:
    """A raw category as model.data.encoding.as_text writes it: 3, 3.0 and "3" are one; None and NaN are missing."""
    if isinstance(raw, str):
        return raw
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, int):
        return str(raw)
    return _float_text(raw) if isinstance(raw, float) and not math.isnan(raw) else None


def _float_text(raw: float) -> str:
    """As polars writes it."""
    if abs(raw) < _EXACT and raw.is_integer():
        return str(int(raw))
    mantissa, _, exponent = repr(raw).partition("e")
    if not exponent:
        return mantissa
    if int(exponent) == -5:  # Python turns to exponents below 1e-4, polars below 1e-5
        sign = "-" if raw < 0 else ""
        return f"{sign}0.0000{mantissa.lstrip('-').replace('.', '')}"
    return f"{mantissa}e{int(exponent):+d}"


def number_of(raw: object) -> float:
    """A raw number; NaN where it is missing or none."""
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return float("nan")
    try:
        return float(raw)
    except OverflowError:  # an integer beyond every float
        return float("nan")


def _texts_of(raw: object, separator: str) -> list[str]:
    """The values of a multi-valued feature: a list, or text cut at the separator."""
    if isinstance(raw, list | tuple):
        texts = [text_of(each) for each in raw]
    else:
        whole = text_of(raw)
        texts = [] if whole is None else list(whole.split(separator))
    return [text.strip(_SPACE) for text in texts if text is not None]


def _table(path: Path, columns: Mapping[str, pa.DataType]) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:  # read_table would load pyarrow.dataset, and with it pandas: seconds
            found = file.read()
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"bundle file {path} is no Parquet table: {str(error).splitlines()[0]}") from None
    try:
        table = found.select(list(columns)).cast(pa.schema(columns))
    except (KeyError, ValueError):
        table = None
    if table is None or any(column.null_count for column in table.columns):
        raise UserError(f"bundle file {path} must have the columns {', '.join(columns)}, without gaps")
    return table
