"""Leadership by a coordination.k8s.io Lease, in client-go's manner.

Another holder's lease is over when it has not changed for its duration by this machine's monotonic clock: the clocks of
two machines are never compared. A takeover replaces the very version that was read, so that of two only one succeeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernetes import client

from serving.rollout.fence import Held
from serving.rollout.kubernetes_store import TIMEOUT_S, asked
from serving.rollout.store import ConflictError


@dataclass(frozen=True)
class LeaseSettings:
    """Names and times of the lease."""

    namespace: str
    identity: str
    """Of this process: the pod's name and something random, so that a restarted pod is another holder."""
    name: str = "mgoe-rollout"
    duration_s: int = 15
    """Others wait this long after the last renewal."""
    margin_s: float = TIMEOUT_S
    """This process stops writing so much earlier: a request that was begun while the lease held is over by its end."""
    retry_s: float = 2.0
    """Between two tries to get or renew it."""


class LeaseKeeper:
    """Gets and renews one lease; `held` is the fence of every write."""

    def __init__(
        self, api: client.ApiClient, settings: LeaseSettings, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = client.CoordinationV1Api(api)
        self._settings = settings
        self._monotonic = monotonic
        # A thread of its own: whatever hangs in the others, the lease is renewed.
        self._thread = ThreadPoolExecutor(1, "lease")
        self._seen: tuple[str, float] | None = None
        """Version of another holder's lease, and since when it has been this one."""
        self.held = Held(settings.duration_s, settings.margin_s, monotonic)

    async def attempt(self) -> bool:
        """Get or renew the lease once; whether it is ours. Raises Fault where the API server does not answer."""
        asked_at = self.held.asked()
        found = await self._read()
        try:
            if found is None:
                await self._write(None, transitions=0)
            elif found["spec"].get("holderIdentity") == self._settings.identity:
                await self._write(found, int(found["spec"].get("leaseTransitions") or 0))
            elif not found["spec"].get("holderIdentity") or self._is_over(found):
                await self._write(found, int(found["spec"].get("leaseTransitions") or 0) + 1)
            else:
                self.held.lost()
                return False
        except ConflictError:
            self.held.lost()
            return False
        self.held.renewed(asked_at)
        return True

    async def give_up(self) -> None:
        """Let another operator lead at once: this process is going."""
        found = await self._read()
        self.held.lost()
        if found is not None and found["spec"].get("holderIdentity") == self._settings.identity:
            await self._write(found, int(found["spec"].get("leaseTransitions") or 0), holder="")

    async def _read(self) -> Mapping[str, Any] | None:
        settings = self._settings
        found: Any = await asked(
            lambda: self._api.read_namespaced_lease(settings.name, settings.namespace, _request_timeout=TIMEOUT_S),
            f"Lease {settings.name}",
            absent=None,
            threads=self._thread,
        )
        if found is None:
            return None
        document: Mapping[str, Any] = self._api.api_client.sanitize_for_serialization(found)
        return {**document, "spec": document.get("spec") or {}}  # the chart's has none until somebody leads

    def _is_over(self, found: Mapping[str, Any]) -> bool:
        version, now = found["metadata"]["resourceVersion"], self._monotonic()
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
        return now - self._seen[1] >= float(found["spec"].get("leaseDurationSeconds") or self._settings.duration_s)

    async def _write(self, found: Mapping[str, Any] | None, transitions: int, holder: str | None = None) -> None:
        settings = self._settings
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        metadata = {"name": settings.name, "namespace": settings.namespace}
        if found is not None:  # labels are the chart's
            kept = ("resourceVersion", "labels", "annotations")
            metadata |= {name: found["metadata"][name] for name in kept if name in found["metadata"]}
        ours = found is not None and found["spec"].get("holderIdentity") == settings.identity
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": settings.identity if holder is None else holder,
                "leaseDurationSeconds": settings.duration_s,
                "leaseTransitions": transitions,
                "acquireTime": found["spec"].get("acquireTime", now) if found is not None and ours else now,
                "renewTime": now,
            },
        }
        what = f"Lease {settings.name}"
        if found is None:
            await asked(
                lambda: self._api.create_namespaced_lease(settings.namespace, body, _request_timeout=TIMEOUT_S),
                what,
                threads=self._thread,
            )
            return
        await asked(
            lambda: self._api.replace_namespaced_lease(
                settings.name, settings.namespace, body, _request_timeout=TIMEOUT_S
            ),
            what,
            threads=self._thread,
        )
