"""What a stack is to run: two bundles, ports and a few choices; kept in its folder."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.errors import Fault
from serving.stack.folder import StackFolder


class Pair(BaseModel):
    """Addresses of the bundles of both arms: folders, file:// or s3://."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    baseline: str
    candidate: str


class StackPlan(BaseModel):
    """All of it. A plan that is read again starts the same stack."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = 1
    pair: Pair
    ports: dict[str, int] = {}
    rankers: int = Field(default=1, ge=1, le=16)
    """Of each arm. With one, the users of an arm whose ranker dies get 503 until it is back."""
    gateways: int = Field(default=1, ge=1, le=16)
    """Envoys on the gateway's port. With one, nobody is served until a killed one is back."""
    scorers: str = "factorised"
    """Fast paths of the rankers; compiled ones take minutes of both cores at the first start."""
    snapshot_s: float = 60.0
    """How often the evidence is kept for its course over time."""
    look_s: float = 2.0
    """Seconds between two looks of the controller."""
    registry: str | None = None
    """Where a rollout that has succeeded moves the alias `baseline`; None: nowhere."""
    prometheus: bool = False
    console: bool = False


def read_plan(folder: StackFolder) -> StackPlan | None:
    """None: no stack was ever up here. Raises Fault for a file that is none of ours."""
    try:
        return StackPlan.model_validate_json(folder.plan.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        said = " ".join(str(error).split())[:200]
        raise Fault(f"{folder.plan} is no stack's plan: {said}; name another folder with --state") from None


def write_plan(folder: StackFolder, plan: StackPlan) -> None:
    """Replaces the file at once. Raises Fault."""
    folder.write(folder.plan, plan.model_dump_json(indent=1) + "\n")
