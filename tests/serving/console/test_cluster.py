"""The same pages over a cluster's rollouts, through the API server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from serving.console.server import ConsoleSettings, Entrance, make_site
from serving.rollout.desk import ClusterDesk
from serving.rollout.resource import PLURAL
from serving.rollout.status import ModelRolloutStatus
from tests.serving.console.console_under_test import browser_of
from tests.serving.rollout.kubernetes_double import KubernetesDouble
from tests.serving.rollout.rollout_world import BASELINE, CANDIDATE, spec_with

RUN = {"id": f"{BASELINE[:12]}-{CANDIDATE[:12]}-1", "baseline": BASELINE, "candidate": CANDIDATE, "attempt": 1}


def test_a_rollout_of_a_cluster_is_listed_shown_and_paused_by_one_patch(tmp_path: Path) -> None:
    status = ModelRolloutStatus.model_validate(
        {"phase": "Ramping", "run": {**RUN, "startedAt": 1.7e9}, "weight": 20, "observedWeight": 20}
    )
    double = KubernetesDouble()
    for name in ("feed", "search"):
        metadata = {"name": name, "namespace": "ranking"}
        double.put(PLURAL, {"metadata": metadata, "spec": spec_with().to_json(), "status": status.to_json()})

    def act(desk: ClusterDesk) -> None:
        database = f"sqlite:///{tmp_path / 'console.db'}"
        site = make_site(desk, ConsoleSettings("namespace ranking", database, Entrance()))
        browser = browser_of(site)
        assert list(browser.page("/").links)[-2:] == ["feed", "search"]
        assert "the candidate has 20 % of the users" in browser.page("/rollouts/feed").text
        assert browser.wish("feed", "pause").status_code == 303
        site.rollouts.forget()
        assert "pause asked for" in browser.page("/rollouts/feed").text

    async def run() -> None:
        async with double.served() as api:
            await asyncio.to_thread(act, ClusterDesk(api, "ranking"))

    asyncio.run(run())
    assert [write.split()[0] for write in double.writes] == ["PATCH"]
    assert double.objects[PLURAL, "ranking", "feed"]["spec"]["paused"] is True
