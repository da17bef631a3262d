"""Whatever a status can hold is shown: no value of it breaks a page, and no word of it becomes markup."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.console.attention import notices
from serving.console.charts_view import charts_of, known_in
from serving.console.lineage import Lineages
from serving.console.overview import rows
from serving.console.person import Person
from serving.console.ramp import next_words, state_words
from serving.console.rollout_view import view_of
from serving.console.server import ConsoleSettings, Entrance, make_site
from serving.console.site import Site, Visit
from serving.console.split_record import Stretch
from serving.console.wish import WISHES, Sight, offers
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.sqlite_store import SqliteStore
from serving.rollout.state import Phase
from serving.rollout.status import ModelRolloutStatus
from tests.serving.console.console_browser import Page
from tests.serving.console.console_world import BASELINE, CANDIDATE, SPEC

RUN = f"{BASELINE[:12]}-{CANDIDATE[:12]}-1"
HOSTILE = "<script>alert(1)</script>"
WORDS = st.sampled_from([HOSTILE, "\"'><b>", "", "50 % & more", "ü\u202e\n", "{{ 7 * 7 }}"]) | st.text(max_size=30)
TIMES = st.floats(0, 4e9)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
MAYBE = st.none() | FLOATS
PERCENT = st.integers(0, 100)
COUNTS = st.integers(0, 10**9)
PHASES = st.sampled_from(Phase.__args__)  # type: ignore[attr-defined]
METRICS = [metric["name"] for metric in SPEC["metrics"]]
GUARDRAILS = [guardrail["name"] for guardrail in SPEC["guardrails"]]


def fields(**given_fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(given_fields)


TRANSITIONS = fields(
    seq=st.integers(1, 99), at=TIMES, origin=PHASES, target=PHASES, step=st.integers(0, 9), weight=PERCENT,
    reason=st.just("StepUp"), message=WORDS,
)  # fmt: skip
METRIC = fields(
    name=st.sampled_from([*METRICS, "gone"]), role=st.sampled_from(["Primary", "NonInferior", "Secondary"]),
    estimate=MAYBE, low=MAYBE, high=MAYBE, baseline_units=COUNTS, candidate_units=COUNTS, problem=st.none() | WORDS,
)  # fmt: skip
GUARDRAIL = fields(
    name=st.sampled_from([*GUARDRAILS, "gone"]), state=st.sampled_from(["Holds", "Waiting", "Breached", "Blind"]),
    value=MAYBE, samples=st.none() | COUNTS, at=st.none() | TIMES, message=st.none() | WORDS,
)  # fmt: skip
CONDITION = fields(
    type=st.sampled_from(["Ready", "Progressing", "Degraded", "Paused"]), reason=st.sampled_from(["Held", "Blind"]),
    status=st.sampled_from(["True", "False", "Unknown"]), message=WORDS, last_transition_time=TIMES,
    observed_generation=COUNTS,
)  # fmt: skip
RUNS = fields(
    id=st.just(RUN), baseline=st.just(BASELINE), candidate=st.just(CANDIDATE), attempt=st.just(1), started_at=TIMES
)
STATUSES = fields(
    phase=PHASES,
    run=st.none() | RUNS,
    step=st.integers(0, 30),
    weight=PERCENT,
    entered_at=st.none() | TIMES,
    confirmed_at=st.none() | TIMES,
    overridden=st.booleans(),
    alarm=st.none() | fields(id=WORDS, p_value=FLOATS, raised_at=TIMES, acknowledged=st.booleans()),
    reason=st.just("StepUp"),
    message=WORDS,
    history=st.lists(TRANSITIONS, max_size=4),
    observed_generation=st.integers(0, 9),
    observed_weight=st.none() | PERCENT,
    assignment=st.sampled_from([None, "Unit", "Request"]),
    evidence=fields(
        as_of=st.none() | TIMES, verdict=st.sampled_from(["Win", "Harm", "Inconclusive", "Invalid", "Unknown"]),
        words=WORDS, sample_ratio_p_value=MAYBE, baseline_units=COUNTS, candidate_units=COUNTS,
    ),
    metrics=st.lists(METRIC, max_size=4),
    guardrails=st.lists(GUARDRAIL, max_size=3),
    steering=fields(ignored=st.lists(WORDS, max_size=2)),
    conditions=st.lists(CONDITION, max_size=4),
)  # fmt: skip
WISHED = fields(
    paused=st.booleans(), abort=st.booleans(), maxWeight=st.sampled_from([5, 60, 100]),
    promotion=st.sampled_from([{}, {"mode": "Manual"}]),
    weightOverride=st.none() | st.just({"weight": 3, "run": RUN}), promote=st.none() | st.just(RUN),
)  # fmt: skip


@st.composite
def sights(draw: st.DrawFn) -> Sight:
    wished = {name: value for name, value in draw(WISHED).items() if value is not None}
    spec = ModelRolloutSpec.model_validate({**SPEC, **wished})
    status = ModelRolloutStatus.model_validate(draw(STATUSES))
    return Sight("feed", draw(st.integers(1, 9)), spec, status, draw(st.booleans()))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder: Path = tmp_path_factory.mktemp("site")
    settings_ = ConsoleSettings("a test", f"sqlite:///{folder}/console.db", Entrance())
    return make_site(SqliteStore(folder / "rollouts.db"), settings_)


@settings(max_examples=60)
@given(sights(), TIMES, st.sampled_from(["view", "steer"]))
def test_every_status_is_shown_and_its_words_stay_words(site: Site, sight: Sight, now: float, role: str) -> None:
    person = Person(HOSTILE, "steer" if role == "steer" else "view")
    visit = Visit(site.sessions.new(), person, "::1", new=False, secure=False)
    view = view_of(sight, person, now)
    history = tuple(sorted(sight.status.history, key=lambda line: line.at))
    charts = charts_of(sight, history, stretches=(Stretch(0, now, 5, None),), course=None, latency=(), now=now)
    common = {"name": sight.name, "view": view, "sight": sight, "outcome": None}
    rendered = [
        site.render("overview.html.j2", visit, rows=rows([sight], now), unreadable=()),
        site.render(
            "rollout.html.j2",
            visit,
            **common,
            known=known_in(sight, None),
            latency=None,
            charts=charts,
            history=history,
            records=(),
            problems=(HOSTILE,),
            lineage=Lineages().of(sight),
        ),
    ]
    for wish in WISHES.values():
        effects = () if wish.unfit(sight) else wish.effects(sight, 7)
        confirm = {"wish": wish, "unfit": wish.unfit(sight), "effects": effects, "weight": 7, "refused": HOSTILE}
        rendered.append(site.render("confirm.html.j2", visit, **common, **confirm, reason=HOSTILE))
    for source in rendered:
        page = Page(source)
        assert [tag for tag, _ in page.tags].count("script") == 1
        assert len(page.ids) == len(set(page.ids))
    if sight.status.message == HOSTILE and not notices(sight, now):
        assert html.escape(HOSTILE) in rendered[1]


@given(sights())
def test_a_wish_that_is_offered_can_be_written_and_says_what_it_does(sight: Sight) -> None:
    for wish, unfit in offers(sight):
        if unfit is None:
            assert wish.effects(sight, 4)
            changed = wish.change(dict(sight.spec.to_json()), sight.status, 4)
            ModelRolloutSpec.model_validate(changed)
            assert changed != sight.spec.to_json() or wish.name == "weight"


@given(sights())
def test_nothing_is_offered_once_the_run_has_ended(sight: Sight) -> None:
    if sight.over:
        assert all(unfit for _, unfit in offers(sight))


def sight_of(phase: str, wished: dict[str, Any], **told: Any) -> Sight:
    run = {"id": RUN, "baseline": BASELINE, "candidate": CANDIDATE, "attempt": 1, "startedAt": 0.0}
    status = ModelRolloutStatus.model_validate({"phase": phase, "run": run, "observedGeneration": 1, **told})
    return Sight("feed", 1, ModelRolloutSpec.model_validate({**SPEC, **wished}), status)


EARLIER = RUN.removesuffix("1") + "7"


def test_a_weight_and_a_promotion_of_an_earlier_run_say_nothing_about_this_one() -> None:
    wished = {"weightOverride": {"weight": 3, "run": EARLIER}, "promote": EARLIER}
    begun = [
        {"seq": seq, "at": 0.0, "origin": "Pending", "target": "Validating", "step": 0, "weight": 0}
        | {"reason": "NewRun", "message": f"run {run}: candidate against baseline"}
        for seq, run in enumerate((EARLIER, RUN), 1)
    ]
    ignored = [
        f"promote is for run {EARLIER}; the present run is {RUN}",
        f"promote is for run {RUN[:-1]}9; the present",
    ]
    sight = sight_of("Ramping", wished, weight=5, observedWeight=5, history=begun, steering={"ignored": ignored})
    assert next_words(sight).startswith("The weight rises to")
    assert "ramp" not in {wish.name for wish, _ in offers(sight)}
    assert [one.words for one in notices(sight, 1.0)] == [f"A wish is not taken up: {ignored[1]}."]


@pytest.mark.parametrize("phase", ["Validating", "Ramping", "Paused"])
def test_a_promotion_that_waits_is_told_and_can_be_withdrawn(phase: str) -> None:
    sight = sight_of(phase, {"promote": RUN, "paused": phase == "Paused"}, weight=5, observedWeight=5)
    assert "as a person asked" in next_words(sight).lower()
    assert any("waits" in one.words for one in notices(sight, 1.0))
    offered = {wish.name: unfit for wish, unfit in offers(sight)}
    assert "promote" not in offered
    assert offered["withdraw"] is None
    assert "promote" not in WISHES["withdraw"].change(sight.spec.to_json(), sight.status, None)
    if phase == "Paused":
        assert "all traffic goes to the candidate" in WISHES["resume"].effects(sight, None)[0]


def test_a_promoted_model_that_the_router_has_left_is_looked_at_and_not_called_the_one_in_production() -> None:
    gone = "the router has 0 % of no run now; this rollout had left it at 100 %"
    condition: dict[str, Any] = {"type": "Ready", "status": "False", "reason": "Superseded", "message": gone}
    condition |= {"lastTransitionTime": 0.0, "observedGeneration": 1}
    sight = sight_of("Succeeded", {}, weight=100, observedWeight=0, conditions=[condition])
    assert gone in state_words(sight)
    assert "in production" not in state_words(sight)
    assert "has all traffic" not in next_words(sight)
    assert [one.gravity for one in notices(sight, 1.0)] == ["bad"]
