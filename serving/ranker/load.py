"""From a place to a ranker that has proved itself: fetched, verified, measured, its probes scored as in training.

Legend: N pairs, R requests.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import torch

from model.artifact.store import open_store
from model.bundle.bundle import Bundle, open_bundle
from model.bundle.id_index import IdIndex
from model.bundle.probe import Probe
from model.bundle.signature import Verifier, verifier_of
from model.errors import MgoeError, UserError
from model.nets.interface import Batch
from serving.ranker.choice import BLOCKS, WHOLE, Choice, Trial, Way, choose
from serving.ranker.context import features_of
from serving.ranker.ranker import Ranker
from serving.ranker.refusal import NotReady
from serving.ranker.request import RankRequest
from serving.ranker.scorer import Scorer
from serving.ranker.scorers import default_cache, make_scorers, reference
from serving.ranker.settings import RankerSettings

log = logging.getLogger(__name__)

OFF = "its scores are off; the server's log says how far"
CHECKED_PAIRS = 600
"""Random pairs on which every scorer is compared with the reference."""


def load_ranker(source: str | Path, settings: RankerSettings, *, compiles: bool = True) -> Ranker:
    """Raises NotReady naming the broken file, or the probe that does not score as in training.

    compiles: False takes what the cache holds and traces nothing, for a process that scores meanwhile.
    """
    torch.set_num_threads(settings.threads)
    try:
        bundle = with_plain_indices(open_bundle(locate(source, settings), _verifier(settings)))
    except MgoeError as error:
        raise NotReady(str(error)) from None
    with torch.no_grad():
        made = make_scorers(bundle, settings, compiles=compiles)
        scorers = [scorer for scorer in made.scorers if is_exact(bundle, settings, scorer)]
        off = {scorer.name: OFF for scorer in made.scorers if scorer not in scorers}
        if not scorers:
            scorers = [reference(bundle)]
            require_probes(bundle, settings, scorers[0])
        ranker = Ranker(bundle, settings, _choice(bundle, settings, scorers), made.left_out | off)
    log.info("bundle %s is ready: %s", bundle.digest[:12], ranker.describe().scorers)
    return ranker


def _verifier(settings: RankerSettings) -> Verifier | None:
    required = settings.signature
    return None if required is None else verifier_of(required.files, required.signer)


def locate(source: str | Path, settings: RankerSettings) -> Path:
    """The bundle's folder; what lies on S3 is brought to the cache first. Raises MgoeError."""
    text = str(source)
    parts = urlsplit(text)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if parts.scheme != "s3":
        return Path(source)
    if not parts.netloc or not parts.path.strip("/"):
        raise UserError(f"bundle {text!r} names no key; write s3://bucket/key")
    root, _, key = text.rstrip("/").rpartition("/")
    folder = (settings.cache or default_cache()) / "bundles" / hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    open_store(root).get_tree(key, folder)
    return folder


def with_plain_indices(bundle: Bundle) -> Bundle:
    """Id tables as plain arrays over the same mapped pages: NumPy is slow to take views of its memmap class."""

    def plain(index: IdIndex) -> IdIndex:
        values = {each.name: getattr(index, each.name) for each in fields(index)}
        plain_arrays: dict[str, Any] = {
            name: np.asarray(value) for name, value in values.items() if isinstance(value, np.memmap)
        }
        return replace(index, **plain_arrays)

    return replace(bundle, users=plain(bundle.users), items=plain(bundle.items))


def is_exact(bundle: Bundle, settings: RankerSettings, scorer: Scorer) -> bool:
    """Whether the scorer agrees with the reference on random pairs and with the trainer on all probes.

    The reference itself must agree with the trainer: else NotReady.
    """
    if scorer.name == "eager":
        require_probes(bundle, settings, scorer)
        return True
    worst = max(
        difference_to_reference(bundle, settings, scorer),
        *(difference for _, difference in probe_differences(bundle, settings, scorer)),
    )
    if worst <= settings.tolerance:
        return True
    log.warning("scorer %s is off by %.1e (%.0e is let pass) and is left out", scorer.name, worst, settings.tolerance)
    return False


def require_probes(bundle: Bundle, settings: RankerSettings, scorer: Scorer) -> None:
    """Raises NotReady naming the worst probe where one does not score as in training."""
    probe, worst = max(probe_differences(bundle, settings, scorer), key=lambda each: each[1])
    if worst > settings.tolerance:
        raise NotReady(
            f"bundle {bundle.folder}: probe {probe.request.name!r} differs from the trainer's score by {worst:.1e};"
            f" {settings.tolerance:.0e} is let pass: package the model anew"
        )


def probe_differences(bundle: Bundle, settings: RankerSettings, scorer: Scorer) -> list[tuple[Probe, float]]:
    """Of every probe the largest difference to the trainer, alone and with all others, whole and in blocks."""
    requests = [
        RankRequest(probe.request.user, probe.request.items, probe.request.context, probe.request.time)
        for probe in bundle.probes
    ]
    alone = Ranker(bundle, settings, Choice.only(Way(scorer)))
    blocks = Ranker(bundle, settings, Choice.only(Way(scorer, BLOCKS[0])))
    answers = zip(
        [alone.rank(request) for request in requests],
        alone.rank_many(requests),
        blocks.rank_many(requests),
        strict=True,
    )
    return [
        (probe, max(probe.difference(answer.probabilities) for answer in each))
        for probe, each in zip(bundle.probes, answers, strict=True)
    ]


def difference_to_reference(bundle: Bundle, settings: RankerSettings, scorer: Scorer) -> float:
    """Largest difference of a probability to the architecture's own forward pass, on random pairs of two requests."""
    generator = torch.Generator().manual_seed(1)
    item_N = torch.randint(0, len(bundle.items) + 1, (CHECKED_PAIRS,), generator=generator)
    user_R = torch.randint(0, len(bundle.users) + 1, (2,), generator=generator)
    owner_N = torch.arange(CHECKED_PAIRS) % 2
    store, zero_N = bundle.store, torch.zeros_like(item_N)
    context = features_of(bundle.context.encode([{}] * CHECKED_PAIRS, [0.0] * CHECKED_PAIRS))
    wanted = bundle.architecture(Batch(store.users(user_R[owner_N], zero_N), store.items(item_N, zero_N), context))
    ranker = Ranker(bundle, settings, Choice.only(Way(scorer)))
    users = ranker.user_parts(scorer.form, [RankRequest("", ("",), time=0.0)] * 2, user_R)
    found = [Way(scorer, block).score(users, owner_N, item_N) for block in (WHOLE, *BLOCKS)]
    worst = max(float((torch.sigmoid(each) - torch.sigmoid(wanted)).abs().max()) for each in found)
    return worst if worst == worst else float("inf")  # noqa: PLR0124  NaN is not equal to itself


def _choice(bundle: Bundle, settings: RankerSettings, scorers: list[Scorer]) -> Choice:
    probe = bundle.probes[0].request
    request = RankRequest(probe.user, probe.items, probe.context, probe.time)
    user_R = torch.from_numpy(bundle.users.find([probe.user])).long()
    trials = []
    for scorer in scorers:
        ranker = Ranker(bundle, settings, Choice.only(Way(scorer)))
        trials.append(Trial(scorer, ranker.user_parts(scorer.form, [request], user_R)))
    return choose(trials, len(bundle.items) + 1)
