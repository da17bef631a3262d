"""Reading JSON documents field by field: what is wrong is said in one line that names the place and the value."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar, cast

T = TypeVar("T")
Json = Mapping[str, object]

LARGEST = 1e15
"""Beyond it, in either direction, no single number of a document lies: sums and squares of such still are numbers."""
LONGEST = 500
"""Characters of a text."""

_REQUIRED: object = ...


class ExperimentError(ValueError):
    """A design, an aggregate or evidence that cannot be: one line that names the thing, the value and what is right."""


class Reader:
    """The fields of one JSON object. Every field is asked for by name; `done` refuses those nobody asked for."""

    def __init__(self, document: object, place: str) -> None:
        if not isinstance(document, Mapping):
            raise ExperimentError(f"{place}: {short(document)} is no JSON object")
        self._fields = cast("Json", document)
        self._asked: set[str] = set()
        self.place = place

    def _get(self, name: str, default: object) -> object:
        self._asked.add(name)
        value = self._fields.get(name, default)
        if value is _REQUIRED:
            raise ExperimentError(f"{self.place}: the field {name!r} is missing")
        return value

    def text(self, name: str, default: object = _REQUIRED) -> str:
        """A text of 1 to LONGEST characters, none of which a terminal, a log or a database would stumble over."""
        value = self._get(name, default)
        if not isinstance(value, str) or not value:
            raise ExperimentError(f"{self.place}.{name}: {short(value)} is no text")
        if len(value) > LONGEST:
            raise ExperimentError(f"{self.place}.{name}: {len(value)} characters, at most {LONGEST} are taken")
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
            raise ExperimentError(f"{self.place}.{name}: {short(value)} has a control character or half a letter")
        return value

    def optional_text(self, name: str) -> str | None:
        """A text, or None where the field is null or absent."""
        return None if self._get(name, None) is None else self.text(name)

    def number(self, name: str, default: object = _REQUIRED) -> float:
        """A finite number, at most LARGEST."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
            raise ExperimentError(f"{self.place}.{name}: {short(value)} is no finite number up to {LARGEST:g}")
        return float(value)

    def optional_number(self, name: str) -> float | None:
        """A finite number, or None where the field is null or absent."""
        return None if self._get(name, None) is None else self.number(name)

    def whole(self, name: str, default: object = _REQUIRED) -> int:
        """A whole number, at most LARGEST."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not -LARGEST <= value <= LARGEST:
            raise ExperimentError(f"{self.place}.{name}: {short(value)} is no whole number up to {LARGEST:g}")
        return value

    def optional_whole(self, name: str) -> int | None:
        """A whole number, or None where the field is null or absent."""
        return None if self._get(name, None) is None else self.whole(name)

    def many(self, name: str, read: Callable[[object, str], T], default: object = _REQUIRED) -> tuple[T, ...]:
        """A list whose members `read(member, place)` reads."""
        value = self._get(name, default)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ExperimentError(f"{self.place}.{name}: {short(value)} is no list")
        return tuple(read(member, f"{self.place}.{name}[{at}]") for at, member in enumerate(value))

    def inner(self, name: str, default: object = _REQUIRED) -> object:
        """The field as it is, for a reader of its own."""
        return self._get(name, default)

    def done(self) -> None:
        """Refuses fields that were not asked for."""
        unknown = sorted(str(name) for name in self._fields if name not in self._asked)
        if unknown:
            raise ExperimentError(f"{self.place}: no field {unknown[0]!r}; there are {words(sorted(self._asked))}")


def words(names: Iterable[str]) -> str:
    """Names as a sentence lists them."""
    return ", ".join(names)


def short(value: object) -> str:
    """A value as an error shows it: at most 60 characters, whatever it is."""
    if isinstance(value, int) and abs(value) > LARGEST:
        return "a number too large to show"  # Python writes out no number of thousands of digits
    shown = repr(value) if not isinstance(value, Mapping | list) else f"a {type(value).__name__}"
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
