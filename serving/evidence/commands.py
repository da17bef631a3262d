"""`mgoe evidence`: serve the intake, migrate the database, register, read a gateway's log, export, delete, prune."""
# ruff: noqa: PLR0917  # typer reads the signature

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer
from rich.console import Console

from model.errors import Fault, UserError

if TYPE_CHECKING:
    from sqlalchemy import Engine

app = typer.Typer(help="Take in exposures and outcomes, and keep them.", no_args_is_help=True, add_completion=False)

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

_DATABASE = typer.Option(
    "--database",
    envvar="MGOE_EVIDENCE_DATABASE",
    help="sqlite:///FILE or postgresql://HOST/NAME; a password belongs into the environment.",
    show_envvar=True,
)
_HELPED = frozenset({"malformed", "unknown", "no_room"})
"""Lines that a person can help: by the gateway's format, by registering the experiment."""

Database = Annotated[str, _DATABASE]
OptionalDatabase = Annotated[str | None, _DATABASE]
Url = Annotated[
    str | None,
    typer.Option("--url", help="The service, in place of its database; MGOE_EVIDENCE_ADMIN_TOKEN is its token."),
]
Experiment = Annotated[str, typer.Argument(help="Name of the experiment.")]


@app.command("serve")
def serve_command(
    database: Database,
    address: Annotated[
        str, typer.Option("--address", help="Address to listen on; 0.0.0.0 in a container.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free port.")] = 8090,
    tokens: Annotated[
        Path | None,
        typer.Option("--tokens", help="File of lines `ROLE[,ROLE] TOKEN`. [default: MGOE_EVIDENCE_*_TOKEN]"),
    ] = None,
    everybody: Annotated[bool, typer.Option("--open", help="No tokens; on loopback alone.")] = False,
    migrates: Annotated[bool, typer.Option("--migrate", help="Bring the database to this version first.")] = False,
    access_log: Annotated[
        list[Path] | None,
        typer.Option("--access-log", help="The gateway's log to follow; may be repeated, for several Envoys."),
    ] = None,
    retention: Annotated[float, typer.Option("--retention-days", min=0, help="Days of raw events; 0: all.")] = 0.0,
    snapshots: Annotated[
        float, typer.Option("--snapshot-minutes", min=0, help="How often evidence is kept for its course; 0: never.")
    ] = 60.0,
) -> None:
    """Take in exposures, outcomes and covariates over HTTP, and hand out evidence."""
    from serving.evidence.server import ServerSettings, run  # noqa: PLC0415
    from serving.evidence.tokens import Tokens  # noqa: PLC0415

    if everybody and (tokens is not None or address not in _LOOPBACK):
        raise UserError("--open: without tokens it listens on loopback alone, and takes no --tokens")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    run(
        ServerSettings(
            database=database,
            tokens=Tokens.open() if everybody else Tokens.load(tokens, os.environ),
            address=address,
            port=port,
            migrates=migrates,
            access_logs=tuple(access_log or ()),
            snapshot_s=snapshots * 60,
            retention_s=retention * 86_400,
        )
    )


@app.command("migrate")
def migrate_command(database: Database) -> None:
    """Bring the database to the schema of this version; makes it where it is empty."""
    from serving.evidence.engine import open_engine  # noqa: PLC0415
    from serving.evidence.migration import migrate  # noqa: PLC0415

    revision = migrate(open_engine(database))
    Console().print(f"at revision {revision}")


@app.command("register")
def register_command(
    file: Annotated[Path, typer.Argument(help="JSON of a design, or of {design, bounds}.")],
    database: OptionalDatabase = None,
    url: Url = None,
) -> None:
    """Register an experiment's design: what is compared, by which metrics. Again: nothing."""
    from serving.evidence import door, registration_door, service_client  # noqa: PLC0415
    from serving.evidence.engine import writing  # noqa: PLC0415
    from serving.evidence.registration import register  # noqa: PLC0415

    try:
        document = door.parse(file.read_bytes())
    except OSError as error:
        raise UserError(f"design {file}: {error.strerror}") from error
    except door.DoorError as error:
        raise UserError(f"design {file}: {str(error).removeprefix('body: ')}") from error
    if isinstance(document, dict) and "design" not in document:
        document = {"design": document}
    design, bounds = registration_door.registration_of(document)
    if url is not None:
        new = service_client.post(url, _token(), "/v1/experiments", json.dumps(document).encode())
    else:
        with writing(_open(_required(database))) as connection:
            new = register(connection, design, bounds, _now_us())
    typer.echo(f"experiment {design.experiment} is registered" + ("" if new else ", as before"))


