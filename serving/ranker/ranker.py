"""The ranker: one bundle, verified, ready to score. Legend: N candidates, R requests, T tasks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.bundle.bundle import Bundle
from model.bundle.utility import expected_utility, weights_of
from model.data.schema import Feature
from model.errors import UserError
from serving.ranker.candidates import Candidates
from serving.ranker.choice import Choice
from serving.ranker.context import features_of
from serving.ranker.form import Form
from serving.ranker.refusal import RequestError
from serving.ranker.request import Float32, RankAnswer, RankRequest
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
    """The chosen way of scoring, by measured number of candidates."""
    seconds: dict[str, dict[str, float]]
    """What the choice was measured on: seconds of each way, by number of candidates."""
    left_out: dict[str, str]
    """Scorers that were allowed and could not be made, or were off; why, in a sentence each."""
    facts: dict[str, object]
    """Facts of the bundle's manifest (graph version, run id ...)."""


@dataclass(frozen=True)
class Ranker:
    """Made by `Ranker.load`; immutable and safe to call from several threads."""

    bundle: Bundle
    settings: RankerSettings
    choice: Choice
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Scorers that the settings allow and this ranker does without, and why."""

    @classmethod
    def load(cls, source: str | Path, settings: RankerSettings | None = None) -> Ranker:
        """Opens the bundle at `source` (a folder, file:// or s3://), verifies it and scores its probe set.

        Raises NotReady naming the broken file, or the probe that does not score as in training.
        """
        from serving.ranker.load import load_ranker  # noqa: PLC0415  it makes rankers

        return load_ranker(source, settings or RankerSettings())

    @property
    def digest(self) -> str:
        return self.bundle.digest

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.bundle.tasks

    @property
    def context_features(self) -> tuple[Feature, ...]:
        """What `validation.parse_request` checks a request's context against."""
        return tuple(self.bundle.context.accepted.values())

    def rank(self, request: RankRequest) -> RankAnswer:
        """The answer to one request. Raises RequestError where it names a task or a feature that the bundle lacks."""
        return self.rank_many([request])[0]

    def rank_many(self, requests: Sequence[RankRequest]) -> list[RankAnswer]:
        """Answers in order, scored in one call; each is what `rank` would answer, to 1e-5.

        Raises RequestError for the first request that `check` refuses.
        """
        for request in requests:
            self.check(request)
        return [self._answer(request, scored) for request, scored in zip(requests, self._score(requests), strict=True)]

    def check(self, request: RankRequest) -> None:
        """Raises RequestError where this bundle cannot answer the request."""
        if not request.items:
            raise RequestError("items is empty; name one candidate at least", reason="candidates")
        unknown = next((name for name in request.context if name not in self.bundle.context.accepted), None)
        if unknown is not None:
            known = ", ".join(self.bundle.context.accepted) or "none"
            raise RequestError(
                f"context names {unknown!r}, which is no feature of this model; features are: {known}", 422, "context"
            )
        if request.utility is not None:
            try:
                weights_of(request.utility, self.tasks)
            except UserError as error:
                raise RequestError(str(error), 422, "utility") from None

    def describe(self) -> Description:
        bundle, sizes = self.bundle, self.choice.seconds
        return Description(
            digest=self.digest,
            architecture=bundle.config.architecture,
            tasks=self.tasks,
            utility=dict(bundle.serving.utility),
            context=tuple(bundle.context.accepted),
            users=len(bundle.users),
            items=len(bundle.items),
            arm=self.settings.arm,
            scorers={str(size): self.choice.for_pairs(size).name for size in sizes},
            seconds={str(size): dict(ways) for size, ways in sizes.items()},
            left_out=dict(self.left_out),
            facts=dict(bundle.manifest.facts),
        )

    def using(self, choice: Choice) -> Ranker:
        """The same ranker with another choice of scorers."""
        return replace(self, choice=choice)

    @torch.inference_mode()
    def _score(self, requests: Sequence[RankRequest]) -> list[_Scored]:
        if torch.get_num_threads() != self.settings.threads:  # OpenMP keeps the number thread by thread
            torch.set_num_threads(self.settings.threads)
        candidates = Candidates.of(self.bundle, requests)
        way = self.choice.for_pairs(len(candidates.item_N))
        users = self.user_parts(way.scorer.form, requests, candidates.user_R)
        logit_NT = way.score(users, candidates.owner_N, candidates.item_N)
        probability_NT = torch.sigmoid(logit_NT.float()).numpy()
        probability_NT = probability_NT[candidates.row_of_candidate]
        return [
            _Scored(probability_NT[first:end], cold_user, cold_items)
            for (first, end), cold_user, cold_items in candidates.spans()
        ]

    def user_parts(self, form: Form, requests: Sequence[RankRequest], user_R: Tensor) -> dict[str, Tensor]:
        """The requests' parts in a form; user_R: node indices."""
        now = time.time()
        times = [now if request.time is None else request.time for request in requests]
        context = features_of(self.bundle.context.encode([request.context for request in requests], times))
        return form.user_parts(user_R, context)

    def _answer(self, request: RankRequest, scored: _Scored) -> RankAnswer:
        utility = self.bundle.serving.utility if request.utility is None else request.utility
        weight_T = np.array([utility.get(task, 0.0) for task in self.tasks], dtype=np.float64)
        given = self.bundle.spec.given or (None,) * len(self.tasks)
        score_N = expected_utility(scored.probability_NT, weight_T, given)
        return RankAnswer(
            digest=self.digest,
            tasks=self.tasks,
            probabilities=scored.probability_NT,
            score=score_N,
            order=np.argsort(-score_N, kind="stable").astype(np.int32),
            exposure_id=str(uuid.uuid4()),
            arm=self.settings.arm,
            request_id=request.request_id,
            cold_user=scored.cold_user,
            cold_items=scored.cold_items,
        )


@dataclass(frozen=True)
class _Scored:
    probability_NT: Float32
    cold_user: bool
    cold_items: int
