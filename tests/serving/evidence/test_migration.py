from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, select

from model.errors import UserError
from serving.evidence import migration
from serving.evidence.engine import open_engine, reading, writing
from serving.evidence.migration import FOLDER, migrate, require_current
from serving.evidence.schema import exposed, metadata
from tests.serving.evidence.evidence_oracle import evidence
from tests.serving.evidence.evidence_world import (
    FIRST,
    SECOND_RUN,
    T0,
    WORLD,
    begin,
    exposure,
    outcome,
    prepare,
    same,
    send,
    stored,
)

ROOT = Path(__file__).parents[3]


def test_the_migrations_make_exactly_the_tables_of_the_schema(engine: Engine) -> None:
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata, "compare_type": True})
        differences = [each for each in compare_metadata(context, metadata) if "alembic_version" not in str(each)]
    assert differences == []


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    assert migrate(engine) == "0004"
    require_current(engine)


def test_an_empty_database_and_a_newer_one_are_refused_by_name(address: str) -> None:
    engine = open_engine(address)
    with pytest.raises(UserError, match="at revision none, not 0004: run `mgoe evidence migrate`"):
        require_current(engine)
    migrate(engine)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UserError, match="at revision 9999, which is newer than this version"):
        require_current(engine)
    engine.dispose()


def test_looking_for_a_database_makes_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at revision none, not 0004"):
        require_current(open_engine(f"sqlite:///{tmp_path / 'none.db'}"))
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_the_first_revision_keeps_its_evidence(engine: Engine) -> None:
    prepare(engine, (1,))
    shown = [exposure("e1", at=1), exposure("e2", "u2", at=2), exposure("e3", "u3", at=3, phase=2)]
    send(engine, *shown, outcome("o1", at=4, unit="u1"))
    before = stored(engine, FIRST, T0 + 320)
    with writing(engine) as connection:
        config = migration._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    assert migrate(engine) == "0004"
    assert stored(engine, FIRST, T0 + 320) == before
    send(engine, outcome("o2", at=5, unit="u1"))
    begin(engine, 2)
    expected = evidence(WORLD, FIRST, shown, [outcome("o1", at=4, unit="u1"), outcome("o2", at=5, unit="u1")], T0 + 320)
    assert same(stored(engine, FIRST, T0 + 320), expected)


def test_units_that_were_new_in_each_run_are_new_once_after_migrating(engine: Engine) -> None:
    prepare(engine)
    shown = [exposure("e1", "u1", at=1), exposure("e2", "u1", at=310, phase=3, arm="candidate", digest="c2")]
    shown.append(exposure("e3", "u2", at=311, phase=3, arm="candidate", digest="c2"))
    shown += [exposure("e4", "u3", at=5, arm="candidate", digest="c1"), exposure("e5", "u3", at=6)]  # crossed over
    send(engine, *shown)
    before = [stored(engine, design, T0 + 320) for design in (FIRST, SECOND_RUN)]
    with writing(engine) as connection:
        config = migration._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        counts = connection.execute(select(exposed.c.units, exposed.c.new_units).order_by(exposed.c.run_id)).all()
    assert counts == [(1, 1), (2, 2)]
    migrate(engine)
    assert [stored(engine, design, T0 + 320) for design in (FIRST, SECOND_RUN)] == before


@pytest.mark.slow
def test_the_migrations_are_in_the_wheel(tmp_path: Path) -> None:
    source = tmp_path / "source"  # a build leaves its traces beside what it builds
    shutil.copytree(ROOT / "serving", source / "serving", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "mgoe.py"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    wanted = {path.relative_to(ROOT).as_posix() for path in FOLDER.rglob("*.py")}
    assert len(wanted) > 2
    assert wanted <= set(held)


@pytest.mark.parametrize("address", ["nonsense", "mysql://h/d", "sqlite://", "sqlite:////nowhere/x.db"])
def test_an_address_that_cannot_keep_evidence_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="database"):
        open_engine(address)


def test_a_password_is_never_shown() -> None:
    engine = open_engine("postgresql://me:secret@127.0.0.1:1/none")
    with pytest.raises(Exception, match="database") as raised:
        require_current(engine)
    assert "secret" not in str(raised.value)
