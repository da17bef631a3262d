"""An experiment of two runs and three phases, and streams of events in it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from sqlalchemy import Engine

from serving.evidence.covariate import Covariate, upload
from serving.evidence.engine import writing
from serving.evidence.event import MICRO, SECOND, Answer, Event, Exposure, Outcome
from serving.evidence.intake import take
from serving.evidence.limits import Limits
from serving.evidence.readout import read_evidence
from serving.evidence.registration import PhaseStart, register, start_phase
from serving.experiment.design import ARMS, Design, Metric
from serving.experiment.evidence import ExperimentEvidence
from tests.serving.evidence import evidence_oracle as oracle

T0 = 1_700_000_000
METRICS = (
    Metric("revenue", "mean", "buy", cap=5.0, covariate="past", maturity_s=100, min_events=10),
    Metric("clicked", "proportion", "click", role="secondary"),
    Metric("ctr", "ratio", "click", denominator="exposures", covariate="past", role="secondary", maturity_s=300),
    Metric("basket", "ratio", "buy", denominator="click", role="secondary", min_events=10),
)
FIRST = Design("ranking", "salt", "b0", "c1", METRICS, slice_s=60)
SECOND_RUN = Design("ranking", "salt", "b0", "c2", (*METRICS[1:3], METRICS[0]), slice_s=120)
PHASES = {1: (FIRST, T0 + 0.0, 0.1), 2: (FIRST, T0 + 150.0, 0.5), 3: (SECOND_RUN, T0 + 300.0, 0.5)}
COVARIATES = {("u1", "past"): 2.5, ("u2", "past"): 0.25}
WORLD = oracle.World(PHASES, COVARIATES)
LIMITS = Limits(unit_events=1000)


def exposure(name: str, unit: str = "u1", at: float = 0.0, **fields: Any) -> Exposure:
    """An exposure of the first phase's baseline, `at` seconds after the start."""
    defaults: dict[str, Any] = {"arm": "baseline", "digest": "b0", "phase": 1}
    return Exposure("ranking", name, unit, time_us=round((T0 + at) * SECOND), **{**defaults, **fields})


def outcome(name: str, metric: str = "click", value: float = 1.0, at: float = 0.0, **fields: Any) -> Outcome:
    """An outcome, `at` seconds after the start."""
    return Outcome("ranking", name, metric, round(value * MICRO), round((T0 + at) * SECOND), **fields)


UNITS = st.sampled_from(["u1", "u2", "u3"])
TIMES = st.integers(-20, 500).map(float)
ARM_DIGESTS = st.sampled_from([("baseline", "b0"), ("candidate", "c1"), ("candidate", "c2"), ("baseline", "other")])
REQUESTS = st.none() | st.sampled_from(["r0", "r1", "r2", "r3"])
REFERENCES = st.one_of(
    UNITS.map(lambda unit: {"unit": unit}),
    st.sampled_from([f"e{n}" for n in range(14)]).map(lambda name: {"exposure_id": name}),
    st.sampled_from(["r0", "r1", "r2", "r3"]).map(lambda name: {"request_id": name}),
    st.tuples(UNITS, st.sampled_from(["r0", "r1", "r2"])).map(lambda pair: {"unit": pair[0], "request_id": pair[1]}),
    st.tuples(UNITS, st.sampled_from(["e0", "e1", "e2"])).map(lambda pair: {"unit": pair[0], "exposure_id": pair[1]}),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Exposure], list[Outcome]]:
    """Events with ids of their own; arms, digests and phases as they may come, times in no order."""
    shown = []
    for number in range(draw(st.integers(0, 12))):
        arm, digest = draw(ARM_DIGESTS)
        phase = draw(st.sampled_from([1, 1, 2, 2, 3, 4]))
        weight = PHASES.get(phase, PHASES[3])[2]
        fields = {"arm": arm, "digest": digest, "phase": phase}
        fields |= {"propensity": draw(st.sampled_from([None, None, weight, weight, 0.25]))}
        fields |= {"request_id": draw(REQUESTS), "forced": draw(st.integers(0, 9)) == 0}
        shown.append(exposure(f"e{number}", draw(UNITS), draw(TIMES), **fields))
    done = [
        outcome(
            f"o{number}",
            draw(st.sampled_from(["click", "buy"])),
            draw(st.integers(0, 7_000_000)) / MICRO,
            draw(TIMES),
            **draw(REFERENCES),
        )
        for number in range(draw(st.integers(0, 12)))
    ]
    return shown, done


def prepare(engine: Engine, phases: tuple[int, ...] = (1, 2, 3), *, covariates: bool = True) -> None:
    """Registers both runs and their phases, and uploads covariates."""
    with writing(engine) as connection:
        for design in (FIRST, SECOND_RUN):
            register(connection, design, {}, T0 * SECOND)
    for phase in phases:
        begin(engine, phase)
    if covariates:
        give_covariates(engine)


def begin(engine: Engine, phase: int) -> None:
    design, start, weight = PHASES[phase]
    with writing(engine) as connection:
        digests = (design.baseline_digest, design.candidate_digest)
        start_phase(connection, PhaseStart("ranking", phase, round(start * SECOND), weight, *digests))


def give_covariates(engine: Engine) -> None:
    with writing(engine) as connection:
        upload(connection, [Covariate("ranking", u, n, round(v * MICRO)) for (u, n), v in COVARIATES.items()])


def send(engine: Engine, *events: Event, limits: Limits = LIMITS) -> list[Answer]:
    """One batch in one transaction."""
    with writing(engine) as connection:
        return take(connection, events, limits)


def stored(engine: Engine, design: Design, now: float) -> oracle.Document:
    """The store's evidence, in the oracle's form."""
    return plain(read_evidence(engine, "ranking", round(now * SECOND), design.candidate_digest))


def plain(evidence: ExperimentEvidence) -> oracle.Document:
    return {
        "metrics": [
            {
                "metric": of.metric.name,
                "strata": {
                    (stratum.phase, stratum.slice, arm): aggregate.to_json()
                    for stratum in of.strata
                    for arm, aggregate in sorted(stratum.arms.items())
                },
                "cross": {
                    str((*cross.stratum_a, cross.arm_a, *cross.stratum_b, cross.arm_b)): {
                        "count": cross.count,
                        "sums_a": cross.sums_a.tolist(),
                        "sums_b": cross.sums_b.tolist(),
                        "products": cross.products.tolist(),
                    }
                    for cross in of.cross
                },
                "immature": {arm: of.immature[arm] for arm in ARMS},
                "late": {arm: of.late[arm] for arm in ARMS},
            }
            for of in evidence.metrics
        ],
        "exposed": {
            str((of.phase, of.slice, arm)): [units, (of.new_units or {})[arm]]
            for of in evidence.exposed
            for arm, units in of.units.items()
            if units
        },
        "crossovers": evidence.crossovers,
        "forced": evidence.forced,
        "waiting": evidence.waiting,
        "foreign": evidence.foreign + evidence.mismatch + evidence.early,
    }


def same(found: object, expected: object) -> bool:
    """Equal, floats to rounding."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, float) and isinstance(found, float | int):
        return abs(found - expected) <= 1e-9 * max(1.0, abs(expected))
    return found == expected
