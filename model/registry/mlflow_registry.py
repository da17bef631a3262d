"""The model registry of MLflow: SQLite in one process, PostgreSQL or a server for a team."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from model.errors import UserError
from model.registry.model_registry import MODEL_DIGEST, Version
from model.training.mlflow_client import open_client, plain_errors, without_password

RUN_ID = "run_id"
"""Tag with the MLflow run that trained the model; the version links to it in MLflow's pages."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PAGE = 200


class MlflowRegistry:
    """Implements ModelRegistry. A server cannot read our disk, so there a local model is uploaded to its run."""

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri
        self._client: Any = open_client(tracking_uri)
        self._is_server = urlsplit(tracking_uri).scheme in ("http", "https")

    def register(self, name: str, uri: str, tags: Mapping[str, str]) -> Version:
        digest = tags[MODEL_DIGEST]
        known = self._with_digest(_checked(name), digest)
        with plain_errors(self.tracking_uri):
            if known is None:
                self._make_name(name)
                run_id = tags.get(RUN_ID)
                source = self._source(uri, run_id)
                made = self._client.create_model_version(name, source, run_id=run_id, tags=dict(tags))
                first = self._with_digest(name, digest)
                if first is None or first.number == int(made.version):
                    return self.get(name, int(made.version))
                # Another process registered the same model meanwhile: the first one stands.
                self._client.delete_model_version(name, made.version)
                known = first
            for tag, value in tags.items():
                if known.tags.get(tag) != value:
                    self._client.set_model_version_tag(name, str(known.number), tag, value)
        return self.get(name, known.number)

    def set_alias(self, name: str, alias: str, number: int) -> None:
        self.get(name, number)
        with plain_errors(self.tracking_uri):
            self._client.set_registered_model_alias(name, alias, str(number))

    def drop_alias(self, name: str, alias: str) -> None:
        with plain_errors(self.tracking_uri):
            self._client.delete_registered_model_alias(_checked(name), alias)

    def by_alias(self, name: str, alias: str) -> Version | None:
        number = self._aliases(_checked(name)).get(alias)
        return None if number is None else self.get(name, number)

    def versions(self, name: str) -> list[Version]:
        aliases = self._aliases(_checked(name))
        found, token = [], None
        with plain_errors(self.tracking_uri):
            while token != "":
                page = self._client.search_model_versions(f"name='{name}'", max_results=_PAGE, page_token=token)
                found += [self._version(entry, aliases) for entry in page]
                token = page.token or ""
        ours = (version for version in found if MODEL_DIGEST in version.tags)  # others may register under the name too
        return sorted(ours, key=lambda version: version.number)

    def get(self, name: str, number: int) -> Version:
        for version in self.versions(name):
            if version.number == number:
                return version
        raise UserError(f"registry {without_password(self.tracking_uri)} has no version {number} of model {name!r}")

    def names(self) -> list[str]:
        with plain_errors(self.tracking_uri):
            names = [str(model.name) for model in self._client.search_registered_models(max_results=_PAGE)]
        return sorted(name for name in names if _NAME.fullmatch(name) and self.versions(name))

    def _with_digest(self, name: str, digest: str) -> Version | None:
        return next((version for version in self.versions(name) if version.digest == digest), None)

    def _make_name(self, name: str) -> None:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415  takes seconds

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _aliases(self, name: str) -> dict[str, int]:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415  takes seconds

        with plain_errors(self.tracking_uri):
            try:
                aliases = self._client.get_registered_model(name).aliases
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return {}
        return {str(alias): int(number) for alias, number in aliases.items()}

    def _source(self, uri: str, run_id: str | None) -> str:
        parts = urlsplit(uri)
        if not self._is_server or parts.scheme not in ("", "file"):
            return uri
        if run_id is None:
            raise UserError(
                f"model {uri} was trained without tracking, so the registry server has no run to keep it in;"
                f" train it with --tracking-uri {without_password(self.tracking_uri)}"
            )
        self._client.log_artifacts(run_id, unquote(parts.path), "model")
        return f"runs:/{run_id}/model"

    def _version(self, entry: Any, aliases: Mapping[str, int]) -> Version:
        number = int(entry.version)
        return Version(
            name=str(entry.name),
            number=number,
            uri=str(entry.source),
            created=datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC),
            aliases=tuple(sorted(alias for alias, of in aliases.items() if of == number)),
            tags=dict(entry.tags),
        )


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UserError(f"model name {name!r} is wrong: use letters, digits, dots, dashes and underscores")
    return name
