"""What `helm uninstall` leaves is what the README says, and no more."""

from __future__ import annotations

import re

from helm.engine import CHART
from serving.rollout.lease import LeaseSettings
from tests.helm.objects import Object, every, named, of_kind

Cases = dict[str, dict[str, list[Object]]]
KEEP = "helm.sh/resource-policy"


def stays() -> str:
    """The README's table of what stays."""
    text = (CHART / "README.md").read_text(encoding="utf-8")
    return text.partition("What stays, and how it goes:")[2].partition("\n\n")[2].partition("\n\n")[0]


def test_what_is_kept_is_what_holds_peoples_work_and_each_is_told(cases: Cases) -> None:
    kept = [each for each in every(cases["full"]) if (each["metadata"].get("annotations") or {}).get(KEEP) == "keep"]
    told = stays()
    assert {(each["kind"], each["metadata"]["name"]) for each in kept} == {
        ("CustomResourceDefinition", "modelrollouts.mgoe.dev"),
        ("Secret", "mgoe-postgresql"),
        ("Secret", "mgoe-s3"),
    }
    assert all(each["metadata"]["name"] in told for each in kept)
    assert all(re.search(r"`kubectl .*delete", line) for line in told.splitlines()[2:])


def test_volumes_outlive_their_sets_and_are_told(cases: Cases) -> None:
    claims = [each["spec"].get("volumeClaimTemplates") for each in of_kind(cases["full"], "StatefulSet")]
    assert len(claims) == 2
    assert all(claims)
    assert "delete pvc -l app.kubernetes.io/instance=mgoe" in stays()
    for each in of_kind(cases["full"], "StatefulSet"):
        for claim in each["spec"]["volumeClaimTemplates"]:
            labels = claim["metadata"].get("labels") or each["spec"]["selector"]["matchLabels"]
            assert labels["app.kubernetes.io/instance"] == "mgoe"


def test_the_lease_that_the_operator_takes_is_the_charts_to_remove(cases: Cases) -> None:
    for case in cases.values():
        lease = named(case, "Lease", LeaseSettings(namespace="ranking", identity="a").name)
        assert "spec" not in lease, "an upgrade must not take the lead away"
        assert KEEP not in (lease["metadata"].get("annotations") or {})
