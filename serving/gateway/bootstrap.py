"""Envoy's static part: admin page, listener, connection manager, access log, and the files that it watches. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

from serving.gateway.access_log import FORMAT
from serving.gateway.config import GatewayConfig, Timeouts
from serving.gateway.routes import INTERNAL_HEADERS, ROUTES, UNIT_HEADER, VARIANT_HEADER, Json

READY_PATH = "/gateway/ready"
"""On the gateway's own port: 200, and 503 once it goes away."""
LISTENER = "gateway"
STAT_PREFIX = "gateway"
LATENCIES_MS = (
    0.5,
    *(
        mantissa * scale
        for scale in (1, 10, 100, 1_000, 10_000)
        for mantissa in (1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8)
    ),
)
"""Limits of the buckets in which Envoy counts what rankers took, ten a decade (R10 of ISO 3): a quantile is off by
28 % at most. Of Envoy's own, 500 and 1,000 are neighbours, and a guardrail on p99 lies between them."""

_REGEX_SIZE = 16384
_TYPE = "type.googleapis.com/envoy.extensions"


def bootstrap(config: GatewayConfig, *, xds: Path, access_log: Path, number: int = 1) -> Json:
    """What Envoy is started with. xds: the folder with routes.json and clusters.json. number: which of the Envoys that
    share the port."""
    return {
        "node": {"id": "gateway", "cluster": "mgoe"},
        "admin": {"address": _address("127.0.0.1", config.admin.of(number))},
        "dynamic_resources": {"cds_config": _watched(xds, "clusters.json")},
        "static_resources": {"listeners": [_listener(config, xds, access_log)]},
        # Histograms are summed up at a flush: a guardrail on latency is as old as that.
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [{"match": {"suffix": "upstream_rq_time"}, "buckets": list(LATENCIES_MS)}]
        },
        # Envoy's own bound is 100; a unit id's length is part of its pattern.
        "layered_runtime": {
            "layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": _REGEX_SIZE}}]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": config.limits.clients,
                    },
                }
            ]
        },
    }


def complete(whole: Json, routes: Json, clusters: Json) -> Json:
    """The same with routes and clusters in it instead of in files: what `envoy --mode validate` can check."""
    whole = copy.deepcopy(whole)
    del whole["dynamic_resources"]
    for resource in whole["static_resources"]["listeners"]:
        manager = resource["filter_chains"][0]["filters"][0]["typed_config"]
        del manager["rds"]
        manager["route_config"] = _plain(routes["resources"][0])
    whole["static_resources"]["clusters"] = [_plain(cluster) for cluster in clusters["resources"]]
    return whole


def _plain(resource: Json) -> Json:
    return {name: value for name, value in resource.items() if name != "@type"}


def _listener(config: GatewayConfig, xds: Path, access_log: Path) -> Json:
    manager = _manager(config, xds, access_log)
    return {
        "name": LISTENER,
        "address": _address(config.listener.host, config.listener.port),
        # A second gateway on the same port is an error, not a silent partner, unless it is asked for.
        "enable_reuse_port": bool(config.admin.partners),
        "connection_balance_config": {"exact_balance": {}},
        "per_connection_buffer_limit_bytes": config.limits.body_bytes,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _manager(config: GatewayConfig, xds: Path, access_log: Path) -> Json:
    timeouts = config.timeouts
    return {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STAT_PREFIX,
        "codec_type": "AUTO",
        "rds": {"route_config_name": ROUTES, "config_source": _watched(xds, "routes.json")},
        "use_remote_address": True,
        # Envoy trusts x-envoy-* headers of internal addresses; they are stripped from everybody's requests below.
        "internal_address_config": {},
        "early_header_mutation_extensions": [_stripped()],
        "request_id_extension": {
            "typed_config": {
                "@type": f"{_TYPE}.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,  # a client's id stays as it is
            }
        },
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "normalize_path": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "server_header_transformation": "PASS_THROUGH",
        **_client_timeouts(timeouts),
        "common_http_protocol_options": {
            "idle_timeout": f"{timeouts.client_idle:.3f}s",
            # x_mgoe_variant is x-mgoe-variant to some servers.
            "headers_with_underscores_action": "DROP_HEADER",
        },
        "http2_protocol_options": {"max_concurrent_streams": 128},
        "local_reply_config": _local_replies(),
        "access_log": [_access_log(access_log)],
        "http_filters": [_ready_filter(), _filter("router", "router.v3.Router")],
    }


def _client_timeouts(timeouts: Timeouts) -> Json:
    return {
        "request_headers_timeout": f"{timeouts.headers:.3f}s",
        "request_timeout": f"{timeouts.body:.3f}s",
        "stream_idle_timeout": f"{timeouts.body + timeouts.request:.3f}s",
        "drain_timeout": "1s",
    }


def _stripped() -> Json:
    """Headers that only the gateway and the rankers may write."""
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": f"{_TYPE}.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [
                *({"remove": name} for name in INTERNAL_HEADERS),
                {"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}},
                *({"append": _joined(name)} for name in (UNIT_HEADER, VARIANT_HEADER)),
            ],
        },
    }


def _joined(name: str) -> Json:
    """A repeated header as one with commas (RFC 9110, 5.3).

    Route matchers would take any of its values, the hash all of them, the log the first.
    """
    header = {"key": name, "value": f"%CEL(request.headers['{name}'])%"}
    return {"header": header, "append_action": "OVERWRITE_IF_EXISTS"}


def _access_log(path: Path) -> Json:
    return {
        "name": "envoy.access_loggers.file",
        "filter": {"not_health_check_filter": {}},
        "typed_config": {
            "@type": f"{_TYPE}.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"json_format": dict(FORMAT)},
        },
    }


def _local_replies() -> Json:
    """What Envoy refuses by itself looks like what a ranker refuses; gRPC has its own way."""
    failed = {"comparison": {"op": "GE", "value": {"default_value": 400, "runtime_key": "gateway.refused"}}}
    grpc = {
        "name": "content-type",
        "string_match": {"prefix": "application/grpc"},
        "treat_missing_header_as_empty": True,
    }
    body = {"error": "%LOCAL_REPLY_BODY%", "details": "%RESPONSE_CODE_DETAILS%"}
    both = [{"status_code_filter": failed}, {"header_filter": {"header": {**grpc, "invert_match": True}}}]
    return {"mappers": [{"filter": {"and_filter": {"filters": both}}, "body_format_override": {"json_format": body}}]}


def _ready_filter() -> Json:
    path = {"name": ":path", "string_match": {"exact": READY_PATH}}
    return _filter("health_check", "health_check.v3.HealthCheck", {"pass_through_mode": False, "headers": [path]})


def _filter(name: str, kind: str, options: Mapping[str, object] | None = None) -> Json:
    typed = {"@type": f"{_TYPE}.filters.http.{kind}", **(options or {})}
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed}


def _watched(folder: Path, name: str) -> Json:
    return {
        "path_config_source": {"path": str(folder / name), "watched_directory": {"path": str(folder)}},
        "resource_api_version": "V3",
    }


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}
