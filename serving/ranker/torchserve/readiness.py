"""Whether TorchServe can score, from its own machine.

TorchServe's /ping and /v2/health/ready say yes before the first worker has loaded its bundle, and while one dies and is
tried again. What counts is a worker in state READY, which the management port tells on loopback.
"""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path
from typing import Any

from serving.ranker.torchserve.launch import DRAINING, REASON, RUN, STORE, ServerOptions
from serving.ranker.torchserve.tokens import LOOPBACK, token


def why_not_ready(run: Path, options: ServerOptions, model: str | None = None, timeout_s: float = 2.0) -> str | None:
    """One sentence, or None where a worker is ready. model: None for the one that the run folder serves."""
    if (run / DRAINING).exists():
        return "the server is shutting down"
    try:
        model = model or _served(run)
        status, described = _describe(run, options, model, timeout_s)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"TorchServe cannot be asked on port {options.management_port}: {error}"
    if status != 200:
        return f"TorchServe answers {status} when asked about the model {model!r}"
    states = [worker["status"] for version in described for worker in version["workers"]]
    if "READY" in states:
        return None
    reason = run / REASON
    if reason.is_file():
        return reason.read_text(encoding="utf-8").strip()
    return f"no worker of {model!r} is ready: {', '.join(states) or 'there is none'}"


def _served(run: Path) -> str:
    names = [archive.stem for archive in (run / STORE).glob("*.mar")]
    if len(names) != 1:
        raise ValueError(f"{run / STORE} holds {len(names)} archives instead of one")
    return names[0]


def note_failure(sentence: str | None) -> None:
    """A worker leaves why it could not load, or that it could (None), where `why_not_ready` looks."""
    run = os.environ.get(RUN)
    if run is None:
        return
    if sentence is None:
        (Path(run) / REASON).unlink(missing_ok=True)
    else:
        (Path(run) / REASON).write_text(sentence + "\n", encoding="utf-8")


def _describe(run: Path, options: ServerOptions, model: str, timeout_s: float) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token(run, 'management')}"} if options.tokens else {}
    connection = http.client.HTTPConnection(LOOPBACK, options.management_port, timeout=timeout_s)
    try:
        connection.request("GET", f"/models/{model}", headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
