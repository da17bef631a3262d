"""Makes the scorers that the settings allow; what cannot be compiled here is left out with one line in the log."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from model.bundle.bundle import Bundle
from model.nets.factorise import factorise
from model.nets.interface import Half
from serving.ranker import item_table
from serving.ranker.cache import DerivedCache
from serving.ranker.compiled import Example, Pairs, example
from serving.ranker.context import features_of
from serving.ranker.form import PART, FactorisedForm, PairedForm
from serving.ranker.scorer import EagerScorer, Scorer
from serving.ranker.settings import RankerSettings, ScorerName

log = logging.getLogger(__name__)

COMPILE_FAILURES = (RuntimeError, OSError, ImportError, ValueError, AssertionError)
"""What torch.export, AOTInductor, the ONNX exporter and ONNX Runtime raise: no compiler, package or operator."""


def default_cache() -> Path:
    """mgoe/ranker below XDG_CACHE_HOME, or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "mgoe" / "ranker"


def open_cache(settings: RankerSettings, digest: str) -> DerivedCache | None:
    """The bundle's cache folder, None where the disk gives none. Raises NotReady where others could write to it."""
    root = settings.cache or default_cache()
    try:
        return DerivedCache(root, digest)
    except OSError as error:
        log.warning("no cache folder at %s (%s): tables stay in memory and nothing is compiled", root, error.strerror)
        return None


def make_scorers(bundle: Bundle, settings: RankerSettings) -> list[Scorer]:
    """All scorers that serve this bundle, the reference among them only where asked for or where there is no other."""
    maker = _Maker(bundle, settings, open_cache(settings, bundle.digest))
    form = maker.factorised_form()
    scorers: list[Scorer] = []
    if form is not None:
        items = maker.items(form)
        scorers = [scorer for name in settings.scorers if (scorer := maker.of_form(name, form, items)) is not None]
    elif set(settings.scorers) - {"eager"}:
        log.info("architecture %s has no factorised form here: it is scored eagerly", bundle.config.architecture)
    if "eager" in settings.scorers or not scorers:
        scorers.append(reference(bundle))
    return scorers


def reference(bundle: Bundle) -> EagerScorer:
    """The architecture's own score over item halves of the whole catalogue."""
    form = PairedForm(bundle.architecture)
    return EagerScorer("eager", form, item_table.in_memory(form, bundle.store))


@dataclass(frozen=True)
class _Maker:
    bundle: Bundle
    settings: RankerSettings
    cache: DerivedCache | None

    def factorised_form(self) -> FactorisedForm | None:
        """With wide items where their table stays within the settings' bytes."""
        form = self._form(wide=True)
        if form is None or item_table.bytes_of(form, self.bundle.store) <= self.settings.item_table_bytes:
            return form
        return self._form(wide=False)

    def _form(self, wide: bool) -> FactorisedForm | None:
        factorised = factorise(self.bundle.architecture, wide_items=wide)
        return None if factorised is None else FactorisedForm(self.bundle.architecture, factorised)

    def items(self, form: FactorisedForm) -> Half:
        """The catalogue's parts: mapped from the cache, where there is one."""
        store = self.bundle.store
        if self.cache is None:
            return item_table.in_memory(form, store)
        size = item_table.bytes_of(form, store)
        folder = self.cache.obtain("items", {"bytes": size}, lambda path: item_table.write(form, store, path))
        return item_table.read(folder)

    def of_form(self, name: ScorerName, form: FactorisedForm, items: Half) -> Scorer | None:
        if name == "eager":
            return None  # added last, by its own form
        if name == "factorised":
            return EagerScorer(name, form, items)
        return self._compiled(name, form, items)

    def _compiled(self, name: ScorerName, form: FactorisedForm, items: Half) -> Scorer | None:
        if self.cache is None:
            return None
        threads = self.settings.threads
        options: dict[str, str | int] = {"table": "x".join(str(size) for size in items[PART].shape), "threads": threads}
        try:
            # Imported here: each needs packages that a server which does not use it may lack.
            if name == "aoti":
                from serving.ranker.scorer_aoti import AotiScorer, compile_package  # noqa: PLC0415

                folder = self.cache.obtain(name, options, self._writer(form, items, compile_package))
                return AotiScorer(form, items, folder)
            from serving.ranker.scorer_onnx import OnnxScorer, export_graph  # noqa: PLC0415

            folder = self.cache.obtain(name, options, self._writer(form, items, export_graph))
            return OnnxScorer(form, items, folder, threads)
        except COMPILE_FAILURES as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            log.warning("scorer %s cannot be made here and is left out: %s", name, first[:300])
            return None

    def _writer(
        self, form: FactorisedForm, items: Half, write: Callable[[Pairs, Example, Path], None]
    ) -> Callable[[Path], None]:
        users = self._two_users(form)
        return lambda folder: write(Pairs(form.factorised), example(users[PART], items[PART]), folder)

    @torch.no_grad()
    def _two_users(self, form: FactorisedForm) -> Half:
        store = self.bundle.store
        columns = self.bundle.context.encode([{}, {}], [0.0, 0.0])
        index_R = torch.zeros(2, dtype=torch.int64)
        return form.user_parts(store.users(index_R, index_R), features_of(columns))