@app.command("phase")
def phase_command(
    experiment: Experiment,
    phase: Annotated[int, typer.Option("--phase", help="Its number, as the gateway's log has it.")],
    weight: Annotated[float, typer.Option("--weight", help="The candidate's share, 0 to 1; 0.05 is 500 in the log.")],
    start: Annotated[
        float | None,
        typer.Option(
            "--start",
            help="Seconds since 1970; exposures from more than 5 minutes before it do not count. [default: now]",
        ),
    ] = None,
    database: OptionalDatabase = None,
    url: Url = None,
) -> None:
    """Register the start of a phase of the latest run: from then on the candidate has this share."""
    from serving.evidence import registration_door, service_client  # noqa: PLC0415
    from serving.evidence.engine import writing  # noqa: PLC0415
    from serving.evidence.limits import Limits  # noqa: PLC0415
    from serving.evidence.placement import place  # noqa: PLC0415
    from serving.evidence.registration import start_phase  # noqa: PLC0415

    begin = time.time() if start is None else start
    body = json.dumps({"phase": phase, "start": begin, "candidate_weight": weight}).encode()
    latest_us = _now_us() + round(Limits().future_s * 1e6)
    wanted = registration_door.phase_start_of(experiment, body, latest_us)
    if url is not None:
        new = service_client.post(url, _token(), f"/v1/experiments/{quote(experiment, safe='')}/phases", body)
    else:
        engine = _open(_required(database))
        with writing(engine) as connection:
            new = start_phase(connection, wanted)
        place(engine, experiment)
    typer.echo(f"phase {phase} of experiment {experiment} is registered" + ("" if new else ", as before"))


@app.command("export")
def export_command(
    experiment: Experiment,
    database: Database,
    candidate: Annotated[str | None, typer.Option(help="Candidate digest of the run. [default: the latest]")] = None,
    series: Annotated[bool, typer.Option("--series", help="With the snapshots that were kept.")] = False,
) -> None:
    """Write the evidence of a run as JSON, as `mgoe experiment report` reads it."""
    from serving.evidence.readout import read_evidence  # noqa: PLC0415
    from serving.evidence.series import series_json  # noqa: PLC0415

    engine = _open(database)
    if not series:
        typer.echo(json.dumps(read_evidence(engine, experiment, _now_us(), candidate).to_json(), indent=1))
        return
    for part in series_json(engine, experiment, _now_us(), candidate):
        typer.echo(part, nl=False)
    typer.echo()


@app.command("ingest-log")
def ingest_log_command(
    file: Annotated[Path, typer.Argument(help="The gateway's access log.")],
    database: Database,
    follows: Annotated[bool, typer.Option("--follow", help="Go on when its end is reached.")] = False,
) -> None:
    """Read exposures from the gateway's access log, from where the last reading stopped.

    Exits with 1 where lines were refused that somebody can still help: malformed, unknown or without room.
    """
    from serving.evidence.claim import claim  # noqa: PLC0415
    from serving.evidence.limits import Limits  # noqa: PLC0415
    from serving.evidence.log_reader import follow  # noqa: PLC0415
    from serving.evidence.telemetry import Telemetry  # noqa: PLC0415

    if not file.exists() and not follows:
        raise UserError(f"access log {file} does not exist")
    engine, limits, telemetry = _open(database), Limits(), Telemetry()
    read, claimed = 0, Counter[str]()
    while (step := follow(engine, file, limits, telemetry)) + (found := claim(engine, limits)).total() or follows:
        read += step
        claimed += found
        if not step:
            time.sleep(1.0 if follows else 0.0)
    typer.echo(f"{read} bytes: {_counts(telemetry.lines_read) or 'nothing new'}")
    if claimed:
        typer.echo(f"of those that had waited for their experiment: {_counts(claimed)}")
    for kind, reason in telemetry.refusals.items():
        typer.echo(f"{kind}, the first: {reason}")
    if refused := {kind: count for kind, count in telemetry.lines_read.items() if kind in _HELPED}:
        raise Fault(f"access log {file}: {_counts(refused)} of the lines were refused")


@app.command("delete-unit")
def delete_unit_command(
    unit: Annotated[str, typer.Argument(help="The unit, as exposures name it; -: read from standard input.")],
    database: Database,
    experiment: Annotated[str | None, typer.Option(help="One experiment. [default: all]")] = None,
) -> None:
    """Delete all that is kept of a unit: events, rows, and its part of every aggregate."""
    from serving.evidence.deletion import delete_unit  # noqa: PLC0415

    name = sys.stdin.readline().rstrip("\n") if unit == "-" else unit
    deleted = delete_unit(_open(database), name, _now_us(), experiment)
    Console().print(f"{deleted} events deleted")


@app.command("prune")
def prune_command(
    experiment: Experiment,
    database: Database,
    days: Annotated[float, typer.Option("--days", min=0.0, help="Raw events older than this go.")],
) -> None:
    """Let raw events go after a time; the evidence stays as it is."""
    from serving.evidence.retention import prune, shortened  # noqa: PLC0415

    engine, now_us = _open(database), _now_us()
    before_us = now_us - round(days * 86_400e6)
    if told := shortened(engine, experiment, before_us, now_us):
        typer.echo(f"warning: {told}", err=True)
    deleted = prune(engine, experiment, before_us)
    Console().print(f"{deleted} events deleted")


@app.command("end")
def end_command(experiment: Experiment, database: Database) -> None:
    """End an experiment: its evidence stays, and all that is kept of single units goes."""
    from serving.evidence.ending import end  # noqa: PLC0415

    deleted = end(_open(database), experiment, _now_us())
    Console().print(f"ended; {deleted} events deleted")


def _required(database: str | None) -> str:
    if database is None:
        raise UserError("--url or --database: one of them is needed")
    return database


def _token() -> str | None:
    return os.environ.get("MGOE_EVIDENCE_ADMIN_TOKEN")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def _open(database: str) -> Engine:
    from serving.evidence.engine import open_engine  # noqa: PLC0415
    from serving.evidence.migration import require_current  # noqa: PLC0415

    engine = open_engine(database)
    require_current(engine)
    return engine


def _now_us() -> int:
    return round(time.time() * 1e6)
