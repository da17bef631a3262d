"""From a place to a ranker that has proved itself: fetched, verified, measured, its probes scored as in training.

Legend: N pairs, R requests.
"""

from __future__ import annotations

import logging
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.bundle.bundle import Bundle, open_bundle
from model.bundle.id_index import IdIndex
from model.bundle.probe import Probe
from model.bundle.signature import Verifier, verifier_of
from model.errors import MgoeError
from model.nets.interface import Batch
from serving.ranker.aside import compile_aside
from serving.ranker.bundle_place import bundle_folder
from serving.ranker.choice import BLOCKS, WHOLE, Choice, Trial, Way, choose
from serving.ranker.context import features_of
from serving.ranker.native_ids import NativeIdIndex
from serving.ranker.ranker import Ranker
from serving.ranker.refusal import NotReady
from serving.ranker.request import RankRequest
from serving.ranker.scorer import Scorer
from serving.ranker.scorers import COMPILE_FAILURES, Made, make_scorers, reference
from serving.ranker.settings import RankerSettings

log = logging.getLogger(__name__)

OFF = "its scores are off; the server's log says how far"
CHECKED_PAIRS = 600
"""Random pairs on which every scorer is compared with the reference."""


def load_ranker(source: str | Path, settings: RankerSettings, *, aside: bool = True) -> Ranker:
    """Raises NotReady naming the broken file, or the probe that does not score as in training.

    aside: what the cache lacks is compiled by a process of its own. False compiles in this one, which must score
    nothing else meanwhile.
    """
    torch.set_num_threads(settings.threads)
    begin = time.monotonic()
    log.info("loading bundle %s", source)
    try:
        with bundle_folder(source, settings) as folder:
            bundle = with_plain_indices(open_bundle(folder, _verifier(settings)))
        log.info("bundle %s is verified: %.1f s", bundle.digest[:12], time.monotonic() - begin)
        ranker = _proved(bundle, settings, aside)
    except MgoeError as error:
        raise NotReady(str(error), error.exit_code) from None
    except OSError as error:
        raise NotReady(f"bundle {source} cannot be loaded: {error}") from error
    except MemoryError as error:
        raise NotReady(f"bundle {source} takes more memory than there is: {error}") from error
    log.info(
        "bundle %s is loaded in %.1f s: %s candidates",
        bundle.digest[:12],
        time.monotonic() - begin,
        ", ".join(f"{way} for {size}" for size, way in ranker.describe().scorers.items()),
    )
    return ranker


def _proved(bundle: Bundle, settings: RankerSettings, aside: bool) -> Ranker:
    """The ranker with every scorer that can be made here and is exact."""
    with torch.no_grad():
        made = _made_aside(bundle, settings) if aside else make_scorers(bundle, settings)
        if made.library is not None:
            users, items = (NativeIdIndex.over(index, made.library) for index in (bundle.users, bundle.items))
            bundle = replace(bundle, users=users, items=items)
        for name, reason in made.left_out.items():
            log.warning("scorer %s is left out: %s", name, reason)
        reasons = {scorer.name: why_left_out(bundle, settings, scorer) for scorer in made.scorers}
        off = {name: reason for name, reason in reasons.items() if reason is not None}
        scorers = [scorer for scorer in made.scorers if scorer.name not in off]
        if not scorers:
            scorers = [reference(bundle, settings)]
            require_probes(bundle, settings, scorers[0])
        log.info("%d probes score as in training", len(bundle.probes))
        return Ranker(bundle, settings, _choice(bundle, settings, scorers), made.left_out | off)


def _made_aside(bundle: Bundle, settings: RankerSettings) -> Made:
    """The scorers, once another process has compiled those that the cache lacks."""
    made = make_scorers(bundle, settings, compiles=False)
    if not made.uncompiled:
        return made
    log.info("compiling %s in a process of its own", ", ".join(sorted(made.uncompiled)))
    reasons = compile_aside(bundle.folder, settings)
    made = make_scorers(bundle, settings, compiles=False)
    for name in made.uncompiled:
        made.left_out[name] = reasons.get(name, made.left_out[name])
    return made


def _verifier(settings: RankerSettings) -> Verifier | None:
    required = settings.signature
    return None if required is None else verifier_of(required.files, required.signer)


def with_plain_indices(bundle: Bundle) -> Bundle:
    """Id tables as plain arrays over the same mapped pages: NumPy is slow to take views of its memmap class."""

    def plain(index: IdIndex) -> IdIndex:
        values = {each.name: getattr(index, each.name) for each in fields(index)}
        plain_arrays: dict[str, Any] = {
            name: np.asarray(value) for name, value in values.items() if isinstance(value, np.memmap)
        }
        return replace(index, **plain_arrays)

    return replace(bundle, users=plain(bundle.users), items=plain(bundle.items))


def why_left_out(bundle: Bundle, settings: RankerSettings, scorer: Scorer) -> str | None:
    """None where the scorer runs and agrees with the reference on random pairs and with the trainer on all probes.

    The reference itself must agree with the trainer: else NotReady.
    """
    begin = time.monotonic()
    if scorer.name == "eager":
        require_probes(bundle, settings, scorer)
        log.info("scorer eager is exact: checked in %.1f s", time.monotonic() - begin)
        return None
    try:
        worst = max(
            difference_to_reference(bundle, settings, scorer),
            *(difference for _, difference in probe_differences(bundle, settings, scorer)),
        )
    except COMPILE_FAILURES as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        log.warning("scorer %s does not run here and is left out: %s", scorer.name, first)
        return f"it does not run here: {first}"
    if worst <= settings.tolerance:
        log.info("scorer %s is exact within %.1e: checked in %.1f s", scorer.name, worst, time.monotonic() - begin)
        return None
    log.warning("scorer %s is off by %.1e (%.0e is let pass) and is left out", scorer.name, worst, settings.tolerance)
    return OFF


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
