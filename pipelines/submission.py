"""Handing the compiled pipeline to a Kubeflow Pipelines API server."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from model.errors import Fault, UserError
from model.registry.address import check_address
from pipelines.endpoint import knock
from pipelines.recipe_text import recipe_text

TOKEN_VARIABLE = "MGOE_KFP_TOKEN"  # noqa: S105  # the name of a variable
"""Environment variable with the bearer token; in a pod, Kubeflow's own projected token is used without it."""
LARGEST_SEED = 2**53
"""What a JSON number, as which it travels, holds exactly."""
_REFUSED = (401, 403)


@dataclass(frozen=True)
class Submission:
    """One run to be started. namespace: the profile's, on multi-user installations only."""

    endpoint: str
    file: Path
    experiment: str
    run: str
    arguments: Mapping[str, str | int]
    namespace: str | None = None
    pipeline_root: str | None = None
    service_account: str | None = None
    """Of the run's pods; the installation's own when absent."""
    caching: bool | None = None
    """Overrides every step's own setting."""


@dataclass(frozen=True)
class Submitted:
    """The run as the server knows it."""

    run_id: str
    url: str


def submit(submission: Submission, token: str | None) -> Submitted:
    """Create the experiment if need be and start the run.

    Raises UserError for a wrong endpoint, refused credentials or arguments; Fault where nobody answers.
    """
    knock(submission.endpoint, "Kubeflow")
    import kfp_server_api  # noqa: PLC0415  # seconds of imports, after what can be said without them
    from kfp import client as kfp_client  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        with _quiet():
            client = kfp_client.Client(
                host=submission.endpoint,
                namespace=submission.namespace or "kubeflow",
                existing_token=token,
            )
            result = client.create_run_from_pipeline_package(
                str(submission.file),
                arguments=dict(submission.arguments),
                run_name=submission.run,
                experiment_name=submission.experiment,
                namespace=submission.namespace,
                pipeline_root=submission.pipeline_root,
                enable_caching=submission.caching,
                service_account=submission.service_account,
            )
    except kfp_server_api.ApiException as error:
        raise _explain(submission.endpoint, error.status, error.body) from None
    except (HTTPError, TimeoutError) as error:
        raise Fault(f"Kubeflow at {submission.endpoint} does not answer: {_first_line(error)}") from None
    return Submitted(result.run_id, f"{submission.endpoint.rstrip('/')}/#/runs/details/{result.run_id}")


def describe(submission: Submission, token: str | None) -> dict[str, object]:
    """What would be sent, for a dry run; of the token only whether there is one."""
    return {
        "endpoint": submission.endpoint,
        "namespace": submission.namespace,
        "experiment": submission.experiment,
        "run": submission.run,
        "token": "given" if token else "none",
        "pipeline": str(submission.file),
        "pipeline_root": submission.pipeline_root,
        "service_account": submission.service_account,
        "caching": "as compiled" if submission.caching is None else submission.caching,
        "arguments": dict(submission.arguments),
    }


def token_from_environment() -> str | None:
    """The bearer token, never a flag: flags stand in process lists and shell histories."""
    return os.environ.get(TOKEN_VARIABLE) or None


def parse_arguments(pairs: list[str]) -> dict[str, str | int]:
    """`name=value` pairs; `seed` is a number, and a recipe travels as text. Raises UserError for anything else."""
    arguments: dict[str, str | int] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or not value:
            raise UserError(f"parameter {pair!r} is wrong: use name=value, for instance source=s3://bucket/log")
        if name in arguments:
            raise UserError(f"parameter {name!r} is given twice, last as {value!r}: give it once")
        arguments[name] = _argument(name, value)
    return arguments


def _argument(name: str, value: str) -> str | int:
    match name:
        case "seed":
            if not (value.isascii() and value.isdecimal() and int(value) <= LARGEST_SEED):
                raise UserError(f"parameter seed={value!r} is wrong: use a whole number from 0 to {LARGEST_SEED}")
            return int(value)
        case "recipe":
            return recipe_text(value)
        case "registry":
            return check_address(value)
        case "store" if not value.startswith("s3://"):
            raise UserError(f"parameter store={value!r} is wrong: pods share no folder; use s3://bucket/prefix")
        case _:
            return value


def read_compiled(file: Path) -> str:
    """The text of a compiled pipeline. Raises UserError where there is none."""
    if not file.is_file():
        raise UserError(f"pipeline {file} is no file; `mgoe pipeline compile --out {file}` makes it")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"pipeline {file} is not UTF-8 text; `mgoe pipeline compile --out {file}` makes one") from None
    except OSError as error:
        raise UserError(f"pipeline {file} cannot be read: {error.strerror}") from None


def check_arguments(arguments: Mapping[str, str | int], pipeline: str) -> None:
    """Raises UserError for an argument that `pipeline`, compiled YAML, has no parameter for, for one that it requires
    and that is not there, or where it is no pipeline."""
    try:
        documents = list(yaml.safe_load_all(pipeline))
    except yaml.YAMLError as error:
        raise UserError(f"the pipeline is not YAML: {' '.join(str(error).split())}") from None
    specs = [spec for spec in map(_spec, documents) if spec is not None]
    if not specs:
        raise UserError("the pipeline is no compiled one: `mgoe pipeline compile --out FILE` makes one")
    known = specs[0]["root"].get("inputDefinitions", {}).get("parameters", {})
    for name in arguments:
        if name not in known:
            raise UserError(f"parameter {name!r} is unknown to the pipeline: use one of {', '.join(sorted(known))}")
    required = {name for name, entry in known.items() if not entry.get("isOptional") and "defaultValue" not in entry}
    if "store" in required and not str(arguments.get("store", "")).startswith("s3://"):
        raise UserError(
            "this pipeline trains in jobs or ends in a rollout, whose pods share no folder with its steps"
            f" (store is {arguments.get('store', 'absent')!r}): give --param store=s3://bucket/prefix"
        )
    for name in sorted(required - arguments.keys()):
        raise UserError(f"parameter {name!r} is required by the pipeline: give --param {name}=...")


def _spec(document: Any) -> dict[str, Any] | None:
    """The IR in a document, be it the IR itself or a PipelineVersion resource that holds it."""
    if not isinstance(document, dict):
        return None
    inner = document.get("spec", {})
    spec = inner.get("pipelineSpec", document) if isinstance(inner, dict) else document
    return spec if isinstance(spec, dict) and isinstance(spec.get("root"), dict) else None


def _explain(endpoint: str, status: int | None, body: object) -> UserError | Fault:
    if status in _REFUSED:
        return UserError(
            f"Kubeflow at {endpoint} refuses the credentials ({status}); set {TOKEN_VARIABLE} to a valid token"
        )
    said = _message(body)
    if status is not None and 400 <= status < 500:
        return UserError(f"Kubeflow at {endpoint} refuses the run ({status}): {said}")
    return Fault(f"Kubeflow at {endpoint} failed ({status}): {said}")


def _message(body: object) -> str:
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    try:
        fields = json.loads(text)
    except ValueError:
        return _first_line(text)
    if isinstance(fields, dict):
        return _first_line(fields.get("error") or fields.get("message") or text)
    return _first_line(text)


def _first_line(text: object) -> str:
    return str(text).strip().partition("\n")[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """kfp's client prints links, warns of old servers and logs every retry with a traceback; we say it in one line."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
