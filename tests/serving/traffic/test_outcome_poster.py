"""The poster before services that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from starlette.responses import JSONResponse

from model.errors import Fault
from serving.traffic.outcome_poster import BATCH, Event, OutcomePoster
from serving.traffic.replay import outcome_event
from tests.serving.traffic.intake import Events, Intake, accepted, lost, refused, status


def events(count: int) -> list[Event]:
    return [
        outcome_event(experiment="exp", exposure_id=f"e{n}", unit=f"u{n}", task="click", count=1) for n in range(count)
    ]


def post(intake: Intake, of: int | list[Event], *, token: str | None = None) -> OutcomePoster:
    """Posts events, or so many of them, until all are acknowledged."""

    async def work() -> OutcomePoster:
        poster = OutcomePoster(intake.url, token)
        try:
            await poster.require_ready()
            poster.put(events(of) if isinstance(of, int) else of)
            poster.finish()
            await asyncio.wait_for(poster.run(), 20)
        finally:
            await poster.close()
        return poster

    return asyncio.run(work())


@pytest.mark.parametrize("failure", [lost, status(503), status(429), status(408), status(404)])
def test_what_was_not_acknowledged_is_sent_again_under_the_same_ids(failure: Callable[[Events], JSONResponse]) -> None:
    with Intake([failure, failure, accepted]) as intake:
        poster = post(intake, 5)
    assert (poster.accepted, poster.waiting, poster.retries) == (5, 0, 2)
    assert intake.ids == [f"simulated:e{n}:click" for n in range(5)] * 3


def test_many_events_go_in_bounded_batches_in_their_order() -> None:
    with Intake() as intake:
        poster = post(intake, 2 * BATCH + 10)
    assert [len(batch) for batch in intake.batches] == [BATCH, BATCH, 10]
    assert intake.ids == [f"simulated:e{n}:click" for n in range(2 * BATCH + 10)]
    assert poster.accepted == 2 * BATCH + 10


def test_refusals_are_counted_by_kind_and_not_sent_again() -> None:
    with Intake([refused]) as intake:
        poster = post(intake, 3)
    assert (poster.accepted, dict(poster.refused), len(intake.batches)) == (0, {"unknown": 3}, 1)
    assert poster.first_refusal == "experiment 'x' is not registered"


def counting(*metrics: str) -> Callable[[Events], JSONResponse]:
    """A service whose experiment counts these."""

    def answer(events: Events) -> JSONResponse:
        unknown = {"status": "refused", "kind": "unknown", "reason": "metric 'cart': experiment 'exp' counts click"}
        return JSONResponse(
            {"answers": [{"status": "accepted"} if each["metric"] in metrics else unknown for each in events]}
        )

    return answer


def test_a_metric_that_the_experiment_does_not_count_is_told_apart_from_a_refusal() -> None:
    made = [each | {"metric": metric} for each in events(4) for metric in ("click", "cart")]
    with Intake([counting("click")]) as intake:
        poster = post(intake, made)
    assert (poster.accepted, poster.uncounted, dict(poster.refused), poster.first_refusal) == (4, {"cart": 4}, {}, None)


def test_where_nothing_is_taken_or_a_metric_only_now_and_then_it_is_a_refusal() -> None:
    made = [each | {"metric": metric} for each in events(BATCH) for metric in ("click", "cart")]
    with Intake([counting()]) as intake:
        assert post(intake, events(3)).refused == {"unknown": 3}
    with Intake([counting("click"), counting("click", "cart")]) as intake:
        poster = post(intake, made)
    assert (dict(poster.refused), poster.uncounted) == ({"unknown": BATCH // 2}, {})
    assert poster.first_refusal == "metric 'cart': experiment 'exp' counts click"


@pytest.mark.parametrize("code", [400, 401, 403, 413, 415])
def test_a_service_that_will_never_take_them_ends_the_run(code: int) -> None:
    with Intake([status(code)]) as intake, pytest.raises(Fault, match=f"answers {code}"):
        post(intake, 1)


@pytest.mark.parametrize("body", [{}, {"answers": []}, {"answers": [3]}, [], {"answers": [{"status": "refused"}]}])
def test_an_answer_that_says_nothing_of_the_events_is_no_acknowledgement(body: object) -> None:
    with Intake([lambda _: JSONResponse(body)]) as intake, pytest.raises(Fault, match="evidence http"):
        post(intake, 1)


def test_a_token_goes_along() -> None:
    with Intake() as intake:
        post(intake, 1, token="write-token")  # noqa: S106  # no secret
        post(intake, 1)
    assert intake.tokens == ["Bearer write-token", None]


def test_a_service_that_is_not_there_is_named() -> None:
    intake = Intake(url="http://127.0.0.1:9")
    with pytest.raises(Fault, match=r"evidence http://127\.0\.0\.1:9 does not answer"):
        post(intake, 1)
