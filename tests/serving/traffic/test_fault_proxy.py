"""The fault proxy before a real ranker."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import aiohttp
import pytest

from model.errors import Fault, UserError
from serving.traffic.fault_proxy import FaultProxy, Faults
from tests.serving.gateway.upstream import Upstream, running

V2 = "/v2/models/mgoe/infer"


def ask(upstream: str, faults: Faults, path: str = V2, times: int = 1) -> list[tuple[int, float, str | None, bytes]]:
    """Status, seconds, exposure id and body of requests through a proxy, one after the other."""

    async def work() -> list[tuple[int, float, str | None, bytes]]:
        found = []
        async with FaultProxy(upstream, faults) as proxy, aiohttp.ClientSession() as session:
            for _ in range(times):
                begun = time.monotonic()
                headers = {"x-mgoe-unit": "u", "connection": "keep-alive, x-secret", "x-secret": "1"}
                url = f"http://127.0.0.1:{proxy.port}{path}"
                async with session.post(url, data=b"{}", headers=headers) as answer:
                    body = await answer.read()
                taken = time.monotonic() - begun
                found.append((answer.status, taken, answer.headers.get("x-mgoe-exposure-id"), body))
        return found

    return asyncio.run(work())


def test_without_faults_requests_and_answers_pass_whole() -> None:
    with running(Upstream("candidate")) as (upstream,):
        ((status, _, exposure, body),) = ask(f"http://127.0.0.1:{upstream.port}", Faults())
    assert (status, body) == (200, b'{"arm":"candidate"}')
    assert exposure is not None
    (seen,) = upstream.seen
    assert (seen["x-mgoe-unit"], seen["path"], seen["bytes"]) == ("u", V2, "2")
    assert "x-secret" not in seen  # named by `connection`, so it is for the next hop alone


def test_errors_hit_the_asked_share_of_ranking_requests_and_never_reach_the_ranker() -> None:
    with running(Upstream("candidate")) as (upstream,):
        address = f"http://127.0.0.1:{upstream.port}"
        found = Counter(status for status, *_ in ask(address, Faults(error_share=0.3, seed=1), times=200))
        assert found == Counter(status for status, *_ in ask(address, Faults(error_share=0.3, seed=1), times=200))
        assert found.keys() == {200, 500}
        assert 40 <= found[500] <= 80
        assert len(upstream.seen) == 2 * found[200]


def test_a_held_answer_comes_late_and_metadata_does_not_suffer() -> None:
    faults = Faults(latency_s=0.3, error_share=1.0, error_status=503)
    with running(Upstream("candidate")) as (upstream,):
        address = f"http://127.0.0.1:{upstream.port}"
        ((status, taken, _, _),) = ask(address, faults)
        assert (status, taken >= 0.3) == (503, True)
        ((status, *_),) = ask(address, faults, path="/v2/models/mgoe")
        assert status == 200
        ((status, *_),) = ask(address, Faults(error_share=1.0, after_s=60))
        assert status == 200


def test_a_ranker_that_is_gone_looks_gone() -> None:
    with pytest.raises(aiohttp.ClientError):
        ask("http://127.0.0.1:9", Faults())


def test_a_port_that_is_taken_is_named() -> None:
    async def work(port: int) -> None:
        async with FaultProxy("http://127.0.0.1:9", Faults(), port):
            pass

    with running(Upstream("candidate")) as (upstream,), pytest.raises(Fault, match=f"port {upstream.port}"):
        asyncio.run(work(upstream.port))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"error_share": 1.5}, "error share 1.5"),
        ({"latency_share": -1}, "latency share -1"),
        ({"latency_s": -1}, "latency s -1"),
        ({"error_status": 200}, "error status 200"),
    ],
)
def test_faults_that_cannot_be_are_refused_by_name(options: dict[str, float], named: str) -> None:
    with pytest.raises(UserError, match=named):
        Faults(**options)  # type: ignore[arg-type]
