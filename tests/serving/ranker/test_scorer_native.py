"""The native code scores what the factorised form scores, for every option that it knows; others it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.bundle.id_index import IdIndex
from model.nets.factorise import factorise
from model.nets.factorised import Factorised
from serving.ranker import scorer_native
from serving.ranker.form import PART, FactorisedForm
from serving.ranker.native_ids import NativeIdIndex
from serving.ranker.native_weights import NotCovered, pack
from serving.ranker.scorer_native import LIBRARY, NativeScorer, compile_library
from tests.model.nets.batches import batch_of, spec_of
from tests.model.nets.test_factorised import trained
from tests.model.nets.variants import ALL, Mapping

ROWS = 50
NARROW = {"fusion_dim": 5, "tower_dim": 3}
"""Less than any vector."""
SHAPES: dict[str, Mapping] = {
    "mmoe, no layer after the first": {"architecture": "mmoe", "expert": (33,), "tower": ()},
    "mmoe, three layers, dice": {"architecture": "mmoe", "expert": (7, 19, 18), "tower": (5, 4), "activation": "dice"},
    "mmoe, many experts": {"architecture": "mmoe", "experts": 9, "expert": (17, 40)},
    "mgoe, narrow": {"architecture": "mgoe", **NARROW},
    "mgoe, relu": {"architecture": "mgoe", "activation": "relu", "fusion_dim": 100, "tower_dim": 37},
    "mgoe, usual widths": {"architecture": "mgoe", "fusion_dim": 200, "tower_dim": 80},
}

OPTIONS = {
    "mmoe": True,
    "mmoe, one expert": False,
    "mmoe, batch norm and dice": False,
    "mgoe, defaults": True,
    "mgoe, shared ids": True,
    "mgoe, gate of ids": True,
    "mgoe, mean gate": False,
    "mgoe, table off": True,
    "mgoe, info off": True,
    "mgoe, relu and layer norm": False,
    "mgoe, cross, wide and deep": False,
    "ple": False,
}
"""Whether the code knows them."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("native")
    compile_library(folder)
    return folder / LIBRARY


def parts_of(mapping: Mapping, wide_items: bool, tasks: int = 3) -> tuple[Factorised, Tensor, Tensor]:
    """A factorised net, and parts of users and items."""
    spec = spec_of(tasks=tasks)
    model = trained(mapping, spec)
    form = factorise(model, wide_items)
    assert form is not None
    batch = batch_of(spec, rows=ROWS, seed=9)
    user_RP = form.user_part(model.user_half(batch.user), batch.context)
    return form, user_RP, form.item_part(model.item_half(batch.item))


def require_equal(form: Factorised, user_RP: Tensor, table_nP: Tensor, library: Path) -> None:
    store: Any = None  # the pair asks it nothing
    architecture: Any = None
    scorer = NativeScorer(FactorisedForm(architecture, store, form), {PART: table_nP}, library)
    generator = torch.Generator().manual_seed(0)
    for pairs, requests in ((1, 1), (2, ROWS), (23, 1), (24, 1), (25, ROWS), (600, ROWS)):
        item_N = torch.randint(0, ROWS, (pairs,), generator=generator)
        owner_N = torch.randint(0, requests, (pairs,), generator=generator)
        wanted = form(user_RP[:requests], owner_N, table_nP[item_N])
        found = scorer.score({PART: user_RP[:requests]}, owner_N, item_N)
        torch.testing.assert_close(torch.sigmoid(found), torch.sigmoid(wanted), atol=5e-6, rtol=0)
    assert wanted.std() > 1e-2, "all pairs score alike, so the law says nothing"


def is_covered(form: Factorised) -> bool:
    try:
        pack(form)
    except NotCovered:
        return False
    return True


@pytest.mark.parametrize("wide_items", [True, False])
@torch.no_grad()
def test_options_are_scored_as_by_the_factorised_form_or_refused(wide_items: bool, library: Path) -> None:
    covered = set()
    for name in OPTIONS:
        form, user_RP, table_nP = parts_of(ALL[name], wide_items)
        if is_covered(form):
            covered.add(name)
            require_equal(form, user_RP, table_nP, library)
    assert covered == {name for name, known in OPTIONS.items() if known}


@pytest.mark.parametrize("wide_items", [True, False])
@pytest.mark.parametrize("mapping", [pytest.param(mapping, id=name) for name, mapping in SHAPES.items()])
@torch.no_grad()
def test_any_width_is_scored(mapping: Mapping, wide_items: bool, library: Path) -> None:
    require_equal(*parts_of(mapping, wide_items), library)


@pytest.mark.parametrize("tasks", [2, 5])
@pytest.mark.parametrize("architecture", ["mmoe", "mgoe"])
@torch.no_grad()
def test_any_number_of_tasks_is_scored(architecture: str, tasks: int, library: Path) -> None:
    require_equal(*parts_of({"architecture": architecture}, wide_items=True, tasks=tasks), library)


@torch.no_grad()
def test_scores_that_are_no_number_stay_none(library: Path) -> None:
    form, user_RP, table_nP = parts_of({"architecture": "mgoe"}, wide_items=True)
    user_RP[0] = torch.nan
    architecture: Any = None
    scorer = NativeScorer(FactorisedForm(architecture, architecture, form), {PART: table_nP}, library)
    owner_N, item_N = torch.arange(30) % 2, torch.arange(30)
    found = scorer.score({PART: user_RP[:2]}, owner_N, item_N)
    assert torch.isnan(found[owner_N == 0]).all()
    assert torch.isfinite(found[owner_N == 1]).all()


known_ids = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=30, unique=True
)


@given(known_ids, st.lists(st.text(max_size=8), max_size=30), st.booleans())
def test_ids_are_found_as_by_the_index_itself(library: Path, known: list[str], asked: list[str], wide: bool) -> None:
    index = IdIndex.of(known)
    if wide:
        index = replace(index, start=index.start.astype(np.int64))
    native = NativeIdIndex.over(index, library)
    for ids in (asked, known, [*known, *asked, *known], ["0", "\ud800", *known]):
        assert native.find(ids).tolist() == index.find(ids).tolist()
    assert native.find(known).tolist() == list(range(1, len(known) + 1))


def test_tables_that_point_outside_one_another_are_left_to_numpy(library: Path) -> None:
    index = IdIndex.of(["a", "b", "c"])
    far = replace(index, directory=np.full_like(index.directory, -7))
    assert NativeIdIndex.over(far, library) is far


def test_a_compiler_that_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "wrong.cpp"
    source.write_text("no C++")
    monkeypatch.setattr(scorer_native, "SOURCES", (source,))
    with pytest.raises(RuntimeError, match=r"the C\+\+ compiler refuses the native code: .*wrong.cpp"):
        compile_library(tmp_path)
