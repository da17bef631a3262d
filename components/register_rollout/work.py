"""The register-rollout step: two bundles in, a ModelRollout that names them by address and digest out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.artifacts import folder_of
from components.register_rollout.document import rollout_document
from components.step import STORED, step
from model.artifact.manifest import read_manifest
from model.errors import UserError
from serving.rollout.desk import ClusterDesk, Desk
from serving.rollout.spec import ModelSource
from serving.rollout.sqlite_store import SqliteStore, checked
from serving.rollout.steering import applied


def run(baseline: Any, candidate: Any, *, rollout: str, rollouts: str | None) -> str:
    """`baseline` and `candidate` are kfp artifacts; the arguments are the component's. Returns the rollout's name.

    What people have set beside the file (a pause, an abort) stays. Another candidate than the rollout's is another run
    with fresh evidence; the same pair changes nothing. Never reused: the rollout may have been changed since.
    """
    with step("register rollout") as this:
        document = rollout_document(rollout, "rollout")
        shared = rollouts is None
        pair = _source(baseline, shared=shared), _source(candidate, shared=shared)
        spec = document.of_pair(*pair)
        desk = SqliteStore(Path(rollouts)) if rollouts is not None else _cluster(document.namespace)
        this.notes.append(f"{document.name}: {_brought(desk, document.name, spec)}")
        return document.name


def _brought(desk: Desk, name: str, spec: dict[str, Any]) -> str:
    if name not in desk.names():
        desk.create(name, spec)
        return f"created in {desk.place}"

    def change(old: dict[str, Any]) -> dict[str, Any]:
        new = applied(old, spec)
        return old if checked(new) == checked(old) else new  # what one of them leaves to defaults is no difference

    before = desk.read(name)
    after = desk.edit(name, change)
    if after.generation == before.generation:
        return f"unchanged in {desk.place}"
    return f"brought to this pair in {desk.place}{_held_back(after.spec)}"


def _held_back(spec: Mapping[str, Any]) -> str:
    """What people have set that keeps a new pair from its users."""
    if spec.get("abort"):
        return "; abort is set, so that it will not start: set abort to false to let it"
    return "; paused is set, so that it will not ramp: resume it to let it" if spec.get("paused") else ""


def _source(artifact: Any, *, shared: bool) -> ModelSource:
    """shared: servers elsewhere must find the bundle."""
    folder = folder_of(artifact, "bundle")
    stored = artifact.metadata.get(STORED)
    address = stored if stored and "://" in stored else Path(stored or folder).absolute().as_uri()
    if shared and not address.startswith("s3://"):
        raise UserError(f"bundle {address}: rankers of a cluster cannot read it; give the pipeline a store on S3")
    return ModelSource(bundle=address, digest=read_manifest(folder).digest)


def _cluster(namespace: str | None) -> Desk:
    from serving.rollout.cluster_client import cluster_client, namespace_of  # noqa: PLC0415  half a second

    return ClusterDesk(cluster_client(), namespace or namespace_of())
