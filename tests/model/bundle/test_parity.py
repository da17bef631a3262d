from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from model.bundle.bundle import Bundle, open_bundle
from model.bundle.parity import Parity, Score, check_parity
from model.bundle.probe import ProbeRequest
from model.bundle.raw_rows import raw_request
from model.bundle.reference import probabilities
from model.bundle.trainer_scores import trainer_scores
from model.data.artifact import read_dataset, read_encoders
from model.errors import Fault, UserError
from model.graph.artifact import read_graph
from model.training.trained import TrainedModel
from tests.model.bundle.bundle_world import MODELS, World


def reference(bundle: Bundle) -> Score:
    """The plainest right way, for these tests are about the comparison."""

    def score(requests: Sequence[ProbeRequest]) -> list[np.ndarray]:
        return [probabilities(bundle, each.user, each.items, each.context, each.time) for each in requests]

    return score


def parity(world: World, name: str, evaluation: Path | None = None, **options: int) -> Parity:
    bundle = open_bundle(world.bundle(name))
    given = {"minimum": 5, **options}
    return check_parity(bundle, world.log, evaluation or world.evaluation(name), reference(bundle), **given)


@pytest.mark.parametrize("name", MODELS)
def test_a_bundle_scores_test_rows_as_their_evaluation_did(world: World, name: str) -> None:
    found = parity(world, name)
    assert found.rows == {"mmoe": 56, "mgoe": 8}[name]  # rows since the latest snapshot or rates
    assert found.worst <= 1e-6


def test_fewer_rows_can_be_asked_for(world: World) -> None:
    assert parity(world, "mgoe", rows=7, minimum=100).rows == 7


def test_too_few_rows_prove_nothing(world: World) -> None:
    with pytest.raises(UserError, match=r"has 8 test rows from the moment of bundle .*, and parity needs 9"):
        parity(world, "mgoe", minimum=9)


def test_rows_are_asked_alone_and_in_batches_and_each_once(world: World) -> None:
    bundle = open_bundle(world.bundle("mmoe"))
    asked: list[list[str]] = []

    def score(requests: Sequence[ProbeRequest]) -> Sequence[np.ndarray]:
        asked.append([request.name for request in requests])
        return reference(bundle)(requests)

    check_parity(bundle, world.log, world.evaluation("mmoe"), score, rows=50)
    assert [len(some) for some in asked] == [1, 8, 41]
    assert len({name for some in asked for name in some}) == 50


@pytest.mark.parametrize(("spoil", "said"), [(lambda p: p + 2e-5, r"2\.\d+e-05"), (lambda p: p * np.nan, "nan")])
def test_a_row_that_scores_otherwise_fails_by_name(
    world: World, spoil: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    bundle = open_bundle(world.bundle("mmoe"))

    def drifting(requests: Sequence[ProbeRequest]) -> list[np.ndarray]:
        return [spoil(found).astype(np.float32) for found in reference(bundle)(requests)]

    with pytest.raises(Fault, match=rf"test row \d+ \(user 'u.*', item '\d+'\) scores {said} away"):
        check_parity(bundle, world.log, world.evaluation("mmoe"), drifting, minimum=5)


def test_the_evaluation_of_another_model_is_refused(world: World) -> None:
    with pytest.raises(UserError, match="but the evaluation is of"):
        parity(world, "mmoe", world.evaluation("mgoe"))


def test_what_is_no_evaluation_is_refused(world: World) -> None:
    with pytest.raises(UserError, match="holds a model artifact; this needs one of kind evaluation"):
        parity(world, "mmoe", world.model("mmoe"))


def test_a_row_becomes_a_raw_request_that_the_trainer_scores_as_the_row(world: World) -> None:
    dataset, encoders = read_dataset(world.log), read_encoders(world.log)
    trained = TrainedModel.load(world.model("mgoe"), dataset, read_graph(world.graph))
    rows = dataset.test
    requests = [raw_request(dataset, encoders, rows, row) for row in range(len(rows))]
    np.testing.assert_allclose(trainer_scores(trained, encoders, requests), trained.predict(rows), atol=1e-6)
    assert {type(value) for request in requests for value in request.context.values()} == {str, float, list}


def test_another_log_is_refused(world: World, tmp_path: Path) -> None:
    bundle = open_bundle(world.bundle("mmoe"))
    with pytest.raises(UserError, match="was not made from this log"):
        check_parity(bundle, _other_log(world, tmp_path), world.evaluation("mmoe"), reference(bundle))


def _other_log(world: World, tmp_path: Path) -> Path:
    from model.data.ingest import ingest
    from tests.model.data import raw_logs

    raw_logs.write(tmp_path / "raw")
    ingest(str(tmp_path / "raw"), tmp_path / "log")
    return tmp_path / "log"
