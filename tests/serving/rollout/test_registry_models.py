"""From an alias to a digest, without mlflow where the registry is a server."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.errors import UserError
from serving.rollout.registry_models import MlflowServerModels, PinnedModels, models_of
from serving.rollout.spec import ModelSource

DIGEST = "d" * 64
ALIAS = ModelSource(model="mgoe", alias="candidate")
PINNED = ModelSource(bundle="s3://mgoe/bundles/mgoe", digest=DIGEST)


def resolved(answer: httpx.Response) -> str | None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/2.0/mlflow/registered-models/alias"
        assert dict(request.url.params) == {"name": "mgoe", "alias": "candidate"}
        return answer

    client = httpx.AsyncClient(base_url="http://registry", transport=httpx.MockTransport(handle))
    return asyncio.run(MlflowServerModels(client).digest(ALIAS))


def version(*tags: dict[str, str]) -> dict[str, Any]:
    return {"model_version": {"name": "mgoe", "version": "2", "tags": list(tags)}}


def test_an_alias_leads_to_the_digest_of_the_bundle() -> None:
    tag = {"key": "bundle_digest", "value": DIGEST}
    assert resolved(httpx.Response(200, json=version({"key": "model_digest", "value": "other"}, tag))) == DIGEST


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST"}),
        httpx.Response(200, json=version()),
        httpx.Response(200, json={}),
        httpx.Response(200, text="<html>"),
        httpx.Response(503),
    ],
)
def test_what_cannot_be_resolved_is_unknown_and_no_error(answer: httpx.Response) -> None:
    assert resolved(answer) is None


def test_a_pinned_bundle_needs_no_registry() -> None:
    assert asyncio.run(PinnedModels().digest(PINNED)) == DIGEST
    assert asyncio.run(PinnedModels().digest(ALIAS)) is None
    assert isinstance(models_of(None), PinnedModels)


def test_a_file_without_mlflow_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"needs mlflow \(pip install 'mgoe\[train\]'\)"):
        models_of(f"sqlite:///{tmp_path}/registry.db")


def test_another_address_is_refused() -> None:
    with pytest.raises(UserError, match=r"write http\(s\)://HOST or sqlite:///FILE"):
        models_of("ftp://registry")
