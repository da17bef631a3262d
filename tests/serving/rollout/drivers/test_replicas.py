"""The least number of replicas of a Deployment, with an autoscaler and without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from model.errors import Fault
from serving.rollout.drivers.replicas import Floor, Replicas
from tests.serving.rollout.kubernetes_double import KubernetesDouble

NAMESPACE = "ranking"


def with_replicas(test: Callable[[KubernetesDouble, Replicas], Awaitable[None]], **autoscaler: Any) -> None:
    """Deployments mmoe, with this autoscaler, and mgoe, without one."""
    double = KubernetesDouble()
    for name in ("mmoe", "mgoe"):
        double.put("deployments", {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"replicas": 3}})
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mmoe"}
    spec = {"scaleTargetRef": target, "maxReplicas": 5, **autoscaler}
    double.put("horizontalpodautoscalers", {"metadata": {"name": "of-mmoe", "namespace": NAMESPACE}, "spec": spec})

    async def run() -> None:
        async with double.served() as api:
            await test(double, Replicas(api, NAMESPACE))

    asyncio.run(run())


def spec_of(double: KubernetesDouble, collection: str, name: str) -> Any:
    return double.objects[collection, NAMESPACE, name]["spec"]


def test_without_an_autoscaler_the_scale_is_written() -> None:
    async def test(double: KubernetesDouble, replicas: Replicas) -> None:
        assert await replicas.floor("mgoe") == Floor(3)
        await replicas.set_floor("mgoe", 4)
        assert await replicas.floor("mgoe") == Floor(4)
        assert await replicas.floor("other") is None
        assert spec_of(double, "deployments", "mgoe")["replicas"] == 4

    with_replicas(test)


def test_with_an_autoscaler_its_lower_bound_is_written_and_the_scale_is_left_alone() -> None:
    async def test(double: KubernetesDouble, replicas: Replicas) -> None:
        assert await replicas.floor("mmoe") == Floor(2, lowest=1)
        await replicas.set_floor("mmoe", 4)
        assert await replicas.floor("mmoe") == Floor(4, lowest=1)
        await replicas.set_floor("mmoe", 0)
        assert await replicas.floor("mmoe") == Floor(1, lowest=1)
        assert spec_of(double, "deployments", "mmoe") == {"replicas": 3}
        assert spec_of(double, "horizontalpodautoscalers", "of-mmoe")["maxReplicas"] == 5

    with_replicas(test, minReplicas=2)


def test_an_autoscaler_that_tells_no_bound_has_one_and_one_that_is_too_small_is_named() -> None:
    async def test(double: KubernetesDouble, replicas: Replicas) -> None:
        assert await replicas.floor("mmoe") == Floor(1, lowest=1)
        with pytest.raises(Fault, match="HorizontalPodAutoscaler of-mmoe has maxReplicas 5, and 6 are needed"):
            await replicas.set_floor("mmoe", 6)
        assert double.writes == []

    with_replicas(test)
