"""Effects that are planted in the feedback, so that it is known what the system has to find. Pure.

Faults of a server are no feedback: `fault_proxy` plants those before a real server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from model.errors import UserError
from serving.gateway.assignment import Arm
from serving.traffic.click_model import ClickModel, Float64, Int64

_LIFT = re.compile(r"(baseline|candidate):([+-]\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class Plant:
    """ignores_order: users see the candidates as they were sent, whatever the arm made of them, so that both arms earn
    the same. lifts: relative change of what an arm's answers earn."""

    ignores_order: bool = False
    lifts: dict[Arm, float] = field(default_factory=dict)

    def shown(self, order_N: Int64) -> Int64:
        """The order that the user sees."""
        return np.arange(len(order_N), dtype=np.int64) if self.ignores_order else order_N

    def attraction(self, attraction_NT: Float64, arm: Arm, model: ClickModel) -> Float64:
        """What the arm's users are attracted by. Conditional tasks follow the one that they are conditional on."""
        lift = self.lifts.get(arm, 0.0)
        if not lift:
            return attraction_NT
        entire_T = np.array([given is None for given in model.given])
        return np.asarray(attraction_NT * np.where(entire_T, 1.0 + lift, 1.0))

    def __str__(self) -> str:
        parts = ["aa"] if self.ignores_order else []
        return ", ".join([*parts, *(f"{arm}:{lift * 100:+g}%" for arm, lift in self.lifts.items())]) or "none"


def parse_plants(texts: list[str], relevant: float) -> Plant:
    """`aa`, `candidate:+2%`, `baseline:-5%`; several may be given. relevant: the click model's.

    Raises UserError for anything else, and for a lift that a probability cannot take (nothing is clipped in silence).
    """
    ignores_order, lifts = False, dict[Arm, float]()
    for text in texts:
        if text == "aa":
            ignores_order = True
            continue
        arm, lift = _lift(text)
        if arm in lifts:
            raise UserError(f"--plant {text}: {arm} has a planted effect already; give one an arm")
        if not -1.0 <= lift <= 1.0 / relevant - 1.0:
            highest = (1.0 / relevant - 1.0) * 100
            raise UserError(
                f"--plant {text}: write -100% to +{highest:.4g}%; a relevant item attracts with {relevant:g} already "
                "(--relevant)"
            )
        lifts[arm] = lift
    return Plant(ignores_order, lifts)


def _lift(text: str) -> tuple[Arm, float]:
    found = _LIFT.fullmatch(text)
    if found is None:
        raise UserError(f"--plant {text}: write aa, or an arm and a change such as candidate:+2% or candidate:-5%")
    arm: Arm = "baseline" if found[1] == "baseline" else "candidate"
    return arm, float(found[2]) / 100
