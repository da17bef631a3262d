"""What Prometheus asks on this machine. Pure."""

from __future__ import annotations

from typing import Any, get_args

import yaml

from serving.gateway.assignment import Arm
from serving.stack.plan import StackPlan
from serving.stack.ports import HOST
from serving.stack.services import gateway_names, ranker_names

_OTHERS = (
    # job, path
    ("gateway", "/stats/prometheus"),
    ("evidence", "/metrics"),
    ("controller", "/metrics"),
)


def scrape_config(plan: StackPlan) -> str:
    """The file that Prometheus is started with."""
    rankers = [
        {"targets": [_address(plan, name) for name in ranker_names(plan, arm)], "labels": {"arm": arm}}
        for arm in get_args(Arm)
    ]
    jobs: list[dict[str, Any]] = [{"job_name": "ranker", "static_configs": rankers}]
    for job, path in _OTHERS:
        ports = [f"{name}-admin" for name in gateway_names(plan)] if job == "gateway" else [job]
        targets = [_address(plan, port) for port in ports]
        jobs.append({"job_name": job, "metrics_path": path, "static_configs": [{"targets": targets}]})
    return str(yaml.safe_dump({"global": {"scrape_interval": "5s"}, "scrape_configs": jobs}, sort_keys=False))


def _address(plan: StackPlan, port: str) -> str:
    return f"{HOST}:{plan.ports[port]}"
