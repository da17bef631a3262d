from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shelf import Shelf, Work
from model.artifact.store import open_store
from model.artifact.writer import ArtifactWriter

KEY = "train/0123"
values = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), min_size=2, max_size=4)


def make(folder: Path, text: str = "weights") -> None:
    with ArtifactWriter(folder, "model", made_by="test") as writer:
        (writer.path / "weights").write_text(text)


@given(values)
def test_the_key_of_a_work_does_not_depend_on_the_order_of_its_options(options: dict[str, object]) -> None:
    turned = dict(reversed(options.items()))
    assert Work("train", "c", {"log": "d"}, options).key == Work("train", "c", {"log": "d"}, turned).key


@pytest.mark.parametrize(
    "other",
    [
        Work("evaluate", "c", {"log": "d"}, {"seed": 1}),
        Work("train", "c2", {"log": "d"}, {"seed": 1}),
        Work("train", "c", {"log": "d2"}, {"seed": 1}),
        Work("train", "c", {"graph": "d"}, {"seed": 1}),
        Work("train", "c", {"log": "d"}, {"seed": 2}),
    ],
)
def test_another_step_code_input_or_option_is_another_work(other: Work) -> None:
    assert other.key != Work("train", "c", {"log": "d"}, {"seed": 1}).key


def test_a_whole_artifact_on_the_shelf_is_found(tmp_path: Path) -> None:
    make(tmp_path / KEY)
    shelf = Shelf(tmp_path, None)
    found = shelf.bring(KEY, shelf.place(KEY, tmp_path / "elsewhere"))
    assert found is not None


def test_a_damaged_artifact_is_not_reused(tmp_path: Path) -> None:
    make(tmp_path / KEY)
    (tmp_path / KEY / "weights").write_text("other bytes")
    assert Shelf(tmp_path, None).bring(KEY, tmp_path / KEY) is None


def test_without_a_shelf_the_artifact_is_made_where_the_caller_says(tmp_path: Path) -> None:
    assert Shelf(None, None).place(KEY, tmp_path / "given") == tmp_path / "given"


def test_another_machine_with_the_same_store_finds_what_was_published(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    make(tmp_path / "one" / KEY)
    Shelf(tmp_path / "one", store).publish(KEY, tmp_path / "one" / KEY)
    fresh = Shelf(tmp_path / "two", store)
    assert fresh.bring(KEY, tmp_path / "two" / KEY) is not None
    assert (tmp_path / "two" / KEY / "weights").read_text() == "weights"


def test_an_artifact_that_was_damaged_in_the_store_is_replaced_there(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    make(tmp_path / "one" / KEY)
    Shelf(tmp_path / "one", store).publish(KEY, tmp_path / "one" / KEY)
    (tmp_path / "store" / KEY / "weights").write_text("other bytes")
    shelf = Shelf(tmp_path / "two", store)
    assert shelf.bring(KEY, tmp_path / "two" / KEY) is None
    make(tmp_path / "two" / KEY)
    shelf.publish(KEY, tmp_path / "two" / KEY)
    assert Shelf(tmp_path / "three", store).bring(KEY, tmp_path / "three" / KEY) is not None


@pytest.mark.s3
def test_a_fresh_machine_finds_on_s3_what_another_one_published(tmp_path: Path, s3_bucket: str) -> None:
    store = open_store(f"s3://{s3_bucket}/artifacts")
    make(tmp_path / "one" / KEY)
    assert Shelf(tmp_path / "two", store).bring(KEY, tmp_path / "two" / KEY) is None
    Shelf(tmp_path / "one", store).publish(KEY, tmp_path / "one" / KEY)
    assert Shelf(tmp_path / "two", store).bring(KEY, tmp_path / "two" / KEY) is not None
    assert (tmp_path / "two" / KEY / "weights").read_text() == "weights"
