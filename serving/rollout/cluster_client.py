"""A client of the API server: the pod's own account, or a context of the kubeconfig."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import MaxRetryError

from model.errors import UserError

NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where Kubernetes tells a pod its namespace."""


def in_pod() -> bool:
    """Whether Kubernetes has put its address here."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def cluster_client(context: str | None = None) -> client.ApiClient:
    """context: of the kubeconfig; None: the pod's account, or the current context. Raises UserError."""
    settings = client.Configuration()
    try:
        if context is None and in_pod():
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(context=context, client_configuration=settings)
    except (ConfigException, OSError) as error:
        raise UserError(f"no cluster: {' '.join(str(error).split())}; set KUBECONFIG, or name --context") from None
    settings.retries = 0  # what did not come through is asked again by the loop, or by the person
    return client.ApiClient(settings)


def namespace_of(context: str | None = None) -> str:
    """The namespace of a context, or of the pod that this is; `default` where there is none."""
    if context is None and in_pod():
        with contextlib.suppress(OSError):
            return NAMESPACE.read_text(encoding="utf-8").strip()
    try:
        contexts, active = config.list_kube_config_contexts()
    except (ConfigException, OSError):
        return "default"
    found = next((each for each in contexts if each["name"] == context), active) if context else active
    return str(found["context"].get("namespace") or "default")


def cause(error: Exception) -> str:
    """Why a request did not get through, in one line without the client's own objects."""
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
    told = " ".join(str(reason).split())
    return told.partition("): ")[2] or told.partition(">: ")[2] or told
