"""The pods of a distributed training, and what a resource that runs them has to say. Pure.

Two resources do it: a RayJob (components.train.ray_job) or a TrainJob (components.train.train_job).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from components.images import TRAIN_IMAGE
from model.registry.address import PASSWORD_VARIABLES

Resource = dict[str, Any]
S3_KEYS = ("S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Keys of the Secret that opens logs and stores on S3."""
ORDER_VARIABLE = "MGOE_TRAINING_ORDER"
"""Environment variable of the pods: what is to be trained, JSON of model.training.share.SharedTraining."""
CPU_PATTERN = r"^[0-9]+(\.[0-9]+)?m?$"
MEMORY_PATTERN = r"^[0-9]+(\.[0-9]+)?(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?$"
RUN_VARIABLE = "MGOE_RUN"
"""Environment variable of a step that submits jobs: the pipeline run that it belongs to."""
UID = 10001
"""The images' user."""


class JobOptions(BaseModel):
    """What a job asks of the cluster. Each pod runs one worker, or one for each of its GPUs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["rayjob", "trainjob"]
    pods: Annotated[int, Field(ge=1)] = 2
    image: str = TRAIN_IMAGE
    cpu: Annotated[str, Field(pattern=CPU_PATTERN)] = "4"
    memory: Annotated[str, Field(pattern=MEMORY_PATTERN)] = "16Gi"
    gpus: Annotated[int, Field(ge=0)] = 0
    gpu_type: str = "nvidia.com/gpu"
    shared_memory: Annotated[str, Field(pattern=MEMORY_PATTERN)] = "2Gi"
    s3_secret: str | None = "mgoe-s3"  # noqa: S105  # the name of a Secret
    registry_secret: str | None = "mgoe-registry"  # noqa: S105
    runtime: str = "mgoe-torch"
    """TrainingRuntime of a TrainJob (manifests/training)."""
    deadline_s: Annotated[int, Field(ge=60)] = 86400
    """Seconds after which the job is given up, waiting for room included."""

    @property
    def workers(self) -> int:
        """Workers of all pods together."""
        return self.pods * max(1, self.gpus)

    @property
    def resources(self) -> dict[str, str]:
        """Of one pod; requests equal limits."""
        gpus = {self.gpu_type: str(self.gpus)} if self.gpus else {}
        return {"cpu": self.cpu, "memory": self.memory, **gpus}

    @property
    def threads(self) -> int:
        """Threads of one worker."""
        cores = float(self.cpu[:-1]) / 1000 if self.cpu.endswith("m") else float(self.cpu)
        return max(1, int(cores) // max(1, self.gpus))


@dataclass(frozen=True)
class Seen:
    """What a job's status says: where it stands in its own words, and whether it has ended."""

    state: str
    ended: Literal["succeeded", "failed"] | None = None
    message: str = ""


@dataclass(frozen=True)
class JobKind:
    """One kind of resource. seen: reads its status."""

    kind: str
    group: str
    version: str
    plural: str
    needs: str
    """What a cluster that does not know it lacks."""
    seen: Callable[[Mapping[str, Any]], Seen]


def environment(options: JobOptions) -> list[Resource]:
    """Environment of every pod; Secrets may be absent, or lack keys."""
    secrets = ((options.s3_secret, S3_KEYS), (options.registry_secret, PASSWORD_VARIABLES))
    given = [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": True}}}
        for secret, keys in secrets
        if secret is not None
        for key in keys
    ]
    # The root file system is read-only; what is written goes to the volume at /tmp.
    return [{"name": "OMP_NUM_THREADS", "value": str(options.threads)}, {"name": "HOME", "value": "/tmp"}, *given]  # noqa: S108


CONTAINER_SECURITY: Resource = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
POD_SECURITY: Resource = {
    "runAsNonRoot": True,
    "runAsUser": UID,
    "runAsGroup": UID,
    "fsGroup": UID,
    "seccompProfile": {"type": "RuntimeDefault"},
}
MOUNTS: list[Resource] = [
    {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108
    {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108
]


def volumes(shared_memory: str) -> list[Resource]:
    """Of every pod: room for logs and checkpoints, and the memory that workers of one pod talk through."""
    return [
        {"name": "scratch", "emptyDir": {}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}},
    ]


def metadata(name: str) -> Resource:
    """Name and labels of a job."""
    return {
        "name": name,
        "labels": {"app.kubernetes.io/part-of": "mgoe", "app.kubernetes.io/component": "training"},
    }
