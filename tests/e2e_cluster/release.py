"""The chart in a cluster: by the helm command where there is one, else by the Helm engine in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helm.engine import CHART

_ENGINE = """
import json, sys
import helm_python as helm
kubeconfig, namespace, chart, name, do, values, wait = sys.argv[1:]
try:
    config = helm.Config(namespace=namespace, kubeconfig_path=kubeconfig)
    if do == "install":
        config.install(chart, name, json.loads(values), timeout=600, wait="watcher" if wait else None)
    elif do == "upgrade":
        config.upgrade(chart, name, json.loads(values), timeout=600, wait="watcher" if wait else None)
    else:
        config.uninstall(name, timeout=120)
except helm.HelmError as error:
    sys.exit(str(error))
"""


def helm(do: str, name: str, namespace: str, kubeconfig: Path, values: Mapping[str, Any], *, wait: bool) -> None:
    """do: install, upgrade or uninstall. wait: until every pod is ready. Raises AssertionError with Helm's words."""
    command = _by_command(do, name, namespace, values, wait=wait) if shutil.which("helm") else None
    if command is None:
        options = (str(kubeconfig), namespace, str(CHART), name, do, json.dumps(values), "wait" if wait else "")
        command = [sys.executable, "-c", _ENGINE, *options]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, f"helm {do} {name}: {done.stderr[-3000:]}"


def _by_command(do: str, name: str, namespace: str, values: Mapping[str, Any], *, wait: bool) -> list[str]:
    if do == "uninstall":
        return ["helm", "uninstall", name, "-n", namespace]
    sets = [f"--set-json={key}={json.dumps(value)}" for key, value in values.items()]
    waits = ["--wait", "--timeout=10m"] if wait else []
    return ["helm", do, name, str(CHART), "-n", namespace, *sets, *waits]
