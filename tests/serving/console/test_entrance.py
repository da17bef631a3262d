"""Who is let in, and what a page of another site or a guesser gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import UserError
from serving.console.door import ProxyDoor
from serving.console.login_limit import OF_ALL, OF_ONE, WINDOW_S, LoginLimit
from serving.console.server import Entrance
from serving.console.session import COOKIE, LIFE_S, Sessions, key_of
from serving.console.tokens import read_tokens
from tests.serving.console.console_browser import Browser, sentence
from tests.serving.console.console_under_test import Console, console_over
from tests.serving.console.console_world import ConsoleWorld
from tests.serving.console.test_pages import ramping

LOOK, STEER = "look-0123456789abcdef", "steer-0123456789abcdef"


@pytest.fixture
def guarded(world: ConsoleWorld) -> Console:
    """A console with two tokens and a rollout that ramps."""
    file = world.folder / "tokens"
    file.write_text(f"# who may\nview {LOOK}\n\nsteer {STEER} Ada Lovelace\n")
    made = console_over(world, Entrance(tokens=file))
    ramping(made)
    return made


def in_with(console: Console, token: str) -> Browser:
    browser = console.browser()
    assert browser.login(token).status_code == 303
    return browser


def test_a_stranger_is_led_to_the_login_and_from_there_to_the_page(guarded: Console) -> None:
    browser = guarded.browser()
    for path in ("/", "/rollouts/feed", "/rollouts/feed/wish/abort"):
        led = browser.get(path)
        assert led.status_code == 303
        assert led.headers["location"].startswith("/login?after=%2F")
    assert browser.get("/rollouts/feed/live").status_code == 401
    landed = browser.login(STEER, after="/rollouts/feed")
    assert (landed.status_code, landed.headers["location"]) == (303, "/rollouts/feed")
    assert "Ada Lovelace · may steer" in browser.page("/rollouts/feed").text


def test_the_name_of_the_token_is_in_the_audit(guarded: Console) -> None:
    browser = in_with(guarded, STEER)
    done = browser.wish("feed", "pause")
    assert "Ada Lovelace" in browser.page(done.headers["location"]).text


def test_who_may_look_sees_all_and_steers_nothing(guarded: Console) -> None:
    browser = in_with(guarded, LOOK)
    page = browser.page("/rollouts/feed")
    assert not [link for link in page.links.values() if "/wish/" in link]
    steerer = in_with(guarded, STEER)
    fields = steerer.page("/rollouts/feed/wish/abort").fields
    for answer in (browser.get("/rollouts/feed/wish/abort"), browser.post("/rollouts/feed/wish/abort", fields)):
        assert answer.status_code == 403
        assert "You may look, not steer" in sentence(answer)
    assert guarded.world.store.read("feed").spec["abort"] is False


@pytest.mark.parametrize("after", ["//evil.example", "https://evil.example", "/\\evil", "javascript:alert(1)", "/\nx"])
def test_a_login_leads_nowhere_else(guarded: Console, after: str) -> None:
    browser = guarded.browser()
    form = browser.page("/login").fields
    landed = browser.post("/login", {**form, "token": STEER, "after": after})
    assert landed.headers["location"] == "/"


def test_a_session_is_new_after_login_and_gone_after_logout(guarded: Console) -> None:
    browser = guarded.browser()
    browser.page("/login")
    before = browser.client.cookies[COOKIE]
    landed = browser.login(STEER)
    cookie = landed.headers["set-cookie"]
    assert browser.client.cookies[COOKIE] != before
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert STEER not in cookie
    form = browser.page("/").fields
    assert browser.post("/logout", {"form_token": "0"}).status_code == 303
    assert browser.get("/").status_code == 200, "a forged logout does nothing"
    assert browser.post("/logout", form).status_code == 303
    assert browser.get("/").status_code == 303


def test_cookies_that_were_forged_or_of_another_key_are_strangers(guarded: Console) -> None:
    browser = in_with(guarded, STEER)
    good = browser.client.cookies[COOKIE]
    other = Sessions(b"k" * 32)
    for bad in ("", "x", good[:-2], good + "A", other.cookie(other.new(b"d" * 32)), "." * 100, "a" * 5000):
        stranger = guarded.browser()
        stranger.client.cookies.set(COOKIE, bad)
        assert stranger.get("/").status_code == 303


def test_a_token_that_was_taken_out_of_the_file_opens_nothing(guarded: Console) -> None:
    browser = in_with(guarded, STEER)
    (guarded.world.folder / "tokens").write_text(f"view {LOOK}\n")
    later = console_over(guarded.world, Entrance(tokens=guarded.world.folder / "tokens"))
    later.site.sessions = guarded.site.sessions
    stranger = later.browser()
    stranger.client.cookies.set(COOKIE, browser.client.cookies[COOKIE])
    assert stranger.get("/").status_code == 303


def test_a_session_ends_after_its_life(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    sessions = Sessions(b"k" * 32)
    cookie = sessions.cookie(sessions.new())
    assert sessions.read(cookie) is not None
    later = time.time() + LIFE_S + 2
    monkeypatch.setattr(time, "time", lambda: later)
    assert sessions.read(cookie) is None


def test_wrong_tokens_are_counted_by_address_and_told_when_to_try_again(guarded: Console) -> None:
    guesser = guarded.browser("192.0.2.1")
    for _ in range(OF_ONE):
        wrong = guesser.login("guess-0123456789abcdef")
        assert (wrong.status_code, sentence(wrong)) == (403, "This token is not known.")
    held = guesser.login(STEER)
    assert held.status_code == 429
    assert int(held.headers["retry-after"]) > 0
    assert guarded.browser("192.0.2.2").login(STEER).status_code == 303


def test_who_guesses_from_many_addresses_is_held_up_too() -> None:
    now = [0.0]
    limit = LoginLimit(lambda: now[0])
    for number in range(OF_ALL):
        limit.failed(f"192.0.2.{number}")
    assert limit.wait_s("198.51.100.1") == WINDOW_S
    now[0] = WINDOW_S + 1
    assert limit.wait_s("198.51.100.1") == 0.0


def test_a_login_form_of_another_session_is_refused(guarded: Console) -> None:
    fields = guarded.browser().page("/login").fields
    assert guarded.browser().post("/login", {**fields, "token": STEER}).status_code == 403


def test_no_token_is_ever_logged(guarded: Console, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    in_with(guarded, STEER)
    guarded.browser().login("wrong-0123456789abcdef")
    assert STEER not in caplog.text
    assert "wrong-0123456789abcdef" not in caplog.text


def test_another_name_is_not_answered_except_for_health(guarded: Console) -> None:
    client = guarded.browser().client
    for host in ("evil.example", "localhost.evil.example", "[::1", "", "127.0.0.2"):
        assert client.get("/login", headers={"host": host}).status_code == 421
        assert client.get("/health/live", headers={"host": host}).status_code == 200
    assert client.get("/login", headers={"host": "LOCALHOST:8091"}).status_code == 200


def test_every_answer_carries_the_headers_of_a_page(guarded: Console) -> None:
    browser = in_with(guarded, STEER)
    for path in ("/", "/rollouts/feed/live", "/nowhere", "/health/live", "/rollouts/none"):
        headers = browser.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "no-store" in headers["cache-control"] or "no-cache" in headers["cache-control"]


def test_static_files_have_an_address_for_each_content(guarded: Console) -> None:
    browser = guarded.browser()
    page = browser.page("/login")
    addresses = [str(fields.get("href") or fields.get("src")) for tag, fields in page.tags if tag in {"link", "script"}]
    assert len(addresses) == 3
    for address in addresses:
        answer = browser.get(address)
        assert (answer.status_code, "immutable" in answer.headers["cache-control"]) == (200, True)
        assert browser.get(address.replace("/static/", "/static/0")).status_code == 404
    assert browser.get("/static/x/../../../etc/passwd").status_code == 404


def test_a_name_counts_only_from_a_trusted_proxy(world: ConsoleWorld) -> None:
    entrance = Entrance(header="X-Forwarded-User", proxies=("10.1.0.0/16", "::1/128"), steerers=("ada",))
    console = console_over(world, entrance)
    ramping(console)
    named = {"x-forwarded-user": "ada"}
    assert console.browser("10.2.0.1").get("/", **named).status_code == 403
    assert console.browser("not an address").get("/", **named).status_code == 403
    assert console.browser("10.1.2.3").get("/").status_code == 403
    assert "ada · may steer" in console.browser("10.1.2.3").get("/", **named).text
    assert "bob · may look" in console.browser("10.1.2.3").get("/", **{"x-forwarded-user": "bob"}).text
    assert console.browser("10.1.2.3").get("/login").status_code == 404


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it holds none"),
        ("admin 0123456789abcdef", "role 'admin' is none of view, steer"),
        ("view short", "at least 16 characters"),
        ("view", "at least 16 characters"),
        (f"view {LOOK}\nsteer {LOOK}", "the token of line 1 again"),
    ],
)
def test_a_token_file_that_does_not_fit_is_one_line_without_the_token(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    with pytest.raises(UserError) as refused:
        read_tokens(file)
    assert said in str(refused.value)
    assert LOOK not in str(refused.value)


def test_a_token_file_that_is_not_there_or_no_text_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_tokens(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"view \xff\xff")
    with pytest.raises(UserError, match="no UTF-8 at byte 5"):
        read_tokens(tmp_path / "bytes")


def test_proxies_have_to_be_named_and_to_be_networks() -> None:
    with pytest.raises(UserError, match="--trusted-proxy CIDR"):
        ProxyDoor("X-Forwarded-User", (), ())
    with pytest.raises(UserError, match=r"10\.0\.0\.1/8"):
        ProxyDoor("X-Forwarded-User", ("10.0.0.1/8",), ())


def test_a_key_is_made_once_for_its_owner_alone_and_short_ones_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "state" / "console.key"
    key = key_of(file, make=True)
    assert key == key_of(file, make=True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert key_of(None) != key_of(None)
    (tmp_path / "short").write_text("secret")
    with pytest.raises(UserError, match="6 bytes, 32 or more"):
        key_of(tmp_path / "short")
    with pytest.raises(UserError, match="No such file"):
        key_of(tmp_path / "none")
