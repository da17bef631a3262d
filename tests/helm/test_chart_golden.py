"""What the chart makes is what is committed, and valid for an API server."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from helm.engine import CHART, Engine
from helm.golden import CASES, CONTROL, FOLDER, KUSTOMIZED, PARTS, files
from serving.rollout.golden import FILES as ROLLOUT_FILES
from tests.helm.objects import Object, every, objects_of
from tests.manifests.kustomized import rendered
from tests.manifests.structural_schema import errors

KUBERNETES = ("1.30", kubernetes_validate.latest_version())
"""The oldest that the chart takes, and the newest whose schemas are here."""


def test_every_committed_file_is_what_is_rendered_now(engine: Engine) -> None:
    for path, content in files(engine).items():
        assert path.read_text(encoding="utf-8") == content, f"{path}: run `make golden`"


def test_no_golden_is_left_of_a_case_that_is_gone() -> None:
    assert {path.stem for path in FOLDER.glob("*")} == set(CASES)
    assert {path.stem for path in CONTROL.glob("*")} == {*PARTS, "kustomization"}


def test_helm_lint_has_nothing_to_say(engine: Engine) -> None:
    for values in CASES.values():
        assert [each for each in engine.lint(values) if each["error"] != "icon is recommended"] == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("case", CASES)
def test_built_in_kinds_are_as_kubernetes_has_them(
    case: str, version: str, cases: dict[str, dict[str, list[Object]]]
) -> None:
    checked = 0
    for each in every(cases[case]):
        if "mgoe.dev" in str(each["metadata"]["name"]) or each["apiVersion"].startswith(("monitoring", "serving")):
            continue
        kubernetes_validate.validate(each, version, strict=True)
        checked += 1
    assert checked > 20


def test_the_check_itself_finds_a_misspelt_field(cases: dict[str, dict[str, list[Object]]]) -> None:
    [deployment] = cases["default"]["operator/deployment.yaml"]
    broken = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(broken, KUBERNETES[1], strict=True)


def test_custom_resources_are_as_their_crds_have_them(
    cases: dict[str, dict[str, list[Object]]], schemas: dict[tuple[str, str], Object]
) -> None:
    checked = set()
    for each in every(cases["full"]):
        key = each["apiVersion"], each["kind"]
        if key in schemas:
            assert errors(each, schemas[key]) == [], each["metadata"]["name"]
            checked.add(each["kind"])
    assert checked == {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ServingRuntime"}


def test_the_crd_is_that_of_the_operators_code(cases: dict[str, dict[str, list[Object]]]) -> None:
    [crd] = cases["default"]["crd.yaml"]
    [code] = [render() for path, render in ROLLOUT_FILES.items() if path.parent.name == "crd"]
    assert crd["spec"] == yaml.safe_load(code)["spec"]


def test_a_package_of_the_chart_holds_what_links_point_to(engine: Engine, tmp_path: Path) -> None:
    from_archive = objects_of(_rendered_from(engine.package(tmp_path)))
    assert from_archive["crd.yaml"][0]["metadata"]["name"] == "modelrollouts.mgoe.dev"
    assert {each["kind"] for each in from_archive["runtimes.yaml"]} == {"ServingRuntime"}


def _rendered_from(archive: Path) -> dict[str, str]:
    with Engine(archive) as engine:
        return engine.render({"runtimes": {"kserve": True}})


@pytest.mark.parametrize(
    "path", sorted((CHART / "templates").rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_template_makes_something_in_some_case(path: Path, cases: dict[str, dict[str, list[Object]]]) -> None:
    name = str(path.relative_to(CHART / "templates"))
    assert any(objects.get(name) for objects in cases.values())


def test_the_kustomization_is_the_chart_without_helm(engine: Engine) -> None:
    found = {(each["kind"], each["metadata"]["name"]): each for each in rendered("control")}
    chart = {
        (each["kind"], each["metadata"]["name"]): each
        for path, objects in objects_of(engine.render(KUSTOMIZED)).items()
        if path.split("/")[0] in PARTS
        for each in objects
        if each["kind"] != "Job"
    }
    assert set(found) == {*chart, ("CustomResourceDefinition", "modelrollouts.mgoe.dev")}
    for key, each in chart.items():
        assert "managed-by" not in yaml.safe_dump(found[key])
        if "spec" in each and each["kind"] not in {"Deployment", "ConfigMap"}:
            assert found[key]["spec"] == each["spec"]
    bindings = [each for each in found.values() if each["kind"] == "RoleBinding"]
    assert all(subject["namespace"] == "ranking" for each in bindings for subject in each["subjects"])
