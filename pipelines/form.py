"""What a compiled pipeline is made for: this machine, or a cluster with its images, resources, retries and caching."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from components.images import TRAIN_IMAGE
from components.register_rollout.document import rollout_document
from components.train.job import CPU_PATTERN, MEMORY_PATTERN, JobOptions
from model.errors import UserError
from model.recipe import explain

StepName = Literal[
    "ingest",
    "build-graph",
    "train-baseline",
    "train-candidate",
    "evaluate",
    "compare",
    "package",
    "mar",
    "parity",
    "register",
    "register-rollout",
]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Resources(_Options):
    """What one step asks of its node. Requests equal limits, so that a step is not evicted halfway."""

    cpu: Annotated[str, Field(pattern=CPU_PATTERN)] = "2"
    """Cores, in Kubernetes' notation (`2`, `500m`)."""
    memory: Annotated[str, Field(pattern=MEMORY_PATTERN)] = "8Gi"
    """Bytes, in Kubernetes' notation."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """Accelerators of one pod."""
    gpu_type: str = "nvidia.com/gpu"
    """The node's resource that is counted."""
    shared_memory: Annotated[str, Field(pattern=MEMORY_PATTERN)] | None = None
    """Size of /dev/shm, which several workers in one pod talk through; Kubernetes gives 64 MiB when absent."""


class StepOptions(_Options):
    """How one step runs in a cluster."""

    image: str = TRAIN_IMAGE
    resources: Resources = Resources()
    retries: Annotated[int, Field(ge=0)] = 2
    """How often a failed pod is started again. With a store, a training goes on from its last checkpoint."""
    caching: bool = True
    """Kubeflow's own: equal inputs give the outputs of the earlier run without starting a pod."""


class Trainer(_Options):
    """Where the train steps train. A job's pods get the steps' image and resources."""

    kind: Literal["pod", "rayjob", "trainjob"] = "pod"
    """pod: in the step's own. rayjob: a RayJob on KubeRay. trainjob: a TrainJob of Kubeflow Trainer."""
    pods: Annotated[int, Field(ge=1)] = 2
    """Of a job; each runs one worker, or one for each of its GPUs."""
    runtime: str = "mgoe-torch"
    """TrainingRuntime of TrainJobs (manifests/training)."""
    deadline_s: Annotated[int, Field(ge=60)] = 86400
    """Seconds after which a job is given up, waiting for room included."""


class Form(_Options):
    """A compiled form of the pipeline. `local` uses none of the cluster's options, but `mar`."""

    kind: Literal["local", "cluster"] = "cluster"
    mar: bool = False
    """Whether both bundles also become model archives for TorchServe."""
    trainer: Trainer = Trainer()
    steps: dict[StepName, StepOptions] = {}
    """What differs from DEFAULTS, step by step and field by field."""
    rollout: str | None = None
    """A ModelRollout as YAML text without `spec.baseline` and `spec.candidate`: the registered pair is put under it.
    None: nothing is rolled out."""
    rollouts: str | None = None
    """Of the local form: the local controller's database."""
    s3_secret: str | None = "mgoe-s3"  # noqa: S105  # the name of a Kubernetes Secret, not a secret
    """Secret with the keys S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for logs and stores on S3."""
    registry_secret: str | None = "mgoe-registry"  # noqa: S105
    """Secret with what the registry asks for, any of PASSWORD_VARIABLES (model/registry/address.py)."""

    @field_validator("rollout")
    @classmethod
    def _fits(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                rollout_document(text, "rollout")
            except UserError as error:
                raise ValueError(str(error)) from None
        return text

    def options(self, step: StepName) -> StepOptions:
        """The step's options: DEFAULTS, and over them what is set here."""
        given = self.steps.get(step, StepOptions()).model_dump(exclude_unset=True)
        default = DEFAULTS[step].model_dump()
        resources = default["resources"] | given.pop("resources", {})
        return StepOptions.model_validate(default | given | {"resources": resources})

    @property
    def trains_in_jobs(self) -> bool:
        """Whether other pods than the steps' train."""
        return self.kind == "cluster" and self.trainer.kind != "pod"

    @property
    def shares_artifacts(self) -> bool:
        """Whether pods outside of the pipeline read what it makes, so that a run needs a store that they reach."""
        return self.trains_in_jobs or (self.kind == "cluster" and self.rollout is not None)

    def job(self, step: StepName) -> JobOptions | None:
        """The job that the step trains in; None where it does so itself."""
        trainer, options = self.trainer, self.options(step)
        if not self.trains_in_jobs:
            return None
        resources = options.resources.model_dump(exclude_none=True)
        return JobOptions(
            **trainer.model_dump(),
            image=options.image,
            s3_secret=self.s3_secret,
            registry_secret=self.registry_secret,
            **resources,
        )


WAITING = Resources(cpu="500m", memory="2Gi")
"""Of a step that waits for a job: it brings the model back."""
DEFAULTS: dict[StepName, StepOptions] = {
    # A log grows under the same address, and the address is all that Kubeflow's cache sees.
    "ingest": StepOptions(caching=False),
    "build-graph": StepOptions(resources=Resources(cpu="4", memory="16Gi")),
    "train-baseline": StepOptions(resources=Resources(cpu="4", memory="16Gi", shared_memory="2Gi")),
    "train-candidate": StepOptions(resources=Resources(cpu="4", memory="16Gi", shared_memory="2Gi")),
    "evaluate": StepOptions(),
    "compare": StepOptions(resources=Resources(memory="4Gi")),
    "package": StepOptions(),
    "mar": StepOptions(resources=Resources(cpu="1", memory="4Gi")),
    "parity": StepOptions(resources=Resources(cpu="1", memory="4Gi")),
    # Registering moves aliases: a cached result would leave them where a later run put them.
    "register": StepOptions(resources=Resources(cpu="1", memory="2Gi"), caching=False),
    # As is what people have changed in a rollout.
    "register-rollout": StepOptions(resources=Resources(cpu="500m", memory="1Gi"), caching=False),
}


def load_form(path: Path) -> Form:
    """The cluster form in a YAML file. Raises UserError: no such file, no YAML, an unknown field, a wrong value."""
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"options {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"options {path} is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise UserError(f"options {path} is not YAML: {' '.join(str(error).split())}") from None
    if fields is None:
        raise UserError(f"options {path} is empty; leave --options out for the defaults")
    if not isinstance(fields, dict):
        raise UserError(f"options {path} holds {type(fields).__name__}, not a mapping of fields")
    try:
        return Form.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"options {path}: {explain(error)}") from None
