"""One gateway before one ranker an arm, for tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.serving.gateway.gateways import Gateway, config_of, endpoint, gateway
from tests.serving.gateway.upstream import GrpcUpstream, Upstream, running


@dataclass
class Pair:
    """A gateway and what is behind it."""

    gateway: Gateway
    baseline: Upstream
    candidate: Upstream
    baseline_grpc: GrpcUpstream
    candidate_grpc: GrpcUpstream


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both arms over both transports."""
    with running(Upstream("baseline"), Upstream("candidate")) as (baseline, candidate):
        grpcs = GrpcUpstream(baseline), GrpcUpstream(candidate)
        config = config_of([endpoint(baseline, grpcs[0])], [endpoint(candidate, grpcs[1])])
        with gateway(tmp_path_factory.mktemp("gateway"), config) as started:
            yield Pair(started, baseline, candidate, *grpcs)
        for grpc in grpcs:
            grpc.stop()
