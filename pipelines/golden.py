"""Everything that is rendered and committed; `python -m pipelines.golden` writes it anew, tests compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import yaml

from components import readme
from components.train.job import JobOptions, Resource
from components.train.placement import job_name
from components.train.ray_job import ray_job
from components.train.train_job import train_job, training_runtime
from pipelines.compiling import compile_pipeline
from pipelines.form import Form, Resources, StepOptions, Trainer
from pipelines.schedule import Schedule, cron_workflow

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "pipelines" / "golden"
RECIPE = """\
name: golden
baseline:
  architecture: mmoe
candidate:
  architecture: mgoe
"""
"""A recipe of its own, so that tuning a shipped one does not touch these files."""
GPU_FORM = Form(
    steps={
        "train-candidate": StepOptions(
            image="registry.example/mgoe/train:0.1.0",
            resources=Resources(cpu="8", memory="64Gi", gpus=1, gpu_type="nvidia.com/gpu", shared_memory="8Gi"),
            retries=0,
            caching=False,
        )
    },
    s3_secret=None,
)
NIGHTLY = Schedule(
    cron="0 3 * * *",
    timezone="Europe/Berlin",
    endpoint="http://ml-pipeline.kubeflow:8888",
    experiment="nightly",
    namespace="ranking",
    service_account="mgoe-submit",
    arguments={"source": "s3://logs/impressions", "store": "s3://artifacts/mgoe"},
)
ROLLOUT = """\
apiVersion: mgoe.dev/v1alpha1
kind: ModelRollout
metadata: {name: feed}
spec:
  driver: {type: gateway, services: {baseline: mmoe, candidate: mgoe}}
  metrics: [{name: clicks, value: click, role: Primary}]
"""
RAY_FORM = Form(mar=True, trainer=Trainer(kind="rayjob", pods=4), rollout=ROLLOUT)
TRAINING = ROOT / "manifests" / "training"


def _compiled(form: Form, manifest: bool = False, namespace: str | None = None) -> str:
    return compile_pipeline(form, RECIPE, manifest, namespace)


def _cron_workflow() -> str:
    return cron_workflow(NIGHTLY, _compiled(Form()))


def _job(render: Callable[[str, str, JobOptions], Resource], options: JobOptions) -> str:
    order = {
        "log": "s3://artifacts/mgoe/ingest/…",
        "graph": "s3://artifacts/mgoe/build-graph/…",
        "store": "s3://artifacts/mgoe",
        "key": "train/…",
        "model": {"architecture": "mgoe"},
        "training": {"world_size": options.workers, "device": "cpu"},
        "role": "candidate",
    }
    job = render(job_name("candidate", "train/0123456789abcdef"), json.dumps(order, ensure_ascii=False), options)
    return _manifest(job)


def _runtime() -> str:
    return _manifest(training_runtime(JobOptions(kind="trainjob")))


def _manifest(resource: Resource) -> str:
    text = json.dumps(resource)  # without the objects that it has twice, which would become anchors
    return GENERATED + yaml.safe_dump(json.loads(text), sort_keys=False, width=2**20, allow_unicode=True)


GENERATED = "# Written by `python -m pipelines.golden` from components/train.\n"
FILES: Mapping[Path, Callable[[], str]] = {
    FOLDER / "ranking-local.yaml": partial(_compiled, Form(kind="local")),
    FOLDER / "ranking-cluster.yaml": partial(_compiled, Form()),
    FOLDER / "ranking-cluster-gpu.yaml": partial(_compiled, GPU_FORM),
    FOLDER / "ranking-cluster-rayjob-mar.yaml": partial(_compiled, RAY_FORM),
    TRAINING / "runtime.yaml": _runtime,
    TRAINING / "rayjob.example.yaml": partial(_job, ray_job, JobOptions(kind="rayjob")),
    TRAINING / "trainjob.example.yaml": partial(_job, train_job, JobOptions(kind="trainjob")),
    FOLDER / "ranking-kubernetes.yaml": partial(_compiled, Form(), manifest=True, namespace="ranking"),
    FOLDER / "ranking-cronworkflow.yaml": _cron_workflow,
    **{readme.FOLDER / name / "README.md": partial(readme.render, name) for name in readme.NAMES},
}


def write() -> None:
    """Write every file anew."""
    for path, render in FILES.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    write()
