"""The ranking pipeline: from a log to two trained, compared, packaged and registered models.

ingest -> build-graph -+-> train(baseline)  -> evaluate -+
                       +-> train(candidate) -> evaluate -+-> compare -> package both -> parity of both -> register
Asked for, each bundle also becomes an archive for TorchServe once its parity is shown, and the registered pair is put
under a rollout.
"""
# ruff: noqa: PLR0917, UP045  # kfp reads the signature, and Optional[str] but not str | None

from collections.abc import Iterable
from typing import Any, Optional

from kfp import dsl, kubernetes

from components.build_graph.component import build_graph
from components.compare.component import compare
from components.evaluate.component import evaluate
from components.ingest.component import ingest
from components.mar.component import mar
from components.package.component import package
from components.parity.component import parity
from components.register.component import register
from components.register_rollout.component import register_rollout
from components.train.component import train
from components.train.job import RUN_VARIABLE, S3_KEYS
from model.registry.address import PASSWORD_VARIABLES
from pipelines.form import WAITING, Form, StepName

NAME = "mgoe-ranking"
REGISTRY = "http://mgoe-registry:5000"
"""Where the chart puts MLflow."""
RUN_LABEL = "workflows.argoproj.io/workflow"
"""Label that Argo gives all pods of one run."""
READ_REGISTRY: frozenset[StepName] = frozenset({"train-baseline", "train-candidate", "register"})


def ranking_pipeline(form: Form) -> Any:
    """The pipeline as kfp's GraphComponent, in the given form."""

    @dsl.pipeline(name=NAME, description="From an interaction log to two trained, compared and registered rankers.")  # type: ignore[untyped-decorator]
    def ranking(
        source: Optional[str] = None,
        schema: Optional[str] = None,
        recipe: str = "synthetic",
        registry: str = REGISTRY,
        store: Optional[str] = None,
        seed: Optional[int] = None,
    ) -> None:
        """Train a baseline and a candidate on one log, compare them and register both.

        Args:
            source: Folder or s3://bucket/prefix of the raw log. The embedded synthetic log when absent.
            schema: Name of a shipped schema or path of a schema file. The log's own schema.yaml when absent.
            recipe: Recipe as YAML text.
            registry: MLflow registry URI, without a password; training metrics go there too.
            store: Artifact store (folder or s3://bucket/prefix) to publish to and to reuse from.
            seed: Seed of both trainings, instead of the recipe's.
        """
        log = ingest(source=source, schema=schema, store=store)
        _fit(log, form, "ingest", "ingest")
        graph = build_graph(log=log.outputs["log"], recipe=recipe, store=store)
        _fit(graph, form, "build-graph", "build graph")
        data = {"log": log.outputs["log"], "graph": graph.outputs["graph"], "recipe": recipe, "store": store}

        models = {}
        train_steps: tuple[tuple[str, StepName], ...] = (
            ("baseline", "train-baseline"),
            ("candidate", "train-candidate"),
        )
        for role, step in train_steps:
            job = form.job(step)
            chosen = {} if job is None else {"job": job.model_dump_json()}
            models[role] = train(**data, role=role, seed=seed, tracking=registry, **chosen)
            _fit(models[role], form, step, f"train {role}", waits=job is not None)
        evaluations = {}
        for role, model in models.items():
            evaluations[role] = evaluate(model=model.outputs["model"], **data, role=role)
            _fit(evaluations[role], form, "evaluate", f"evaluate {role}")
        comparison = compare(
            baseline=evaluations["baseline"].outputs["evaluation"],
            candidate=evaluations["candidate"].outputs["evaluation"],
            recipe=recipe,
            store=store,
        )
        _fit(comparison, form, "compare", "compare")
        bundles, checks = {}, []
        for role, model in models.items():
            bundles[role] = package(model=model.outputs["model"], **data, role=role).after(comparison)
            _fit(bundles[role], form, "package", f"package {role}")
            check = parity(
                bundle=bundles[role].outputs["bundle"],
                log=log.outputs["log"],
                evaluation=evaluations[role].outputs["evaluation"],
                recipe=recipe,
                role=role,
            )
            _fit(check, form, "parity", f"parity {role}")
            checks.append(check)
            if form.mar:
                archive = mar(bundle=bundles[role].outputs["bundle"], store=store, role=role).after(check)
                _fit(archive, form, "mar", f"mar {role}")
        registered = register(
            baseline=models["baseline"].outputs["model"],
            candidate=models["candidate"].outputs["model"],
            baseline_bundle=bundles["baseline"].outputs["bundle"],
            candidate_bundle=bundles["candidate"].outputs["bundle"],
            comparison=comparison.outputs["comparison"],
            recipe=recipe,
            registry=registry,
            run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        ).after(*checks)
        _fit(registered, form, "register", "register")
        if form.rollout is not None:
            local = {} if form.rollouts is None else {"rollouts": form.rollouts}
            pair = {f"{role}_bundle": bundle.outputs["bundle"] for role, bundle in bundles.items()}
            begun = register_rollout(**pair, rollout=form.rollout, **local).after(registered)
            _fit(begun, form, "register-rollout", "register rollout")

    return ranking


def _fit(task: Any, form: Form, step: StepName, name: str, *, waits: bool = False) -> None:
    """Give a task the form's image, resources, retries and caching; on one machine they mean nothing.

    waits: for a job that has the resources; the job belongs to the step's pod.
    """
    if form.kind == "local":
        task.set_caching_options(enable_caching=False)  # steps reuse by content: see components/shelf.py
        return
    options = form.options(step)
    resources = WAITING if waits else options.resources
    if waits:
        kubernetes.use_field_path_as_env(task, env_name="POD_NAME", field_path="metadata.name")
        kubernetes.use_field_path_as_env(task, env_name="POD_UID", field_path="metadata.uid")
        kubernetes.use_field_path_as_env(task, env_name=RUN_VARIABLE, field_path=f"metadata.labels['{RUN_LABEL}']")
    task.set_display_name(name)
    task.set_container_image(options.image)
    task.set_caching_options(enable_caching=options.caching)
    if options.retries:
        task.set_retry(options.retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="600s")
    task.set_cpu_request(resources.cpu).set_cpu_limit(resources.cpu)
    task.set_memory_request(resources.memory).set_memory_limit(resources.memory)
    if resources.gpus:
        task.set_accelerator_type(resources.gpu_type).set_accelerator_limit(resources.gpus)
    if resources.shared_memory is not None:
        kubernetes.empty_dir_mount(
            task,
            volume_name="shared-memory",
            mount_path="/dev/shm",  # noqa: S108
            medium="Memory",
            size_limit=resources.shared_memory,
        )
    if form.s3_secret is not None:
        _give(task, form.s3_secret, S3_KEYS)
    if form.registry_secret is not None and step in READ_REGISTRY:
        _give(task, form.registry_secret, PASSWORD_VARIABLES)


def _give(task: Any, secret: str, keys: Iterable[str]) -> None:
    """Keys of a Secret as environment variables of the same names; what is absent is left out."""
    kubernetes.use_secret_as_env(task, secret_name=secret, secret_key_to_env={key: key for key in keys}, optional=True)
