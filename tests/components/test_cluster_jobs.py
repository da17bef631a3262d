"""The train step's side of a RayJob or TrainJob, against a double of the API server."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.train import cluster_jobs
from components.train.cluster_jobs import ClusterJobs, Patience
from components.train.job import JobOptions, Seen
from components.train.placement import address_in_store, job_name, read_job, spread
from components.train.ray_job import RAY_JOB, ray_job
from components.train.ray_job import seen as ray_seen
from components.train.submit import Cancelled, train_in_job
from components.train.train_job import TRAIN_JOB
from components.train.train_job import seen as torch_seen
from model.artifact.store import FolderStore
from model.artifact.writer import ArtifactWriter
from model.errors import Fault, UserError
from model.training.config import TrainingConfig
from tests.components.api_server import ApiServer, serving, write_kubeconfig

OPTIONS = JobOptions(kind="rayjob")
KEY = "train/0123456789abcdef"
NAME = "mgoe-train-candidate-0123456789ab"
RUNNING: dict[str, Any] = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
DONE: dict[str, Any] = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
FAILED: dict[str, Any] = {
    "jobDeploymentStatus": "Failed",
    "jobStatus": "FAILED",
    "message": "Job entrypoint command failed with exit code 1, last logs:\nmgoe: the training loss became nan\n",
}
QUICK = Patience(poll_s=0.02, down_s=0.3, gone_s=2.0)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    for name in ("KUBERNETES_SERVICE_HOST", "POD_NAME", "POD_UID"):
        monkeypatch.delenv(name, raising=False)
    with serving(ApiServer()) as server:
        monkeypatch.setattr(
            "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION",
            str(write_kubeconfig(tmp_path / "kubeconfig", server.url)),
        )
        monkeypatch.setattr(cluster_jobs, "Patience", lambda: QUICK)
        yield server


@pytest.fixture
def jobs(api: ApiServer) -> ClusterJobs:
    return ClusterJobs.here(RAY_JOB)


def job() -> dict[str, Any]:
    return ray_job(NAME, "{}", OPTIONS)


def test_a_job_is_made_waited_for_and_told_of_when_it_changes(api: ApiServer, jobs: ClusterJobs) -> None:
    api.statuses[NAME] = [{}, {"jobDeploymentStatus": "Initializing"}, RUNNING, RUNNING, DONE]
    said: list[str] = []
    jobs.start(job())
    jobs.wait(NAME, said.append)
    assert said == [
        f"RayJob {NAME}: waiting for KubeRay",
        f"RayJob {NAME}: Initializing",
        f"RayJob {NAME}: Running, job running",
        f"RayJob {NAME}: Complete",
    ]
    assert api.calls[:2] == [("get", NAME), ("create", NAME)]
    assert api.objects[NAME]["spec"] == job()["spec"]


def test_a_failed_job_says_its_last_line(api: ApiServer, jobs: ClusterJobs) -> None:
    api.statuses[NAME] = [RUNNING, FAILED]
    jobs.start(job())
    with pytest.raises(
        Fault, match=rf"RayJob {NAME} failed: mgoe: the training loss became nan; .* checkpoint"
    ) as told:
        jobs.wait(NAME, lambda line: None)
    assert "\n" not in str(told.value)


def test_a_step_that_was_killed_goes_on_with_the_job_it_began(
    api: ApiServer, jobs: ClusterJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pod in ("first", "second"):
        monkeypatch.setenv("POD_NAME", pod)
        monkeypatch.setenv("POD_UID", f"uid-{pod}")
        jobs.start(job())
        api.objects[NAME]["status"] = RUNNING
    assert [verb for verb, _ in api.calls] == ["get", "create", "get", "patch"]
    owners = api.objects[NAME]["metadata"]["ownerReferences"]
    assert [(owner["kind"], owner["name"], owner["uid"]) for owner in owners] == [
        ("Pod", "first", "uid-first"),
        ("Pod", "second", "uid-second"),
    ]


def test_a_job_that_failed_before_is_taken_away_first(api: ApiServer, jobs: ClusterJobs) -> None:
    jobs.start(job())
    api.objects[NAME]["status"] = FAILED
    api.lingering = 3
    jobs.start(job())
    assert "status" not in api.objects[NAME]
    assert [verb for verb, _ in api.calls].count("create") == 2


def test_a_job_that_does_not_go_away_is_named(api: ApiServer, jobs: ClusterJobs) -> None:
    jobs.start(job())
    api.objects[NAME]["status"] = FAILED
    api.lingering = 10**6
    with pytest.raises(Fault, match=f"RayJob {NAME} of an earlier attempt does not go away"):
        jobs.start(job())


def test_a_job_that_is_being_deleted_is_not_gone_on_with(api: ApiServer, jobs: ClusterJobs) -> None:
    jobs.start(job())
    api.objects[NAME]["status"] = RUNNING
    api.lingering = 3
    jobs.delete(NAME)
    jobs.start(job())
    assert "deletionTimestamp" not in api.objects[NAME]["metadata"]
    assert [verb for verb, _ in api.calls].count("create") == 2


def test_a_step_does_not_wait_for_a_job_that_is_being_deleted(api: ApiServer, jobs: ClusterJobs) -> None:
    jobs.start(job())
    api.objects[NAME]["status"] = RUNNING
    api.lingering = 10**6
    jobs.delete(NAME)
    with pytest.raises(Fault, match=f"RayJob {NAME} was deleted while its step waited"):
        jobs.wait(NAME, lambda line: None)


def test_a_job_that_does_not_end_in_its_time_is_a_fault(api: ApiServer, jobs: ClusterJobs) -> None:
    api.statuses[NAME] = [RUNNING]
    jobs.start(job())
    with pytest.raises(Fault, match=rf"RayJob {NAME} has not ended within 0.1 s \(Running, job running\)"):
        jobs.wait(NAME, lambda line: None, deadline_s=0.1)


@pytest.mark.parametrize("verb", ["get", "create", "patch", "delete"])
def test_no_call_waits_for_an_answer_for_ever(
    verb: str, api: ApiServer, jobs: ClusterJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_jobs, "ANSWER_SECONDS", (0.2, 0.2))
    monkeypatch.setenv("POD_NAME", "pod")
    monkeypatch.setenv("POD_UID", "uid")
    if verb == "patch":
        jobs.start(job())
    api.silent = {verb}
    with pytest.raises(Fault, match="API server does not answer"):
        jobs.delete(NAME) if verb == "delete" else jobs.start(job())
    api.silent = set()


def test_a_server_that_is_away_for_a_moment_is_waited_for(api: ApiServer, jobs: ClusterJobs) -> None:
    api.statuses[NAME] = [RUNNING, DONE]
    jobs.start(job())
    api.failing = 3
    jobs.wait(NAME, lambda line: None)


def test_a_server_that_stays_away_is_a_fault(api: ApiServer, jobs: ClusterJobs) -> None:
    jobs.start(job())
    api.failing = 10**6
    with pytest.raises(Fault, match=r"API server failed \(503\): the server is currently unable"):
        jobs.wait(NAME, lambda line: None)


def test_nobody_at_the_address_is_a_fault_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    with pytest.raises(Fault, match="API server does not answer") as told:
        ClusterJobs.here(RAY_JOB).start(job())
    assert "\n" not in str(told.value)


def test_a_job_that_somebody_deletes_is_a_fault(api: ApiServer, jobs: ClusterJobs) -> None:
    with pytest.raises(Fault, match=f"RayJob {NAME} was deleted while its step waited"):
        jobs.wait(NAME, lambda line: None)


@pytest.mark.parametrize("verb", ["get", "create"])
def test_a_missing_right_names_the_role(api: ApiServer, jobs: ClusterJobs, verb: str) -> None:
    api.forbidden = {verb}
    with pytest.raises(UserError, match=rf"may not {verb} rayjobs\.ray\.io in namespace ranking: bind the Role"):
        jobs.start(job())


def test_a_cluster_without_the_operator_is_told_what_it_lacks(api: ApiServer) -> None:
    api.plurals = ("rayjobs",)
    with pytest.raises(UserError, match=r"no trainjobs\.trainer\.kubeflow\.org: install Kubeflow Trainer"):
        ClusterJobs.here(TRAIN_JOB).start(job())


def test_what_the_server_refuses_is_passed_on(jobs: ClusterJobs) -> None:
    with pytest.raises(UserError, match=r"refuses the RayJob \(422\): .* spec: Required value"):
        jobs.start({**job(), "spec": {}})


def test_no_cluster_at_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "absent"))
    with pytest.raises(UserError, match="a RayJob needs a cluster, and none is configured"):
        ClusterJobs.here(RAY_JOB)


@pytest.fixture
def order(tmp_path: Path) -> dict[str, object]:
    return {"role": "candidate", "key": KEY, "store": str(tmp_path / "store")}


def test_the_model_comes_back_from_the_store_and_the_job_is_taken_away(
    api: ApiServer, order: dict[str, object], tmp_path: Path
) -> None:
    with ArtifactWriter(tmp_path / "made", "model", "test") as writer:
        (writer.path / "weights").write_text("weights")
    FolderStore(tmp_path / "store").put_tree(tmp_path / "made", KEY)
    api.statuses[NAME] = [RUNNING, DONE]
    manifest = train_in_job(order, OPTIONS, tmp_path / "out")
    assert manifest == writer.manifest
    assert (tmp_path / "out" / "weights").read_text() == "weights"
    assert api.objects == {}


def test_a_job_that_went_away_after_it_left_its_model_has_done_its_work(
    api: ApiServer, order: dict[str, object], tmp_path: Path
) -> None:
    with ArtifactWriter(tmp_path / "made", "model", "test") as writer:
        (writer.path / "weights").write_text("weights")
    FolderStore(tmp_path / "store").put_tree(tmp_path / "made", KEY)
    api.statuses[NAME] = [RUNNING]
    threading.Thread(target=delete_when, args=(api, lambda: len(api.calls) > 4), daemon=True).start()
    assert train_in_job(order, OPTIONS, tmp_path / "out") == writer.manifest


def delete_when(api: ApiServer, ready: Callable[[], bool]) -> None:
    while not ready():
        time.sleep(0.01)
    api.objects.clear()


def test_two_runs_of_equal_work_have_a_job_each(
    api: ApiServer, order: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = job_name("candidate", KEY, "run-1")
    monkeypatch.setenv("MGOE_RUN", "run-2")
    api.objects[other] = {"metadata": {"name": other}, "status": RUNNING}
    api.statuses[job_name("candidate", KEY, "run-2")] = [FAILED]
    with pytest.raises(Fault, match="nan"):
        train_in_job(order, OPTIONS, tmp_path / "out")
    assert sorted(api.objects) == sorted([other, job_name("candidate", KEY, "run-2")])


def test_a_step_that_is_told_to_stop_takes_its_job_away(
    api: ApiServer, order: dict[str, object], tmp_path: Path
) -> None:
    api.statuses[NAME] = [RUNNING]
    threading.Thread(target=terminate_when, args=(lambda: len(api.calls) > 4,), daemon=True).start()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Cancelled, match="told to stop"):
        train_in_job(order, OPTIONS, tmp_path / "out")
    assert api.objects == {}
    assert signal.getsignal(signal.SIGTERM) == before


def terminate_when(ready: Callable[[], bool]) -> None:
    while not ready():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({}, Seen("waiting for KubeRay")),
        ({"jobDeploymentStatus": "Retrying"}, Seen("Retrying")),
        (DONE, Seen("Complete", "succeeded")),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, Seen("Complete", "failed", "job status STOPPED")),
        ({"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded"}, Seen("Failed", "failed", "DeadlineExceeded")),
    ],
)
def test_what_a_rayjob_says_is_read(status: dict[str, Any], wanted: Seen) -> None:
    assert ray_seen(status) == wanted


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({}, Seen("waiting for Kubeflow Trainer")),
        ({"jobsStatus": [{"name": "node", "active": 1}]}, Seen("Running")),
        ({"jobsStatus": [{"name": "node", "active": 0}]}, Seen("Pending")),
        ({"conditions": [{"type": "Suspended", "status": "True"}]}, Seen("Suspended")),
        (
            {"conditions": [{"type": "Complete", "status": "True", "message": "done"}]},
            Seen("Complete", "succeeded", "done"),
        ),
        (
            {
                "conditions": [
                    {"type": "Suspended", "status": "False"},
                    {"type": "Failed", "status": "True", "message": "jobset failed due to one or more job failures"},
                ]
            },
            Seen("Failed", "failed", "jobset failed due to one or more job failures"),
        ),
    ],
)
def test_what_a_trainjob_says_is_read(status: dict[str, Any], wanted: Seen) -> None:
    assert torch_seen(status) == wanted


def test_a_job_has_a_worker_a_pod_or_a_gpu_and_the_same_weights_to_find() -> None:
    training = TrainingConfig(device="auto")
    plain, gpus = spread(training, OPTIONS), spread(training, read_job("{kind: trainjob, pods: 3, gpus: 4}"))
    assert (plain.world_size, plain.device) == (2, "cpu")
    assert (gpus.world_size, gpus.device) == (12, "cuda")
    assert plain.deciding() == gpus.deciding() == training.deciding()
    assert JobOptions(kind="rayjob", cpu="8", gpus=4).threads == 2
    assert JobOptions(kind="rayjob", cpu="500m").threads == 1


def test_the_same_work_has_the_same_short_name() -> None:
    assert job_name("candidate", KEY) == NAME
    one, other = job_name("candidate", KEY, "mgoe-ranking-x7k2p"), job_name("candidate", KEY, "mgoe-ranking-9qbcd")
    assert one != other
    assert len(one) <= 47  # KubeRay adds to it


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{kind: pod}", "job.kind: Input should be 'rayjob' or 'trainjob' (got 'pod')"),
        ("{kind: rayjob, node: 2}", "job.node: unknown field (got 2)"),
        ("{kind: rayjob, cpu: lots}", "job.cpu"),
        ("{kind: [", "job is no YAML"),
    ],
)
def test_wrong_options_are_named(text: str, told: str) -> None:
    with pytest.raises(UserError) as refused:
        read_job(text)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("store", [None, "/mnt/store"])
def test_a_store_that_pods_do_not_reach_is_refused(store: str | None) -> None:
    class Artifact:
        metadata = {"stored": "/mnt/store/ingest/1"}  # noqa: RUF012

    with pytest.raises(UserError, match=r"give the pipeline store=s3://bucket/prefix"):
        address_in_store(Artifact(), store)
