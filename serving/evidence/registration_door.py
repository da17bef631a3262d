"""The door of registrations: designs, bounds and phases from JSON, with one sentence for what is wrong. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from serving.evidence.door import (
    LARGEST,
    DoorError,
    document_of,
    name_of,
    number_of,
    object_of,
    optional_text,
    phase_of,
    text_of,
    time_of,
)
from serving.evidence.registration import PhaseStart
from serving.evidence.run import Bounds
from serving.evidence.schema import NAME_LENGTH
from serving.experiment.design import EXPOSURES, Design
from serving.experiment.document import ExperimentError, words


def registration_of(document: object) -> tuple[Design, dict[str, Bounds]]:
    """{"design": ..., "bounds": ...} as a design and bounds. Raises DoorError."""
    read = object_of(document, frozenset({"design", "bounds"}))
    try:
        design = Design.from_json(read.get("design"))
    except ExperimentError as error:
        raise DoorError(str(error)) from error
    check_design(design)
    bounds = bounds_of(read.get("bounds") or {})
    named = (name for metric in design.metrics for name in (metric.value, metric.denominator))
    used = {name for name in named if name is not None and name != EXPOSURES}
    for name in bounds:
        if name not in used:
            raise DoorError(
                f"bounds of {name!r}: no metric counts it; outcomes of the design are {words(sorted(used))}"
            )
    return design, bounds


def bounds_of(document: object) -> dict[str, Bounds]:
    """{"outcome": {"lowest": 0, "highest": 100}} as bounds. Raises DoorError."""
    found = {}
    for name, fields in object_of(document, None).items():
        read = object_of(fields, frozenset({"lowest", "highest"}))
        lowest = number_of(read, "lowest") if "lowest" in read else 0.0
        highest = number_of(read, "highest") if "highest" in read else Bounds().highest
        if not -LARGEST <= lowest <= highest <= LARGEST:
            raise DoorError(f"bounds of {name!r}: {lowest:g} to {highest:g} is no range within {LARGEST:g}")
        found[name] = Bounds(lowest, highest)
    return found


def check_design(design: Design) -> None:
    """What the store asks of a design beyond what the statistics do: names that fit. Raises DoorError."""
    name_of({"experiment": design.experiment}, "experiment")
    for field in ("baseline_digest", "candidate_digest"):
        text_of({field: getattr(design, field)}, field)
    for metric in design.metrics:
        for field in ("name", "value", "denominator", "covariate"):
            value = getattr(metric, field)
            if value is not None:
                text_of({f"metric {metric.name!r}.{field}": value}, f"metric {metric.name!r}.{field}", NAME_LENGTH)
        if metric.value == EXPOSURES:
            raise DoorError(f"metric {metric.name!r}.value: {EXPOSURES!r} are counted in a denominator alone")
        if metric.cap is not None and metric.cap > LARGEST:
            raise DoorError(f"metric {metric.name!r}.cap {metric.cap:g}: at most {LARGEST:g}")


def _share_of(read: Mapping[str, object]) -> float:
    share = number_of(read, "candidate_weight")
    if not 0 <= share <= 1:
        raise DoorError(
            f"candidate_weight {share:g}: a share from 0 to 1 is expected; the 500 basis points of a gateway are 0.05"
        )
    return share


def phase_start_of(experiment: str, body: bytes, latest_us: int) -> PhaseStart:
    """The start of a phase from JSON. Raises DoorError."""
    known = frozenset({"phase", "start", "candidate_weight", "baseline_digest", "candidate_digest"})
    read = document_of(body, known)
    return PhaseStart(
        experiment=experiment,
        phase=phase_of(read),
        start_us=time_of(read, "start", latest_us),
        candidate_weight=_share_of(read),
        baseline_digest=optional_text(read, "baseline_digest"),
        candidate_digest=optional_text(read, "candidate_digest"),
    )
