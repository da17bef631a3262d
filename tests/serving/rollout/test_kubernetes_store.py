"""The store of a cluster, through the real client, against an API that compares versions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, cast

import pytest
from kubernetes import client

from model.errors import Fault
from serving.rollout.desk import ClusterDesk
from serving.rollout.drivers.endpoint_slices import EndpointSlices
from serving.rollout.drivers.inference_service import InferenceService
from serving.rollout.drivers.ownership import Ownership
from serving.rollout.facts import Clock
from serving.rollout.fence import Alone
from serving.rollout.kubernetes_store import TIMEOUT_S, KubernetesStore
from serving.rollout.lease import LeaseKeeper, LeaseSettings
from serving.rollout.reconcile import Edges, Reconciler
from serving.rollout.state import Transition
from serving.rollout.store import FINALIZER, ConflictError, Key
from tests.serving.rollout.kubernetes_double import KubernetesDouble
from tests.serving.rollout.rollout_cluster import Cluster, healthy, winning
from tests.serving.rollout.rollout_world import SPEC, World

KEY = Key("ranking", "feed")
LINE = Transition(
    seq=3, at=1.8e9, origin="Ramping", target="RollingBack", step=1, weight=0, reason="HarmShown", message="clicks -3 %"
)


def with_store(test: Callable[[KubernetesDouble, KubernetesStore], Awaitable[None]]) -> KubernetesDouble:
    double = KubernetesDouble()
    double.put("modelrollouts", {"metadata": {"name": "feed", "namespace": "ranking"}, "spec": SPEC})

    async def run() -> None:
        async with double.served() as api:
            await test(double, KubernetesStore(api))

    asyncio.run(run())
    return double


def test_a_rollout_is_read_with_its_version() -> None:
    async def test(double: KubernetesDouble, store: KubernetesStore) -> None:
        read = await store.get(KEY)
        assert read is not None
        assert (read.version, read.generation, read.held) == ("101", 1, False)
        assert read.spec["steps"] == SPEC["steps"]
        assert await store.get(Key("ranking", "other")) is None
        assert await store.keys() == (KEY,)

    with_store(test)


def test_a_status_on_an_old_version_is_refused() -> None:
    async def test(double: KubernetesDouble, store: KubernetesStore) -> None:
        read = await store.get(KEY)
        assert read is not None
        written = await store.write_status(read, {"phase": "Validating"})
        assert (written.status, written.generation) == ({"phase": "Validating"}, 1)
        with pytest.raises(ConflictError, match="status of ModelRollout ranking/feed: Conflict"):
            await store.write_status(read, {"phase": "Ramping"})

    assert with_store(test).objects["modelrollouts", "ranking", "feed"]["status"] == {"phase": "Validating"}


def test_the_finalizer_comes_and_goes_beside_those_of_others() -> None:
    async def test(double: KubernetesDouble, store: KubernetesStore) -> None:
        double.objects["modelrollouts", "ranking", "feed"]["metadata"]["finalizers"] = ["example.org/other"]
        read = await store.get(KEY)
        assert read is not None
        held = await store.hold(read)
        assert held.finalizers == ("example.org/other", FINALIZER)
        with pytest.raises(ConflictError):
            await store.release(read)
        await store.release(held)

    metadata = with_store(test).objects["modelrollouts", "ranking", "feed"]["metadata"]
    assert metadata["finalizers"] == ["example.org/other"]


def test_a_transition_has_one_event_however_often_it_is_announced() -> None:
    async def test(double: KubernetesDouble, store: KubernetesStore) -> None:
        read = await store.get(KEY)
        assert read is not None
        for _ in range(3):
            await store.announce(read, LINE, warning=True)

    events = [each for key, each in with_store(test).objects.items() if key[0] == "events"]
    assert [(each["reason"], each["type"], each["message"]) for each in events] == [
        ("HarmShown", "Warning", "clicks -3 %")
    ]


def test_an_api_server_that_does_not_answer_is_a_fault() -> None:
    async def test(double: KubernetesDouble, store: KubernetesStore) -> None:
        read = await store.get(KEY)
        assert read is not None
        double.refuse = [503]
        with pytest.raises(Fault, match="the API server answers 503"):
            await store.write_status(read, {})

    with_store(test)


@pytest.fixture
def silent() -> Iterator[client.ApiClient]:
    """A client of an API server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings = client.Configuration()
        settings.host = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings.retries = 0
        yield client.ApiClient(settings)


def test_an_api_server_that_takes_connections_and_says_nothing_is_a_fault_too(silent: client.ApiClient) -> None:
    """Of every edge that asks it, all at the same time. The client takes no notice of a timeout that is no int."""
    nobody = cast("Ownership", None)
    asked: dict[str, Coroutine[Any, Any, object]] = {
        "store": KubernetesStore(silent).get(KEY),
        "lease": LeaseKeeper(silent, LeaseSettings("ranking", "me")).attempt(),
        "endpoints": EndpointSlices(silent, "ranking").of("mmoe", "http"),
        "inference service": InferenceService(silent, "ranking", "shop", nobody).read(),
        "desk": asyncio.to_thread(ClusterDesk(silent, "ranking").read, "feed"),
    }

    async def ask() -> list[object]:
        return await asyncio.gather(*asked.values(), return_exceptions=True)

    outcomes = dict(zip(asked, asyncio.run(ask()), strict=True))
    assert all(isinstance(each, Fault) and "does not answer" in str(each) for each in outcomes.values()), outcomes


def test_a_write_that_was_begun_in_time_is_over_before_another_operator_may_lead() -> None:
    assert LeaseSettings("ranking", "me").margin_s >= TIMEOUT_S


def test_a_whole_rollout_goes_through_the_real_client_with_conflicts_and_failures() -> None:
    """Every third write is refused, by a conflict or a failing server; the end is the promotion."""
    double = KubernetesDouble()
    double.put("modelrollouts", {"metadata": {"name": "feed", "namespace": "ranking"}, "spec": SPEC})
    cluster = Cluster(World())

    def synced() -> None:
        cluster.world.state = double.objects["modelrollouts", "ranking", "feed"].get("status", {})

    async def run() -> None:
        async with double.served() as api:
            edges = Edges(driver=cluster, measures=cluster, models=cluster)
            store = KubernetesStore(api)
            loop = Reconciler(store, Alone(), lambda *_: edges, lambda _: Clock(cluster.world.now))
            for happens in (lambda _: None, healthy, healthy, winning, healthy, healthy, healthy):
                happens(cluster)
                double.refuse = [0, 0, 409, 0, 0, 503, 0, 0, 409]
                for _ in range(12):
                    synced()
                    await loop.reconcile(KEY)
                synced()

    asyncio.run(run())
    assert cluster.reasons() == ["NewRun", "Started", "StepUp", "StepUp", "Proven", "FullWeight", "Succeeded"]
    events = [each["metadata"]["name"].rsplit(".", 1)[1] for key, each in double.objects.items() if key[0] == "events"]
    assert events == ["1", "2", "3", "4", "5", "6", "7"]
    assert cluster.world.router.weight == 100
