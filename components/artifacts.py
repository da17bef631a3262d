"""The artifact types that travel along the pipeline's edges; each is a folder with a manifest (model.artifact).

kfp takes schema titles of the `system` namespace only, so a subclass keeps its parent's title, which Kubeflow's pages
know how to show. What tells a log from another dataset is the manifest's kind: `folder_of` checks it at a step's door.
"""

from pathlib import Path
from typing import Any

from kfp import dsl

from model.artifact.manifest import Kind, read_manifest
from model.errors import UserError


class Log(dsl.Dataset):  # type: ignore[misc]  # kfp carries no types
    """An ingested, encoded and split interaction log."""


class MacroGraph(dsl.Artifact):  # type: ignore[misc]
    """Groups, macro edges and recents of users and items."""


class Ranker(dsl.Model):  # type: ignore[misc]
    """A trained multi-task model: weights, configuration and training report."""


class Bundle(dsl.Model):  # type: ignore[misc]
    """What model servers load: a model with its tables, encoders and probes."""


class ModelArchive(dsl.Model):  # type: ignore[misc]
    """What TorchServe loads: a bundle, or where it lies, with handler and settings."""


class Evaluation(dsl.Artifact):  # type: ignore[misc]
    """Metrics of one model on the test slice, with its predictions row by row."""


class Comparison(dsl.Artifact):  # type: ignore[misc]
    """The paired comparison of candidate and baseline."""


def folder_of(artifact: Any, kind: Kind) -> Path:
    """The folder of an input artifact. Raises UserError where it holds none, or one of another kind."""
    folder = Path(artifact.path)
    there = read_manifest(folder).kind
    if there != kind:
        raise UserError(f"input {artifact.name} at {folder} is a {there} artifact; this step reads a {kind} one")
    return folder
