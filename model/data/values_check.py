"""What is strange about the values of a log: keys that impressions lack, numbers that say nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from model.data.dataset import Int64
from model.data.encoding import as_text
from model.data.finding import Finding, warning
from model.data.place import LogPlace
from model.data.schema import Feature, LogSchema

MANY_WITHOUT = 0.1
"""Share of impressions whose user or item has no row in its file from which on a warning tells of it: a few newcomers
are missing from any file."""


@dataclass
class DenseCount:
    """Of one dense feature, over all rows. below: values that log1p has no answer to."""

    feature: Feature
    rows: int = 0
    known: int = 0
    infinite: int = 0
    below: int = 0

    def add(self, column: pl.Series) -> None:
        """The next rows of the feature's column."""
        value = column.cast(pl.Float64, strict=False).fill_nan(None).drop_nulls()
        self.rows += len(column)
        self.known += len(value)
        self.infinite += int(value.is_infinite().sum())
        if self.feature.transform == "log1p":
            self.below += int((value <= -1).sum())

    def findings(self, where: str) -> list[Finding]:
        """Everything that the rows showed, in words."""
        said, of = f"dense feature {self.feature.name}", f"of {self.rows:,} rows"
        found = []
        if self.rows and not self.known:
            found.append(warning(where, f"{said} is null in all {self.rows:,} rows: it says nothing; drop it"))
        if self.infinite:
            found.append(warning(where, f"{said} is infinite in {self.infinite:,} {of}; write null or a number"))
        if self.below:
            says = f"{said} is -1 or less in {self.below:,} {of}, where log1p has no value: they count as missing"
            found.append(warning(where, says))
        return found


@dataclass
class KeyMatch:
    """How many impressions, by their `column`, have a row in a users' or items' file."""

    where: str
    key: str
    column: str
    keys: pl.Series
    rows: int = 0
    met: int = 0
    lacking: str | None = None
    """The first id that is no key."""
    _prints: Int64 = field(init=False)
    """Of the keys, in order: eight bytes each, whatever the keys are."""

    def __post_init__(self) -> None:
        self._prints = np.sort(_prints(self.keys))

    def add(self, batch: pl.DataFrame) -> None:
        """The next rows of the labelled part; of those without an id another check tells."""
        ids = as_text(batch[self.column]).drop_nulls()
        prints = _prints(ids)
        known = _are_among(self._prints, prints)
        self.rows += len(ids)
        self.met += int(known.sum())
        if self.lacking is None and not known.all():
            self.lacking = str(ids[int(np.argmin(known))])

    def findings(self) -> list[Finding]:
        """One warning where nothing was met, or much was not."""
        if not self.met and len(self.keys):
            says = f"no key matches an impression: {self.key} {self.keys[0]} for one is in no row's {self.column}"
            return [warning(self.where, f"{says}; are these the ids that the log writes?")]
        without = self.rows - self.met
        if without < MANY_WITHOUT * self.rows or not without:
            return []
        says = f"{without:,} of {self.rows:,} impressions ({without / self.rows:.2%}) have no row here, {self.column}"
        return [warning(self.where, f"{says} {self.lacking} for one; is the file cut off, or older than the log?")]


def _prints(text: pl.Series) -> Int64:
    return text.hash(seed=0).reinterpret(signed=True).to_numpy()


def _are_among(known_K: Int64, asked_N: Int64) -> npt.NDArray[np.bool_]:
    """Whether each number is among the sorted known ones."""
    if not len(known_K):
        return np.zeros(len(asked_N), np.bool_)
    order = np.argsort(asked_N)  # looked up in order, neighbours lie in the same cache line
    inside = np.empty(len(asked_N), np.bool_)
    at = np.minimum(np.searchsorted(known_K, asked_N[order]), len(known_K) - 1)
    inside[order] = known_K[at] == asked_N[order]
    return inside


@dataclass
class ValuesCheck:
    """Collects both, batch by batch."""

    where: str
    context: list[DenseCount]
    matches: list[KeyMatch]

    @classmethod
    def of(cls, schema: LogSchema, keys: list[KeyMatch]) -> ValuesCheck:
        """keys: of `read_keys`; none where the node files cannot be read."""
        context = [DenseCount(feature) for feature in schema.features_of("context", "dense")]
        return cls(schema.interactions.path, context, keys)

    def add(self, batch: pl.DataFrame) -> None:
        """The next rows of the labelled part."""
        for count in self.context:
            count.add(batch[str(count.feature.column)])
        for match in self.matches:
            match.add(batch)

    def findings(self) -> list[Finding]:
        """Everything that the rows showed, in words."""
        dense = [finding for count in self.context for finding in count.findings(self.where)]
        return dense + [finding for match in self.matches for finding in match.findings()]


def read_keys(place: LogPlace, schema: LogSchema) -> list[KeyMatch]:
    """The keys of the node files that the schema names."""
    log = schema.interactions
    return [
        KeyMatch(node.path, node.key, column, as_text(place.read(node.path, [node.key])[node.key]).drop_nulls())
        for node, column in ((schema.users, log.user), (schema.items, log.item))
        if node is not None
    ]


def check_node_values(place: LogPlace, schema: LogSchema) -> list[Finding]:
    """Strange numbers in the dense features of users and items."""
    found: list[Finding] = []
    for owner, node in (("user", schema.users), ("item", schema.items)):
        if node is None:
            continue
        for feature in schema.features_of(owner, "dense"):
            count = DenseCount(feature)
            count.add(place.read(node.path, [str(feature.column)])[str(feature.column)])
            found += count.findings(node.path)
    return found
