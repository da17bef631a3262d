"""The console's role in the chart's PostgreSQL: it has a database of its own and comes into no other."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import psycopg
import pytest

from benchmarks.evidence.postgres import PostgresServer
from serving.console.audit import Audit
from serving.console.server import prepared
from tests.helm.objects import Object, containers, every, named, of_kind, pods

Cases = dict[str, dict[str, list[Object]]]
OTHERS = ("evidence", "mlflow")


@pytest.fixture
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """With the databases that the chart's has; they go with the test."""
    if shutil.which("psql") is None:
        pytest.skip("no real PostgreSQL: psql not installed")
    with psycopg.connect(postgres_server.address(), autocommit=True) as connection:
        for name in OTHERS:
            connection.execute(f"CREATE DATABASE {name}")
    yield postgres_server
    for name in (*OTHERS, "console"):
        postgres_server.drop_database(postgres_server.address(name))
    with psycopg.connect(postgres_server.address(), autocommit=True) as connection:
        connection.execute("DROP ROLE console")


def started(server: PostgresServer, statements: str, password: str) -> None:
    """As the pod does at every start."""
    subprocess.run(
        ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", server.address("evidence")],
        input=statements,
        text=True,
        check=True,
        env={**os.environ, "CONSOLE_PASSWORD": password},
        timeout=60,
    )


def test_the_consoles_role_has_its_own_database_and_comes_into_no_other(cases: Cases, server: PostgresServer) -> None:
    statements = named(cases["full"], "ConfigMap", "mgoe-postgresql-console")["data"]["console.sql"]
    for password in ("first", "it's another"):
        started(server, statements, password)
    own = server.address("console").replace("postgres@", "console@")
    engine = prepared(own)
    assert Audit(engine).of("nobody") == ()
    engine.dispose()
    for other in (*OTHERS, "postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(server.address(other).replace("postgres@", "console@"))
    with psycopg.connect(own, autocommit=True) as connection:
        for wish in ("CREATE DATABASE more", "CREATE ROLE more"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(wish)


def test_the_owner_of_the_evidence_is_known_to_no_pod_that_browsers_talk_to(cases: Cases) -> None:
    [(_, pod)] = [each for each in pods(cases["full"]) if each[0] == "Deployment/mgoe-console"]
    secrets = {
        each["valueFrom"]["secretKeyRef"]["name"]: each["valueFrom"]["secretKeyRef"]["key"]
        for container in containers(pod)
        for each in container["env"]
        if "valueFrom" in each
    }
    assert secrets == {"mgoe-evidence-tokens": "read-token", "mgoe-console-database": "url"}
    made = named(cases["full"], "Secret", "mgoe-console-database")["stringData"]
    assert made["url"].startswith("postgresql://console:")
    assert made["url"].endswith("@mgoe-postgresql.ranking.svc:5432/console")
    assert f":{made['password']}@" in made["url"]


def test_what_makes_the_role_runs_at_every_start_and_knows_its_password(cases: Cases) -> None:
    [container] = named(cases["full"], "StatefulSet", "mgoe-postgresql")["spec"]["template"]["spec"]["containers"]
    command = container["lifecycle"]["postStart"]["exec"]["command"][-1]
    [mount] = [each for each in container["volumeMounts"] if each["name"] == "console"]
    assert f"-f {mount['mountPath']}/console.sql" in command
    [password] = [each for each in container["env"] if each["name"] == "CONSOLE_PASSWORD"]
    assert password["valueFrom"]["secretKeyRef"] == {"name": "mgoe-console-database", "key": "password"}


def test_without_a_console_there_is_no_role_for_it(cases: Cases) -> None:
    assert [each for each in every(cases["default"]) if "console" in each["metadata"]["name"]] == []
    for each in of_kind(cases["default"], "StatefulSet"):
        assert "console" not in str(each)
