"""The pipeline as a file: Kubeflow's IR, or Kubernetes resources that hold it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions

from pipelines.form import Form
from pipelines.ranking import NAME, ranking_pipeline


def compile_pipeline(form: Form, recipe_text: str, manifest: bool = False, namespace: str | None = None) -> str:
    """The compiled pipeline as YAML text; the same arguments give the same text.

    recipe_text: what the pipeline's `recipe` defaults to. manifest: Pipeline and PipelineVersion resources (for
    `kubectl apply`, where Kubeflow keeps pipelines in Kubernetes) instead of the IR that `kfp run create -f` takes.
    """
    options = KubernetesManifestOptions(
        pipeline_name=NAME, pipeline_version_name=f"{NAME}-v1", namespace=namespace, include_pipeline_manifest=True
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", category=FutureWarning)
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(
            pipeline_func=ranking_pipeline(form),
            package_path=str(path),
            kubernetes_manifest_format=manifest,
            kubernetes_manifest_options=options if manifest else None,
        )
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    for document in documents:
        # kfp repeats every default in a comment on top, and a default of several lines would run out of the comment.
        # So it is put in here, and the comment (which says what the file says) is left out.
        _set_default(document, "recipe", recipe_text)
        if form.shares_artifacts:
            _require(document, "store")
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=True, width=120, allow_unicode=True)


def _set_default(document: dict[str, Any], name: str, value: str) -> None:
    for parameters in _parameters(document):
        parameters[name]["defaultValue"] = value


def _require(document: dict[str, Any], name: str) -> None:
    """Makes the parameter one that Kubeflow starts no run without."""
    for parameters in _parameters(document):
        del parameters[name]["isOptional"]


def _parameters(document: dict[str, Any]) -> Iterator[dict[str, dict[str, Any]]]:
    """The pipeline's parameters, where the document holds a pipeline."""
    spec = document.get("spec", {}).get("pipelineSpec", document)
    if "root" in spec:
        yield spec["root"]["inputDefinitions"]["parameters"]


class _Dumper(yaml.SafeDumper):
    """Texts of several lines stand as they are, so that a change in a component reads as one in the golden file."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
