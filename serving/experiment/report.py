"""A report: every look at an experiment analysed, and the verdict on the last."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from serving.experiment.analysis import Analysis, analyse
from serving.experiment.evidence import EvidenceSeries, ExperimentEvidence
from serving.experiment.sample_ratio import running
from serving.experiment.verdict import Verdict, verdict


@dataclass(frozen=True)
class Report:
    """What the text, the JSON and the page show."""

    evidence: ExperimentEvidence
    """The last snapshot."""
    looks: tuple[Analysis, ...]
    sample_ratio_p: tuple[float, ...]
    """Smallest p-value up to each look: a sample-ratio alarm once raised stays."""
    verdict: Verdict

    @property
    def last(self) -> Analysis:
        """The analysis of the last snapshot."""
        return self.looks[-1]


def report_of(series: EvidenceSeries) -> Report:
    """Analyses every snapshot, forecasts from the last. The verdict takes the smallest sample-ratio p-value of all."""
    past, now = series.snapshots[:-1], series.last
    looks = [*(analyse(snapshot, forecast=False) for snapshot in past), analyse(now)]
    p_values = running(look.sample_ratio.p_value for look in looks)
    ratio = dataclasses.replace(looks[-1].sample_ratio, p_value=p_values[-1])
    looks[-1] = dataclasses.replace(looks[-1], sample_ratio=ratio)
    return Report(series.last, tuple(looks), tuple(p_values), verdict(looks[-1]))


def report_json(report: Report) -> dict[str, Any]:
    """The report for machines. Numbers that are not finite are null."""
    evidence = report.evidence
    document = {
        "experiment": evidence.design.experiment,
        "run": list(evidence.design.run),
        "as_of": evidence.as_of,
        "verdict": dataclasses.asdict(report.verdict),
        "design": evidence.design.to_json(),
        "counts": {
            "crossovers": evidence.crossovers,
            "forced": evidence.forced,
            "waiting": evidence.waiting,
            "capped": evidence.capped,
            "foreign": evidence.foreign,
            "mismatch": evidence.mismatch,
            "early": evidence.early,
        },
        "looks": [_look(look, p_value) for look, p_value in zip(report.looks, report.sample_ratio_p, strict=True)],
    }
    finite: dict[str, Any] = _finite(document)
    return finite


def _look(look: Analysis, p_value: float) -> dict[str, Any]:
    return {
        "as_of": look.as_of,
        "sample_ratio": {**dataclasses.asdict(look.sample_ratio), "running_p_value": p_value},
        "returns": dataclasses.asdict(look.returns),
        "missing": list(look.missing),
        "metrics": [{**dataclasses.asdict(one), "metric": one.metric.name} for one in look.metrics],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
