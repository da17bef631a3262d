"""Numbers of an artifact as Kubeflow's metrics."""

from __future__ import annotations

import math
from typing import Any

from model.artifact.manifest import Manifest


def log_metrics(metrics: Any, manifest: Manifest) -> None:
    """Log every finite number among the artifact's facts; a mapping's entries become `name.entry`."""
    for name, value in manifest.facts.items():
        entries: list[tuple[str, object]] = [(name, value)]
        if isinstance(value, dict):
            entries = [(f"{name}.{entry}", number) for entry, number in value.items()]
        for label, number in entries:
            if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
                metrics.log_metric(label, number)
