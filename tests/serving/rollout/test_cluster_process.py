"""`mgoe rollout operator` as a process: takes the lease, moves a rollout, tells its metrics, hands the lease over."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import yaml
from aiohttp import web

from serving.evidence.engine import open_engine
from serving.evidence.migration import migrate
from serving.rollout.resource import PLURAL
from tests.serving.rollout.kubernetes_double import KubernetesDouble
from tests.serving.rollout.rollout_world import SPEC
from tests.serving.rollout.test_operator import discovery

ROOT = Path(__file__).parents[3]


def kubeconfig(folder: Path, port: int) -> Path:
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "double",
                "clusters": [{"name": "double", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "nobody", "user": {"token": "none"}}],
                "contexts": [{"name": "double", "context": {"cluster": "double", "user": "nobody"}}],
            }
        )
    )
    return path


def test_the_operators_process_leads_moves_tells_and_leaves(tmp_path: Path) -> None:
    double = KubernetesDouble()
    double.put(PLURAL, {"metadata": {"name": "feed", "namespace": "ranking"}, "spec": SPEC})
    database = f"sqlite:///{tmp_path}/evidence.db"
    migrate(open_engine(database))
    log = tmp_path / "operator.log"

    async def run() -> str:
        runner = web.AppRunner(discovery(double), handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        command = ["-m", "mgoe", "rollout", "operator", "--namespace", "ranking", "--port", "0", "--interval", "0.2"]
        command += ["--evidence", database, "--prometheus", "http://127.0.0.1:9"]
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig(tmp_path, port))}
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, cwd=ROOT, env=environment, stdout=file, stderr=file
            )
        try:
            metrics = await moved(process)
            process.terminate()
            async with asyncio.timeout(20):
                assert await process.wait() == 0, log.read_text()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await runner.cleanup()
        return metrics

    async def moved(process: Any) -> str:
        """The metrics, once the rollout has a run."""
        async with asyncio.timeout(90), httpx.AsyncClient(trust_env=False) as client:
            while True:
                assert process.returncode is None, log.read_text()
                found = re.search(r"metrics on port (\d+)", log.read_text())
                if found and double.objects[PLURAL, "ranking", "feed"].get("status"):
                    address = f"http://127.0.0.1:{found[1]}"
                    assert (await client.get(f"{address}/health/live")).status_code == 200
                    text = (await client.get(f"{address}/metrics")).text
                    if "mgoe_rollout_leader 1.0" in text and 'outcome="settled"' in text:
                        assert (await client.get(f"{address}/health/ready")).status_code == 200
                        return text
                await asyncio.sleep(0.05)

    metrics = asyncio.run(run())
    assert 'mgoe_rollout_phase{namespace="ranking",phase="Validating",rollout="feed"} 1.0' in metrics
    assert 'mgoe_rollout_transitions_total{namespace="ranking",reason="NewRun",rollout="feed"} 1.0' in metrics
    assert 'mgoe_rollout_weight_percent{namespace="ranking",of="observed",rollout="feed"} NaN' in metrics
    assert double.objects["leases", "ranking", "mgoe-rollout"]["spec"]["holderIdentity"] == ""
    assert "Traceback" not in log.read_text()
