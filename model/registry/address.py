"""Addresses of registries that may stand where others read them: parameters of a pipeline, process lists, logs."""

from __future__ import annotations

from urllib.parse import urlsplit

from model.errors import UserError

PASSWORD_VARIABLES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD")
"""What MLflow's client (a server's user, password or token) and PostgreSQL's read from the environment."""


def check_address(uri: str) -> str:
    """`uri` itself. Raises UserError where it holds a password, which is named nowhere, is no URI, or is SQLite's
    without a file."""
    try:
        parts = urlsplit(uri)
        held = parts.password is not None or "password=" in parts.query
    except ValueError:
        raise UserError("the registry's address is no URI: write sqlite:///file.db or http://host:port") from None
    in_memory = parts.path.strip("/") in ("", ":memory:") or "mode=memory" in parts.query
    if parts.scheme.partition("+")[0] == "sqlite" and in_memory:  # a database that ends with its process
        raise UserError(f"the registry's address {uri} names no file: write sqlite:///file.db")
    if held:
        variable = "PGPASSWORD" if parts.scheme.startswith("postgresql") else "MLFLOW_TRACKING_PASSWORD"
        raise UserError(
            f"the registry's address ({parts.scheme}://...) holds a password, which runs and logs would show: leave it"
            f" out, and set {variable} in the environment (in a cluster, in the Secret mgoe-registry)"
        )
    return uri
