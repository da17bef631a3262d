"""Brings a database to the schema of this version, with Alembic; the migrations are part of the package."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from model.errors import UserError
from serving.evidence.engine import reading, writing

FOLDER = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> str:
    """Applies what is missing, in one transaction where the database has such; returns the revision that it has now.

    Processes that migrate at the same time wait for each other.
    """
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # an index may take longer than a request
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7036601)")
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return newest()


def newest() -> str:
    """The revision that this version works with."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def require_current(engine: Engine) -> None:
    """Raises UserError where the database is at another revision than this version's."""
    found = None
    if engine.dialect.name != "sqlite" or Path(str(engine.url.database)).exists():  # SQLite would make the file
        with reading(engine) as connection:
            found = revision(connection)
    if found == newest():
        return
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    address = engine.url.render_as_string()
    if found is None or found in known:
        raise UserError(
            f"database {address} is at revision {found or 'none'}, not {newest()}: run `mgoe evidence migrate`"
        )
    raise UserError(f"database {address} is at revision {found}, which is newer than this version of mgoe")


def revision(connection: Connection) -> str | None:
    """The revision of a database; None: it has none."""
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return config
