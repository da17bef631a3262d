"""The pages over real rollouts: what they say, and what a person does from them."""

from __future__ import annotations

from tests.serving.console.console_under_test import Console


def test_a_rollout_is_listed_and_its_page_says_its_state(console: Console) -> None:
    world = console.world
    world.create()
    world.until(lambda status: status.phase == "Ramping")
    browser = console.browser()
    assert "feed" in browser.page("/").links
    page = browser.page("/rollouts/feed")
    assert "Ramping, candidate at 5 %" in page.text
    assert "The weight rises to 20 %" in page.text


def test_a_wish_is_asked_for_confirmed_written_and_recorded(console: Console) -> None:
    world = console.world
    world.create()
    world.until(lambda status: status.phase == "Ramping")
    browser = console.browser()
    asked = browser.page("/rollouts/feed/wish/pause")
    assert "The candidate stays at 5 % until somebody resumes." in asked.text
    done = browser.wish("feed", "pause", reason="lunch")
    assert done.status_code == 303
    assert world.store.read("feed").spec["paused"] is True
    page = browser.page(done.headers["location"])
    assert "Written. pause (spec.paused: False -> True)" in page.text
    assert "this machine" in page.text
    assert "“lunch”" in page.text
