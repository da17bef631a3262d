"""The gateway before two real ranking servers: MMoE as the baseline, MGOE as the candidate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import grpc  # type: ignore[import-untyped]
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb  # type: ignore[import-untyped]
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc

from serving.gateway import assignment
from tests.serving.gateway.client import V2, Answer, Client
from tests.serving.gateway.gateways import SALT, Gateway, config_of, gateway, wait_for
from tests.serving.ranker.bundles import MGOE, MMOE, World
from tests.serving.ranker.kserve_process import ServerProcess, v2_call

UNITS = [str(place) for place in range(60)]
BODY = json.dumps(v2_call("7", ["3", "11", "never-seen", "40"])).encode()


@dataclass
class Field:
    """A gateway and the two servers behind it."""

    gateway: Gateway
    baseline: ServerProcess
    candidate: ServerProcess
    digests: dict[str, str]

    def ask(self, client: Client, unit: str) -> Answer:
        return client.ask("POST", V2, {"x-mgoe-unit": unit, "content-type": "application/json"}, BODY)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("field")
    world = World(folder)
    baseline, candidate = world.bundle("mmoe", MMOE), world.bundle("mgoe", MGOE)
    with (
        ServerProcess(baseline, folder, "--arm", "baseline") as first,
        ServerProcess(candidate, folder, "--settle", "1.5") as second,
    ):
        ends = [
            {"host": "127.0.0.1", "http": server.wait_ready().http_port, "grpc": server.grpc_port}
            for server in (first, second)
        ]
        with gateway(folder / "gateway", config_of(ends[:1], ends[1:])) as started:
            digests = {
                arm: started.client()
                .ask("POST", V2, {"x-mgoe-variant": arm, "content-type": "application/json"}, BODY)
                .headers["x-mgoe-digest"]
                for arm in ("baseline", "candidate")
            }
            yield Field(started, first, second, digests)


@pytest.mark.slow
def test_both_models_answer_over_every_protocol_and_every_answer_is_an_exposure(field: Field) -> None:
    split = field.gateway.set(50)
    client = field.gateway.client()
    seen = len(field.gateway.lines(0))
    told: dict[str, str] = {}
    with grpc.insecure_channel(f"127.0.0.1:{field.gateway.envoy.port}") as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        for unit in UNITS[:20]:
            arm = assignment.arm(assignment.bucket(SALT, unit), 5000)
            answer = field.ask(client, unit)
            assert (answer.status, answer.arm, answer.headers["x-mgoe-digest"]) == (200, arm, field.digests[arm])
            assert answer.json["parameters"]["exposure_id"] == answer.headers["x-mgoe-exposure-id"]
            told[answer.headers["x-mgoe-exposure-id"]] = arm
            v1 = {"instances": [{"user": "7", "items": ["3", "11"]}, {"user": "8", "items": ["3"]}]}
            answer = client.ask("POST", "/v1/models/mgoe:predict", {"x-mgoe-unit": unit}, json.dumps(v1).encode())
            assert (answer.status, answer.arm) == (200, arm)
            told |= dict.fromkeys(answer.headers["x-mgoe-exposure-id"].split(","), arm)
            message = pb.ModelInferRequest(model_name="mgoe")
            message.inputs.add(name="user", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"7")
            message.inputs.add(name="items", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"3")
            found = stub.ModelInfer(message, metadata=(("x-mgoe-unit", unit),), timeout=10)
            assert found.parameters["digest"].string_param == field.digests[arm]
            told[found.parameters["exposure_id"].string_param] = arm
    records = [record for record in field.gateway.records(seen + 60) if record.exposure_id in told]
    assert {str(record.exposure_id): record.arm for record in records} == told
    assert len(records) == 80
    assert all(record.excluded is None and record.phase == split.phase for record in records)
    assert all(record.digest == field.digests[record.arm] for record in records)


@pytest.mark.slow
def test_weights_move_between_real_servers_without_a_lost_request(field: Field) -> None:
    client = field.gateway.client()
    for percent in (0, 5, 20, 50, 100, 0):
        split = field.gateway.set(percent)
        for unit in UNITS:
            answer = field.ask(client, unit)
            expected = assignment.arm(assignment.bucket(SALT, unit), split.candidate_weight)
            assert (answer.status, answer.arm, answer.headers["x-mgoe-digest"]) == (
                200,
                expected,
                field.digests[expected],
            )


@pytest.mark.slow
def test_a_server_that_goes_away_refuses_its_users_alone_and_metrics_stay_inside(field: Field) -> None:
    field.gateway.set(50)
    client = field.gateway.client()
    assert client.ask("GET", "/metrics", {}).status == 404
    assert client.ask("GET", "/v2/health/ready", {}).status == 200
    field.candidate.process.terminate()
    wait_for(lambda: field.gateway.live.hosts()["candidate"].healthy == 0, "the candidate to be out")
    found = {unit: field.ask(client, unit) for unit in UNITS}
    for unit, answer in found.items():
        expected = assignment.arm(assignment.bucket(SALT, unit), 5000)
        assert (answer.status, answer.arm) == (200 if expected == "baseline" else 503, expected)
    # The way out: everybody to the baseline, in one write.
    field.gateway.set(0)
    assert {field.ask(client, unit).status for unit in UNITS} == {200}
