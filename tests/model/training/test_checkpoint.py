"""Checkpoints: whole or not there, the last two kept, broken ones passed over with a line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.errors import Fault
from model.training.checkpoint import Checkpoints, Position, fingerprint, separate


def tensors(value: float) -> dict[str, Tensor]:
    return {"weights": torch.full((3, 2), value), "steps": torch.tensor(value, dtype=torch.float64)}


def filled(folder: Path, lines: list[str], steps: tuple[int, ...] = (5, 10, 15)) -> Checkpoints:
    checkpoints = Checkpoints(folder, "run", lines.append)
    for step in steps:
        checkpoints.save(Position(run="run", step=step, loss_sum=step / 3), tensors(step))
    return checkpoints


def test_the_newest_comes_back_as_it_was_saved_and_two_are_kept(tmp_path: Path) -> None:
    found = filled(tmp_path / "work", []).latest()
    assert found is not None
    position, weights = found
    assert position == Position(run="run", step=15, loss_sum=5.0)
    assert torch.equal(weights["weights"], tensors(15)["weights"])
    assert weights["steps"].item() == 15
    assert [path.name for path in sorted((tmp_path / "work").iterdir())] == ["step-0000000010", "step-0000000015"]


@pytest.mark.parametrize("damage", ["cut", "flip", "no tensors", "no state", "state is no JSON"])
def test_a_broken_one_costs_a_line_and_the_one_before_is_taken(damage: str, tmp_path: Path) -> None:
    lines: list[str] = []
    checkpoints = filled(tmp_path, lines)
    newest = tmp_path / "step-0000000015"
    data = newest / "tensors.safetensors"
    match damage:
        case "cut":
            data.write_bytes(data.read_bytes()[:-4])
        case "flip":
            whole = bytearray(data.read_bytes())
            whole[-1] ^= 1
            data.write_bytes(whole)
        case "no tensors":
            data.unlink()
        case "no state":
            (newest / "state.json").unlink()
        case _:
            (newest / "state.json").write_text("{")
    found = checkpoints.latest()
    assert found is not None
    assert found[0].step == 10
    assert len(lines) == 1
    assert str(newest) in lines[0]
    assert "\n" not in lines[0]


def test_where_none_is_whole_the_run_starts_from_its_beginning(tmp_path: Path) -> None:
    lines: list[str] = []
    checkpoints = filled(tmp_path, lines)
    for path in tmp_path.glob("step-*/state.json"):
        path.unlink()
    assert checkpoints.latest() is None
    assert [line.rpartition(" (")[0] for line in lines] == [
        f"checkpoint {tmp_path}/step-{step:010d} is broken" for step in (15, 10)
    ]


def test_a_half_written_checkpoint_is_not_seen(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, [])
    (tmp_path / ".step-0000000020.writing").mkdir()
    found = checkpoints.latest()
    assert found is not None
    assert found[0].step == 15


def test_a_checkpoint_of_another_run_is_not_resumed(tmp_path: Path) -> None:
    filled(tmp_path, [])
    lines: list[str] = []
    assert Checkpoints(tmp_path, "other", lines.append).latest() is None
    assert "another run" in lines[0]


def test_a_run_that_starts_anew_keeps_its_own_checkpoints_and_drops_the_later_ones_of_another(tmp_path: Path) -> None:
    filled(tmp_path, [])
    other = Checkpoints(tmp_path, "other", print)
    for step in (2, 4):
        other.save(Position(run="other", step=step), tensors(step))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-0000000002", "step-0000000004"]
    found = other.latest()
    assert found is not None
    assert found[0].step == 4


def test_a_checkpoint_that_cannot_be_written_is_a_fault_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file where the folder should be")
    with pytest.raises(Fault, match="cannot be written"):
        filled(tmp_path / "work", [])


def test_tied_weights_are_saved_apart() -> None:
    tied = torch.ones(2, 2)
    apart = separate({"a": tied, "b": tied, "c": tied.t()})
    memory = {tensor.untyped_storage().data_ptr() for tensor in apart.values()}
    assert len(memory) == 3


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
