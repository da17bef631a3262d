"""The HTTP contract with Kubeflow Pipelines, against a small API server on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.errors import Fault, UserError
from pipelines.commands import app
from pipelines.compiling import compile_pipeline
from pipelines.endpoint import host_and_port
from pipelines.form import Form
from pipelines.golden import ROLLOUT
from pipelines.recipe_text import recipe_text
from pipelines.submission import Submission, check_arguments, describe, parse_arguments, submit


@dataclass
class Api:
    """Answers as Kubeflow Pipelines' v2beta1 API does; keeps what it was asked."""

    token: str = "right"  # noqa: S105
    refuse_run: bool = False
    experiments: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(  # noqa: PLR0911
        self, method: str, path: str, authorization: str | None, body: Any
    ) -> tuple[int, dict[str, Any]]:
        if authorization != f"Bearer {self.token}":
            return 401, {"error": "Unauthorized"}
        if path.startswith("/apis/v2beta1/healthz"):
            return 200, {"multi_user": False}
        if path.startswith("/apis/v2beta1/experiments"):
            if method == "GET":
                return 200, {"experiments": self.experiments, "total_size": len(self.experiments)}
            self.experiments.append({**body, "experiment_id": "e1"})
            return 200, self.experiments[-1]
        if path.startswith("/apis/v2beta1/runs") and method == "POST":
            if self.refuse_run:
                return 400, {"error": "Invalid input error: parameter seed has a wrong type", "code": 3}
            self.runs.append(body)
            return 200, {**body, "run_id": "r1"}
        if path == "/apis/v2beta1/runs/r1" and self.runs:
            return 200, {**self.runs[0], "run_id": "r1", "state": "PENDING", "created_at": "2026-11-22T00:00:00Z"}
        return 404, {"error": f"no {method} {path}"}


@pytest.fixture
def api() -> Iterator[Api]:
    state = Api()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, fields = state.answer(self.command, self.path, self.headers.get("Authorization"), body)
            text = json.dumps(fields).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _serve

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    path.write_text(compile_pipeline(Form(), recipe_text("synthetic")))
    return path


@pytest.fixture
def submission(api: Api, package: Path) -> Submission:
    return Submission(
        endpoint=api.url,
        file=package,
        experiment="nightly",
        run="tonight",
        arguments={"source": "s3://logs/april", "seed": 3},
        namespace="ranking",
    )


