"""Tables of the console: who wished what, and which split was seen when. Nothing else is kept.

The audit is append-only by the database itself: a change or a deletion of a row is refused there too.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import DDL, BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text, event

metadata = MetaData()
_ID = BigInteger().with_variant(Integer(), "sqlite")

audit = Table(
    "console_audit",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("attempt", String(32), nullable=False, comment="The same for what was asked and what came of it"),
    Column("at", Float, nullable=False),
    Column("who", String(256), nullable=False),
    Column("role", String(16), nullable=False),
    Column("client", String(64), nullable=False),
    Column("rollout", String(63), nullable=False),
    Column("uid", String(64), nullable=False),
    Column("run", String(64), nullable=False),
    Column("generation", BigInteger, nullable=False, comment="That the person looked at"),
    Column("wish", String(32), nullable=False),
    Column("change", Text, nullable=False, comment="From what to what"),
    Column("reason", Text, nullable=False),
    Column("result", String(16), nullable=False, comment="asked, written, refused or failed"),
    Column("words", Text, nullable=False),
)
Index("console_audit_by_rollout", audit.c.uid, audit.c.id)
Index("console_audit_by_attempt", audit.c.attempt)

splits = Table(
    "console_split",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("uid", String(64), nullable=False),
    Column("since", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("observed", Integer, nullable=True, comment="As the router had it; NULL: it could not be read"),
)
Index("console_split_by_rollout", splits.c.uid, splits.c.until)

_SQLITE = """
CREATE TRIGGER IF NOT EXISTS console_audit_{verb} BEFORE {verb} ON console_audit
BEGIN SELECT RAISE(ABORT, 'console_audit is append-only'); END
"""
_POSTGRESQL = (
    """
CREATE OR REPLACE FUNCTION console_audit_append_only() RETURNS trigger AS
$$ BEGIN RAISE EXCEPTION 'console_audit is append-only'; END $$ LANGUAGE plpgsql
""",
    """
CREATE OR REPLACE TRIGGER console_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON console_audit
FOR EACH STATEMENT EXECUTE FUNCTION console_audit_append_only()
""",
)


def _after_create(statement: str, dialect: str) -> None:
    ddl: Any = DDL
    made = ddl(statement).execute_if(dialect=dialect)
    event.listen(audit, "after_create", made)


for _verb in ("UPDATE", "DELETE"):
    _after_create(_SQLITE.format(verb=_verb), "sqlite")
for _statement in _POSTGRESQL:
    _after_create(_statement, "postgresql")
