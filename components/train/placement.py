"""What a training needs where it runs in a job's pods instead of its step's own: workers, devices, addresses. Pure."""

from __future__ import annotations

import hashlib
from typing import Any

import yaml
from pydantic import ValidationError

from components.step import STORED
from components.train.job import JobOptions
from model.data.refused_field import refusal
from model.errors import UserError
from model.training.config import TrainingConfig


def read_job(text: str) -> JobOptions:
    """Options of the job in YAML or JSON. Raises UserError naming the field that is wrong."""
    try:
        return JobOptions.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise UserError(f"job is no YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["job", *(str(part) for part in first["loc"])])
        raise UserError(f"{where}: {refusal(first)}") from None


def job_name(role: str, key: str, run: str = "") -> str:
    """The same work of the same run has the same name, so that a step that was killed finds what it began.

    Another run has a job of its own: a run that is cancelled takes its jobs away. At most 47 letters.
    """
    name = f"mgoe-train-{role}-{key.rpartition('/')[2][:12]}"
    return f"{name}-{hashlib.sha256(run.encode()).hexdigest()[:8]}" if run else name


def spread(training: TrainingConfig, options: JobOptions) -> TrainingConfig:
    """The training on the job's workers and devices; what decides the weights is as it was."""
    device = "cuda" if options.gpus else "cpu"
    return training.model_copy(update={"world_size": options.workers, "device": device})


def address_in_store(artifact: Any, store: str | None) -> str:
    """Where the pods of a job find an input. Raises UserError where it is in no store that they reach."""
    address = artifact.metadata.get(STORED)
    if store is None or not store.startswith("s3://") or address is None:
        raise UserError(
            "training in a RayJob or TrainJob needs a store that its pods reach:"
            " give the pipeline store=s3://bucket/prefix"
        )
    return str(address)
