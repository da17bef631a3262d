from __future__ import annotations

import pytest

from model.artifact.s3_settings import S3Settings
from model.errors import UserError

WHOLE = {
    "S3_ENDPOINT_URL": "http://127.0.0.1:9000",
    "AWS_ACCESS_KEY_ID": "someone",
    "AWS_SECRET_ACCESS_KEY": "hush-hush",
    "AWS_SESSION_TOKEN": "hush-token",
}


def test_the_endpoint_and_the_keys_come_from_the_environment() -> None:
    settings = S3Settings.from_environment(WHOLE | {"AWS_REGION": "eu-central-1"})
    assert (settings.host, settings.secure, settings.region) == ("127.0.0.1:9000", False, "eu-central-1")
    assert (settings.access_key, settings.secret_key) == ("someone", "hush-hush")
    assert settings.session_token == WHOLE["AWS_SESSION_TOKEN"]


def test_the_endpoint_of_the_aws_tools_is_taken_where_there_is_no_other() -> None:
    environment = WHOLE | {"AWS_ENDPOINT_URL": "https://s3.example.org"}
    assert S3Settings.from_environment(environment).host == "127.0.0.1:9000"
    del environment["S3_ENDPOINT_URL"]
    settings = S3Settings.from_environment(environment)
    assert (settings.host, settings.secure) == ("s3.example.org", True)


@pytest.mark.parametrize("name", ["S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is not set"):
        S3Settings.from_environment({key: value for key, value in WHOLE.items() if key != name})


@pytest.mark.parametrize("url", ["127.0.0.1:9000", "ftp://host", "http://host/path", "http://", "s3://bucket"])
def test_an_endpoint_that_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(UserError, match=r"S3_ENDPOINT_URL .* is wrong: use http://host:port"):
        S3Settings.from_environment(WHOLE | {"S3_ENDPOINT_URL": url})


def test_a_password_in_the_endpoint_is_refused_and_not_shown() -> None:
    with pytest.raises(UserError, match="is wrong") as caught:
        S3Settings.from_environment(WHOLE | {"S3_ENDPOINT_URL": "http://me:hush-hush@host:9000"})
    assert "hush" not in str(caught.value)


def test_secrets_are_not_shown_when_settings_are_printed() -> None:
    assert "hush" not in repr(S3Settings.from_environment(WHOLE))
