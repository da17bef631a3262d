"""What a bundle takes: bytes of its mapped files, which all workers share, in all and per million users and items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.bundle.bundle import Bundle
from model.bundle.layout import ITEMS, USERS

_MILLION = 1_000_000


@dataclass(frozen=True)
class Footprint:
    """Bytes. user_weights, item_weights: id embeddings, the part of the weights that grows with the nodes."""

    users: int
    items: int
    user_tables: int
    item_tables: int
    user_weights: int
    item_weights: int
    other_weights: int

    def lines(self) -> list[tuple[str, float, float | None]]:
        """Name, megabytes, and megabytes per million nodes where it grows with them."""
        return [
            ("user tables", self.user_tables / _MILLION, self.user_tables / self.users),
            ("item tables", self.item_tables / _MILLION, self.item_tables / self.items),
            ("user embeddings", self.user_weights / _MILLION, self.user_weights / self.users),
            ("item embeddings", self.item_weights / _MILLION, self.item_weights / self.items),
            ("other weights", self.other_weights / _MILLION, None),
        ]


def footprint(folder: Path, bundle: Bundle) -> Footprint:
    """Sizes of the opened bundle in `folder`."""
    users, items = bundle.spec.n_users, bundle.spec.n_items
    rows = {"user": users, "item": items}
    weights = dict.fromkeys((*rows, "other"), 0)
    for name, values in bundle.architecture.state_dict().items():
        side = next((side for side in rows if f"{side}.id." in name and len(values) == rows[side]), "other")
        weights[side] += values.numel() * values.element_size()
    return Footprint(
        users=users,
        items=items,
        user_tables=_bytes_below(folder / USERS),
        item_tables=_bytes_below(folder / ITEMS),
        user_weights=weights["user"],
        item_weights=weights["item"],
        other_weights=weights["other"],
    )


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.npy"))
