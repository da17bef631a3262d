"""`mgoe traffic`: replay a log's users, derive an experiment's design from a log, plant faults before a ranker."""
# ruff: noqa: PLR0917  # typer reads the signature

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
import yaml

from model.errors import UserError
from serving.traffic.address import require_address
from serving.traffic.evidence_token import TOKEN

app = typer.Typer(
    help="Send a log's held-out users through the gateway; feedback is simulated from the log's labels.",
    no_args_is_help=True,
    add_completion=False,
)

LogArtifact = Annotated[
    Path, typer.Argument(metavar="LOG", help="Folder of a log artifact (`mgoe data ingest`, or a run's `ingest`).")
]


@app.command("replay")
def replay_command(
    log: LogArtifact,
    gateway: Annotated[str, typer.Option(help="Address of the gateway.")] = "http://127.0.0.1:8000",
    evidence: Annotated[
        str | None, typer.Option(help="Address of the evidence service; without it no outcome is posted.")
    ] = None,
    experiment: Annotated[str | None, typer.Option(help="Experiment that the outcomes belong to.")] = None,
    token: Annotated[
        Path | None, typer.Option(help=f"File with the evidence's token of the role write. [default: {TOKEN}]")
    ] = None,
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 20.0,
    duration: Annotated[float, typer.Option(min=0, help="Seconds; 0: until it is stopped.")] = 60.0,
    requests: Annotated[int | None, typer.Option(min=1, help="Most requests to send.")] = None,
    arrivals: Annotated[
        str, typer.Option(help="poisson or constant, at --rate; log: each session once, at its logged time.")
    ] = "poisson",
    speed: Annotated[float, typer.Option(help="Of --arrivals log: how many times as fast as logged.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed: the same visits and the same users' minds.")] = 0,
    plant: Annotated[
        list[str] | None,
        typer.Option(help="aa: feedback ignores the arms' order. candidate:+2%: its outcomes change by that."),
    ] = None,
    protocol: Annotated[str, typer.Option(help="v2 (Open Inference Protocol) or v1.")] = "v2",
    model: Annotated[str, typer.Option(help="Name under which the rankers serve.")] = "mgoe",
    candidates: Annotated[int, typer.Option(min=1, max=500, help="Most logged impressions of one request.")] = 20,
    extras: Annotated[int, typer.Option(min=0, max=500, help="Items beside, which the user was not shown.")] = 5,
    severity: Annotated[float, typer.Option(help="Position bias: place k is looked at with k^-severity.")] = 1.0,
    relevant: Annotated[float, typer.Option(help="Probability that a relevant item, looked at, earns.")] = 0.9,
    noise: Annotated[float, typer.Option(help="Of irrelevant ones, as a share of relevant x the log's average.")] = 0.1,
    extra_relevance: Annotated[float, typer.Option(help="Relevance of extras, as a share of the log's average.")] = 0.5,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds until a request counts as timed out.")] = 5.0,
    summary: Annotated[Path | None, typer.Option(help="Write the figures here as JSON; - prints them.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Send open-loop traffic through the gateway, and simulated feedback to the evidence. Ctrl-C ends it cleanly."""
    from serving.traffic.click_model import ClickModelConfig  # noqa: PLC0415
    from serving.traffic.load import LoadOptions, run_load  # noqa: PLC0415

    run_load(
        LoadOptions(
            log=log,
            gateway=gateway,
            evidence=evidence,
            experiment=experiment,
            token=token,
            rate=rate,
            duration_s=duration or None,
            requests=requests,
            arrivals=arrivals,
            speed=speed,
            seed=seed,
            plants=tuple(plant or ()),
            protocol=protocol,
            model=model,
            candidates=candidates,
            extras=extras,
            click_model=ClickModelConfig(severity, relevant, noise, extra_relevance),
            timeout_s=timeout,
        ),
        summary,
        quiet=quiet,
    )


@app.command("design")
def design_command(
    log: LogArtifact,
    experiment: Annotated[str, typer.Option(help="Name of the experiment.")] = "mgoe-vs-mmoe",
    salt: Annotated[str | None, typer.Option(help="Salt of the assignment. [default: the experiment's name]")] = None,
    baseline: Annotated[str, typer.Option("--baseline-digest", help="Digest of the baseline's bundle.")] = "",
    candidate: Annotated[str, typer.Option("--candidate-digest", help="Digest of the candidate's bundle.")] = "",
    maturity: Annotated[float, typer.Option(min=0, help="Seconds until a conditional task's unit counts.")] = 60.0,
    planned_units: Annotated[int, typer.Option(help="Users at which the intervals are tightest.")] = 10_000,
    slice_s: Annotated[float, typer.Option(help="Seconds of a time slice.")] = 86_400.0,
    burn_in: Annotated[int, typer.Option(help="Users of each arm before a stratum counts.")] = 100,
    form: Annotated[
        Literal["registration", "rollout"],
        typer.Option("--as", help="The body of POST /v1/experiments, or `spec.metrics` of a ModelRollout (YAML)."),
    ] = "registration",
) -> None:
    """Derive an experiment's metrics from the tasks of a log."""
    from model.data.schema_file import SCHEMA_NAME, load_schema  # noqa: PLC0415
    from serving.traffic.log_design import (  # noqa: PLC0415
        DesignOptions,
        design_of,
        metrics_of,
        registration,
        rollout_metrics,
    )

    schema = load_schema(log / SCHEMA_NAME)
    if form == "rollout":
        typer.echo(
            yaml.safe_dump({"metrics": rollout_metrics(metrics_of(schema, maturity))}, sort_keys=False), nl=False
        )
        return
    for name, digest in (("--baseline-digest", baseline), ("--candidate-digest", candidate)):
        if not digest:
            raise UserError(f"{name} is missing: write the digest of a bundle (`mgoe bundle show`)")
    options = DesignOptions(
        experiment, salt or experiment, baseline, candidate, maturity, planned_units, slice_s, burn_in
    )
    typer.echo(json.dumps(registration(design_of(schema, options), schema), indent=1))


@app.command("fault-proxy")
def fault_proxy_command(
    upstream: Annotated[str, typer.Argument(help="The ranker: http://HOST:PORT.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of this machine to listen on; 0: any.")] = 0,
    latency_ms: Annotated[float, typer.Option(help="How long ranking requests are held.")] = 0.0,
    latency_share: Annotated[float, typer.Option(help="Share of them that are.")] = 1.0,
    error_share: Annotated[float, typer.Option(help="Share of ranking requests that get an error.")] = 0.0,
    error_status: Annotated[int, typer.Option(help="Which. A gateway tries 503 again elsewhere.")] = 500,
    after: Annotated[float, typer.Option(help="Seconds of good behaviour at first.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Which requests suffer.")] = 0,
) -> None:
    """Stand before a real ranker and make some of its answers slow or wrong, until SIGTERM or Ctrl-C."""
    from serving.traffic.fault_proxy import FaultProxy, Faults  # noqa: PLC0415

    require_address("UPSTREAM", upstream)
    proxy = FaultProxy(upstream, Faults(latency_ms / 1000, latency_share, error_share, error_status, after, seed), port)

    async def serve() -> None:
        ended = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, ended.set)
        async with proxy:
            sys.stderr.write(f"fault proxy listens on http://127.0.0.1:{proxy.port} before {upstream}\n")
            sys.stderr.flush()
            await ended.wait()

    asyncio.run(serve())
