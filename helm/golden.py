"""What the chart's models and templates make, committed; `python -m helm.golden` writes it anew, tests compare.

Three sets of values as tests/helm/golden/*.yaml, values.schema.json, and manifests/control: the production set without
Helm's labels, for kustomize.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from helm import values_schema
from helm.engine import CHART, Engine

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "helm" / "golden"
CONTROL = ROOT / "manifests" / "control"

FULL: Mapping[str, Any] = {
    "console": {"enabled": True},
    "objectStore": {"enabled": True},
    "mlflow": {"enabled": True},
    "runtimes": {"kserve": True, "torchserve": True},
    "gateway": {"autoscaling": {"enabled": True}, "rankers": {"grpc": 8081}},
    "operator": {"clusterWide": True},
    "monitoring": {
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    },
}
PRODUCTION: Mapping[str, Any] = {
    "image": {"registry": "registry.example.org", "pullSecrets": ["registry"]},
    "postgresql": {"enabled": False},
    "evidence": {
        "database": {"existingSecret": "evidence-database"},
        "tokens": {"existingSecret": "evidence-tokens"},
        "replicas": 3,
    },
    "operator": {"registry": "https://mlflow.example.org"},
    "gateway": {"replicas": 3, "clients": [{"namespaceSelector": {"matchLabels": {"team": "ranking"}}}]},
}
CASES: Mapping[str, Mapping[str, Any]] = {"default": {}, "full": FULL, "production": PRODUCTION}
KUSTOMIZED: Mapping[str, Any] = {
    "crd": {"install": False},
    "postgresql": {"enabled": False},
    "evidence": {
        "database": {"existingSecret": "mgoe-evidence-database"},
        "tokens": {"existingSecret": "mgoe-evidence-tokens"},
    },
}
PARTS = ("operator", "gateway", "evidence")

_MADE = re.compile(r"[A-Za-z0-9]{20,}")
_VERBATIM = {"crd.yaml": "files/crd.yaml", "monitoring/dashboard.yaml": "files/dashboard.json"}
"""Templates that are mostly another committed file, whose content goldens leave out."""


def golden(engine: Engine, case: str) -> str:
    """All objects of a case, as one file; secrets that are made anew each time are left out."""
    parts = []
    for path, text in engine.render(CASES[case]).items():
        if not text.strip():
            continue
        if path in _VERBATIM:
            parts.append(f"# Source: {path}: {_VERBATIM[path]}\n")
        else:
            parts.append(f"# Source: {path}\n{_without_secrets(text)}\n")
    return "---\n".join(parts)


def _without_secrets(text: str) -> str:
    return "\n---\n".join(
        _MADE.sub("<made at install>", part) if "kind: Secret\n" in part else part
        for part in re.split(r"\n---\n", text.strip())
    )


def kustomized(engine: Engine) -> Iterator[tuple[Path, str]]:
    """manifests/control: one file a part, without what is Helm's."""
    rendered = engine.render(KUSTOMIZED, namespace="NAMESPACE")
    header = "# Rendered from helm/mgoe by `python -m helm.golden`; not edited by hand.\n"
    for part in PARTS:
        objects = [
            _plain(each)
            for path, text in rendered.items()
            if path.startswith(f"{part}/")
            for each in yaml.safe_load_all(text)
            # Its Job is Helm's, before everything else; the pods migrate at their start too.
            if each and each["kind"] != "Job"
        ]
        yield CONTROL / f"{part}.yaml", header + yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=120)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as such."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _plain(node: Any) -> Any:
    """Without the namespace, which kustomize sets, and Helm's labels and hooks."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if isinstance(node, str):
        return node.replace(".NAMESPACE.svc", "")
    if not isinstance(node, dict):
        return node
    kept = {key: _plain(value) for key, value in node.items() if not str(key).startswith(("helm.sh/", "checksum/"))}
    if kept.get("namespace") == "NAMESPACE":
        del kept["namespace"]
    kept.pop("app.kubernetes.io/managed-by", None)
    return {key: value for key, value in kept.items() if key != "annotations" or value}


def files(engine: Engine) -> dict[Path, str]:
    """Content by path."""
    return {
        CHART / "values.schema.json": values_schema.rendered(),
        **{FOLDER / f"{case}.yaml": golden(engine, case) for case in CASES},
        **dict(kustomized(engine)),
    }


def write() -> None:
    """Write every file anew."""
    # The engine reads the schema with the chart.
    (CHART / "values.schema.json").write_text(values_schema.rendered(), encoding="utf-8")
    with Engine() as engine:
        for path, content in files(engine).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    write()
