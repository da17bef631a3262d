"""What a loaded ranker answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.bundle.probe_choice import ProbeChoice
from model.bundle.trainer_scores import trainer_scores
from model.data.artifact import read_dataset, read_encoders
from model.graph.artifact import read_graph
from model.training.trained import TrainedModel
from serving.ranker.choice import BLOCKS, Choice, Way
from serving.ranker.ranker import Ranker
from serving.ranker.refusal import RequestError
from serving.ranker.request import RankRequest
from serving.ranker.scorers import open_cache, reference
from serving.ranker.settings import RankerSettings
from tests.serving.ranker.bundles import World
from tests.serving.ranker.requests_of import ITEMS, requests

NAMES = ("mmoe", "mgoe", "target")
each_bundle = pytest.mark.parametrize("name", NAMES)
Rankers = Callable[[str], Ranker]
fixtures_are_read_only = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@each_bundle
def test_fresh_requests_score_as_the_trainer_scores_them(
    name: str, world: World, bundles: dict[str, Path], rankers: Rankers
) -> None:
    dataset, encoders = read_dataset(world.folder / "log"), read_encoders(world.folder / "log")
    ranker = rankers(name)
    graph = read_graph(world.folder / "graph") if ranker.describe().facts["graph_version"] else None
    trained = TrainedModel.load(world.folder / f"model-{name}", dataset, graph)
    probes = ProbeChoice(dataset.users, dataset.items, encoders, seed=77).draw(30, since=2_000_000_000)
    wanted = trainer_scores(trained, encoders, probes)
    asked = [RankRequest(probe.user, probe.items, probe.context, probe.time) for probe in probes]
    found = np.concatenate([answer.probabilities for answer in ranker.rank_many(asked)])
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0)


@each_bundle
@fixtures_are_read_only
@given(asked=st.lists(requests(), min_size=1, max_size=8), data=st.data())
def test_a_request_scores_the_same_alone_and_in_any_batch(
    name: str, rankers: Rankers, asked: list[RankRequest], data: st.DataObject
) -> None:
    ranker = rankers(name)
    alone = [ranker.rank(request).probabilities for request in asked]
    order = data.draw(st.permutations(range(len(asked))))
    together = ranker.rank_many([asked[place] for place in order])
    for place, answer in zip(order, together, strict=True):
        np.testing.assert_allclose(answer.probabilities, alone[place], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["mmoe", "mgoe"])
@fixtures_are_read_only
@given(asked=st.lists(requests(200), min_size=1, max_size=3), block=st.sampled_from([2, 7, *BLOCKS]))
def test_the_factorised_scorer_scores_as_the_reference_in_blocks_of_any_size(
    name: str, rankers: Rankers, asked: list[RankRequest], block: int
) -> None:
    ranker = rankers(name)
    eager = ranker.using(Choice.only(Way(reference(ranker.bundle))))
    blocks = ranker.using(Choice.only(Way(ranker.choice.ways[0].scorer, block)))
    assert blocks.choice.ways[0].scorer.name == "factorised"
    for found, wanted in zip(blocks.rank_many(asked), eager.rank_many(asked), strict=True):
        np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-5, rtol=0)


@fixtures_are_read_only
@given(asked=requests())
def test_the_order_is_by_score_and_ties_keep_the_order_of_the_request(rankers: Rankers, asked: RankRequest) -> None:
    answer = rankers("mgoe").rank(asked)
    order = answer.order.tolist()
    assert sorted(order) == list(range(len(asked.items)))
    keys = [(-float(answer.score[place]), place) for place in order]
    assert keys == sorted(keys)


@each_bundle
def test_unknown_items_and_repeated_ones_tie_exactly(name: str, rankers: Rankers) -> None:
    items = ("no-1", "5", "no-2", "7", "5", "no-3", *map(str, range(20, 40)), "no-4")
    answer = rankers(name).rank(RankRequest("3", items, time=0.0))
    rows = answer.probabilities
    assert (rows[[0, 2, 5, 26]] == rows[0]).all()
    assert (rows[4] == rows[1]).all()
    assert [place for place in answer.order.tolist() if items[place].startswith("no-")] == [0, 2, 5, 26]
    assert answer.cold_items == 4
    assert not answer.cold_user


@each_bundle
def test_a_cold_user_is_answered(name: str, rankers: Rankers) -> None:
    answer = rankers(name).rank(RankRequest("never-seen", ("1", "2", "never-seen")))
    assert answer.cold_user
    assert np.isfinite(answer.probabilities).all()
    assert ((answer.probabilities > 0) & (answer.probabilities < 1)).all()


def test_utility_weights_of_the_request_replace_those_of_the_bundle(rankers: Rankers) -> None:
    ranker = rankers("mmoe")
    items = tuple(str(item) for item in range(ITEMS))
    clicks = ranker.rank(RankRequest("3", items, time=0.0, utility={"click": 2.0}))
    against = ranker.rank(RankRequest("3", items, time=0.0, utility={"click": -1.0}))
    np.testing.assert_allclose(clicks.score, 2 * clicks.probabilities[:, 0], rtol=1e-6)
    assert clicks.score[clicks.order[0]] == clicks.score.max()
    assert against.order[0] == clicks.probabilities[:, 0].argmin()


def test_every_answer_names_bundle_arm_tasks_and_an_exposure_of_its_own(rankers: Rankers) -> None:
    ranker = rankers("mmoe")
    answers = ranker.rank_many([RankRequest("3", ("1",), request_id="a"), RankRequest("4", ("1", "2"))])
    assert {answer.digest for answer in answers} == {ranker.digest}
    assert {answer.arm for answer in answers} == {"candidate"}
    assert answers[0].tasks == ("click", "cart", "buy")
    assert answers[0].request_id == "a"
    assert len({answer.exposure_id for answer in answers}) == 2


def test_what_the_bundle_cannot_answer_is_refused_by_name(rankers: Rankers) -> None:
    ranker = rankers("mmoe")
    with pytest.raises(RequestError, match="no task"):
        ranker.rank(RankRequest("3", ("1",), utility={"purchase": 1.0}))
    with pytest.raises(RequestError, match=r"'colour'.*slot"):
        ranker.rank(RankRequest("3", ("1",), context={"colour": "red"}))
    with pytest.raises(RequestError, match="items is empty"):
        ranker.rank(RankRequest("3", ()))


def test_a_narrow_item_table_scores_the_same(bundles: dict[str, Path], rankers: Rankers, tmp_path: Path) -> None:
    wide = rankers("mgoe")
    small = RankerSettings(cache=tmp_path, scorers=("factorised",), item_table_bytes=table_bytes(wide) - 200)
    narrow = Ranker.load(bundles["mgoe"], small)
    asked = RankRequest("3", tuple(str(item) for item in range(ITEMS)), time=0.0)
    np.testing.assert_allclose(narrow.rank(asked).probabilities, wide.rank(asked).probabilities, atol=1e-5, rtol=0)
    assert table_bytes(narrow) < table_bytes(wide)


def table_bytes(ranker: Ranker) -> int:
    """Of the items' parts that the ranker's bundle has in the cache."""
    folder = open_cache(ranker.settings, ranker.digest)
    assert folder is not None
    return max(path.stat().st_size for path in folder.folder.rglob("part.npy"))
