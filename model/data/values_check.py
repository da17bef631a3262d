"""What is strange about the values of a log: keys that meet no impression, numbers that say nothing."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from model.data.encoding import as_text
from model.data.finding import Finding, warning
from model.data.place import LogPlace
from model.data.schema import Feature, LogSchema


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
    """Whether any key of a users' or items' file is met in the impressions' `column`."""

    where: str
    key: str
    column: str
    keys: pl.Series
    met: bool = False

    def add(self, batch: pl.DataFrame) -> None:
        """The next rows of the labelled part."""
        self.met = self.met or bool(as_text(batch[self.column]).is_in(self.keys.implode()).any())

    def findings(self) -> list[Finding]:
        """One warning where nothing was met."""
        if self.met or self.keys.is_empty():
            return []
        example = self.keys[0]
        says = f"no key matches an impression: {self.key} {example} for one is in no row's {self.column}"
        return [warning(self.where, f"{says}; are these the ids that the log writes?")]


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
