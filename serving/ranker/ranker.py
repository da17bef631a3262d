"""The ranker: one bundle, ready to score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.data.schema import Feature
from serving.ranker.request import RankAnswer, RankRequest
from serving.ranker.settings import RankerSettings


@dataclass(frozen=True)
class Description:
    """What a ranker is, for metadata endpoints and logs."""

    digest: str
    architecture: str
    tasks: tuple[str, ...]
    utility: dict[str, float]
    context: tuple[str, ...]
    """Names of the context features that a request may carry."""
    users: int
    items: int
    arm: str | None
    scorers: dict[str, str]
    """Chosen scorer by largest number of candidates it is used for."""
    facts: dict[str, object]
    """Facts of the bundle's manifest (graph version, run id ...)."""


class Ranker:
    """Made by `Ranker.load`; immutable and safe to call from several threads."""

    digest: str
    tasks: tuple[str, ...]
    context_features: tuple[Feature, ...]
    """What `validation.parse_request` checks a request's context against."""
    settings: RankerSettings

    @classmethod
    def load(cls, source: str | Path, settings: RankerSettings | None = None) -> Ranker:
        """Opens the bundle at `source` (a folder, file:// or s3://), verifies it and scores its probe set.

        Raises NotReady naming the broken file, or the probe row that does not score as in training.
        """
        raise NotImplementedError

    def rank(self, request: RankRequest) -> RankAnswer:
        """The answer to one request. Raises RequestError where it names a task or a feature that the bundle lacks."""
        raise NotImplementedError

    def rank_many(self, requests: Sequence[RankRequest]) -> list[RankAnswer]:
        """Answers in order, scored in one call; each is what `rank` would answer, to 1e-5."""
        raise NotImplementedError

    def describe(self) -> Description:
        raise NotImplementedError
