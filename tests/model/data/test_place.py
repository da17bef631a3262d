from __future__ import annotations

import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.place import open_place
from model.errors import Fault, UserError
from tests.plugins.rgw import S3Server


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4), rows=st.integers(1, 50))
def test_batches_have_the_asked_size_and_keep_the_order_of_the_files(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], rows: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    start = 0
    for place, size in enumerate(sizes):
        frame = pl.DataFrame({"x": range(start, start + size)}, schema={"x": pl.Int64})
        frame.write_parquet(folder / f"part-{place}.parquet", row_group_size=7)
        start += size
    batches = list(replace(open_place(str(folder)), batch_rows=rows).batches(".", ["x"]))
    assert [len(batch) for batch in batches[:-1]] == [rows] * (len(batches) - 1)
    assert [x for batch in batches for x in batch["x"]] == list(range(start))


@pytest.mark.parametrize("rows", [3, 1000], ids=["large row groups", "small ones"])
def test_partitions_and_absent_columns_are_filled_in_whatever_the_row_groups(tmp_path: Path, rows: int) -> None:
    for day, frame in (("2024-01-01", {"x": range(5), "y": range(5)}), ("2024-01-02", {"x": range(5, 10)})):
        (tmp_path / "rows" / f"day={day}").mkdir(parents=True)
        pl.DataFrame(frame).write_parquet(tmp_path / "rows" / f"day={day}" / "0.parquet")
    read = pl.concat(replace(open_place(str(tmp_path)), batch_rows=rows).batches("rows", ["day", "y", "x"]))
    assert read.columns == ["day", "y", "x"]
    assert read["day"].to_list() == ["2024-01-01"] * 5 + ["2024-01-02"] * 5
    assert read["y"].to_list() == [0, 1, 2, 3, 4, *[None] * 5]
    assert read["x"].to_list() == list(range(10))
    assert len(pl.concat(replace(open_place(str(tmp_path)), batch_rows=rows).batches("rows", ["day"]))) == 10


def test_the_columns_of_a_partitioned_folder_hold_its_partitions(tmp_path: Path) -> None:
    for day in ("2024-01-02", "2024-01-01"):
        (tmp_path / "rows" / f"day={day}").mkdir(parents=True)
        pl.DataFrame({"x": [day]}).write_parquet(tmp_path / "rows" / f"day={day}" / "0.parquet")
    place = open_place(str(tmp_path))
    assert set(place.column_types("rows")) == {"x", "day"}
    assert place.read("rows", ["day", "x"]).rows() == [("2024-01-01", "2024-01-01"), ("2024-01-02", "2024-01-02")]


def test_a_log_that_does_not_exist_or_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r"log.parquet is a file; name the folder that it lies in"):
        open_place(str(tmp_path / "log.parquet"))
    with pytest.raises(UserError, match="nowhere does not exist"):
        open_place(str(tmp_path / "nowhere"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no Parquet file rows\.parquet"):
        open_place(str(tmp_path)).column_types("rows.parquet")


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_text("user,item\n")
    with pytest.raises(UserError, match=r"rows\.parquet"):
        open_place(str(tmp_path)).column_types("rows.parquet")


def damaged(whole: bytes, how: str) -> bytes:
    match how:
        case "a page":
            return whole[:4] + b"\0" * 2000 + whole[2004:]
        case "the footer":
            return whole[:-200] + b"\x7f" * 150 + whole[-50:]
        case "cut off":
            return whole[:-100]
        case _:
            return b""


@pytest.mark.parametrize("how", ["a page", "the footer", "cut off", "empty"])
@pytest.mark.parametrize("part", [0, 1])
def test_a_damaged_part_is_named_while_it_is_read(how: str, part: int, tmp_path: Path) -> None:
    parts = [tmp_path / "rows" / f"part-{number}.parquet" for number in range(2)]
    parts[0].parent.mkdir()
    for path in parts:
        pl.DataFrame({"x": range(50_000)}).write_parquet(path)
    parts[part].write_bytes(damaged(parts[part].read_bytes(), how))
    with pytest.raises(UserError) as refused:
        list(open_place(str(tmp_path)).batches("rows", ["x"]))
    assert str(refused.value) == f"{parts[part]} cannot be read as Parquet: it is damaged or cut off"


def test_parts_whose_columns_are_of_different_types_are_no_one_table(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "rows" / "0.parquet")
    pl.DataFrame({"x": ["a"]}).write_parquet(tmp_path / "rows" / "1.parquet")
    with pytest.raises(UserError, match=r"rows in log .* is no one table"):
        list(open_place(str(tmp_path)).batches("rows", ["x"]))


def test_an_s3_endpoint_that_is_down_is_a_fault_and_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("S3_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(Fault, match="s3://bucket/log cannot be read"):
        open_place("s3://bucket/log")


@pytest.mark.s3
def test_a_log_on_s3_reads_as_it_does_on_disk(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    for part in range(2):
        path = tmp_path / "rows" / f"part-{part}.parquet"
        path.parent.mkdir(exist_ok=True)
        pl.DataFrame({"x": range(part * 100, part * 100 + 100)}).write_parquet(path)
        s3_server.client().fput_object(s3_bucket, f"logs/toy/rows/part-{part}.parquet", str(path))
    there, here = open_place(f"s3://{s3_bucket}/logs/toy"), open_place(str(tmp_path))
    assert there.name == "toy"
    assert pl.concat(there.batches("rows", ["x"])).equals(pl.concat(here.batches("rows", ["x"])))
    assert not there.has_file("schema.yaml")


@pytest.mark.s3
def test_a_prefix_that_holds_nothing_does_not_exist(s3_bucket: str) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_place(f"s3://{s3_bucket}/nothing")


@pytest.mark.parametrize("row_group", [50_000, 2_000_000])
def test_a_slow_reader_does_not_find_the_whole_log_waiting_in_memory(tmp_path: Path, row_group: int) -> None:
    rows = 2_000_000
    (tmp_path / "rows").mkdir()
    for part in range(2):
        table = pa.table({name: pa.array(np.arange(rows)) for name in ("user", "item")})
        pq.write_table(table, tmp_path / "rows" / f"{part}.parquet", row_group_size=row_group)
    del table
    place, held = replace(open_place(str(tmp_path)), batch_rows=50_000), []
    before = pa.total_allocated_bytes()
    for number, _ in enumerate(place.batches("rows", ["user", "item"])):
        if number % 10 == 0:
            time.sleep(0.05)
        held.append(pa.total_allocated_bytes() - before)
    assert len(held) == 80
    assert max(held) < 16 * 2**20 < 2 * rows * 16
