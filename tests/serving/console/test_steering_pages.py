"""Wishes from the page: asked for, written, refused, recorded."""

from __future__ import annotations

import json
import logging
import sqlite3

import pytest

from tests.serving.console.console_browser import Page, sentence
from tests.serving.console.console_under_test import Console
from tests.serving.console.test_pages import ramping


def records(console: Console) -> list[tuple[str, str]]:
    """(wish, result) of every row, in their order."""
    with sqlite3.connect(console.world.folder / "console.db") as database:
        return database.execute("SELECT wish, result FROM console_audit ORDER BY id").fetchall()


def test_a_wish_is_asked_for_confirmed_written_and_recorded(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mgoe.audit")
    ramping(console)
    browser = console.browser()
    asked = browser.page("/rollouts/feed/wish/pause")
    assert "The candidate stays at 5 % until somebody resumes." in asked.text
    done = browser.wish("feed", "pause", reason="lunch")
    assert done.status_code == 303
    assert console.world.store.read("feed").spec["paused"] is True
    page = browser.page(done.headers["location"])
    assert "Written. pause (spec.paused: false -> true)" in page.text
    assert "“lunch”" in page.text
    assert records(console) == [("pause", "asked"), ("pause", "written")]
    line = json.loads(caplog.messages[-1])["audit"]
    assert (line["who"], line["wish"], line["reason"], line["result"]) == ("this machine", "pause", "lunch", "written")
    assert line["change"] == "spec.paused: false -> true"


def test_every_button_does_what_its_page_said(console: Console) -> None:
    ramping(console, steps=[{"weight": 5, "minSeconds": 1, "minUnits": 0}, {"weight": 50, "minUnits": 100_000}])
    world, browser = console.world, console.browser()
    assert browser.wish("feed", "weight", weight="9").status_code == 303
    world.look()
    assert (world.status().weight, world.status().overridden) == (9, True)
    assert browser.wish("feed", "ramp").status_code == 303
    world.look()
    assert not world.status().overridden
    assert browser.wish("feed", "pause").status_code == 303
    world.look()
    assert world.status().phase == "Paused"
    assert "resume" in " ".join(browser.page("/rollouts/feed").links.values())
    assert browser.wish("feed", "resume").status_code == 303
    world.look()
    assert world.status().phase == "Ramping"
    assert "All traffic goes" in browser.page("/rollouts/feed/wish/promote").text
    assert browser.wish("feed", "promote").status_code == 303
    world.look()
    assert world.status().phase == "Promoting"
    assert browser.wish("feed", "abort").status_code == 303
    world.look()
    world.look()
    assert (world.status().phase, world.router().weight) == ("RolledBack", 0)
    assert "the run has ended (RolledBack)" in browser.page("/rollouts/feed/wish/abort").text


def test_an_open_alarm_is_acknowledged_by_its_id(console: Console) -> None:
    ramping(console, steps=[{"weight": 50, "minSeconds": 60, "minUnits": 10}])
    world, browser = console.world, console.browser()
    world.visit("feed", 400, candidates_share=0.2)
    world.live(30)
    assert world.status().alarm is not None
    page = browser.page("/rollouts/feed")
    assert "Sample ratio alarm: users are not split as the weights say" in page.text
    assert "alarm open" in page.text
    assert browser.wish("feed", "acknowledge", alarm="another").status_code == 409
    assert browser.wish("feed", "acknowledge").status_code == 303
    world.look()
    alarm = world.status().alarm
    assert alarm is not None
    assert alarm.acknowledged


def test_a_page_that_somebody_else_has_overtaken_is_refused_and_shown_anew(console: Console) -> None:
    ramping(console)
    world, browser = console.world, console.browser()
    old = browser.page("/rollouts/feed/wish/promote").fields
    world.store.edit("feed", lambda spec: {**spec, "maxWeight": 60})
    refused = browser.post("/rollouts/feed/wish/promote", old)
    assert refused.status_code == 409
    assert sentence(refused).startswith("Nothing was changed: somebody else has changed the rollout since (gen")
    assert "promote" not in world.store.read("feed").spec
    assert Page(refused.text).fields["generation"] == "2"
    assert browser.post("/rollouts/feed/wish/promote", Page(refused.text).fields).status_code == 303
    assert records(console)[:2] == [("promote", "asked"), ("promote", "refused")]


def test_an_abort_is_not_held_up_by_another_edit_but_by_another_run(console: Console) -> None:
    ramping(console)
    world, browser = console.world, console.browser()
    old = browser.page("/rollouts/feed/wish/abort").fields
    world.store.edit("feed", lambda spec: {**spec, "maxWeight": 60})
    refused = browser.post("/rollouts/feed/wish/abort", {**old, "run": "bbbbbbbbbbbb-dddddddddddd-1"})
    assert refused.status_code == 409
    assert "the present run is bbbbbbbbbbbb-cccccccccccc-1" in sentence(refused)
    assert browser.post("/rollouts/feed/wish/abort", old).status_code == 303
    assert world.store.read("feed").spec["abort"] is True


@pytest.mark.parametrize("weight", ["", "101", "-1", "7.5", "seven", "٣", "99999999999999999999"])
def test_a_weight_that_is_none_is_refused_in_one_line(console: Console, weight: str) -> None:
    ramping(console)
    refused = console.browser().wish("feed", "weight", weight=weight)
    assert refused.status_code == 400
    assert sentence(refused).startswith("weight ")
    assert console.world.store.read("feed").generation == 1


def test_a_wish_that_makes_no_sense_now_is_refused_in_its_line(console: Console) -> None:
    ramping(console)
    browser = console.browser()
    fields = browser.page("/rollouts/feed/wish/pause").fields
    refused = browser.post("/rollouts/feed/wish/resume", fields)
    assert refused.status_code == 400
    assert "it is not paused" in refused.text
    assert browser.get("/rollouts/feed/wish/dance").status_code == 404


def test_a_form_that_was_not_made_here_changes_nothing(console: Console) -> None:
    ramping(console)
    browser = console.browser()
    fields = browser.page("/rollouts/feed/wish/abort").fields
    for origin in (None, "null", "http://evil.example", "http://localhost.evil.example", "http://["):
        assert browser.post("/rollouts/feed/wish/abort", fields, origin).status_code == 403
    for forged in ({**fields, "form_token": "0" * 64}, {**fields, "form_token": "ü"}, {"form_token": ""}):
        assert browser.post("/rollouts/feed/wish/abort", forged).status_code == 403
    other = console.browser()
    other.page("/")
    assert other.post("/rollouts/feed/wish/abort", fields).status_code == 403, "the token of another session"
    assert console.world.store.read("feed").spec["abort"] is False
    assert records(console) == []


def test_a_body_that_is_no_form_is_refused(console: Console) -> None:
    ramping(console)
    client = console.browser().client
    path, headers = "/rollouts/feed/wish/abort", {"origin": "http://localhost"}
    assert client.post(path, json={"abort": True}, headers=headers).status_code == 400
    large = {"reason": "x" * 20_000}
    assert client.post(path, data=large, headers=headers).status_code == 400
    many = {f"f{number}": "" for number in range(50)}
    assert client.post(path, data=many, headers=headers).status_code == 400


def test_where_the_audit_cannot_be_written_only_what_takes_from_the_candidate_goes_through(console: Console) -> None:
    ramping(console)
    browser = console.browser()
    with sqlite3.connect(console.world.folder / "console.db") as database:
        database.execute("DROP TABLE console_audit")
    refused = browser.wish("feed", "promote")
    assert refused.status_code == 503
    assert "nothing was changed, for the audit cannot be written" in sentence(refused)
    assert "promote" not in console.world.store.read("feed").spec
    assert browser.wish("feed", "abort").status_code == 303
    assert console.world.store.read("feed").spec["abort"] is True
