"""A report: every look at an experiment analysed, and the verdict on the last."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
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
    returns_p: tuple[float, ...]
    """The same of return by arm: what was once proven stays said."""
    verdict: Verdict

    @property
    def last(self) -> Analysis:
        """The analysis of the last snapshot."""
        return self.looks[-1]


def report_of(series: EvidenceSeries) -> Report:
    """Analyses every snapshot, forecasts from the last."""
    past, now = series.snapshots[:-1], series.last
    return report_over(now, [*(analyse(snapshot, forecast=False) for snapshot in past), analyse(now)])


def report_over(evidence: ExperimentEvidence, looks: Sequence[Analysis]) -> Report:
    """From looks that are analysed. The verdict on the last takes the smallest p-values of all."""
    ratio_p = running(look.sample_ratio.p_value for look in looks)
    returns_p = running(look.returns.p_value for look in looks)
    last = dataclasses.replace(
        looks[-1],
        sample_ratio=dataclasses.replace(looks[-1].sample_ratio, p_value=ratio_p[-1]),
        returns=dataclasses.replace(looks[-1].returns, p_value=returns_p[-1]),
    )
    return Report(evidence, (*looks[:-1], last), tuple(ratio_p), tuple(returns_p), verdict(last))


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
        "looks": [
            _look(look, *p_values)
            for look, *p_values in zip(report.looks, report.sample_ratio_p, report.returns_p, strict=True)
        ],
    }
    finite: dict[str, Any] = _finite(document)
    return finite


def _look(look: Analysis, ratio_p: float, returns_p: float) -> dict[str, Any]:
    return {
        "as_of": look.as_of,
        "sample_ratio": {**dataclasses.asdict(look.sample_ratio), "running_p_value": ratio_p},
        "returns": {**dataclasses.asdict(look.returns), "running_p_value": returns_p},
        "missing": list(look.missing),
        "metrics": [{**dataclasses.asdict(one), "metric": one.metric.name} for one in look.metrics],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
