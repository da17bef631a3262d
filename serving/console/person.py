"""Who is before the page, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["view", "steer"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Person:
    """A person whom the door let in."""

    name: str
    role: Role

    @property
    def steers(self) -> bool:
        """Whether their wishes are written."""
        return self.role == "steer"
