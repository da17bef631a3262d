from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.bundle.parity import check_parity
from model.bundle.raw_rows import raw_request
from model.bundle.reference import probabilities
from model.bundle.trainer_scores import trainer_scores
from model.data.artifact import read_dataset, read_encoders
from model.errors import Fault, UserError
from model.graph.artifact import read_graph
from model.training.trained import TrainedModel
from tests.model.bundle.bundle_world import MODELS, World


@pytest.mark.parametrize("name", MODELS)
def test_a_bundle_scores_test_rows_as_their_evaluation_did(world: World, name: str) -> None:
    found = check_parity(world.bundle(name), world.log, world.evaluation(name))
    assert found.rows == {"mmoe": 56, "mgoe": 8}[name]  # rows since the latest snapshot or rates
    assert found.worst <= 1e-6


def test_fewer_rows_can_be_asked_for(world: World) -> None:
    assert check_parity(world.bundle("mgoe"), world.log, world.evaluation("mgoe"), rows=7).rows == 7


def test_a_row_that_scores_otherwise_fails_by_name(world: World) -> None:
    def drifting(*request: object) -> np.ndarray:
        return probabilities(*request) + np.float32(2e-5)  # type: ignore[arg-type]

    with pytest.raises(Fault, match=r"test row \d+ \(user 'u.*', item '\d+'\) scores 2\.\d+e-05 away"):
        check_parity(world.bundle("mmoe"), world.log, world.evaluation("mmoe"), score=drifting)


def test_a_score_that_is_no_number_fails(world: World) -> None:
    def broken(*request: object) -> np.ndarray:
        return probabilities(*request) * np.float32("nan")  # type: ignore[arg-type]

    with pytest.raises(Fault, match="scores nan away"):
        check_parity(world.bundle("mmoe"), world.log, world.evaluation("mmoe"), score=broken)


def test_the_evaluation_of_another_model_is_refused(world: World) -> None:
    with pytest.raises(UserError, match="but the evaluation is of"):
        check_parity(world.bundle("mmoe"), world.log, world.evaluation("mgoe"))


def test_what_is_no_evaluation_is_refused(world: World) -> None:
    with pytest.raises(UserError, match="holds a model artifact; this needs one of kind evaluation"):
        check_parity(world.bundle("mmoe"), world.log, world.model("mmoe"))


def test_a_row_becomes_a_raw_request_that_the_trainer_scores_as_the_row(world: World) -> None:
    dataset, encoders = read_dataset(world.log), read_encoders(world.log)
    trained = TrainedModel.load(world.model("mgoe"), dataset, read_graph(world.graph))
    rows = dataset.test
    requests = [raw_request(dataset, encoders, rows, row) for row in range(len(rows))]
    np.testing.assert_allclose(trainer_scores(trained, encoders, requests), trained.predict(rows), atol=1e-6)
    assert {type(value) for request in requests for value in request.context.values()} == {str, float, list}


def test_another_log_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="was not made from this log"):
        check_parity(world.bundle("mmoe"), _other_log(world, tmp_path), world.evaluation("mmoe"))


def _other_log(world: World, tmp_path: Path) -> Path:
    from model.data.ingest import ingest
    from tests.model.data import raw_logs

    raw_logs.write(tmp_path / "raw")
    ingest(str(tmp_path / "raw"), tmp_path / "log")
    return tmp_path / "log"
