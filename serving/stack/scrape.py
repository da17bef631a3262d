"""What Prometheus asks on this machine. Pure."""

from __future__ import annotations

from typing import Any, get_args

import yaml

from serving.gateway.assignment import Arm
from serving.stack.plan import StackPlan
from serving.stack.ports import HOST
from serving.stack.services import ranker_names

_OTHERS = (
    # job, port, path
    ("gateway", "gateway-admin", "/stats/prometheus"),
    ("evidence", "evidence", "/metrics"),
    ("controller", "controller", "/metrics"),
)


def scrape_config(plan: StackPlan) -> str:
    """The file that Prometheus is started with."""
    rankers = [
        {"targets": [_address(plan, name) for name in ranker_names(plan, arm)], "labels": {"arm": arm}}
        for arm in get_args(Arm)
    ]
    jobs: list[dict[str, Any]] = [{"job_name": "ranker", "static_configs": rankers}]
    for job, port, path in _OTHERS:
        jobs.append({"job_name": job, "metrics_path": path, "static_configs": [{"targets": [_address(plan, port)]}]})
    return str(yaml.safe_dump({"global": {"scrape_interval": "5s"}, "scrape_configs": jobs}, sort_keys=False))


def _address(plan: StackPlan, port: str) -> str:
    return f"{HOST}:{plan.ports[port]}"
