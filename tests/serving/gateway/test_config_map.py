"""The agent's view of the API server: it asks for one object alone, and every refusal is a sentence."""

from __future__ import annotations

import itertools
from pathlib import Path

import httpx
import pytest

from model.errors import Fault, UserError
from serving.gateway.config_map import ConfigMapClient, Version
from tests.serving.gateway.config_map_api import NAME, NAMESPACE, ConfigMapApi, client, served


def test_it_asks_for_its_one_config_map_by_name_and_hears_every_change() -> None:
    api = ConfigMapApi()
    with served(api) as address:
        found = client(address).read()
        assert found == Version("100", {})
        heard = client(address).watch(found)
        api.put({"split.json": "1"})
        assert next(heard) == Version("101", {"split.json": "1"})
        api.put({"split.json": "2"})
        assert next(heard) == Version("102", {"split.json": "2"})
        api.put(None)
        assert next(heard) is None
        assert client(address).read() is None
    assert set(api.asked) == {f"get {NAME}", f"watch metadata.name={NAME}"}


def test_a_change_between_reading_and_watching_is_heard() -> None:
    api = ConfigMapApi()
    with served(api) as address:
        found = client(address).read()
        api.put({"a": "b"})
        assert next(client(address).watch(found)) == Version("101", {"a": "b"})


def test_a_watch_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.gateway.config_map.WATCH_S", 1)
    with served(ConfigMapApi()) as address:
        assert list(client(address).watch(client(address).read())) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "answers 403: the agent's service account must be allowed get and watch of ConfigMap mgoe-gateway"),
        (401, "answers 401"),
        (500, "answers 500 for ConfigMap mgoe-gateway"),
    ],
)
def test_a_refusal_says_what_is_needed(status: int, words: str) -> None:
    with served(ConfigMapApi(status=status)) as address:
        with pytest.raises(Fault, match=words):
            client(address).read()
        with pytest.raises(Fault, match=words):
            next(client(address).watch(None))


def test_an_api_server_that_is_away_is_a_fault() -> None:
    with served(ConfigMapApi()) as address:
        pass
    with pytest.raises(Fault, match="does not answer"):
        client(address).read()
    with pytest.raises(Fault, match="watch at the API server ended"):
        next(client(address).watch(None))


@pytest.mark.parametrize("body", ["no json", "[]", "{}", '{"metadata": 1}'])
def test_what_is_no_config_map_is_a_fault(body: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=body))
    asked = ConfigMapClient(httpx.Client(transport=transport, base_url="http://api"), NAMESPACE, NAME)
    with pytest.raises(Fault, match="API server answers"):
        asked.read()


def test_an_error_event_ends_the_watch_so_that_it_is_read_anew() -> None:
    """410: the version is too old."""
    lines = '{"type": "BOOKMARK"}\n\n{"type": "ERROR", "object": {"code": 410}}\n{"type": "DELETED"}\n'
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=lines))
    asked = ConfigMapClient(httpx.Client(transport=transport, base_url="http://api"), NAMESPACE, NAME)
    assert list(itertools.islice(asked.watch(None), 5)) == []


def test_a_replaced_token_is_used_for_the_next_request(tmp_path: Path) -> None:
    token = tmp_path / "token"
    api = ConfigMapApi()
    with served(api) as address:
        asked = ConfigMapClient(httpx.Client(base_url=address), NAMESPACE, NAME, token)
        for content in ("first\n", "second\n"):
            token.write_text(content)
            asked.read()
        token.unlink()
        with pytest.raises(Fault, match=r"token .* No such file"):
            asked.read()
    assert api.tokens == ["Bearer first", "Bearer second"]


def test_outside_a_pod_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pod with a service account token"):
        ConfigMapClient.of_pod(NAME, tmp_path)
    (tmp_path / "namespace").write_text("ranking\n")
    (tmp_path / "ca.crt").write_text("no certificate")
    with pytest.raises(UserError, match="no pod with a service account token"):
        ConfigMapClient.of_pod(NAME, tmp_path)
