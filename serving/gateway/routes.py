"""Envoy's routes: the rules by which a request gets its arm, rendered from the configuration and the split. Pure.

The resource is a DiscoveryResponse of one RouteConfiguration (file RDS): weights, phase, salt and what the log says of
them change in one write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from serving.gateway.assignment import BUCKETS, UNIT, Arm
from serving.gateway.config import GatewayConfig, Timeouts
from serving.gateway.split import Split

Json = dict[str, Any]
Transport = Literal["http", "grpc"]
Kind = Literal["rank", "info"]

ROUTES = "mgoe"
"""Name of the RouteConfiguration."""
METADATA = "mgoe"
"""Namespace of our metadata in routes and clusters."""
UNIT_HEADER = "x-mgoe-unit"
VARIANT_HEADER = "x-mgoe-variant"
SHADOW_HEADER = "x-mgoe-shadow"
ARM_HEADER = "x-mgoe-arm"
MIRROR_HEADER = "x-mgoe-mirror"
"""Names the cluster that gets a copy; only the gateway sets it, and only for what the baseline answers."""
INTERNAL_HEADERS = (ARM_HEADER, MIRROR_HEADER, "x-mgoe-digest", "x-mgoe-exposure-id")
"""Taken out of every request that comes in."""

_PATHS: dict[tuple[Transport, Kind], tuple[str, str]] = {
    ("http", "rank"): ("POST", r"/v2/models/[^/]+/infer|/v1/models/[^/]+:predict"),
    ("http", "info"): ("GET", r"/v2(/health/(live|ready)|/models(/[^/]+(/ready)?)?)?|/v1/models(/[^/]+)?"),
    ("grpc", "rank"): ("POST", r"/inference\.GRPCInferenceService/ModelInfer"),
    ("grpc", "info"): ("POST", r"/inference\.GRPCInferenceService/(Server(Live|Ready|Metadata)|Model(Ready|Metadata))"),
}
"""What passes; metrics, loading and versions of a ranker do not: whoever names a version names an arm."""
_REFUSALS = {
    "unit": f"header {UNIT_HEADER} must be 1 to 256 characters of UTF-8 without ASCII white space, ASCII controls "
    "and commas, sent once; leave it out where there is no unit",
    "variant": f"header {VARIANT_HEADER} must be baseline or candidate, sent once",
    "path": "no such path; POST /v2/models/NAME/infer, POST /v1/models/NAME:predict or gRPC ModelInfer rank",
}
_INVALID_ARGUMENT = "3"


def cluster(arm: Arm, transport: Transport) -> str:
    """Name of the cluster of an arm's rankers."""
    return arm if transport == "http" else f"{arm}-{transport}"


def routes(config: GatewayConfig, split: Split) -> Json:
    """The file that RDS watches."""
    transports: tuple[Transport, ...] = ("grpc", "http") if config.grpc else ("http",)
    rules = [
        _refusal(name, {"prefix": "/", "headers": [_not_matching(header, pattern)]}, 400, grpc_status)
        for name, header, pattern in (
            ("unit", UNIT_HEADER, UNIT),
            ("variant", VARIANT_HEADER, "baseline|candidate"),
        )
        for grpc_status in (_INVALID_ARGUMENT, None)
    ]
    for transport in transports:
        rules += _ranking(_Rule(config, split, transport, "rank"))
        rules += _info(_Rule(config, split, transport, "info"))
    rules.append(_refusal("path", {"prefix": "/"}, 404))
    table = {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "metadata": _metadata(experiment=split.experiment, salt=split.salt, phase=split.phase, mirror=split.mirror),
        "validate_clusters": False,  # clusters come by a file of their own, in any order
        "virtual_hosts": [{"name": "rankers", "domains": ["*"], "routes": rules}],
    }
    return {"version_info": f"{split.experiment}/{split.phase}", "resources": [table]}


def split_of(table: Json) -> Split:
    """What a RouteConfiguration splits, from its weights and metadata; the reverse of `routes`.

    Raises KeyError, TypeError or ValueError where it was not rendered by `routes`, or where its routes disagree.
    """
    told = table["metadata"]["filter_metadata"][METADATA]
    weights = {
        member["name"]: member["weight"]
        for route in table["virtual_hosts"][0]["routes"]
        if "weighted_clusters" in route.get("route", {})
        for member in route["route"]["weighted_clusters"]["clusters"]
    }
    candidate = {weight for name, weight in weights.items() if name.startswith("candidate")}
    baseline = {weight for name, weight in weights.items() if name.startswith("baseline")}
    if len(candidate) != 1 or baseline != {BUCKETS - min(candidate)}:
        raise ValueError(f"weights {weights} do not sum to {BUCKETS}")
    return Split(told["experiment"], told["salt"], int(told["phase"]), int(min(candidate)), int(told["mirror"]))


@dataclass(frozen=True)
class _Rule:
    """Which route is rendered, and from what."""

    config: GatewayConfig
    split: Split
    transport: Transport
    kind: Kind
    name: str = ""

    def named(self, name: str) -> _Rule:
        return replace(self, name=name)


def _ranking(rule: _Rule) -> Iterator[Json]:
    split, transport = rule.split, rule.transport
    yield from _forced(rule, ("baseline", "candidate"))
    with_unit = _match(transport, "rank", {"name": UNIT_HEADER, "present_match": True})
    yield _route(rule.named("split"), with_unit, _sticky(split, transport) | _mirror(split))
    alone: Json = {"cluster": cluster("baseline", transport)}
    without = _route(rule.named("no_unit"), _match(transport, "rank"), alone | _mirror(split))
    yield without | _told("baseline", transport, split)


