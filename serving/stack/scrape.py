"""What Prometheus asks on this machine. Pure."""

from __future__ import annotations

from typing import Any

import yaml

from serving.stack.plan import StackPlan
from serving.stack.ports import HOST

_JOBS = (
    # job, port, path, arm
    ("ranker", "baseline", "/metrics", "baseline"),
    ("ranker", "candidate", "/metrics", "candidate"),
    ("gateway", "gateway-admin", "/stats/prometheus", None),
    ("evidence", "evidence", "/metrics", None),
    ("controller", "controller", "/metrics", None),
)


def scrape_config(plan: StackPlan) -> str:
    """The file that Prometheus is started with."""
    jobs: dict[str, dict[str, Any]] = {}
    for name, port, path, arm in _JOBS:
        job = jobs.setdefault(name, {"job_name": name, "metrics_path": path, "static_configs": []})
        target: dict[str, Any] = {"targets": [f"{HOST}:{plan.ports[port]}"]}
        job["static_configs"].append(target | ({} if arm is None else {"labels": {"arm": arm}}))
    document = {"global": {"scrape_interval": "5s"}, "scrape_configs": list(jobs.values())}
    return str(yaml.safe_dump(document, sort_keys=False))
