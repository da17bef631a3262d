"""The same wishes in a cluster: what is written, and what a refusal says."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from model.errors import Fault, UserError
from serving.rollout import steering
from serving.rollout.desk import ClusterDesk
from serving.rollout.resource import PLURAL
from tests.serving.rollout.kubernetes_double import KubernetesDouble
from tests.serving.rollout.rollout_world import SPEC, spec_with

FEED = (PLURAL, "ranking", "feed")


def at_desk(act: Callable[[ClusterDesk, KubernetesDouble], None], *, empty: bool = False) -> KubernetesDouble:
    """A person at a cluster with one rollout."""
    double = KubernetesDouble()
    if not empty:
        double.put(PLURAL, {"metadata": {"name": "feed", "namespace": "ranking"}, "spec": spec_with().to_json()})

    async def run() -> None:
        async with double.served() as api:
            await asyncio.to_thread(act, ClusterDesk(api, "ranking"), double)

    asyncio.run(run())
    return double


def test_a_rollout_is_created_read_and_deleted() -> None:
    def act(desk: ClusterDesk, double: KubernetesDouble) -> None:
        desk.create("feed", SPEC)
        assert desk.names() == ("feed",)
        assert desk.read("feed").spec == spec_with().to_json()
        assert desk.events("feed") == ()
        desk.delete("feed")
        assert desk.names() == ()

    double = at_desk(act, empty=True)
    assert [write.split()[0] for write in double.writes] == ["POST", "DELETE"]


def test_a_wish_is_a_patch_of_that_field_alone() -> None:
    def act(desk: ClusterDesk, double: KubernetesDouble) -> None:
        before = dict(double.objects[FEED]["spec"])
        desk.edit("feed", lambda spec: steering.paused(spec, True))
        assert double.objects[FEED]["spec"] == {**before, "paused": True}
        desk.edit("feed", lambda spec: steering.paused(spec, True))
        desk.edit("feed", lambda spec: {**spec, "weightOverride": {"weight": 7, "run": f"{'b' * 12}-{'c' * 12}-1"}})
        desk.edit("feed", lambda spec: {name: value for name, value in spec.items() if name != "weightOverride"})
        assert "weightOverride" not in double.objects[FEED]["spec"]

    assert len(at_desk(act).writes) == 3


def test_a_wish_that_meets_the_operators_write_is_written_all_the_same() -> None:
    def act(desk: ClusterDesk, double: KubernetesDouble) -> None:
        double.refuse = [409, 409]
        desk.edit("feed", steering.aborted)
        assert double.objects[FEED]["spec"]["abort"] is True
        double.refuse = [409] * 5
        with pytest.raises(Fault, match="5 writes met others' writes"):
            desk.edit("feed", lambda spec: steering.paused(spec, True))

    at_desk(act)


def refused(spec: dict[str, Any]) -> dict[str, Any]:
    return {**spec, "maxWeight": 0}


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda desk: desk.read("fed"), "namespace ranking: no rollout 'fed'"),
        (lambda desk: desk.create("feed", SPEC), "Conflict|exists"),
        (lambda desk: desk.edit("feed", refused), r"spec\.maxWeight: Input should be greater"),
    ],
)
def test_a_refusal_is_one_line_and_nothing_is_written(act: Callable[[ClusterDesk], Any], sentence: str) -> None:
    def tried(desk: ClusterDesk, double: KubernetesDouble) -> None:
        with pytest.raises((UserError, Fault), match=sentence) as told:
            act(desk)
        assert "\n" not in str(told.value)

    assert at_desk(tried).writes == []


def test_an_api_server_that_fails_is_a_fault_of_the_world() -> None:
    def act(desk: ClusterDesk, double: KubernetesDouble) -> None:
        double.refuse = [503]
        with pytest.raises(Fault, match="the API server answers 503"):
            desk.edit("feed", steering.aborted)

    at_desk(act)


def test_an_api_server_that_is_not_there_is_named_with_the_cause_alone() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: refused, whoever asks
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        settings = client.Configuration(host=address)
        settings.retries = 0
        with pytest.raises(Fault) as told:
            ClusterDesk(client.ApiClient(settings), "ranking").names()
    assert str(told.value).startswith(f"the API server {address} does not answer: ")
    assert "refused" in str(told.value)
    assert not any(word in str(told.value) for word in ("Pool", "object at", "retries"))
