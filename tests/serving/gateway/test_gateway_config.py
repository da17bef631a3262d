"""The configuration file, the split, and the folder: what is refused, and in which words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import Fault, UserError
from serving.gateway.assignment import BUCKETS
from serving.gateway.config import GatewayConfig, parse_config, read_config
from serving.gateway.folder import ROUTES_FILE, GatewayFolder
from serving.gateway.routes import routes, split_of
from serving.gateway.split import Split

GOOD = """\
experiment: {id: exp-1, salt: s}
baseline: {endpoints: [{host: 127.0.0.1, http: 8080, grpc: 8081}]}
candidate: {endpoints: [{host: candidate.ranking.svc, http: 8080, grpc: 8081}]}
"""


@pytest.fixture
def config() -> GatewayConfig:
    return parse_config(GOOD, "gateway.yaml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("salt: s", "salt: 'a b'"), "experiment.salt"),
        (("salt: s", 'salt: "s\\n"'), "experiment.salt"),
        (("id: exp-1, ", ""), "experiment.id: is missing"),
        (("http: 8080, ", ""), "baseline.endpoints.0.http: is missing"),
        (("http: 8080", "http: 80800"), "baseline.endpoints.0.http"),
        (("[{host: 127.0.0.1, http: 8080, grpc: 8081}]", "[]"), "baseline.endpoints"),
        ((", grpc: 8081}]}\ncand", "}]}\ncand"), "give a grpc port to every endpoint of both arms, or to none"),
        (("candidate:", "challenger:"), "candidate: is missing"),
        (("127.0.0.1", "'http://x'"), "baseline.endpoints.0.host"),
        (("experiment:", "timeout: 3\nexperiment:"), "timeout: unknown field"),
        (
            ("experiment:", "timeouts: {request: .nan}\nexperiment:"),
            "timeouts.request: Input should be a finite number",
        ),
        (("experiment:", "admin: {host: 0.0.0.0}\nexperiment:"), "admin.host: unknown field"),
        (("experiment:", "version: 2\nexperiment:"), "version"),
        ((GOOD, "[]"), "must be a mapping of fields, not list"),
        ((GOOD, ""), "must be a mapping of fields, not NoneType"),
        ((GOOD, "a: ["), "is not YAML"),
    ],
)
def test_a_wrong_field_is_named_in_one_line(change: tuple[str, str], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as told:
        parse_config(GOOD.replace(*change), "gateway.yaml")
    assert "\n" not in str(told.value)
    assert str(told.value).startswith("gateway.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml cannot be read"):
        read_config(tmp_path / "nowhere.yaml")


@given(st.integers(1, 10**9), st.integers(0, BUCKETS), st.integers(0, BUCKETS))
def test_a_rendered_split_is_read_back_as_it_was(phase: int, weight: int, mirror: int) -> None:
    split = Split("exp-1", "s", phase, weight, mirror)
    assert split_of(routes(parse_config(GOOD, "x"), split)["resources"][0]) == split


@given(st.integers(0, BUCKETS))
def test_weights_sum_to_the_whole_on_every_transport_and_the_candidate_is_first(weight: int) -> None:
    table = routes(parse_config(GOOD, "x"), Split("e", "s", 1, weight))["resources"][0]
    found = [
        [(member["name"], member["weight"]) for member in route["route"]["weighted_clusters"]["clusters"]]
        for route in table["virtual_hosts"][0]["routes"]
        if "weighted_clusters" in route.get("route", {})
    ]
    assert found == [
        [("candidate-grpc", weight), ("baseline-grpc", BUCKETS - weight)],
        [("candidate", weight), ("baseline", BUCKETS - weight)],
    ]


def test_a_table_whose_weights_disagree_is_not_read(config: GatewayConfig) -> None:
    table = routes(config, Split("e", "s", 1, 100))["resources"][0]
    split = next(route for route in table["virtual_hosts"][0]["routes"] if route["name"] == "http/rank/split")
    split["route"]["weighted_clusters"]["clusters"][0]["weight"] = 200
    with pytest.raises(ValueError, match="weights"):
        split_of(table)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"experiment": ""}, "salt or name ''"),
        ({"candidate_weight": 10_001}, "candidate weight 10001"),
        ({"mirror": -1}, "mirror -1"),
        ({"phase": 0}, "phase 0"),
    ],
)
def test_a_split_that_cannot_be_rendered_is_refused(fields: dict[str, object], said: str) -> None:
    whole: dict[str, object] = {"experiment": "e", "salt": "s"}
    with pytest.raises(UserError, match=re.escape(said)):
        Split(**(whole | fields))  # type: ignore[arg-type]


def test_a_folder_keeps_its_split_over_restarts(tmp_path: Path, config: GatewayConfig) -> None:
    folder = GatewayFolder(tmp_path)
    assert folder.prepare(config) == Split("exp-1", "s")
    folder.write(ROUTES_FILE, __import__("json").dumps(routes(config, Split("exp-1", "s", 9, 700))))
    assert folder.prepare(config) == Split("exp-1", "s", 9, 700) == folder.split()
    assert not [path for path in (tmp_path / "xds").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"resources": []}', '{"resources": [{"metadata": 3}]}', "\x00"])
def test_a_routes_file_of_somebody_else_is_named(tmp_path: Path, config: GatewayConfig, content: str) -> None:
    folder = GatewayFolder(tmp_path)
    folder.prepare(config)
    folder.write(ROUTES_FILE, content)
    with pytest.raises(UserError, match=r"routes\.json holds no split of ours"):
        folder.split()


def test_a_folder_that_cannot_be_written_is_a_fault(tmp_path: Path, config: GatewayConfig) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fault, match="cannot be written"):
        GatewayFolder(tmp_path / "file" / "gateway").prepare(config)
