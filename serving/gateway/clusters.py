"""Envoy's clusters: the rankers of each arm and transport, their health, and what is too much for them. Pure.

The resource is a DiscoveryResponse of Clusters (file CDS): a new bundle's rankers can take an arm's place without a
restart.
"""

from __future__ import annotations

from serving.gateway.assignment import BUCKETS, Arm
from serving.gateway.config import Endpoint, GatewayConfig, Health, Limits, Outliers, Retries, Side
from serving.gateway.routes import METADATA, Json, Transport, cluster
from serving.gateway.split import Split

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def clusters(config: GatewayConfig) -> Json:
    """The file that CDS watches."""
    transports: tuple[Transport, ...] = ("http", "grpc") if config.grpc else ("http",)
    sides: tuple[tuple[Arm, Side], ...] = (("baseline", config.baseline), ("candidate", config.candidate))
    return {
        "resources": [
            {
                "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
                **_cluster(config, arm, side, transport),
            }
            for arm, side in sides
            for transport in transports
        ]
    }


def with_carrying(present: Json, wanted: Json, split: Split) -> Json:
    """The wanted clusters, except that an arm which has all units of the split keeps those that it has at present."""
    carrying = {0: "baseline", BUCKETS: "candidate"}.get(split.candidate_weight)
    kept = {each["name"]: each for each in present["resources"] if _arm(each) == carrying}
    return {**wanted, "resources": [kept.get(each["name"], each) for each in wanted["resources"]]}


def _arm(resource: Json) -> str:
    return str(resource["metadata"]["filter_metadata"][METADATA]["arm"])


def _cluster(config: GatewayConfig, arm: Arm, side: Side, transport: Transport) -> Json:
    name = cluster(arm, transport)
    fixed = all(endpoint.is_address for endpoint in side.endpoints)
    members = [_member(endpoint, transport) for endpoint in side.endpoints]
    return {
        "name": name,
        "metadata": {"filter_metadata": {METADATA: {"arm": arm}}},
        "type": "STATIC" if fixed else "STRICT_DNS",
        **({} if fixed else {"dns_refresh_rate": "2s", "dns_lookup_family": "V4_PREFERRED"}),
        "connect_timeout": f"{config.timeouts.connect:.3f}s",
        "lb_policy": "LEAST_REQUEST",
        # No panic: with its rankers down an arm answers 503. Envoy would otherwise send requests to all of them, down
        # as they are; to the other arm it never does.
        "common_lb_config": {
            "healthy_panic_threshold": {"value": 0},
            # Workers hear of a ranker's health at once, not merged over a second.
            "update_merge_window": "0s",
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": members}]},
        "typed_extension_protocol_options": {_HTTP_OPTIONS: _protocol(config, transport)},
        "health_checks": [_health(config.health)],
        "ignore_health_on_host_removal": True,
        "outlier_detection": _outliers(config.outliers),
        "circuit_breakers": {"thresholds": [_thresholds(config.limits, config.retries)]},
    }


def _member(endpoint: Endpoint, transport: Transport) -> Json:
    port = endpoint.http if transport == "http" or endpoint.grpc is None else endpoint.grpc
    member: Json = {"address": {"socket_address": {"address": endpoint.host, "port_value": port}}}
    if port != endpoint.http:
        member["health_check_config"] = {"port_value": endpoint.http}
    return {"endpoint": member}


def _protocol(config: GatewayConfig, transport: Transport) -> Json:
    if transport == "http":
        explicit: Json = {"http_protocol_options": {}}
    else:
        keepalive = {"interval": "30s", "timeout": "5s"}
        explicit = {"http2_protocol_options": {"connection_keepalive": keepalive}}
    return {
        "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
        "common_http_protocol_options": {"idle_timeout": f"{config.timeouts.ranker_idle:.3f}s"},
        "explicit_http_config": explicit,
    }


def _health(health: Health) -> Json:
    interval = f"{health.interval:.3f}s"
    return {
        "timeout": f"{health.timeout:.3f}s",
        "interval": interval,
        # Without these two, an arm that gets no requests is asked once a minute.
        "no_traffic_interval": interval,
        "no_traffic_healthy_interval": interval,
        "unhealthy_threshold": health.unhealthy,
        "healthy_threshold": health.healthy,
        "http_health_check": {"path": health.path, "codec_client_type": "HTTP1"},
    }


def _outliers(outliers: Outliers) -> Json:
    return {
        "consecutive_5xx": outliers.failures,
        "consecutive_gateway_failure": outliers.failures,
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_success_rate": 0,
        "interval": f"{outliers.interval:.3f}s",
        "base_ejection_time": f"{outliers.ejection:.3f}s",
        "max_ejection_percent": outliers.most_percent,
        "always_eject_one_host": False,
        # A ranker may be ready and yet fail: readiness does not end an ejection.
        "successful_active_health_check_uneject_host": False,
    }


def _thresholds(limits: Limits, retries: Retries) -> Json:
    return {
        "max_connections": limits.connections,
        "max_pending_requests": limits.pending,
        "max_requests": limits.requests,
        "retry_budget": {"budget_percent": {"value": retries.budget_percent}, "min_retry_concurrency": 10},
        "track_remaining": True,
    }
