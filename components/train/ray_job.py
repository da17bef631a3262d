"""A distributed training as a RayJob of KubeRay. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

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

RAY_VERSION = "2.60.0"
ENTRYPOINT = "python -m components.train.ray_driver"
HEAD_RESOURCES = {"cpu": "1", "memory": "4Gi"}
_AGENT_PORT = 52365
_HEAD_PORTS = (("gcs", 6379), ("dashboard", 8265), ("client", 10001))


def ray_job(name: str, order: str, options: JobOptions) -> Resource:
    """The resource. order: JSON of the SharedTraining that the driver hands to the workers."""
    workers = max(1, options.gpus)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": metadata(name),
        "spec": {
            # The operator hands the job to the head by itself: no pod more, and no second image.
            "submissionMode": "HTTPMode",
            "entrypoint": ENTRYPOINT,
            "runtimeEnvYAML": yaml.safe_dump({"env_vars": {ORDER_VARIABLE: order}}, width=2**20),
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 600,
            "activeDeadlineSeconds": options.deadline_s,
            # Ray Train starts killed workers again; a new cluster (the head was lost) goes on from the store.
            "backoffLimit": 1,
            "rayClusterSpec": {
                "rayVersion": RAY_VERSION,
                "authOptions": {"mode": "token"},
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104
                    "template": _pod("ray-head", options, HEAD_RESOURCES, _HEAD_PORTS),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "workers",
                        "replicas": options.pods,
                        "minReplicas": options.pods,
                        "maxReplicas": options.pods,
                        # One CPU a worker is what spreads them: the threads of each are set beside it.
                        "rayStartParams": {"num-cpus": str(workers)},
                        "template": _pod("ray-worker", options, options.resources),
                    }
                ],
            },
        },
    }


def _pod(
    name: str, options: JobOptions, resources: Mapping[str, str], ports: tuple[tuple[str, int], ...] = ()
) -> Resource:
    # KubeRay's own probes call wget, which a small image has not.
    probe = {"httpGet": {"path": "/api/local_raylet_healthz", "port": _AGENT_PORT}, "timeoutSeconds": 5}
    container = {
        "name": name,
        "image": options.image,
        "env": environment(options),
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": MOUNTS,
        "readinessProbe": {**probe, "periodSeconds": 5, "failureThreshold": 12},
        "livenessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 12, "initialDelaySeconds": 30},
    }
    if ports:
        container["ports"] = [{"name": port, "containerPort": number} for port, number in ports]
    return {
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": POD_SECURITY,
            "containers": [container],
            "volumes": volumes(options.shared_memory),
        }
    }


def seen(status: Mapping[str, Any]) -> Seen:
    """A RayJob's status: what KubeRay says of the deployment, and Ray of the job."""
    state = str(status.get("jobDeploymentStatus") or "waiting for KubeRay")
    job = str(status.get("jobStatus") or "")
    told = str(status.get("message") or status.get("reason") or "").strip()
    message = told.splitlines()[-1] if told else ""
    if state == "Complete" and job == "SUCCEEDED":
        return Seen(state, "succeeded")
    if state in {"Complete", "Failed", "ValidationFailed"}:
        return Seen(state, "failed", message or f"job status {job or 'unknown'}")
    return Seen(f"{state}, job {job.lower()}" if job else state)


RAY_JOB = JobKind("RayJob", "ray.io", "v1", "rayjobs", "KubeRay", seen)