def _sticky(split: Split, transport: Transport) -> Json:
    weights: tuple[tuple[Arm, int], ...] = (
        # The candidate is first: it has the buckets from 0, so that raising its weight only adds to them.
        ("candidate", split.candidate_weight),
        ("baseline", BUCKETS - split.candidate_weight),
    )
    members = [
        {"name": cluster(arm, transport), "weight": weight, **_told(arm, transport, split)} for arm, weight in weights
    ]
    salted = {"pattern": {"regex": "^(.*)$"}, "substitution": f"{split.salt}:\\1"}
    return {
        "weighted_clusters": {"clusters": members, "use_hash_policy": True},
        "hash_policy": [{"header": {"header_name": UNIT_HEADER, "regex_rewrite": salted}}],
    }


def _info(rule: _Rule) -> Iterator[Json]:
    """Health and metadata: of the baseline, unless the candidate's are asked for."""
    yield from _forced(rule, ("candidate",))
    action = {"cluster": cluster("baseline", rule.transport)}
    yield _route(rule.named("baseline"), _match(rule.transport, "info"), action) | _told("baseline", rule.transport)


def _forced(rule: _Rule, arms: tuple[Arm, ...]) -> Iterator[Json]:
    for arm in arms:
        match = _match(rule.transport, rule.kind, {"name": VARIANT_HEADER, "string_match": {"exact": arm}})
        action = {"cluster": cluster(arm, rule.transport)}
        yield _route(rule.named(f"forced/{arm}"), match, action) | _told(arm, rule.transport)


def _route(rule: _Rule, match: Json, action: Json) -> Json:
    config, split = rule.config, rule.split
    return {
        "name": f"{rule.transport}/{rule.kind}/{rule.name}",
        "match": match,
        "route": {**action, **_timeouts(config.timeouts, rule.transport), **_retries(config)},
        "metadata": _metadata(
            experiment=split.experiment,
            phase=split.phase,
            candidate_weight=split.candidate_weight,
            kind=rule.kind,
            rule=rule.name.partition("/")[0],
        ),
    }


def _match(transport: Transport, kind: Kind, *headers: Json) -> Json:
    method, path = _PATHS[transport, kind]
    match: Json = {"safe_regex": {"regex": path}}
    if transport == "grpc":
        match["grpc"] = {}
    return match | {"headers": [{"name": ":method", "string_match": {"exact": method}}, *headers]}


def _not_matching(name: str, pattern: str) -> Json:
    """A header that is there and not so. Repeated headers are matched as one, joined by commas."""
    return {"name": name, "string_match": {"safe_regex": {"regex": pattern}}, "invert_match": True}


def _refusal(name: str, match: Json, status: int, grpc_status: str | None = None) -> Json:
    """grpc_status: for gRPC calls alone, and what Envoy would not make of the HTTP status by itself."""
    refused: Json = {
        "name": f"refused/{name}",
        "match": match,
        "direct_response": {"status": status, "body": {"inline_string": _REFUSALS[name]}},
        "metadata": _metadata(kind="refused", rule=name),
    }
    if grpc_status is not None:
        refused["match"] = {**match, "grpc": {}}
        refused["response_headers_to_add"] = [_header("grpc-status", grpc_status)]
    return refused


def _timeouts(timeouts: Timeouts, transport: Transport) -> Json:
    longest = _duration(timeouts.request)
    if transport == "http":
        return {"timeout": longest}
    # A gRPC client's own deadline counts where it is sooner.
    return {"timeout": longest, "max_stream_duration": {"grpc_timeout_header_max": longest}}


def _retries(config: GatewayConfig) -> Json:
    """Only what brought no answer: ranking is a pure function, so a second attempt does no harm. Envoy chooses the
    cluster once, so it stays on the arm. 429 is not retried: the arm is full."""
    if config.retries.attempts == 0:
        return {}
    policy: Json = {
        "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes,unavailable",
        "retriable_status_codes": [503],
        "num_retries": config.retries.attempts,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.020s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        # Draws of a ranker until one was not tried yet; few rankers need many.
        "host_selection_retry_max_attempts": 32,
    }
    if config.timeouts.attempt is not None:
        policy["per_try_timeout"] = _duration(config.timeouts.attempt)
    return {"retry_policy": policy}


def _told(arm: Arm, transport: Transport, split: Split | None = None) -> Json:
    """Headers that the arm adds: its name to every answer, also to those that Envoy makes itself."""
    told: Json = {"response_headers_to_add": [_header(ARM_HEADER, arm)]}
    requests = []
    if split is not None and split.mirror and arm == "baseline":
        requests.append(_header(MIRROR_HEADER, cluster("candidate", transport)))
    return told | ({"request_headers_to_add": requests} if requests else {})


def _mirror(split: Split) -> Json:
    if not split.mirror:
        return {}
    return {
        "request_mirror_policies": [
            {
                "cluster_header": MIRROR_HEADER,
                "runtime_fraction": {"default_value": {"numerator": split.mirror, "denominator": "TEN_THOUSAND"}},
                "disable_shadow_host_suffix_append": True,
                "request_headers_mutations": [
                    {"append": _header(SHADOW_HEADER, "1")},
                    {"remove": MIRROR_HEADER},
                ],
            }
        ]
    }


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _metadata(**fields: object) -> Json:
    return {"filter_metadata": {METADATA: fields}}


def _duration(seconds: float) -> str:
    return f"{seconds:.3f}s"
