"""Opens MLflow as a library: loaded late, quiet, telling nobody, and safe when several processes open it at once."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from model.errors import Fault, UserError

SCHEMES = ("sqlite", "postgresql", "mysql", "http", "https")
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it would report usage to its makers
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # its own 7 wait for minutes on a server that is down
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "GIT_PYTHON_REFRESH": "quiet",  # images have no git
}
_CAUSE = re.compile(r"Caused by \w+\((?P<quote>['\"])(?P<said>.*)(?P=quote)\)")
"""What urllib3 says in the middle of its own: `... (Caused by NewConnectionError('why'))`."""
_NOISY = ("alembic", "mlflow", "mlflow.store.db.utils", "sqlalchemy")


def open_client(tracking_uri: str) -> Any:
    """An MlflowClient whose registry and runs are at `tracking_uri`; a SQLite file is made where there is none.

    Raises UserError on a URI of another scheme, Fault where it cannot be reached or opened.
    """
    if tracking_uri.startswith("postgresql://"):  # the driver that is installed, instead of SQLAlchemy's first choice
        tracking_uri = tracking_uri.replace("postgresql://", "postgresql+psycopg://", 1)
    scheme = urlsplit(tracking_uri).scheme.split("+")[0]
    if scheme not in SCHEMES:
        raise UserError(
            f"MLflow at {without_password(tracking_uri)!r}: unknown scheme {scheme!r};"
            " use sqlite:///file.db, postgresql://... or http://..."
        )
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow.tracking import MlflowClient  # noqa: PLC0415  takes seconds

    with plain_errors(tracking_uri), _alone_with(tracking_uri):
        if scheme not in ("http", "https"):
            _knock(tracking_uri)
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        client.search_registered_models(max_results=1)  # makes a new database's tables; finds a server that is down
    return client


@contextmanager
def plain_errors(tracking_uri: str) -> Iterator[None]:
    """Turns what MLflow raises into a Fault of one line."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  takes seconds
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        cause = _CAUSE.search(first)
        reason = cause["said"] if cause else first
        raise Fault(f"MLflow at {without_password(tracking_uri)} fails: {reason}") from error


def _knock(tracking_uri: str) -> None:
    """Opens the database once. MLflow would try ten times, which takes two minutes where the address is wrong."""
    import sqlalchemy  # noqa: PLC0415  takes long

    try:
        engine = sqlalchemy.create_engine(tracking_uri)
    except ModuleNotFoundError as missing:
        raise UserError(
            f"MLflow at {without_password(tracking_uri)} needs the package {missing.name!r}, which is not installed"
        ) from missing
    sqlalchemy.inspect(engine).get_table_names()
    engine.dispose()


def without_password(uri: str) -> str:
    """The URI with a password in it masked, to be shown."""
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@") if password else uri


@contextmanager
def _alone_with(tracking_uri: str) -> Iterator[None]:
    """Keeps two processes from making the tables of one SQLite file at once, by a lock on a file beside it."""
    parts = urlsplit(tracking_uri)
    if parts.scheme != "sqlite" or not parts.path.strip("/"):
        yield
        return
    database = Path(tracking_uri.removeprefix("sqlite:///").partition("?")[0])
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(database.with_name(f".{database.name}.lock"), os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise Fault(f"MLflow at {tracking_uri}: cannot write {database.parent}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
