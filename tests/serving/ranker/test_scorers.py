"""Compiled scorers, their cache, and what happens where one cannot be made or is wrong."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from model.nets.interface import Half
from serving.ranker import item_table, load, native_weights, request_part, scorer_onnx
from serving.ranker.cache import DerivedCache, Key
from serving.ranker.choice import BLOCKS, WHOLE, Choice, Trial, Way, choose
from serving.ranker.context import features_of
from serving.ranker.form import FactorisedForm, Form, PairedForm
from serving.ranker.host import RankerHost
from serving.ranker.load import load_ranker
from serving.ranker.native_ids import NativeIdIndex
from serving.ranker.ranker import Ranker
from serving.ranker.refusal import NotReady
from serving.ranker.request import RankRequest
from serving.ranker.request_part import OnnxRequest
from serving.ranker.scorer import Scorer, TablelessScorer
from serving.ranker.scorers import make_scorers
from serving.ranker.settings import RankerSettings, ScorerName
from tests.serving.ranker.requests_of import ITEMS


def untimely(*_: object, **__: object) -> None:
    raise AssertionError("traced beside requests, or compiled again")


@pytest.fixture(scope="module")
def compiled_aside(bundles: dict[str, Path], cache: Path) -> Ranker:
    """Loaded by a host whose process must not trace: that fails what another ranker scores meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.export, "export", untimely)
        patch.setattr(torch.onnx, "export", untimely)
        host = RankerHost(RankerSettings(cache=cache, scorers=("onnx",)))
        host.swap(bundles["mmoe"])
    assert host.drain()
    return host.ranker


def scorer_of(ranker: Ranker, settings: RankerSettings, name: str) -> Scorer:
    return next(scorer for scorer in make_scorers(ranker.bundle, settings).scorers if scorer.name == name)


@pytest.mark.usefixtures("compiled_aside")  # what it compiled is used here
@pytest.mark.parametrize(
    ("bundle", "compiled"),
    [
        ("mmoe", "native"),
        ("mgoe", "native"),
        ("mmoe", "onnx"),
        ("mgoe", "onnx"),
        ("mmoe", "aoti"),
        pytest.param("mgoe", "aoti", marks=pytest.mark.slow),
    ],
)
def test_a_compiled_scorer_scores_as_the_eager_one_at_any_size(
    bundle: str, compiled: ScorerName, rankers: Callable[[str], Ranker], cache: Path
) -> None:
    eager = rankers(bundle)
    settings = RankerSettings(cache=cache, scorers=(compiled,))
    scorer = scorer_of(eager, settings, compiled)
    rng = np.random.default_rng(0)
    for block in (WHOLE, *BLOCKS):
        ranker = eager.using(Choice.only(Way(scorer, block)))
        for rows in (1, 2, 3, 65, 600):
            items = tuple(str(item) for item in rng.integers(0, ITEMS + 5, rows))
            asked = [RankRequest("3", items, time=0.0), RankRequest("never-seen", items[:5], time=0.0)]
            for some in (asked, asked[:1]):
                for found, wanted in zip(ranker.rank_many(some), eager.rank_many(some), strict=True):
                    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-5, rtol=0)


def test_a_loaded_ranker_proves_its_compiled_scorer(
    bundles: dict[str, Path], cache: Path, rankers: Callable[[str], Ranker]
) -> None:
    ranker = Ranker.load(bundles["mgoe"], RankerSettings(cache=cache, scorers=("onnx",)))
    assert all("onnx" in way for way in ranker.describe().scorers.values())
    asked = RankRequest("3", tuple(map(str, range(ITEMS))), time=0.0)
    np.testing.assert_allclose(
        ranker.rank(asked).probabilities, rankers("mgoe").rank(asked).probabilities, atol=1e-5, rtol=0
    )


