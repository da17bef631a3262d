"""A distributed training as a TrainJob of Kubeflow Trainer, and the runtime that its pods are made by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.images import TRAIN_IMAGE
from components.train.job import (
    CONTAINER_SECURITY,
    MOUNTS,
    ORDER_VARIABLE,
    POD_SECURITY,
    JobKind,
    JobOptions,
    Resource,
    Seen,
    environment,
    metadata,
    volumes,
)

COMMAND = ("torchrun", "--module", "components.train.torch_rank")
"""torchrun finds nodes, processes and the meeting point in the PET_* variables that Trainer sets."""
_STEP_LABEL = "trainer.kubeflow.org/trainjob-ancestor-step"


def train_job(name: str, order: str, options: JobOptions) -> Resource:
    """The resource. order: JSON of the SharedTraining that every worker reads."""
    resources = options.resources
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": metadata(name),
        "spec": {
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org",
                "kind": "TrainingRuntime",
                "name": options.runtime,
            },
            "activeDeadlineSeconds": options.deadline_s,
            "trainer": {
                "image": options.image,
                "command": list(COMMAND),
                "numNodes": options.pods,
                "numProcPerNode": max(1, options.gpus),
                "resourcesPerNode": {"requests": resources, "limits": resources},
                "env": [{"name": ORDER_VARIABLE, "value": order}, *environment(options)],
            },
        },
    }


def training_runtime(options: JobOptions) -> Resource:
    """The TrainingRuntime that every TrainJob refers to: who its pods are, and what they may write to."""
    pod = {
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "securityContext": POD_SECURITY,
        "containers": [
            {
                "name": "node",
                "image": TRAIN_IMAGE,
                "securityContext": CONTAINER_SECURITY,
                "volumeMounts": MOUNTS,
            }
        ],
        "volumes": volumes(options.shared_memory),
    }
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": {
            **metadata(options.runtime),
            "labels": metadata("")["labels"] | {"trainer.kubeflow.org/framework": "torch"},
        },
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {
                "spec": {
                    # A pod that is lost takes all along: they start again together, from the checkpoint in the store.
                    "failurePolicy": {"maxRestarts": 3},
                    "ttlSecondsAfterFinished": 600,
                    "replicatedJobs": [
                        {
                            "name": "node",
                            "template": {
                                "metadata": {"labels": {_STEP_LABEL: "trainer"}},
                                "spec": {"backoffLimit": 0, "template": {"spec": pod}},
                            },
                        }
                    ],
                }
            },
        },
    }


def seen(status: Mapping[str, Any]) -> Seen:
    """A TrainJob's status: its conditions."""
    holding = {c["type"]: c for c in status.get("conditions", ()) if c.get("status") == "True"}
    for name, ended in (("Complete", "succeeded"), ("Failed", "failed")):
        if name in holding:
            message = str(holding[name].get("message") or holding[name].get("reason") or "")
            return Seen(name, ended, message.strip().splitlines()[-1] if message.strip() else "")  # type: ignore[arg-type]
    return Seen("Suspended" if "Suspended" in holding else _pods(status))


def _pods(status: Mapping[str, Any]) -> str:
    nodes = next((entry for entry in status.get("jobsStatus", ()) if entry.get("name") == "node"), None)
    if nodes is None:
        return "waiting for Kubeflow Trainer"
    return "Running" if nodes.get("active") else "Pending"


TRAIN_JOB = JobKind("TrainJob", "trainer.kubeflow.org", "v1alpha1", "trainjobs", "Kubeflow Trainer", seen)
