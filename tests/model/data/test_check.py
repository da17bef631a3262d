from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from model.data.check import check
from model.data.finding import Finding
from model.data.schema import LogSchema
from tests.model.data.raw_logs import START, Content, history, items, rows, schema_content, users, write

Change = Callable[[pl.DataFrame], pl.DataFrame]


def found(folder: Path, content: Content | None = None, **tables: pl.DataFrame) -> list[Finding]:
    content = content or schema_content()
    return check(write(folder, content, **tables), LogSchema.model_validate(content))


def errors(findings: list[Finding]) -> list[str]:
    return [str(finding) for finding in findings if finding.severity == "error"]


def test_a_sound_log_has_no_errors(tmp_path: Path) -> None:
    assert errors(found(tmp_path)) == []


WRONG: dict[str, tuple[Change, str]] = {
    "missing column": (lambda log: log.drop("user"), "column user is missing"),
    "missing label": (lambda log: log.drop("buy"), "column buy is missing"),
    "missing time": (lambda log: log.drop("time"), "column time is missing"),
    "label of 2": (lambda log: log.with_columns(click=pl.lit(2)), "click is neither 0 nor 1 in all 240 rows, 2"),
    "label of text": (lambda log: log.with_columns(click=pl.lit("yes")), "label column click is text"),
    "null label": (lambda log: log.with_columns(buy=null_first(log, "buy")), "label buy is null in 1 of 240 rows"),
    "null user": (lambda log: log.with_columns(user=null_first(log, "user")), "column user is null in 1 of 240"),
    "null time": (lambda log: log.with_columns(time=null_first(log, "time")), "time time is absent in 1 of 240"),
    "time of text": (lambda log: log.with_columns(time=pl.lit("noon")), "time column time is text"),
    "disorder": (lambda log: log.reverse(), "goes back at 239 of 240 rows (99.58%), first at row 1;"),
    "milliseconds": (lambda log: log.with_columns(pl.col("time") * 1000), "1990 to 2100 in all 240 rows"),
    "duplicates": (lambda log: pl.concat([log.head(1), log]), "duplicated impressions: 1 of 241 rows (0.41%)"),
    "no positive": (lambda log: log.with_columns(buy=pl.lit(0)), "task buy has no positive"),
    "no negative": (lambda log: log.with_columns(click=pl.lit(1)), "task click has no negative"),
    "no rows": (lambda log: log.clear(), "has no rows"),
    "all before validation": (lambda log: log.head(100), "split: validate is empty"),
    "none in training": (
        lambda log: log.with_columns(buy=pl.when(pl.col("time") < START + 7 * 86_400).then(0).otherwise("buy")),
        "task buy in train has 0 positives of 144: it cannot be learned",
    ),
    "a list": (lambda log: log.with_columns(slot=pl.lit([1, 2])), "feature slot is sparse, yet slot is a list"),
}  # fmt: skip


def null_first(log: pl.DataFrame, column: str) -> pl.Series:
    return log.select(pl.when(pl.int_range(pl.len()) > 0).then(column)).to_series()


def test_a_missing_column_hides_nothing_that_is_wrong_with_the_others(tmp_path: Path) -> None:
    log = rows().drop("slot").with_columns(click=pl.lit(2), buy=pl.lit(0))
    told = errors(found(tmp_path, rows=log))
    for words in ("column slot is missing", "click is neither 0 nor 1", "task buy has no positive"):
        assert any(words in one for one in told)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_log_is_told_what_is_wrong(name: str, tmp_path: Path) -> None:
    change, words = WRONG[name]
    said = errors(found(tmp_path, rows=change(rows())))
    assert any(words in line for line in said), said


def test_all_that_is_wrong_is_told_not_just_the_first(tmp_path: Path) -> None:
    log = rows().reverse().with_columns(buy=pl.lit(0), click=pl.lit(7))
    said = "\n".join(errors(found(tmp_path, rows=log, users=users().drop("age", "city"))))
    for words in (
        "not sorted",
        "buy has no positive",
        "click is neither",
        "column age is missing",
        "column city is missing",
    ):
        assert words in said


