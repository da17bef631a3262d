"""`mgoe serve`: wrong flags are one line, before anything heavy is loaded."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from model.errors import UserError
from serving.ranker.commands import app


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--arm", "a b"),
        ("--arm", "x\r\nset-cookie: y"),
        ("--arm", ""),
        ("--name", "a/b"),
        ("--scorers", "eager,joy"),
    ],
)
def test_a_wrong_value_names_its_option(option: str, value: str) -> None:
    result = CliRunner().invoke(app, ["--bundle", "/nowhere", option, value])
    assert isinstance(result.exception, UserError)
    assert option in str(result.exception)


def test_no_option_is_one_that_kserve_would_read_from_the_same_command_line() -> None:
    # kserve parses sys.argv while it is imported, and ends the process where a value is not to its liking.
    from kserve import model_server  # type: ignore[import-untyped]
    from typer.main import get_command

    theirs = set(model_server.parser._option_string_actions)
    ours = {option for parameter in get_command(app).params for option in parameter.opts}
    assert [(our, their) for our in ours for their in theirs if their.startswith(our)] == []
