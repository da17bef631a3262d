"""A browser without a screen: follows the console's own links and forms, and reads what a page says."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from httpx2 import Response
from starlette.testclient import TestClient


@dataclass
class Page(HTMLParser):
    """What a page holds, as a reader without eyes finds it."""

    source: str
    text: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    """Inputs by name."""
    links: dict[str, str] = field(default_factory=dict)
    """Addresses by their words."""
    ids: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._link: str | None = None
        self._words: list[str] = []
        self._all: list[str] = []
        self._hidden = ""
        self.feed(self.source)
        self.text = " ".join(" ".join(self._all).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag in {"script", "style"}:
            self._hidden = tag
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "input" and found.get("name"):
            self.fields[str(found["name"])] = found.get("value") or ""
        if tag == "a":
            self._link, self._words = found.get("href"), []

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""
        if tag == "a" and self._link is not None:
            self.links[" ".join(" ".join(self._words).split())] = self._link
            self._link = None

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._all.append(data)
            self._words.append(data)


@dataclass
class Browser:
    """Cookies are kept by the client."""

    client: TestClient

    def get(self, path: str, **headers: str) -> Response:
        return self.client.get(path, headers=headers)

    def page(self, path: str) -> Page:
        answer = self.get(path)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return Page(answer.text)

    def post(self, path: str, fields: dict[str, str], origin: str | None = "http://localhost") -> Response:
        headers = {} if origin is None else {"origin": origin}
        return self.client.post(path, data=fields, headers=headers)

    def wish(self, name: str, kind: str, **fields: str) -> Response:
        """The page that asks, then its form, sent."""
        path = f"/rollouts/{name}/wish/{kind}"
        asked = self.get(path)
        form = Page(asked.text).fields
        return self.post(path, {**form, **fields})

    def login(self, token: str, after: str = "/") -> Response:
        form = self.page(f"/login?after={after}").fields
        return self.post("/login", {**form, "token": token})


def sentence(answer: Response) -> str:
    """What a refusal says."""
    found = re.search(r'role="alert">(.*?)</p>', answer.text, re.S)
    return html.unescape(found.group(1)).strip() if found else ""
