"""`mgoe serve`: the KServe model server; `mgoe prepare`: what it makes of a bundle at its first load, made ahead."""
# ruff: noqa: PLR0917  # typer reads the signature

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.errors import Fault, UserError
from serving.listening import bound, require_free

if TYPE_CHECKING:
    from serving.ranker.settings import RequiredSignature

app = typer.Typer(add_completion=False, help="Serve a bundle, or prepare its cache ahead.", no_args_is_help=True)

_ARM = re.compile(r"[A-Za-z0-9._-]{1,63}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")

BundleOption = Annotated[str, typer.Option("--bundle", help="Folder, file:// or s3:// address of the bundle.")]
ScorersOption = Annotated[
    str, typer.Option("--scorers", help="Fast paths to measure at load, of: factorised, aoti, onnx, native.")
]
CacheOption = Annotated[Path | None, typer.Option("--cache", help="Folder for what is made from the bundle.")]
TableOption = Annotated[
    float,
    typer.Option(
        "--item-table-gib",
        min=0.001,
        help="Largest table of what is computed ahead for the items, mapped from the cache; beyond it scoring is slow.",
    ),
]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Threads of one scoring call.")]
SignatureOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--require-signature",
        help="Public key, or certificate that the signer's must go back to (PEM file; repeat for certificates): "
        "a bundle without such a signature is refused.",
    ),
]
SignerOption = Annotated[
    str | None, typer.Option("--signer", help="Name that the signer's certificate must carry, beside its root.")
]
NameOption = Annotated[str, typer.Option("--name", help="Name of the model in paths.")]
ArmOption = Annotated[str | None, typer.Option("--arm", help="Side of the experiment that this server plays.")]
AddressOption = Annotated[
    str, typer.Option("--address", help="Address that both ports are bound to; 0.0.0.0 in a container.")
]
HttpPortOption = Annotated[int, typer.Option("--http-port", min=0, max=65535, help="0: any free port.")]
GrpcPortOption = Annotated[int, typer.Option("--grpc-port", min=0, max=65535, help="0: any free port.")]
NoGrpcOption = Annotated[bool, typer.Option("--no-grpc", help="Serve HTTP alone.")]
DeadlineOption = Annotated[float, typer.Option("--deadline", min=0.001, help="Seconds that a request may take.")]
QueueOption = Annotated[int, typer.Option("--queue", min=1, help="Requests that may wait; one more is refused.")]
RowsOption = Annotated[
    int, typer.Option("--batch-rows", min=1, help="Candidates that are scored in one call; 1: each request alone.")
]
SettleOption = Annotated[
    float, typer.Option("--settle", min=0, help="Seconds after SIGTERM in which requests are still taken.")
]
DrainOption = Annotated[
    float, typer.Option("--drain", min=0, help="Seconds after that in which accepted requests may end.")
]
ReloadOption = Annotated[
    bool, typer.Option("--reload-api", help="Let POST /v2/repository/models/NAME/load load the bundle again.")
]
ALL = "factorised,aoti,onnx,native"


@app.command("serve")
def serve_command(
    bundle: BundleOption,
    name: NameOption = "mgoe",
    arm: ArmOption = None,
    address: AddressOption = "127.0.0.1",
    http_port: HttpPortOption = 8080,
    grpc_port: GrpcPortOption = 8081,
    no_grpc: NoGrpcOption = False,
    scorers: ScorersOption = ALL,
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    item_table_gib: TableOption = 2.0,
    require_signature: SignatureOption = None,
    signer: SignerOption = None,
    deadline: DeadlineOption = 1.0,
    queue: QueueOption = 256,
    batch_rows: RowsOption = 512,
    settle: SettleOption = 0.5,
    drain: DrainOption = 20.0,
    reload_api: ReloadOption = False,
) -> None:
    """Serve one bundle: Open Inference Protocol v2 over HTTP and gRPC, V1, health, metadata, metrics."""
    _require_names(name, arm)
    allowed, signature = _scorers(scorers), _signature(require_signature, signer)
    http = _http_socket(address, http_port, None if no_grpc else grpc_port)
    # kserve and torch take seconds to import; a wrong flag should not, and a port that is in use is told before.
    from serving.ranker.kserve_server import ServerSettings, run  # noqa: PLC0415
    from serving.ranker.settings import BatchSettings, RankerSettings  # noqa: PLC0415

    batch = BatchSettings(deadline_s=deadline, queue=queue, rows=batch_rows)
    ranker = {"arm": arm, "scorers": allowed, "cache": cache, "threads": threads, "signature": signature}
    ranker["item_table_bytes"] = int(item_table_gib * 2**30)
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
            ranker=RankerSettings.model_validate(ranker | {"batch": batch}),
        ),
        http,
    )


