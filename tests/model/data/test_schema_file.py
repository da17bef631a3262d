from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from model.data.place import open_place
from model.data.schema_file import dump_schema, load_schema, parse_schema, resolve_schema
from model.errors import UserError
from tests.model.data.raw_logs import schema, schema_content


def said(text: str) -> str:
    with pytest.raises(UserError) as refused:
        parse_schema(text, "schema.yaml")
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_field_that_is_missing_is_named() -> None:
    content = schema_content()
    del content["interactions"]["user"]
    assert said(yaml.safe_dump(content)) == "schema.yaml: interactions.user: is missing"


def test_a_field_that_is_unknown_is_named() -> None:
    assert "taks: unknown field" in said(yaml.safe_dump({**schema_content(), "taks": []}))


def test_a_wrong_value_is_shown_with_what_would_be_right() -> None:
    content = schema_content()
    content["tasks"][0]["level"] = 0
    message = said(yaml.safe_dump(content))
    assert "tasks.0.level: " in message
    assert "greater than or equal to 1 (got 0)" in message


@pytest.mark.parametrize("text", ["tasks: [", "- a\n- b", "", "just words"])
def test_what_is_no_mapping_is_refused_in_one_line(text: str) -> None:
    assert said(text).startswith("schema.yaml")


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_an_empty_schema_is_called_empty(text: str) -> None:
    assert said(text).startswith("schema.yaml is empty")


def test_a_missing_schema_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml does not exist"):
        load_schema(tmp_path / "absent.yaml")


def test_a_schema_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match=r"schema\.yaml in log .* is not UTF-8 text"):
        resolve_schema(open_place(str(tmp_path)), None)
    with pytest.raises(UserError, match=r"schema file .*schema\.yaml is not UTF-8 text"):
        load_schema(tmp_path / "schema.yaml")


def test_a_schema_survives_writing_and_reading() -> None:
    assert parse_schema(dump_schema(schema()), "x") == schema()


def test_the_argument_wins_over_the_log_and_the_log_over_the_shipped_one(tmp_path: Path) -> None:
    folder = tmp_path / "kuairand_pure"
    folder.mkdir()
    place = open_place(str(folder))
    assert resolve_schema(place, None).name == "kuairand_pure"
    (folder / "schema.yaml").write_text(dump_schema(schema(name="of-the-log")))
    assert resolve_schema(place, None).name == "of-the-log"
    (tmp_path / "given.yaml").write_text(dump_schema(schema(name="given")))
    assert resolve_schema(place, str(tmp_path / "given.yaml")).name == "given"


def test_a_shipped_schema_may_be_named_for_any_log(tmp_path: Path) -> None:
    assert resolve_schema(open_place(str(tmp_path)), "kuairand_pure").name == "kuairand_pure"
    with pytest.raises(UserError, match=r"kuairand does not exist; name a file or a shipped schema \(kuairand_pure\)"):
        resolve_schema(open_place(str(tmp_path)), "kuairand")


def test_a_log_without_a_schema_is_told_where_one_could_stand(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no schema\.yaml.*kuairand_pure.*--schema"):
        resolve_schema(open_place(str(tmp_path)), None)


def test_the_shipped_kuairand_schema_reads_nothing_that_is_known_only_later(tmp_path: Path) -> None:
    (tmp_path / "kuairand_pure").mkdir()
    shipped = resolve_schema(open_place(str(tmp_path / "kuairand_pure")), None)
    columns = {feature.column for feature in shipped.features}
    assert not columns & {"play_time_ms", "profile_stay_time", "comment_stay_time", "hour", *shipped.label_columns}
    assert shipped.task_names == ("click", "long_view", "like", "profile_enter")
