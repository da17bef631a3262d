"""The pages over real rollouts: what they say."""

from __future__ import annotations

from serving.console.server import Entrance
from serving.console.split_record import SplitRecord
from tests.serving.console.console_browser import Page
from tests.serving.console.console_under_test import Console
from tests.serving.console.console_world import CANDIDATE, SPEC


def ramping(console: Console, name: str = "feed", **changes: object) -> None:
    console.world.create(name, **changes)
    console.world.until(lambda status: status.phase == "Ramping", name)


def test_without_a_rollout_the_list_says_how_one_is_made(console: Console) -> None:
    assert "mgoe rollout create" in console.browser().page("/").text


def test_a_rollout_is_listed_and_its_page_says_its_state(console: Console) -> None:
    ramping(console)
    browser = console.browser()
    assert browser.page("/").links["feed"] == "/rollouts/feed"
    page = browser.page("/rollouts/feed")
    assert "Ramping, step 1 of 3: the candidate has 5 % of the users." in page.text
    assert "The weight rises to 20 % when this step has its time and its units" in page.text
    assert CANDIDATE in page.text


def test_what_needs_a_person_comes_first_in_the_list(console: Console) -> None:
    ramping(console, "a-alarmed", steps=[{"weight": 50, "minSeconds": 60, "minUnits": 10}])
    console.world.visit("a-alarmed", 400, candidates_share=0.2)
    console.world.live(30, "a-alarmed")
    ramping(console, "b-later")
    page = console.browser().page("/")
    assert [words for words in page.links if words in {"a-alarmed", "b-later"}] == ["a-alarmed", "b-later"]
    assert "2 rollouts; 1 needs a look: a-alarmed." in page.text
    console.world.store.edit("a-alarmed", lambda spec: {**spec, "abort": True})
    console.world.look()
    page = console.browser().page("/")
    assert [words for words in page.links if words in {"a-alarmed", "b-later"}] == ["b-later", "a-alarmed"]


def test_the_charts_show_the_course_of_the_evidence_with_its_bounds(console: Console) -> None:
    ramping(console)
    splits = SplitRecord(console.site.audit._engine)
    for _ in range(6):
        console.world.live(60, units=300)
        read, status = console.world.store.read("feed"), console.world.status()
        splits.saw(read.uid, console.world.now, status.weight, status.observed_weight)
    page = console.browser().page("/rollouts/feed")
    for drawn in ("split", "metric-0", "metric-1", "metric-2", "ratio"):
        assert f"title-{drawn}" in page.ids
    assert "no effect" in page.text
    assert "worth finding" in page.text
    assert "Must not suffer: shown once the whole interval lies above -3.00%." in page.text
    assert len(page.ids) == len(set(page.ids)), "no id twice"


def test_a_page_without_evidence_says_so_and_still_stands(console: Console) -> None:
    ramping(console)
    console.site.courses = None
    assert "started without --evidence" in console.browser().page("/rollouts/feed").text


def test_evidence_that_cannot_be_read_is_a_sentence_beside_the_page(console: Console) -> None:
    ramping(console)
    console.world.engine.dispose()
    (console.world.folder / "evidence.db").write_bytes(b"no database at all" * 100)
    page = console.browser().page("/rollouts/feed")
    assert "The evidence cannot be read" in page.text
    assert "Ramping, step 1 of 3" in page.text


def test_a_part_of_a_page_is_sent_again_only_when_it_has_changed(console: Console) -> None:
    ramping(console)
    browser = console.browser()
    for part in ("/live", "/rollouts/feed/live", "/rollouts/feed/charts", "/rollouts/feed/records"):
        first = browser.get(part)
        assert first.status_code == 200
        again = browser.get(part, **{"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.text) == (304, "")
    console.world.live(60, units=50)
    assert browser.get("/rollouts/feed/live", **{"if-none-match": first.headers["etag"]}).status_code == 200


def test_parts_of_a_page_are_the_page_itself(console: Console) -> None:
    ramping(console)
    browser = console.browser()
    whole = browser.page("/rollouts/feed").source
    for part in ("live", "charts", "records"):
        assert browser.get(f"/rollouts/feed/{part}").text.strip() in whole


def test_an_unknown_rollout_and_an_unknown_page_are_sentences(console: Console) -> None:
    browser = console.browser()
    missing = browser.get("/rollouts/nowhere")
    assert missing.status_code == 404
    assert "no rollout &#39;nowhere&#39;" in missing.text
    assert browser.get("/nonsense").status_code == 404


def test_a_store_that_does_not_answer_is_a_sentence_and_not_ready(console: Console) -> None:
    browser = console.browser()
    assert browser.get("/health/ready").status_code == 200
    for each in console.world.folder.glob("rollouts.db*"):  # its write-ahead log too
        each.write_bytes(b"no database at all" * 100)
    assert browser.get("/").status_code == 503
    assert browser.get("/health/ready").status_code == 503
    assert browser.get("/health/live").status_code == 200


def test_a_rollout_that_this_version_cannot_read_does_not_hide_the_others(console: Console) -> None:
    import sqlite3

    ramping(console)
    console.world.create("strange")
    with sqlite3.connect(console.world.folder / "rollouts.db") as database:
        database.execute("UPDATE rollouts SET spec = '{}' WHERE name = 'strange'")
        database.execute("""UPDATE rollouts SET status = '{"phase": "Dancing"}' WHERE name = 'strange'""")
    page = console.browser().page("/")
    assert "feed" in page.links
    assert "This version cannot read it" in page.text


def test_words_of_others_are_shown_as_words(console: Console) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    metrics = [{**SPEC["metrics"][0], "value": hostile[:60]}, *SPEC["metrics"][1:]]
    ramping(console, metrics=metrics)
    browser = console.browser()
    done = browser.wish("feed", "pause", reason=f"{hostile} '\"")
    for source in (browser.page(done.headers["location"]).source, browser.get(f"/rollouts/{hostile}").text):
        scripts = [fields for tag, fields in Page(source).tags if tag in {"script", "img"}]
        assert [each.get("type") for each in scripts] == ["module"]


def test_no_page_holds_what_the_policy_forbids(console: Console) -> None:
    ramping(console)
    browser = console.browser()
    for path in ("/", "/rollouts/feed", "/rollouts/feed/wish/abort", "/rollouts/feed/wish/weight?weight=7"):
        answer = browser.get(path)
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        for tag, fields in Page(answer.text).tags:
            assert "style" not in fields, (tag, fields)
            assert not any(name.startswith("on") for name in fields), (tag, fields)
            for name in ("src", "href", "action"):
                assert (fields.get(name) or "/").startswith(("/", "#")), (tag, fields)
        assert "<style" not in answer.text


def test_the_console_of_a_read_only_person_has_no_buttons(console: Console) -> None:
    from tests.serving.console.console_under_test import console_over

    ramping(console)
    entrance = Entrance(header="X-Forwarded-User", proxies=("10.1.0.0/16",))
    browser = console_over(console.world, entrance).browser("10.1.2.3")
    shown = browser.get("/rollouts/feed", **{"x-forwarded-user": "ada"})
    assert shown.status_code == 200
    assert "ada · may look" in shown.text
    assert "/wish/" not in shown.text