@app.command("prepare")
def prepare_command(
    bundle: BundleOption,
    scorers: ScorersOption = ALL,
    cache: CacheOption = None,
    threads: ThreadsOption = 1,
    item_table_gib: TableOption = 2.0,
    require_signature: SignatureOption = None,
    signer: SignerOption = None,
    all_scorers: Annotated[
        bool, typer.Option("--all", help="End with an error where a scorer cannot be made, such as without a compiler.")
    ] = False,
) -> None:
    """Verify a bundle and fill the cache that `mgoe serve` loads from: item tables and compiled scorers.

    Give `serve` the same --cache, --scorers, --threads and --item-table-gib, on a processor of the same kind.
    """
    allowed, signature = _scorers(scorers), _signature(require_signature, signer)
    from serving.ranker.load import load_ranker  # noqa: PLC0415  # as above
    from serving.ranker.scorers import default_cache  # noqa: PLC0415
    from serving.ranker.settings import RankerSettings  # noqa: PLC0415

    settings = {"scorers": allowed, "cache": cache, "threads": threads, "signature": signature}
    settings["item_table_bytes"] = int(item_table_gib * 2**30)
    ranker = load_ranker(bundle, RankerSettings.model_validate(settings), aside=False)  # this process scores nothing
    described = ranker.describe()
    for missing, why in described.left_out.items():
        typer.echo(f"{missing} is left out: {why}")
    fastest = ", ".join(f"{way} for {size}" for size, way in described.scorers.items())
    typer.echo(f"bundle {ranker.digest[:12]} is ready in {cache or default_cache()}: {fastest} candidates")
    if all_scorers and described.left_out:
        raise Fault(f"{', '.join(described.left_out)} could not be made, and --all asks for it")


def _require_names(name: str, arm: str | None) -> None:
    if arm is not None and not _ARM.fullmatch(arm):
        raise UserError(f"--arm {arm!r}: write 1 to 63 letters, digits, dots, dashes or underscores")
    if not _NAME.fullmatch(name):
        raise UserError(f"--name {name!r}: write 1 to 253 letters, digits, dots, dashes or underscores")


def _http_socket(address: str, http_port: int, grpc_port: int | None) -> socket.socket:
    """What holds the HTTP port. Raises Fault where one of the ports is in use."""
    if grpc_port is not None:
        if grpc_port == http_port != 0:
            raise UserError(f"--grpc-port {grpc_port} is --http-port, too; give each its own, or --no-grpc")
        require_free(address, grpc_port)
    return bound(address, http_port)


def _scorers(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in {"eager", "factorised", "aoti", "onnx", "native"}]
    if unknown:
        raise UserError(f"--scorers {unknown[0]!r}: write some of factorised, aoti, onnx, native, with commas between")
    return names


def _signature(files: list[Path] | None, signer: str | None) -> RequiredSignature | None:
    if not files:
        if signer is not None:
            raise UserError(
                "--signer goes with --require-signature: name the certificate that the signer's goes back to"
            )
        return None
    from model.bundle.signature import verifier_of  # noqa: PLC0415  # as above
    from serving.ranker.settings import RequiredSignature  # noqa: PLC0415

    verifier_of(files, signer)  # a wrong file is told before anything is loaded
    return RequiredSignature(files=tuple(files), signer=signer)
