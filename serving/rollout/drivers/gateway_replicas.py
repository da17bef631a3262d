"""What each replica of a gateway routes by, asked from its agent (decision 12)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from typing import NamedTuple

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.gateway.assignment import Arm
from serving.rollout.drivers.endpoint_slices import Endpoint

TIMEOUT_S = 2.0
SPLIT_PATH = "/v1/split"
LOOK_PATH = "/v1/look"


class Hosts(BaseModel):
    """Rankers of an arm as one Envoy sees them."""

    healthy: int
    known: int


class Replica(BaseModel):
    """The answer of one agent."""

    # A newer agent may tell more.
    model_config = ConfigDict(extra="ignore", frozen=True)

    replica: str
    experiment: str
    salt: str
    stratum: int
    weight: int = Field(ge=0, le=10_000)
    """Basis points."""
    run: str | None = None
    owner: str | None = None
    arms: dict[Arm, Hosts] = Field(default_factory=dict)
    problem: str | None = None


class Routed(NamedTuple):
    """What all replicas route by, or why that cannot be said."""

    agreed: Replica | None
    replicas: tuple[Replica, ...]
    problem: str | None

    def healthy(self, arm: Arm) -> int | None:
        """The fewest healthy rankers of an arm that a replica sees; None: nobody tells."""
        told = [each.arms[arm].healthy for each in self.replicas if arm in each.arms]
        return min(told) if told else None


async def routed(client: httpx.AsyncClient, endpoints: Collection[Endpoint]) -> Routed:
    """Asks every replica that gets traffic. All must answer, and agree."""
    asked = [each for each in endpoints if each.ready or each.serving]
    if not asked:
        return Routed(None, (), "the gateway has no replicas that get traffic")
    answers = await asyncio.gather(*(_ask(client, each) for each in asked))
    replicas = tuple(each for each in answers if isinstance(each, Replica))
    silent = [each for each in answers if isinstance(each, str)]
    if silent:
        return Routed(None, replicas, "; ".join(silent))
    splits = {(each.experiment, each.salt, each.stratum, each.weight, each.run, each.owner) for each in replicas}
    if len(splits) > 1:
        told = ", ".join(f"{each.replica} {each.weight / 100:g} % (stratum {each.stratum})" for each in replicas)
        return Routed(None, replicas, f"the gateway's replicas differ: {told}")
    return Routed(replicas[0], replicas, None)


async def told_to_look(client: httpx.AsyncClient, endpoints: Collection[Endpoint]) -> None:
    """Has every replica read the wanted split now: its watch may be open and silent. One that does not answer is seen
    by the next reading; one of an older version knows no such path and finds it by itself."""

    async def tell(endpoint: Endpoint) -> None:
        with contextlib.suppress(httpx.HTTPError):
            await client.post(f"{endpoint.url}{LOOK_PATH}", timeout=TIMEOUT_S)

    await asyncio.gather(*(tell(each) for each in endpoints if each.ready or each.serving))


async def _ask(client: httpx.AsyncClient, endpoint: Endpoint) -> Replica | str:
    try:
        answer = await client.get(f"{endpoint.url}{SPLIT_PATH}", timeout=TIMEOUT_S)
        answer.raise_for_status()
        return Replica.model_validate(answer.json())
    except httpx.HTTPError as error:
        return f"gateway replica {endpoint.address} does not answer: {type(error).__name__}"
    except (ValueError, ValidationError) as error:
        return f"gateway replica {endpoint.address} answers what is no split: {' '.join(str(error).split())[:120]}"