def test_a_load_traces_nothing_in_its_own_process_and_compiles_nothing_twice(
    compiled_aside: Ranker, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiled_aside.describe().left_out == {}
    monkeypatch.setattr(load, "compile_aside", untimely)
    again = Ranker.load(bundles["mmoe"], compiled_aside.settings)
    assert "onnx" in again.describe().scorers["500"]
    assert again.digest == compiled_aside.digest


@pytest.mark.parametrize(
    "case", [(("factorised", "onnx"), "factorised"), (("onnx",), "eager")], ids=["the rest", "no other"]
)
def test_a_scorer_that_cannot_be_compiled_is_left_out_with_one_line(
    case: tuple[tuple[ScorerName, ...], str],
    bundles: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scorers, serves = case

    def fail(*_: object) -> None:
        raise RuntimeError("no such operator\nand a long explanation")

    monkeypatch.setattr(scorer_onnx, "export_graph", fail)
    monkeypatch.setattr(request_part, "export_request", fail)
    with caplog.at_level(logging.WARNING, logger="serving.ranker"):
        ranker = load_ranker(bundles["mmoe"], RankerSettings(cache=tmp_path, scorers=scorers), aside=False)
    assert all(serves in way for way in ranker.describe().scorers.values())
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("serving.")]
    missing = ["onnx for requests", "onnx"]
    assert ours == [f"scorer {each} is left out: it cannot be made here: no such operator" for each in missing]
    assert ranker.describe().left_out == dict.fromkeys(missing, "it cannot be made here: no such operator")


def test_without_a_compiler_the_rest_serves_and_the_metadata_say_why(bundles: dict[str, Path], tmp_path: Path) -> None:
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        ranker = load_ranker(
            bundles["mmoe"], RankerSettings(cache=tmp_path, scorers=("factorised", "aoti")), aside=False
        )
    assert all("factorised" in way for way in ranker.describe().scorers.values())
    assert "no C++ compiler: fill the cache by `mgoe prepare`" in ranker.describe().left_out["aoti"]


@pytest.mark.parametrize("name", ["mmoe", "mgoe"])
def test_a_request_brings_the_same_to_its_pairs_compiled_as_eagerly(
    name: str, rankers: Callable[[str], Ranker], cache: Path
) -> None:
    bundle = rankers(name).bundle
    form = make_scorers(bundle, RankerSettings(cache=cache, scorers=("onnx",))).scorers[0].form
    assert isinstance(form, FactorisedForm)
    assert isinstance(form.user_part, OnnxRequest)
    for users in ([0], [7], [3, 0, 3], range(len(bundle.users) + 1)):
        user_R = torch.tensor(list(users))
        context = features_of(bundle.context.encode([{}] * len(user_R), [1e9 + 3600.0 * place for place in user_R]))
        with torch.inference_mode():
            wanted, found = form.eager_user_part(user_R, context), form.user_part(user_R, context)
        torch.testing.assert_close(found, wanted, atol=2e-6, rtol=0)


def test_a_scorer_that_is_off_is_left_out_by_name(
    bundles: dict[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exact = scorer_onnx.OnnxScorer.score

    def off(self: scorer_onnx.OnnxScorer, users: Half, owner_N: Tensor, item_N: Tensor) -> Tensor:
        return exact(self, users, owner_N, item_N) + 1e-3

    monkeypatch.setattr(scorer_onnx.OnnxScorer, "score", off)
    with caplog.at_level(logging.WARNING, logger="serving.ranker"):
        ranker = Ranker.load(bundles["mmoe"], RankerSettings(cache=cache, scorers=("factorised", "onnx")))
    assert all("factorised" in way for way in ranker.describe().scorers.values())
    assert "scorer onnx is off by" in caplog.text


@pytest.mark.parametrize(
    "spoilt",
    [
        ("pairs.onnx", "a newer operator set"),
        ("pairs.onnx", "no operator of this name"),
        ("pairs.onnx", "no graph"),
        ("pairs.onnx", "no bytes"),
        ("request.onnx", "a newer operator set"),
    ],
    ids=" of ".join,
)
def test_a_graph_that_onnx_runtime_refuses_leaves_onnx_out(
    spoilt: tuple[str, str], bundles: dict[str, Path], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, bad = spoilt
    obtain = DerivedCache.obtain

    def broken(self: DerivedCache, name: str, options: Key, make: Callable[[Path], None]) -> Path:
        folder = obtain(self, name, options, make)
        if not (folder / graph).is_file():
            return folder
        copy = Path(shutil.copytree(folder, tmp_path / name))
        (copy / graph).write_bytes(spoilt_graph((folder / graph).read_bytes(), bad))
        return copy

    monkeypatch.setattr(DerivedCache, "obtain", broken)
    ranker = Ranker.load(bundles["mmoe"], RankerSettings(cache=cache, scorers=("factorised", "onnx")))
    missing = "onnx" if graph == "pairs.onnx" else "onnx for requests"
    assert "cannot be made here" in ranker.describe().left_out[missing]
    assert len(ranker.rank(RankRequest("3", ("1", "2"))).order) == 2


def spoilt_graph(graph: bytes, bad: str) -> bytes:
    model = onnx.load_from_string(graph)
    if bad == "a newer operator set":
        model.opset_import[0].version = 999
    elif bad == "no operator of this name":
        model.graph.node[0].op_type = "NoSuchOperator"
    return {"no graph": b"\xff" * 100, "no bytes": b""}.get(bad, bytes(model.SerializeToString()))


def test_a_cache_entry_is_made_once_and_again_where_a_byte_differs(tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path / "cache", "d" * 64)
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "table").write_bytes(b"values")

    folder = cache.obtain("items", {"threads": 1}, make)
    assert cache.obtain("items", {"threads": 1}, make) == folder
    assert len(made) == 1
    (folder / "table").write_bytes(b"valueS")
    assert cache.obtain("items", {"threads": 1}, make) == folder
    assert (folder / "table").read_bytes() == b"values"
    (folder / "unlisted").write_bytes(b"")
    cache.obtain("items", {"threads": 1}, make)
    assert len(made) == 3
    assert not (folder / "unlisted").exists()


@pytest.mark.parametrize("change", [{"threads": 2}, {"table": "x"}])
def test_another_key_is_another_entry(change: dict[str, str | int], tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path, "d" * 64)
    one = cache.obtain("aoti", {"threads": 1}, lambda folder: None)
    assert cache.obtain("aoti", {"threads": 1} | change, lambda folder: None) != one
    assert DerivedCache(tmp_path, "e" * 64).obtain("aoti", {"threads": 1}, lambda folder: None) != one


def test_what_another_version_of_an_exporter_made_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = DerivedCache(tmp_path, "d" * 64).obtain("onnx", {}, lambda folder: None)
    monkeypatch.setattr("serving.ranker.cache.metadata.version", lambda name: f"99 of {name}")
    assert DerivedCache(tmp_path, "d" * 64).obtain("onnx", {}, lambda folder: None) != one


def test_a_failed_entry_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path, "d" * 64)

    def fail(folder: Path) -> None:
        (folder / "half").write_bytes(b"")
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError, match="no compiler"):
        cache.obtain("aoti", {}, fail)
    assert [path.name for path in cache.folder.iterdir() if not path.name.endswith(".lock")] == []


def test_a_shared_cache_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(NotReady, match="written by others"):
        DerivedCache(tmp_path, "d" * 64)


def test_an_item_table_is_read_as_it_was_written(rankers: Callable[[str], Ranker], tmp_path: Path) -> None:
    bundle = rankers("mgoe").bundle
    form = PairedForm(bundle.architecture, bundle.store)
    item_table.write(form, bundle.store, tmp_path)
    wanted, found = item_table.in_memory(form, bundle.store), item_table.read(tmp_path)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("scorers", [("factorised",), pytest.param(("factorised", "onnx"), marks=pytest.mark.slow)])
def test_on_a_full_disk_the_item_table_stays_in_memory(
    scorers: tuple[ScorerName, ...], bundles: dict[str, Path], full_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ranker = Ranker.load(bundles["mmoe"], RankerSettings(cache=full_disk, scorers=scorers))
    assert len(ranker.rank(RankRequest("3", ("1", "2"))).order) == 2
    assert "it stays in memory" in caplog.text


@pytest.mark.parametrize("name", ["mmoe", "mgoe", "target"])
def test_a_catalogue_too_large_for_a_table_is_scored_without_one(
    name: str, bundles: dict[str, Path], cache: Path, rankers: Callable[[str], Ranker]
) -> None:
    settings = RankerSettings(cache=cache, scorers=("eager", "factorised", "onnx"), item_table_bytes=100)
    ranker = Ranker.load(bundles[name], settings)
    made = make_scorers(ranker.bundle, settings).scorers
    assert {type(scorer) for scorer in made} == {TablelessScorer}
    assert [scorer.name for scorer in made] == (["eager"] if name == "target" else ["factorised", "eager"])
    asked = RankRequest("3", tuple(map(str, range(ITEMS + 3))), time=0.0)
    for scorer in made:
        found = ranker.using(Choice.only(Way(scorer))).rank(asked)
        np.testing.assert_allclose(found.probabilities, rankers(name).rank(asked).probabilities, atol=1e-5, rtol=0)
    if name != "target":
        assert "is above item_table_bytes" in ranker.describe().left_out["onnx"]


class Timed:
    """Takes as long as it is told, by a clock of its own: a call and a pair, in seconds."""

    def __init__(self, name: ScorerName, clock: list[float], call: float, pair: float) -> None:
        self.name: ScorerName = name
        self._clock, self._call, self._pair = clock, call, pair

    @property
    def form(self) -> Form:
        raise AssertionError("not asked for")

    def score(self, users: Half, owner_N: Tensor, item_N: Tensor) -> Tensor:
        self._clock[0] += self._call + self._pair * len(item_N)
        return torch.zeros(len(item_N), 1)


def chosen(monkeypatch: pytest.MonkeyPatch, *costs: tuple[ScorerName, float, float]) -> list[str]:
    clock = [0.0]
    monkeypatch.setattr("serving.ranker.choice.time.perf_counter", lambda: clock[0])
    choice = choose([Trial(Timed(name, clock, call, pair), {}) for name, call, pair in costs], 100)
    return [choice.for_pairs(size).name for size in (50, 500, 2000)]


def test_the_quickest_scorer_serves_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = chosen(monkeypatch, ("onnx", 1e-5, 1e-6), ("aoti", 1e-4, 5e-7))
    assert ways == ["onnx", "aoti", "aoti"]


def test_the_simpler_of_two_equally_quick_scorers_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = chosen(monkeypatch, ("aoti", 1e-5, 1.00e-6), ("factorised", 1e-5, 1.03e-6))
    assert ways == ["factorised"] * 3


def test_blocks_are_taken_where_they_are_quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, ("aoti", -1e-6, 1e-7)) != ["aoti"] * 3, "a call that gains time makes blocks win"
    assert chosen(monkeypatch, ("aoti", 1e-5, 1e-7)) == ["aoti"] * 3


def test_a_scorer_with_blocks_of_its_own_gets_every_request_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, ("native", -1e-6, 1e-7)) == ["native"] * 3


def test_a_model_that_the_native_code_does_not_know_lacks_nothing(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(_: object) -> None:
        raise native_weights.NotCovered("another model")

    monkeypatch.setattr(native_weights, "_mmoe", other)
    settings = RankerSettings(cache=tmp_path, scorers=("factorised", "native"))
    ranker = load_ranker(bundles["mmoe"], settings, aside=False)
    assert ranker.describe().left_out == {}
    assert all("factorised" in way for way in ranker.describe().scorers.values())


def test_a_ranker_with_native_code_looks_ids_up_by_it(bundles: dict[str, Path], cache: Path) -> None:
    ranker = load_ranker(bundles["mgoe"], RankerSettings(cache=cache, scorers=("factorised", "native")), aside=False)
    assert isinstance(ranker.bundle.items, NativeIdIndex)
    plain = Ranker.load(bundles["mgoe"], RankerSettings(cache=cache, scorers=("factorised",)))
    asked = RankRequest("3", (*map(str, range(ITEMS)), "never-seen", "also-not", "3"), time=0.0)
    found, wanted = ranker.rank(asked), plain.rank(asked)
    assert found.cold_items == wanted.cold_items > 0
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-5, rtol=0)
