"""`mgoe serve`: the KServe model server."""
# ruff: noqa: PLR0917  # typer reads the signature

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from model.errors import UserError

app = typer.Typer(add_completion=False)

_ARM = re.compile(r"[A-Za-z0-9._-]{1,63}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")


@app.command("serve")
def serve_command(
    bundle: Annotated[str, typer.Option("--bundle", help="Folder, file:// or s3:// address of the bundle.")],
    name: Annotated[str, typer.Option("--name", help="Name of the model in paths.")] = "mgoe",
    arm: Annotated[str | None, typer.Option("--arm", help="Side of the experiment that this server plays.")] = None,
    address: Annotated[
        str, typer.Option("--address", help="Address that both ports are bound to; 0.0.0.0 in a container.")
    ] = "127.0.0.1",
    http_port: Annotated[int, typer.Option("--http-port", min=0, max=65535, help="0: any free port.")] = 8080,
    grpc_port: Annotated[int, typer.Option("--grpc-port", min=0, max=65535, help="0: any free port.")] = 8081,
    no_grpc: Annotated[bool, typer.Option("--no-grpc", help="Serve HTTP alone.")] = False,
    scorers: Annotated[
        str, typer.Option("--scorers", help="Fast paths to measure at load, of: factorised, aoti, onnx.")
    ] = "factorised,aoti,onnx",
    cache: Annotated[Path | None, typer.Option("--cache", help="Folder for what is made from the bundle.")] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of one scoring call.")] = 1,
    deadline: Annotated[float, typer.Option("--deadline", min=0.001, help="Seconds that a request may take.")] = 1.0,
    queue: Annotated[int, typer.Option("--queue", min=1, help="Requests that may wait; one more is refused.")] = 256,
    settle: Annotated[
        float, typer.Option("--settle", min=0, help="Seconds after SIGTERM in which requests are still taken.")
    ] = 0.5,
    drain: Annotated[
        float, typer.Option("--drain", min=0, help="Seconds after that in which accepted requests may end.")
    ] = 20.0,
    reload_api: Annotated[
        bool, typer.Option("--reload-api", help="Let POST /v2/repository/models/NAME/load load the bundle again.")
    ] = False,
) -> None:
    """Serve one bundle: Open Inference Protocol v2 over HTTP and gRPC, V1, health, metadata, metrics."""
    if arm is not None and not _ARM.fullmatch(arm):
        raise UserError(f"--arm {arm!r}: write 1 to 63 letters, digits, dots, dashes or underscores")
    if not _NAME.fullmatch(name):
        raise UserError(f"--name {name!r}: write 1 to 253 letters, digits, dots, dashes or underscores")
    # kserve and torch take seconds to import; a wrong flag should not.
    from serving.ranker.kserve_server import ServerSettings, run  # noqa: PLC0415
    from serving.ranker.settings import BatchSettings, RankerSettings  # noqa: PLC0415

    ranker = {"arm": arm, "scorers": _scorers(scorers), "cache": cache, "threads": threads}
    run(
        ServerSettings(
            bundle=bundle,
            name=name,
            address=address,
            http_port=http_port,
            grpc_port=None if no_grpc else grpc_port,
            settle_s=settle,
            drain_s=drain,
            reload_by_api=reload_api,
            ranker=RankerSettings.model_validate(
                ranker | {"batch": BatchSettings(deadline_s=deadline, queue=queue)},
            ),
        )
    )


def _scorers(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in {"eager", "factorised", "aoti", "onnx"}]
    if unknown:
        raise UserError(f"--scorers {unknown[0]!r}: write some of factorised, aoti, onnx, with commas between")
    return names
