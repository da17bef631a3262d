import pytest

from components.events import Event
from model.errors import Fault
from model.registry.gate import GateRefused
from pipelines.progress import line_of


def test_a_refusal_is_no_failure_and_says_what_became_of_the_models() -> None:
    message = "baseline registered as version 4; candidate mgoe is not registered: interval [b] and [-0.1, +0.1]"
    line = line_of(Event(step="register", state="failed", message=message, exit_code=GateRefused.exit_code)).plain
    assert line.split() == ["!", "register", "refused", *message.split()]


def test_a_failed_step_leaves_its_words_to_the_last_line() -> None:
    line = line_of(Event(step="ingest", state="failed", message="no disk", exit_code=Fault.exit_code)).plain
    assert line.split() == ["✗", "ingest", "failed"]


@pytest.mark.parametrize(("state", "told"), [("made", ["2.5", "s"]), ("reused", ["reused"])])
def test_a_finished_step_shows_its_time_or_that_it_was_reused(state: str, told: list[str]) -> None:
    event = Event.model_validate({"step": "compare", "state": state, "seconds": 2.5, "message": "note"})
    assert line_of(event).plain.split() == ["✓", "compare", *told, "note"]
