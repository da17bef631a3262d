"""The console in a real browser: rollouts are watched, paused, promoted and aborted by clicks, with scripts or not.

With MGOE_SCREENSHOTS=FOLDER the slow test leaves pictures of the pages there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from serving.console.server import Entrance
from tests.serving.console.console_served import Served, served
from tests.serving.console.console_world import ConsoleWorld

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (images/apt.sh chromium)")
STEPS = [{"weight": 5, "minSeconds": 30, "minUnits": 20}, {"weight": 50, "minSeconds": 60, "minUnits": 100_000}]


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ConsoleWorld]:
    made = ConsoleWorld(tmp_path)
    made.create("feed-ranking", steps=STEPS, promotion={"mode": "Manual", "bakeSeconds": 600})
    made.until(lambda status: status.phase == "Ramping", "feed-ranking")
    yield made
    made.engine.dispose()


def watched(page: Page) -> list[str]:
    """What the browser complains of from now on."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def wish(page: Page, label: str, reason: str = "") -> None:
    """The button, and then the one that confirms."""
    page.get_by_role("link", name=f"{label} …", exact=True).click()
    expect(page.get_by_role("heading", name="What will happen")).to_be_visible()
    if reason:
        page.get_by_label("Why (optional, kept in the audit)").fill(reason)
    page.get_by_role("button", name=label, exact=True).click()
    expect(page.locator(".outcome")).to_contain_text("Written.")


def badge(page: Page, phase: str) -> None:
    """The page, without being loaded again, comes to say so."""
    expect(page.locator("#state .badge").first).to_contain_text(phase, timeout=15_000)


def test_a_rollout_is_watched_paused_promoted_and_aborted_by_clicks(world: ConsoleWorld, browser: Browser) -> None:
    with served(world) as console:
        page = browser.new_page()
        complaints = watched(page)
        page.goto(console.url)
        page.get_by_role("link", name="feed-ranking").click()
        badge(page, "Ramping")
        wish(page, "Pause", "lunch")
        badge(page, "Paused")
        wish(page, "Resume")
        badge(page, "Ramping")
        wish(page, "Promote")
        badge(page, "Promoting")
        wish(page, "Abort", "it was a mistake")
        badge(page, "RolledBack")
        assert world.router("feed-ranking").weight == 0
        expect(page.locator("#audit li")).to_have_count(4, timeout=10_000)
        expect(page.locator("#audit")).to_contain_text("“it was a mistake”")
        expect(page.locator("#aloud")).to_contain_text("All users are on the baseline again")
        assert complaints == []


@pytest.mark.slow
def test_without_scripts_everything_works_too(world: ConsoleWorld, browser: Browser) -> None:
    with served(world) as console:
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(f"{console.url}/rollouts/feed-ranking")
        page.get_by_label("Weight, %").fill("9")
        page.get_by_role("button", name="Set weight …").click()
        expect(page.locator(".effects")).to_contain_text("The candidate goes from 5 % to 9 %")
        page.get_by_role("button", name="Set weight").click()
        expect(page.locator(".outcome")).to_contain_text("Written.")
        expect(page.locator("#ramp")).to_be_visible()
        wish(page, "Abort")


@pytest.mark.slow
def test_a_console_that_ends_is_said_on_the_page_and_its_return_too(world: ConsoleWorld, browser: Browser) -> None:
    page = browser.new_page()
    with served(world) as console:
        page.goto(f"{console.url}/rollouts/feed-ranking")
        page.route("**/live", lambda route: route.abort())
        expect(page.locator("#connection")).to_contain_text("what you see is old", timeout=15_000)
        page.unroute("**/live")
        expect(page.locator("#connection")).to_be_hidden(timeout=15_000)


@pytest.mark.slow
def test_typed_text_focus_and_open_tables_stay_while_the_page_is_renewed(world: ConsoleWorld, browser: Browser) -> None:
    with served(world) as console:
        page = browser.new_page()
        page.goto(f"{console.url}/rollouts/feed-ranking")
        page.locator("#table-split summary").click()
        page.get_by_label("Weight, %").fill("13")
        with console.lock:
            world.store.edit("feed-ranking", lambda spec: {**spec, "paused": True})
        badge(page, "Paused")
        page.wait_for_timeout(6000)
        expect(page.get_by_label("Weight, %")).to_have_value("13")
        expect(page.get_by_label("Weight, %")).to_be_focused()
        assert page.locator("#table-split").get_attribute("open") is not None


@pytest.mark.slow
def test_the_keyboard_is_enough(world: ConsoleWorld, browser: Browser) -> None:
    with served(world, looks=False) as console:
        page = browser.new_page()
        page.goto(f"{console.url}/rollouts/feed-ranking")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#content")).to_be_focused()
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "wish-abort":
                break
        page.keyboard.press("Enter")
        page.get_by_label("Why (optional, kept in the audit)").press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator(".outcome")).to_contain_text("Written.")


def _pages(console: Served) -> dict[str, str]:
    return {
        "list": "/",
        "rollout": "/rollouts/feed-ranking",
        "confirm": "/rollouts/feed-ranking/wish/promote",
        "refusal": "/rollouts/nowhere",
    }


LOOKS: dict[str, dict[str, object]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 780}, "color_scheme": "light", "is_mobile": True, "has_touch": True},
}


@pytest.mark.slow
def test_no_page_scrolls_sideways_or_breaks_a_rule_of_access(world: ConsoleWorld, browser: Browser) -> None:
    pictures = os.environ.get("MGOE_SCREENSHOTS")
    world.create("search-ranking", steps=STEPS)
    world.create("related-items", steps=[{"weight": 50, "minSeconds": 60, "minUnits": 10}])
    with served(world, looks=False) as console:
        for _ in range(14):
            world.live(30, "feed-ranking", units=160)
            read, status = world.store.read("feed-ranking"), world.status("feed-ranking")
            console.site.splits.saw(read.uid, world.now, status.weight, status.observed_weight)
        world.visit("related-items", 300, candidates_share=0.2)
        world.live(30, "related-items")
        for look, options in LOOKS.items():
            page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
            for name, path in _pages(console).items():
                page.goto(console.url + path)
                wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
                assert wide <= 0, (look, name)
                results = Axe().run(page)
                assert results.violations_count == 0, f"{look} {name}: {results.generate_report()}"
                if pictures:
                    page.screenshot(path=Path(pictures) / f"console-{name}-{look}.png", full_page=True)
            page.context.close()


@pytest.mark.slow
def test_a_person_logs_in_with_a_token_and_only_looks(world: ConsoleWorld, browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("view look-0123456789abcdef Grace Hopper\n")
    with served(world, Entrance(tokens=file), looks=False) as console:
        page = browser.new_page()
        page.goto(f"{console.url}/rollouts/feed-ranking")
        page.get_by_label("Your token").fill("look-0123456789abcdef")
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(re.compile("/rollouts/feed-ranking$"))
        expect(page.locator(".who")).to_have_text("Grace Hopper · may look")
        expect(page.locator("#steer")).to_have_count(0)
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
