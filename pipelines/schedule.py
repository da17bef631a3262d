"""The pipeline on a schedule: an Argo CronWorkflow (made with hera) that submits it to Kubeflow."""

from __future__ import annotations

from dataclasses import dataclass, field

from hera.workflows import Container, CronWorkflow, RawArtifact
from hera.workflows.models import (
    EnvVar,
    EnvVarSource,
    IntOrString,
    PodSecurityContext,
    ResourceRequirements,
    RetryStrategy,
    SecretKeySelector,
    SecurityContext,
    TTLStrategy,
)

from components.images import PIPELINE_IMAGE
from components.object_name import check_name
from pipelines.cron import check_cron, check_timezone
from pipelines.endpoint import host_and_port
from pipelines.submission import TOKEN_VARIABLE, check_arguments

PIPELINE_FILE = "/tmp/pipeline.yaml"  # noqa: S108  # in the pod
LONGEST_NAME = 52
"""Argo puts the time of a run behind a CronWorkflow's name."""
UID = 10001
"""The images' user."""


@dataclass(frozen=True)
class Schedule:
    """When and how the pipeline is submitted."""

    cron: str
    endpoint: str
    experiment: str
    name: str = "mgoe-ranking"
    timezone: str = "UTC"
    namespace: str | None = None
    """Of the CronWorkflow."""
    profile: str | None = None
    """Kubeflow namespace of the run, on multi-user installations."""
    image: str = PIPELINE_IMAGE
    service_account: str | None = None
    token_secret: str = "mgoe-kfp"  # noqa: S105  # the name of a Secret
    """Secret whose key `token` is the bearer token; it may be absent."""
    arguments: dict[str, str | int] = field(default_factory=dict)


def cron_workflow(schedule: Schedule, pipeline_text: str) -> str:
    """The CronWorkflow as YAML; the compiled pipeline travels inside it.

    Raises UserError for a wrong cron line, zone, endpoint or argument.
    """
    check_name("name", schedule.name, LONGEST_NAME)
    for what in ("namespace", "profile"):
        given = getattr(schedule, what)
        if given is not None:
            check_name(what, given)
    check_cron(schedule.cron)
    check_timezone(schedule.timezone)
    host_and_port(schedule.endpoint)
    check_arguments(schedule.arguments, pipeline_text)
    with CronWorkflow(
        name=schedule.name,
        namespace=schedule.namespace,
        schedules=[schedule.cron],
        timezone=schedule.timezone,
        concurrency_policy="Forbid",
        starting_deadline_seconds=3600,
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=3,
        entrypoint="submit",
        service_account_name=schedule.service_account,
        security_context=PodSecurityContext(run_as_non_root=True, run_as_user=UID, fs_group=UID),
        ttl_strategy=TTLStrategy(seconds_after_completion=86400),
    ) as workflow:
        Container(
            name="submit",
            image=schedule.image,
            command=["mgoe", "pipeline", "submit"],
            args=_flags(schedule),
            inputs=[RawArtifact(name="pipeline", path=PIPELINE_FILE, data=pipeline_text)],
            env=[_token(schedule.token_secret)],
            resources=ResourceRequirements(
                requests={"cpu": "100m", "memory": "256Mi"}, limits={"cpu": "1", "memory": "512Mi"}
            ),
            security_context=SecurityContext(allow_privilege_escalation=False, capabilities={"drop": ["ALL"]}),
            # A fault (1) may pass; what is wrong with the request (2) will not.
            retry_strategy=RetryStrategy(
                limit=IntOrString(root=3), retry_policy="Always", expression="asInt(lastRetry.exitCode) != 2"
            ),
        )
    text = workflow.to_yaml()
    if not isinstance(text, str):
        raise TypeError("hera gave no YAML text")
    return text


def _flags(schedule: Schedule) -> list[str]:
    flags = ["--file", PIPELINE_FILE, "--endpoint", schedule.endpoint, "--experiment", schedule.experiment]
    if schedule.profile is not None:
        flags += ["--namespace", schedule.profile]
    for name, value in sorted(schedule.arguments.items()):
        flags += ["--param", f"{name}={value}"]
    return flags


def _token(secret: str) -> EnvVar:
    return EnvVar(
        name=TOKEN_VARIABLE,
        value_from=EnvVarSource(secret_key_ref=SecretKeySelector(name=secret, key="token", optional=True)),
    )
