"""When a schedule is right, by the rules of Argo's own parser (github.com/robfig/cron, its standard form). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from zoneinfo import available_timezones

from model.errors import UserError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PART = re.compile(r"(?:[*?]|(?P<first>\w{1,9})(?:-(?P<last>\w{1,9}))?)(?:/(?P<step>[0-9]{1,9}))?", re.ASCII)
"""One part of a field's list: `*`, `7`, `mon`, `1-5`, each with a `/step` or without."""


@dataclass(frozen=True)
class _Field:
    """One of the five: its bounds, both included, and the names that stand for numbers from the lower one on."""

    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()

    def holds(self, text: str) -> bool:
        """Whether the comma-separated list `text` is right for this field."""
        return all(self._holds_part(part) for part in text.split(","))

    def _holds_part(self, text: str) -> bool:
        part = _PART.fullmatch(text)
        if part is None or (part["step"] is not None and int(part["step"]) == 0):
            return False
        if part["first"] is None:
            return True
        first = self._number(part["first"])
        last = first if part["last"] is None else self._number(part["last"])
        return first is not None and last is not None and self.lowest <= first <= last <= self.highest

    def _number(self, text: str) -> int | None:
        if text.lower() in self.names:
            return self.lowest + self.names.index(text.lower())
        return int(text) if text.isdecimal() else None


FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _DAYS),  # 7 is no Sunday to Argo
)


def check_cron(cron: str) -> None:
    """Raises UserError that names the wrong field of `cron` and its range."""
    parts = cron.split()
    if len(parts) != len(FIELDS):
        raise UserError(f"schedule {cron!r} is wrong: use five fields, such as '0 3 * * *' (daily at 03:00)")
    for field, text in zip(FIELDS, parts, strict=True):
        if not field.holds(text):
            names = f" or {field.names[0]}-{field.names[-1]}" if field.names else ""
            raise UserError(
                f"schedule {cron!r} is wrong: {field.name} {text!r}; use *, or {field.lowest}-{field.highest}{names},"
                " as numbers, ranges (1-5), lists (1,3) or steps (*/2)"
            )


def check_timezone(timezone: str) -> None:
    """Raises UserError where the IANA database, if this machine has one, knows no zone of this name."""
    known = available_timezones()
    if known and timezone not in known:
        raise UserError(f"timezone {timezone!r} is unknown: use an IANA name, such as UTC or Europe/Berlin")
