"""Envoy and the function decide alike, for thousands of units, weights and salts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.errors import UserError
from serving.gateway import assignment, vectors
from serving.gateway.config import GatewayConfig
from serving.gateway.envoy import Envoy
from serving.gateway.folder import GatewayFolder
from tests.serving.gateway.client import Client
from tests.serving.gateway.gateways import Gateway

NOBODY = {"endpoints": [{"host": "127.0.0.1", "http": 1}]}
"""No ranker is needed: Envoy's own 503 names the arm too."""
WEIGHTS = (0, 1, 37, 500, 2500, 5000, 9999, 10_000)


def units(count: int) -> Iterator[str]:
    """Plain ids, and text of all planes of Unicode in all lengths, always the same."""
    source = random.Random(20)
    planes = [(0x21, 0x7E), (0xA0, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]
    for place in range(count):
        if place % 2:
            yield f"user-{source.randrange(10**9)}"
            continue
        length = min(256, 1 + int(source.expovariate(1 / 20)))
        text = "".join(chr(source.randint(*source.choice(planes))) for _ in range(length))
        yield text.replace(",", ";")


@pytest.mark.parametrize("salt", ["mgoe", "A_b-9.z", "0" * 64])
def test_envoy_and_the_function_never_disagree(tmp_path: Path, salt: str) -> None:
    config = GatewayConfig.model_validate(
        {"experiment": {"id": "e", "salt": salt}, "baseline": NOBODY, "candidate": NOBODY, "listener": {"port": 0}}
    )
    asked = list(units(400))
    buckets = {unit: assignment.bucket(salt, unit) for unit in asked}
    with Envoy(GatewayFolder(tmp_path), config, settle_s=0) as envoy:
        client = Client(envoy.port)
        for weight in WEIGHTS:
            Gateway(envoy).set(weight / 100)
            decided = {unit: client.rank(unit).arm for unit in asked}
            expected = {unit: assignment.arm(bucket, weight) for unit, bucket in buckets.items()}
            assert decided == expected


def test_envoy_and_the_function_refuse_the_same_ids(tmp_path: Path) -> None:
    config = GatewayConfig.model_validate(
        {"experiment": {"id": "e", "salt": "s"}, "baseline": NOBODY, "candidate": NOBODY, "listener": {"port": 0}}
    )
    edges = [
        chr(code) for code in (*range(0x20, 0x100), 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0xFFFF, 0x10000, 0x10FFFF)
    ]
    tried = [f"x{edge}y" for edge in edges] + ["x" * 256, "x" * 257, "🙂" * 256, "🙂" * 257, ""]
    with Envoy(GatewayFolder(tmp_path), config, settle_s=0) as envoy:
        client = Client(envoy.port)
        for unit in tried:
            if unit == "x\x7fy":
                continue  # no HTTP/1.1 header holds it: Envoy's codec refuses the whole request
            status = client.rank(unit).status
            try:
                assignment.check_unit(unit)
            except UserError:
                assert status == 400, unit
            else:
                assert status == 503, unit


def test_the_published_vectors_are_the_functions() -> None:
    published = vectors.published()
    assert set(published) == set(vectors.SALTS)
    for salt, buckets in published.items():
        assert set(buckets) == set(vectors.UNITS)
        assert {unit: assignment.bucket(salt, unit) for unit in buckets} == buckets


def test_the_published_vectors_are_envoys() -> None:
    salt, units = vectors.SALTS[1], vectors.UNITS[:6] + vectors.UNITS[-6:]
    assert vectors.measured([salt], units)[salt] == {unit: vectors.published()[salt][unit] for unit in units}