def test_a_run_is_started_in_an_experiment_that_is_made_on_demand(api: Api, submission: Submission) -> None:
    submitted = submit(submission, "right")
    assert submitted.run_id == "r1"
    assert submitted.url == f"{api.url}/#/runs/details/r1"
    assert api.experiments[0]["display_name"] == "nightly"
    run = api.runs[0]
    assert (run["display_name"], run["experiment_id"]) == ("tonight", "e1")
    assert run["runtime_config"]["parameters"] == {"source": "s3://logs/april", "seed": 3}
    assert run["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "mgoe-ranking"


@pytest.mark.slow
def test_kfps_own_command_starts_a_run_of_the_compiled_file(api: Api, package: Path) -> None:
    server = ["--endpoint", api.url, "--existing-token", api.token, "--namespace", "ranking"]
    flags = ["--experiment-name", "nightly", "--run-name", "tonight", "-f", str(package)]
    arguments = ["source=s3://logs/april", "store=s3://artifacts/mgoe"]
    done = subprocess.run(
        [Path(sys.executable).with_name("kfp"), *server, "run", "create", *flags, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [run] = api.runs
    assert run["display_name"] == "tonight"
    assert run["runtime_config"]["parameters"] == {"source": "s3://logs/april", "store": "s3://artifacts/mgoe"}
    assert run["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "mgoe-ranking"


def test_refused_credentials_name_the_variable_that_holds_the_token(submission: Submission) -> None:
    with pytest.raises(UserError, match="MGOE_KFP_TOKEN"):
        submit(submission, "wrong")


def test_the_servers_own_reason_is_passed_on(api: Api, submission: Submission) -> None:
    api.refuse_run = True
    with pytest.raises(UserError, match="parameter seed has a wrong type"):
        submit(submission, "right")


def test_an_endpoint_that_nobody_listens_at_is_a_fault(package: Path) -> None:
    with pytest.raises(Fault, match=r"http://127\.0\.0\.1:9 does not answer"):
        submit(Submission("http://127.0.0.1:9", package, "e", "r", {}), None)


def test_an_endpoint_without_a_scheme_is_refused(package: Path) -> None:
    with pytest.raises(UserError, match="http://host:port"):
        submit(Submission("ml-pipeline:8888", package, "e", "r", {}), None)


def test_a_dry_run_shows_everything_but_the_token(submission: Submission) -> None:
    shown = describe(submission, "s3cr3t")
    assert shown["experiment"] == "nightly"
    assert "s3cr3t" not in str(shown)


def test_a_password_never_becomes_a_parameter() -> None:
    with pytest.raises(UserError, match=r"holds a password.*in the Secret mgoe-registry"):
        parse_arguments(["registry=postgresql+psycopg://mlflow:secret@db/mlflow"])


def test_parameters_are_name_and_value() -> None:
    assert parse_arguments(["source=s3://a/b=c", "seed=7"]) == {"source": "s3://a/b=c", "seed": 7}
    assert parse_arguments(["recipe=synthetic"]) == {"recipe": recipe_text("synthetic")}


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (["source"], "name=value"),
        (["source="], "name=value"),
        (["seed=x"], "whole number"),
        (["seed=-1"], "whole number"),
        (["seed=99999999999999999999"], "whole number"),
        (["source=a", "source=b"], "'source' is given twice"),
        (["store=ftp://x"], "store='ftp://x' is wrong: pods share no folder; use s3://bucket/prefix"),
        (["store=/tmp/x"], "store='/tmp/x' is wrong: pods share no folder; use s3://bucket/prefix"),
        (["store=file:///x"], "store='file:///x' is wrong: pods share no folder; use s3://bucket/prefix"),
        (["recipe=nosuch"], "no recipe named 'nosuch'"),
    ],
)
def test_a_wrong_parameter_is_told_before_anything_is_started(pairs: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse_arguments(pairs)


@pytest.mark.parametrize("endpoint", ["nonsense", "", "http://", "ftp://host", "http://host:99999", "http://[::1"])
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(UserError, match="is wrong: use http://host:port or https://host"):
        host_and_port(endpoint)


@pytest.mark.parametrize("manifest", [False, True])
def test_an_argument_must_be_a_parameter_of_the_pipeline(manifest: bool) -> None:
    compiled = compile_pipeline(Form(), recipe_text("synthetic"), manifest)
    check_arguments({"source": "s3://a", "seed": 1}, compiled)
    with pytest.raises(UserError, match="'foo' is unknown to the pipeline: use one of recipe, registry, schema, seed"):
        check_arguments({"source": "s3://a", "foo": "1"}, compiled)


@pytest.mark.parametrize("flag", ["--trainer", "--rollout"])
def test_jobs_and_rollouts_need_a_store_before_anything_is_started(tmp_path: Path, flag: str) -> None:
    rollout = tmp_path / "rollout.yaml"
    rollout.write_text(ROLLOUT)
    file = tmp_path / "pipeline.yaml"
    app(["compile", flag, "rayjob" if flag == "--trainer" else str(rollout), "--out", str(file)], standalone_mode=False)
    compiled = file.read_text()
    store = next(yaml.safe_load_all(compiled))["root"]["inputDefinitions"]["parameters"]["store"]
    assert not store.get("isOptional")  # then Kubeflow itself starts no run without it
    check_arguments({"store": "s3://artifacts/mgoe"}, compiled)
    for arguments in ({}, {"store": ""}, {"store": "/mnt/store"}):
        with pytest.raises(UserError, match="give --param store=s3://bucket/prefix"):
            check_arguments(arguments, compiled)
    submit_it = ["submit", "--dry-run", "--endpoint", "http://x", "--file", str(file)]
    with pytest.raises(UserError, match="give --param store=s3://bucket/prefix"):
        app(submit_it, standalone_mode=False)
    app([*submit_it, "--param", "store=s3://artifacts/mgoe"], standalone_mode=False)


@pytest.mark.parametrize("text", ["", "a: b: c", "spec: 3", "- root", "root: 1"])
def test_a_file_that_is_no_compiled_pipeline_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="the pipeline is no"):
        check_arguments({}, text)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--endpoint", "nonsense"], "endpoint 'nonsense' is wrong"),
        (["--endpoint", "http://x", "--param", "foo=1"], "parameter 'foo' is unknown"),
        (["--endpoint", "http://x", "--trainer", "rayjob"], "--trainer is for a pipeline that is compiled now"),
        (["--endpoint", "http://x", "--mar"], "--mar is for a pipeline that is compiled now"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(package: Path, flags: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        app(["submit", "--dry-run", "--file", str(package), *flags], standalone_mode=False)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_pipeline_that_is_no_text_file_is_told(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "pipeline.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"pipeline .*pipeline\.yaml is no"):
        app(["submit", "--endpoint", "http://x", "--file", str(file)], standalone_mode=False)


def test_a_namespace_without_resources_to_put_there_is_refused() -> None:
    with pytest.raises(UserError, match="give both, or neither"):
        app(["compile", "--namespace", "ranking"], standalone_mode=False)


def test_a_written_file_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pipeline.yaml"
    app(["compile", "--out", str(file)], standalone_mode=False)
    assert capsys.readouterr().out == f"cluster pipeline written to {file}\n"
    app(["schedule", "--cron", "0 3 * * *", "--endpoint", "http://x", "--out", str(file)], standalone_mode=False)
    assert capsys.readouterr().out == f"CronWorkflow mgoe-ranking written to {file}\n"
