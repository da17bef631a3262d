"""The handler, in TorchServe's own Python frame and without its frontend."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.ranker.ranker import Ranker
from serving.ranker.request import RankRequest
from serving.ranker.settings import Limits, RankerSettings
from serving.ranker.torchserve.handler import RankerHandler
from serving.ranker.torchserve.launch import REASON, RUN
from serving.ranker.torchserve.worker_metrics import model_metrics

pytest.importorskip("ts", reason="TorchServe is not installed")


class Frame:
    """What a TorchServe worker puts around a handler: its service, context and metrics."""

    def __init__(self, bundle: Path, ranker: RankerSettings, folder: Path) -> None:
        cache_of = import_module("ts.metrics.metric_cache_yaml_impl").MetricsCacheYamlImpl
        (folder / "metrics.yaml").write_text(yaml.safe_dump({"model_metrics": model_metrics()}))
        cache = cache_of(str(folder / "metrics.yaml"))
        cache.initialize_cache()
        cache.model_name = "ranker"
        config = {"bundle": bundle.name, "ranker": ranker.model_dump(mode="json")}
        self.context = import_module("ts.context").Context(
            "ranker", str(bundle.parent), {}, 8, None, "0.12.0", True, cache, config
        )
        self.handler = RankerHandler()
        self.handler.initialize(self.context)
        self._service = import_module("ts.service").Service

    def send(self, *bodies: object) -> list[tuple[int, Any]]:
        """Status and parsed body of every call of one batch."""
        rows = [{"body": body if isinstance(body, bytes) else json.dumps(body).encode()} for body in bodies]
        return self.send_rows(rows)

    def send_rows(self, rows: list[dict[str, Any]]) -> list[tuple[int, Any]]:
        batch = [
            {
                "requestId": f"call-{place}".encode(),
                "parameters": [{"name": key, "value": value, "contentType": ""} for key, value in row.items()],
            }
            for place, row in enumerate(rows)
        ]
        processors, inputs, ids = self._service.retrieve_data_for_inference(batch)
        self.context.request_processor, self.context.request_ids = processors, ids
        bodies = self.handler.handle(inputs, self.context)
        return [(self.context.get_response_status(i)[0], json.loads(body)) for i, body in enumerate(bodies)]


@pytest.fixture(scope="module")
def frame(bundles: dict[str, Path], quick: RankerSettings, tmp_path_factory: pytest.TempPathFactory) -> Frame:
    small = quick.model_copy(update={"limits": Limits(candidates=50, body_bytes=20_000)})
    return Frame(bundles["mmoe"], small, tmp_path_factory.mktemp("frame"))


def v2(user: str, items: list[str], **rest: object) -> dict[str, object]:
    tensors = [("user", [user]), ("items", items)]
    inputs = [{"name": name, "datatype": "BYTES", "shape": [len(data)], "data": data} for name, data in tensors]
    return {"inputs": inputs, **rest}


def test_every_protocol_gets_the_rankers_scores(frame: Frame, rankers: Callable[[str], Ranker]) -> None:
    probe = rankers("mmoe").bundle.probes[0].request
    plain = {"user": probe.user, "items": list(probe.items), "time": probe.time}
    wanted = rankers("mmoe").rank(RankRequest(probe.user, probe.items, time=probe.time))
    time = {"name": "time", "datatype": "FP64", "shape": [1], "data": [probe.time]}
    call = v2(probe.user, list(probe.items))
    call["inputs"] = [*call["inputs"], time]  # type: ignore[misc]
    (_, as_plain), (_, as_v1), (_, as_v2) = frame.send(plain, {"instances": [plain, plain]}, call)
    np.testing.assert_allclose(as_plain["probabilities"], wanted.probabilities, atol=1e-6)
    for prediction in as_v1["predictions"]:
        np.testing.assert_allclose(prediction["score"], wanted.score, atol=1e-5)
    assert as_v2["outputs"][2]["data"] == wanted.order.tolist()
    assert (as_v2["model_name"], as_v2["model_version"], as_v2["id"]) == ("ranker", wanted.digest[:12], "call-2")


def test_a_wrong_call_leaves_the_others_of_its_batch_alone(frame: Frame) -> None:
    good = {"user": "u", "items": ["a", "b"]}
    answers = frame.send(good, b"{", good, {**good, "items": []}, {"instances": [good, {}]}, v2("u", ["a"]))
    assert [status for status, _ in answers] == [200, 400, 200, 400, 400, 200]
    assert [len(body["order"]) for status, body in answers[:3] if status == 200] == [2, 2]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "no JSON"),
        (b'{"user": NaN}', 400, "NaN"),
        (b"[" * 5_000, 400, "JSON|nested"),
        (b'{"user": "u", "items": ["a"], "request_id": "\\ud800"}', 400, "request_id"),
        (b" " * 20_001, 413, "20000"),
        ({"user": "u"}, 400, "items"),
        ({"user": "u", "items": ["a"] * 51}, 413, "50"),
        ({"user": "u", "items": ["a"], "utility": {"nothing": 1}}, 422, "nothing"),
        ({"user": "u", "items": ["a"], "context": {"nothing": 1}}, 422, "nothing"),
        ({"instances": [{"user": "u", "items": ["a"] * 30}] * 2}, 413, "together"),
        (v2("u", ["a"], outputs=[{"name": "rank"}]), 400, "rank"),
    ],
)
def test_bad_input_gets_a_4xx_and_a_sentence(frame: Frame, body: object, status: int, words: str) -> None:
    ((found, told),) = frame.send(body)
    assert 400 <= found < 500
    assert list(told) == ["error"]
    assert any(word in told["error"] for word in words.split("|")), told
    assert found == status


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
near = st.fixed_dictionaries(
    {"user": st.just("u") | anything, "items": st.lists(st.just("1") | scalars, max_size=3) | anything},
    optional=dict.fromkeys(("context", "time", "utility", "request_id", "other"), anything),
)
calls = (
    st.binary(max_size=40)
    | anything
    | near
    | st.fixed_dictionaries({"instances": st.lists(near | anything, max_size=3) | anything})
    | st.fixed_dictionaries({"inputs": st.lists(anything, max_size=3) | anything}, optional={"outputs": anything})
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(calls, min_size=1, max_size=4))
def test_no_batch_of_calls_is_too_strange_to_answer(frame: Frame, batch: list[object]) -> None:
    good = {"user": "u", "items": ["1", "2"]}
    answers = frame.send(good, *batch)
    assert answers[0][0] == 200
    for status, body in answers[1:]:
        assert status == 200 or (400 <= status < 500 and len(body["error"]) > 10)


def test_a_form_instead_of_json_is_refused(frame: Frame) -> None:
    ((status, told),) = frame.send_rows([{"user": b"u"}])
    assert (status, told["error"][:24]) == (400, "the call has no body; se")


def test_metrics_count_answers_by_arm_and_digest_and_refusals_by_reason(
    frame: Frame, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="ts.metrics.caching_metric")
    frame.send({"user": "nobody", "items": ["nothing"]}, b"{")
    told = [line for line in caplog.messages if line.startswith("[METRICS]mgoe_")]
    names = {line.removeprefix("[METRICS]").partition(".")[0] for line in told}
    assert names == {
        "mgoe_rank_seconds",
        "mgoe_rank_requests",
        "mgoe_rank_candidates",
        "mgoe_rank_item_cache_misses",
        "mgoe_rank_cold_users",
        "mgoe_rank_refusals",
    }
    assert all("arm:candidate" in line for line in told)


def test_no_metric_shares_its_list_of_dimensions_in_the_file() -> None:
    assert "&" not in yaml.safe_dump(model_metrics())


def test_a_broken_bundle_is_named_where_readiness_looks(
    bundles: dict[str, Path], quick: RankerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN, str(tmp_path))
    broken = tmp_path / "broken"
    shutil.copytree(bundles["mmoe"], broken)
    (broken / "items" / "sparse.npy").unlink()
    with pytest.raises(RuntimeError, match=r"items/sparse\.npy"):
        Frame(broken, quick, tmp_path)
    assert "items/sparse.npy" in (tmp_path / REASON).read_text()
    Frame(bundles["mmoe"], quick, tmp_path)
    assert not (tmp_path / REASON).exists()
