"""One ConfigMap of the API server, read and watched with the pod's own token.

A client library would cost each gateway pod 60 MB and the agent's start some seconds, for one GET and one watch.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from model.errors import Fault, UserError

VERBS = ("get", "watch")
"""What the agent's Role must allow, on this ConfigMap by its name."""
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
WATCH_S = 5
"""A watch is ended by the server after this long and opened anew after another GET, so that a lost event is made up for
well within the ten seconds that a breach may take."""


@dataclass(frozen=True)
class Version:
    """A ConfigMap as it was at one resourceVersion."""

    version: str
    data: Mapping[str, str] = field(default_factory=dict)


class ConfigMapClient:
    """Reads one ConfigMap. Raises Fault where the API server does not answer or refuses."""

    def __init__(self, client: httpx.Client, namespace: str, name: str, token: Path | None = None) -> None:
        """token: file with the bearer token; read for every request, since Kubernetes replaces it."""
        self._client = client
        self._token = token
        self._path = f"/api/v1/namespaces/{namespace}/configmaps"
        self.namespace = namespace
        self.name = name

    @classmethod
    def of_pod(cls, name: str, account: Path = ACCOUNT) -> ConfigMapClient:
        """With what Kubernetes puts into every pod that may have a token. Raises UserError outside one."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        try:
            namespace = (account / "namespace").read_text(encoding="utf-8").strip()
            trusted = ssl.create_default_context(cafile=str(account / "ca.crt"))
        except OSError as error:
            raise UserError(f"this is no pod with a service account token: {account}: {error.strerror}") from None
        if not host:
            raise UserError("this is no pod: KUBERNETES_SERVICE_HOST is not set")
        base = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        client = httpx.Client(base_url=base, verify=trusted, timeout=5.0, trust_env=False)
        return cls(client, namespace, name, account / "token")

    def read(self) -> Version | None:
        """As it is now; None: there is none."""
        try:
            answer = self._client.get(f"{self._path}/{self.name}", headers=self._headers())
        except httpx.HTTPError as error:
            raise Fault(f"the API server does not answer: {error!r}") from None
        if answer.status_code == 404:
            return None
        self._check(answer)
        return _version(_json(answer.text))

    def watch(self, after: Version | None) -> Iterator[Version | None]:
        """Its changes for WATCH_S, from the version that was read (None: there was none); None where it is deleted."""
        asked = {"watch": "true", "fieldSelector": f"metadata.name={self.name}", "timeoutSeconds": str(WATCH_S)}
        if after is not None:
            asked["resourceVersion"] = after.version
        limits = httpx.Timeout(5.0, read=WATCH_S + 2.0)
        try:
            with self._client.stream(
                "GET", self._path, params=asked, headers=self._headers(), timeout=limits
            ) as answer:
                if answer.status_code != 200:
                    answer.read()
                    self._check(answer)
                for line in answer.iter_lines():
                    if not line.strip():
                        continue
                    event = _json(line)
                    if event.get("type") == "ERROR":  # mostly 410: the version is too old; another GET mends it
                        return
                    if event.get("type") == "DELETED":
                        yield None
                    elif event.get("type") in {"ADDED", "MODIFIED"}:
                        yield _version(event["object"])
        except httpx.HTTPError as error:
            raise Fault(f"the watch at the API server ended: {error!r}") from None

    def _headers(self) -> dict[str, str]:
        if self._token is None:
            return {}
        try:
            return {"authorization": f"Bearer {self._token.read_text(encoding='utf-8').strip()}"}
        except OSError as error:
            raise Fault(f"token {self._token}: {error.strerror}") from None

    def _check(self, answer: httpx.Response) -> None:
        if answer.status_code in {401, 403}:
            raise Fault(
                f"the API server answers {answer.status_code}: the agent's service account must be allowed "
                f"{' and '.join(VERBS)} of ConfigMap {self.name}"
            )
        if answer.status_code != 200:
            raise Fault(f"the API server answers {answer.status_code} for ConfigMap {self.name}")


def _version(document: Mapping[str, Any]) -> Version:
    try:
        return Version(str(document["metadata"]["resourceVersion"]), dict(document.get("data") or {}))
    except (KeyError, TypeError) as error:
        raise Fault(f"the API server answers what is no ConfigMap: {error!r}") from None


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Fault(f"the API server answers no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Fault(f"the API server answers {type(found).__name__} instead of an object")
    return found
