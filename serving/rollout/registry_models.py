"""Which bundle a rollout's arm is to serve: the digest itself, or the one that the registry's alias leads to."""

from __future__ import annotations

import asyncio
import importlib
import logging
from typing import Any

import httpx

from model.errors import UserError
from model.registry.model_registry import BUNDLE_DIGEST, BUNDLE_URI
from serving.rollout.spec import ModelSource

log = logging.getLogger(__name__)

ALIAS_PATH = "/api/2.0/mlflow/registered-models/alias"
TIMEOUT_S = 3.0


class PinnedModels:
    """Without a registry: sources must name a bundle and its digest."""

    async def digest(self, source: ModelSource) -> str | None:
        """The digest that the source names."""
        if source.digest is None:
            log.warning("model %s, alias %s: no registry is set (MGOE_REGISTRY)", source.model, source.alias)
        return source.digest


class MlflowServerModels:
    """MLflow's REST interface: the control image has no mlflow."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """client: with the server's address as its base_url, and its user or token."""
        self._client = client

    async def digest(self, source: ModelSource) -> str | None:
        """The bundle's digest, which registration noted on the version."""
        if source.digest is not None:
            return source.digest
        query = {"name": source.model or "", "alias": source.alias or ""}
        try:
            answer = await self._client.get(ALIAS_PATH, params=query, timeout=TIMEOUT_S)
            answer.raise_for_status()
            version = answer.json()["model_version"]
            tags = {tag["key"]: tag["value"] for tag in version.get("tags", ())}
        except httpx.HTTPError as error:
            log.warning("model %s, alias %s: registry %s: %s", source.model, source.alias, self._client.base_url, error)
            return None
        except (ValueError, KeyError, TypeError) as error:
            log.warning("registry %s answers what is no model version: %r", self._client.base_url, error)
            return None
        return _noted(source, tags)


class MlflowFileModels:
    """A registry in a file of this machine. Only mlflow itself reads it."""

    def __init__(self, uri: str) -> None:
        """Raises UserError where mlflow is not installed."""
        try:
            tracking = importlib.import_module("mlflow.tracking")
            self._errors: type[Exception] = importlib.import_module("mlflow.exceptions").MlflowException
        except ModuleNotFoundError:
            raise UserError(
                f"registry {uri}: reading it needs mlflow (pip install 'mgoe[train]'); name the bundle and its digest "
                "instead, or a server's http:// address"
            ) from None
        self._client: Any = tracking.MlflowClient(uri, uri)

    async def digest(self, source: ModelSource) -> str | None:
        """The bundle's digest, which registration noted on the version."""
        if source.digest is not None:
            return source.digest
        return await asyncio.to_thread(self._digest, source)

    def _digest(self, source: ModelSource) -> str | None:
        try:
            version = self._client.get_model_version_by_alias(source.model, source.alias)
        except self._errors as error:
            log.warning("model %s, alias %s: %s", source.model, source.alias, " ".join(str(error).split()))
            return None
        return _noted(source, version.tags)


def models_of(
    uri: str | None, user: tuple[str, str] | None = None
) -> PinnedModels | MlflowServerModels | MlflowFileModels:
    """The way to a registry. Raises UserError for an address that is none."""
    if not uri:
        return PinnedModels()
    if uri.startswith(("http://", "https://")):
        return MlflowServerModels(httpx.AsyncClient(base_url=uri, auth=user))
    if uri.startswith("sqlite:///"):
        return MlflowFileModels(uri)
    raise UserError(f"registry {uri.partition('//')[0]}//...: write http(s)://HOST or sqlite:///FILE")


def _noted(source: ModelSource, tags: dict[str, str]) -> str | None:
    found = tags.get(BUNDLE_DIGEST)
    if found is None:
        log.warning("model %s, alias %s: the version has no %s; package it", source.model, source.alias, BUNDLE_DIGEST)
    else:
        log.debug("model %s, alias %s: %s at %s", source.model, source.alias, found, tags.get(BUNDLE_URI))
    return found
