"""Makes the scorers that the settings allow; what cannot be compiled here is left out, and why is told."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from model.bundle.bundle import Bundle
from model.nets.factorise import factorise
from model.nets.interface import FeatureBatch, Half
from serving.ranker import item_table
from serving.ranker.cache import DerivedCache
from serving.ranker.compiled import Example, Pairs, example
from serving.ranker.context import features_of
from serving.ranker.form import PART, FactorisedForm, PairedForm, UserPart
from serving.ranker.scorer import EagerScorer, Scorer, TablelessScorer
from serving.ranker.settings import RankerSettings, ScorerName

log = logging.getLogger(__name__)

Thing = TypeVar("Thing")

CHECKED_USERS = 64
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


@dataclass(frozen=True)
class Made:
    """left_out: why a scorer that the settings allow is not among them, by name, one sentence each."""

    scorers: list[Scorer]
    left_out: dict[str, str]
    uncompiled: frozenset[str] = frozenset()
    """Those of `left_out` that only wait for being compiled."""
    library: Path | None = None
    """The native code, where it was made: it looks ids up, too."""


class NotCompiled(RuntimeError):  # noqa: N818  # a state of the cache
    """The cache does not hold it, and this process does not trace."""


def make_scorers(bundle: Bundle, settings: RankerSettings, *, compiles: bool = True) -> Made:
    """All scorers that serve this bundle, the reference among them only where asked for or where there is no other.

    compiles: False takes what the cache holds and traces nothing; what it lacks is `uncompiled`.
    """
    maker = _Maker(bundle, settings, open_cache(settings, bundle.digest), compiles)
    form = maker.factorised_form()
    scorers: list[Scorer] = []
    if form is not None:
        items = maker.items(form)
        scorers = [scorer for name in settings.scorers if (scorer := maker.of_form(name, form, items)) is not None]
    elif set(settings.scorers) - {"eager"}:
        log.info("architecture %s has no factorised form here: it is scored eagerly", bundle.config.architecture)
    if "eager" in settings.scorers or not (scorers or maker.uncompiled):
        scorers.append(reference(bundle, settings))
    library = next(iter(maker.libraries), None)
    return Made(scorers, maker.left_out, frozenset(maker.uncompiled), library)


def reference(bundle: Bundle, settings: RankerSettings | None = None) -> Scorer:
    """The architecture's own score; over item halves of the whole catalogue where the settings have room for them."""
    form = PairedForm(bundle.architecture, bundle.store)
    if item_table.bytes_of(form, bundle.store) > (settings or RankerSettings()).item_table_bytes:
        return TablelessScorer("eager", form, bundle.store)
    return EagerScorer("eager", form, item_table.in_memory(form, bundle.store))