def test_disorder_across_batches_is_seen(tmp_path: Path) -> None:
    log = pl.concat([rows().tail(120), rows().head(120)])
    place = replace(write(tmp_path, rows=log), batch_rows=120)
    said = errors(check(place, LogSchema.model_validate(schema_content())))
    assert any("goes back at 1 of 240 rows (0.42%), first at row 120" in line for line in said), said


def test_disorder_is_fine_where_the_schema_allows_it(tmp_path: Path) -> None:
    content = schema_content()
    content["interactions"]["order"] = "any"
    assert errors(found(tmp_path, content, rows=rows().reverse())) == []


def test_duplicates_are_a_warning_where_the_schema_keeps_them(tmp_path: Path) -> None:
    content = schema_content()
    content["interactions"]["duplicates"] = "keep"
    findings = found(tmp_path, content, rows=pl.concat([rows().head(1), rows()]))
    assert errors(findings) == []
    assert any("duplicated impressions: 1 of 241" in str(finding) for finding in findings)


def test_a_conditional_label_outside_of_its_space_is_an_error(tmp_path: Path) -> None:
    content = schema_content()
    content["tasks"][1] |= {"space": "conditional", "given": "click"}
    assert errors(found(tmp_path / "sound", content)) == []
    outside = rows().with_columns(buy=(pl.int_range(pl.len()) % 5 == 0).cast(pl.Int8))
    said = errors(found(tmp_path / "wrong", content, rows=outside))
    assert any(
        "task buy is conditional on click, yet its label is 1 where click is not in 32 of 240" in s for s in said
    ), said


def test_a_null_conditional_label_outside_of_its_space_is_fine(tmp_path: Path) -> None:
    content = schema_content()
    content["tasks"][1] |= {"space": "conditional", "given": "click"}
    blank = rows().with_columns(buy=pl.when(pl.col("click") == 1).then("buy"))
    assert errors(found(tmp_path, content, rows=blank)) == []


def test_history_after_the_labelled_part_is_an_error(tmp_path: Path) -> None:
    content = schema_content()
    content["history"] |= {"order": None, "time": {"column": "time"}}
    late = history().with_columns(time=START - 10 + pl.int_range(pl.len()))
    said = errors(found(tmp_path, content, history=late))
    assert said == [
        "history.parquet: 20 of 30 rows (66.67%) are not before the labelled part begins; history must precede it"
    ]


def test_labels_and_columns_of_the_history_are_checked_too(tmp_path: Path) -> None:
    said = errors(found(tmp_path / "a", history=history().with_columns(click=pl.lit(3))))
    assert any("history.parquet: label click is neither 0 nor 1 in all 30 rows, 3" in line for line in said)
    said = errors(found(tmp_path / "b", history=history().drop("place")))
    assert said[0].startswith("history.parquet: column place is missing")


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    place = write(tmp_path)
    for name in ("rows", "history", "items"):
        (tmp_path / f"{name}.parquet").unlink()
    said = errors(check(place, LogSchema.model_validate(schema_content())))
    assert [line.split(":")[0] for line in said] == ["rows.parquet", "history.parquet", "items.parquet"]


def test_files_alongside_must_have_as_many_rows(tmp_path: Path) -> None:
    content = schema_content()
    content["interactions"]["alongside"] = ["context.parquet"]
    said = errors(found(tmp_path, content, rows=rows().drop("slot"), context=rows().select("slot").head(7)))
    assert said == ["context.parquet: has 7 rows, rows.parquet has 240; files alongside are joined row by row"]


def test_doubled_and_absent_keys_of_a_side_file_are_told(tmp_path: Path) -> None:
    doubled = pl.concat([users(), users().head(2)])
    findings = found(tmp_path / "a", users=doubled)
    assert errors(findings) == []
    assert any("users.parquet: 2 keys stand more than once, u0 for one" in str(finding) for finding in findings)
    absent = items().with_columns(item=null_first(items(), "item"))
    assert errors(found(tmp_path / "b", items=absent)) == ["items.parquet: key item is null in 1 rows"]


def test_a_dense_feature_of_text_is_an_error(tmp_path: Path) -> None:
    said = errors(found(tmp_path, users=users().with_columns(age=pl.lit("young"))))
    assert said == ["users.parquet: feature age is dense, yet age is text, no number"]


