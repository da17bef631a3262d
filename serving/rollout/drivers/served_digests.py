"""Which bundles rankers serve, asked from the rankers themselves (Open Inference Protocol v2: metadata)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from typing import Any

import httpx

TIMEOUT_S = 2.0
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ServedDigests:
    """Asks rankers by their address."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def of(self, addresses: Collection[str], ready: int) -> frozenset[str] | None:
        """Digests of the rankers at these addresses (http://HOST:PORT).

        None: fewer rankers told than are ready, so that one of them may serve anything.
        """
        found = [digest for digest in await asyncio.gather(*(self._ask(each) for each in addresses)) if digest]
        return frozenset(found) if len(found) >= ready else None

    async def _ask(self, address: str) -> str | None:
        """The digest of the ranker's one model; None: it does not tell."""
        try:
            names = (await self._get(f"{address}/v2/models"))["models"]
            digest = (await self._get(f"{address}/v2/models/{names[0]}"))["properties"]["digest"]
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError):
            return None
        return digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else None

    async def _get(self, url: str) -> Any:
        answer = await self._client.get(url, timeout=TIMEOUT_S)
        answer.raise_for_status()
        return answer.json()