@dataclass(frozen=True)
class _Maker:
    bundle: Bundle
    settings: RankerSettings
    cache: DerivedCache | None
    compiles: bool
    left_out: dict[str, str] = field(default_factory=dict)
    uncompiled: set[str] = field(default_factory=set)
    libraries: list[Path] = field(default_factory=list)

    def factorised_form(self) -> FactorisedForm | None:
        """With wide items where their table stays within the settings' bytes."""
        form = self._form(wide=True)
        if form is not None and item_table.bytes_of(form, self.bundle.store) > self.settings.item_table_bytes:
            form = self._form(wide=False)
        if form is None or self.cache is None or "onnx" not in self.settings.scorers:
            return form
        part = self._attempt("onnx for requests", lambda cache: self._compiled_part(form, cache))
        return form if part is None else FactorisedForm(form.architecture, form.store, form.factorised, part)

    def _form(self, wide: bool) -> FactorisedForm | None:
        factorised = factorise(self.bundle.architecture, wide_items=wide)
        return None if factorised is None else FactorisedForm(self.bundle.architecture, self.bundle.store, factorised)

    def _compiled_part(self, form: FactorisedForm, cache: DerivedCache) -> UserPart:
        from serving.ranker.request_part import (  # noqa: PLC0415  # as in `_compiled`
            NodeTables,
            OnnxRequest,
            RequestPart,
            export_request,
        )

        spec = self.bundle.spec
        module = RequestPart(form.architecture, form.factorised, form.store).eval()
        nodes = NodeTables(module, frozenset({spec.n_users, spec.n_items}))
        two = self._requests(torch.tensor([1, 0]))
        some = self._requests(torch.linspace(0, spec.n_users - 1, CHECKED_USERS).long())
        part_RP = form.eager_user_part(*some)
        options: dict[str, str | int] = {"width": part_RP.shape[1]}

        def make(path: Path) -> None:
            self._require_compiling()
            export_request(module, nodes, two, path)

        folder = cache.obtain("request", options, make)
        part = OnnxRequest(nodes, folder, self.settings.threads)
        off = float((part(*some) - part_RP).abs().max())
        if not off <= self.settings.tolerance:
            raise RuntimeError(f"its users' parts are off by {off:.1e}")
        return part

    def items(self, form: FactorisedForm) -> Half | None:
        """The catalogue's parts: mapped from the cache, where there is one with room for them. None: too large."""
        store = self.bundle.store
        size = item_table.bytes_of(form, store)
        if size > self.settings.item_table_bytes:
            return None
        if self.cache is not None:
            try:
                folder = self.cache.obtain("items", {"bytes": size}, lambda path: item_table.write(form, store, path))
                return item_table.read(folder)
            except OSError as error:
                log.warning("cache %s takes no item table (%s): it stays in memory", self.cache.folder, error.strerror)
        return item_table.in_memory(form, store)

    def of_form(self, name: ScorerName, form: FactorisedForm, items: Half | None) -> Scorer | None:
        if name == "eager":
            return None  # added last, by its own form
        if items is None:
            if name == "factorised":
                return TablelessScorer(name, form, self.bundle.store)
            size = item_table.bytes_of(form, self.bundle.store)
            self.left_out[name] = f"its item table of {size} bytes is above item_table_bytes"
            return None
        if name == "factorised":
            return EagerScorer(name, form, items)
        return self._attempt(name, lambda cache: self._compiled(name, form, items, cache))

    def _attempt(self, name: str, make: Callable[[DerivedCache], Thing]) -> Thing | None:
        """What `make` makes, or None, and why it cannot be made here is noted."""
        if self.cache is None:
            self.left_out[name] = "there is no cache folder to compile into"
            return None
        try:
            return make(self.cache)
        except COMPILE_FAILURES as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.left_out[name] = f"it cannot be made here: {first[:300]}"
            if isinstance(error, NotCompiled):
                self.uncompiled.add(name)
            return None

    def _compiled(self, name: ScorerName, form: FactorisedForm, items: Half, cache: DerivedCache) -> Scorer | None:
        threads = self.settings.threads
        options: dict[str, str | int] = {"table": "x".join(str(size) for size in items[PART].shape), "threads": threads}
        # Imported here: each needs packages that a server which does not use it may lack.
        if name == "aoti":
            from serving.ranker.scorer_aoti import AotiScorer, compile_package  # noqa: PLC0415

            folder = cache.obtain(name, options, self._writer(form, items, compile_package))
            return AotiScorer(form, items, folder)
        if name == "native":
            return self._native(form, items, cache)
        from serving.ranker.scorer_onnx import OnnxScorer, export_graph  # noqa: PLC0415

        folder = cache.obtain(name, options, self._writer(form, items, export_graph))
        return OnnxScorer(form, items, folder, threads)

    def _native(self, form: FactorisedForm, items: Half, cache: DerivedCache) -> Scorer | None:
        from serving.ranker.native_weights import NotCovered, pack  # noqa: PLC0415  # as in `_compiled`
        from serving.ranker.scorer_native import LIBRARY, NativeScorer, compile_library  # noqa: PLC0415

        try:
            pack(form.factorised)
        except NotCovered as error:
            log.info("scorer native is for other models: %s", error)
            return None

        def make(path: Path) -> None:
            self._require_compiling()
            compile_library(path)

        library = cache.obtain("native", {}, make) / LIBRARY
        scorer = NativeScorer(form, items, library)
        self.libraries.append(library)
        return scorer

    def _writer(
        self, form: FactorisedForm, items: Half, write: Callable[[Pairs, Example, Path], None]
    ) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            self._require_compiling()
            users = form.eager_user_part(*self._requests(torch.tensor([1, 0])))
            write(Pairs(form.factorised), example(users, items[PART]), folder)

        return make

    def _require_compiling(self) -> None:
        if not self.compiles:
            raise NotCompiled("it was not compiled, and a process that scores does not trace")

    def _requests(self, user_R: Tensor) -> tuple[Tensor, FeatureBatch]:
        """Requests of these users without context."""
        return user_R, features_of(self.bundle.context.encode([{}] * len(user_R), [0.0] * len(user_R)))