def test_a_part_that_lacks_a_label_is_named_with_the_column(tmp_path: Path) -> None:
    content = schema_content()
    content["interactions"]["path"] = "rows"
    place = write(tmp_path, content)
    (tmp_path / "rows").mkdir()
    rows().head(120).write_parquet(tmp_path / "rows" / "0.parquet")
    rows().tail(120).drop("buy").write_parquet(tmp_path / "rows" / "1.parquet")
    said = errors(check(place, LogSchema.model_validate(content)))
    assert said == ["rows/1.parquet: column buy is missing; other files of rows have it"]


def test_a_part_that_is_cut_off_is_named(tmp_path: Path) -> None:
    place = write(tmp_path)
    path = tmp_path / "items.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    said = errors(check(place, LogSchema.model_validate(schema_content())))
    assert said == [f"items.parquet: {path} cannot be read as Parquet: it is damaged or cut off"]


def warnings(findings: list[Finding]) -> list[str]:
    return [str(finding) for finding in findings if finding.severity == "warning"]


def test_a_side_file_whose_keys_match_no_impression_is_a_warning(tmp_path: Path) -> None:
    findings = found(tmp_path, users=users().with_columns(pl.concat_str(pl.lit("user-"), "user").alias("user")))
    assert errors(findings) == []
    said = [line for line in warnings(findings) if "matches an impression" in line]
    assert len(said) == 1
    assert said[0].startswith("users.parquet: no key matches an impression: user user-u0 for one")


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (3, "176 of 240 impressions (73.33%) have no row here, user u3 for one; is the file cut off"),
        (0, "240 of 240 impressions (100.00%) have no row here, user u0 for one; is the file cut off"),
    ],
)
def test_a_side_file_that_lacks_many_impressions_users_is_a_warning(kept: int, words: str, tmp_path: Path) -> None:
    said = warnings(found(tmp_path, users=users().head(kept)))
    assert [line for line in said if line.startswith(f"users.parquet: {words}")], said


def test_a_side_file_that_lacks_a_few_newcomers_is_fine(tmp_path: Path) -> None:
    lacking = users().filter(pl.col("user") != "u11")
    assert "u11" in rows()["user"]
    assert not [line for line in warnings(found(tmp_path, users=lacking)) if "no row here" in line]


def test_shares_of_side_files_do_not_depend_on_batches(tmp_path: Path) -> None:
    place = write(tmp_path, users=users().head(3))
    schema = LogSchema.model_validate(schema_content())
    assert check(replace(place, batch_rows=7), schema) == check(place, schema)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "dense feature price is null in all 10 rows"),
        (float("nan"), "dense feature price is null in all 10 rows"),
        (float("inf"), "dense feature price is infinite in 10 of 10 rows"),
        (-1.0, "dense feature price is -1 or less in 10 of 10 rows, where log1p has no value"),
    ],
)
def test_a_dense_feature_that_says_nothing_is_a_warning(value: float | None, words: str, tmp_path: Path) -> None:
    priced = items().with_columns(price=pl.lit(value, dtype=pl.Float64))
    findings = found(tmp_path, items=priced)
    assert errors(findings) == []
    assert any(line.startswith(f"items.parquet: {words}") for line in warnings(findings)), warnings(findings)


def test_a_dense_feature_of_the_context_is_looked_at_too(tmp_path: Path) -> None:
    content = schema_content()
    content["features"].append({"name": "wait", "of": "context", "kind": "dense", "column": "wait"})
    waits = rows().with_columns(wait=pl.when(pl.int_range(pl.len()) < 3).then(float("inf")).otherwise(0.5))
    said = warnings(found(tmp_path, content, rows=waits))
    assert any("rows.parquet: dense feature wait is infinite in 3 of 240 rows" in line for line in said), said


def test_a_sound_log_has_no_warning_about_values(tmp_path: Path) -> None:
    assert not [line for line in warnings(found(tmp_path)) if "dense feature" in line or "no key" in line]


def test_one_positive_is_told_in_the_singular(tmp_path: Path) -> None:
    first = pl.int_range(pl.len()) == 0
    late = pl.col("time") >= START + 6 * 86_400
    once = rows().with_columns(buy=pl.when(first | late).then("buy").otherwise(0))
    said = warnings(found(tmp_path, rows=once))
    assert any("task buy in train has 1 positive of 144: expect wide intervals" in line for line in said), said
