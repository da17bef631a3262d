"""The door: JSON into events, each judged alone, with one sentence for what is wrong.

Pure. What only the database knows (experiments, metrics, bounds, earlier events) is judged in `judgement`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import orjson

from model.errors import UserError
from serving.evidence.covariate import Covariate
from serving.evidence.event import ARMS, MICRO, SECOND, Exposure, Outcome, Refusal
from serving.evidence.schema import ID_LENGTH, NAME_LENGTH
from serving.gateway.assignment import Arm, check_unit

LARGEST = 1e12
"""Largest magnitude of a value: in millionths it is a 64-bit number."""

T = TypeVar("T")
Fields = Mapping[str, object]

_TEXT = re.compile(rf"[^\x00-\x1f\x7f\ud800-\udfff]{{1,{ID_LENGTH}}}")
_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{NAME_LENGTH}}}")
_EXPOSURE = frozenset(
    "experiment exposure_id unit arm digest phase time propensity request_id forced".split()  # noqa: SIM905  read as one line
)
_OUTCOME = frozenset("experiment event_id metric value time unit exposure_id request_id".split())  # noqa: SIM905
_COVARIATE = frozenset({"experiment", "unit", "covariate", "value"})
_PHASES = 2**31 - 1


class DoorError(UserError):
    """A field is wrong; the message names it and its value."""


def exposure_of(fields: object, latest_us: int) -> Exposure:
    """An exposure from JSON. latest_us: times beyond it are refused. Raises DoorError."""
    read = object_of(fields, _EXPOSURE)
    propensity = read.get("propensity")
    return Exposure(
        experiment=name_of(read, "experiment"),
        exposure_id=text_of(read, "exposure_id"),
        unit=unit_of(read),
        arm=_arm(read),
        digest=text_of(read, "digest"),
        phase=phase_of(read),
        time_us=time_of(read, "time", latest_us),
        propensity=None if propensity is None else weight_of(read, "propensity"),
        request_id=_request_id(read),
        forced=_flag(read, "forced"),
    )


def outcome_of(fields: object, latest_us: int) -> Outcome:
    """An outcome from JSON; without a value it is 1. Raises DoorError."""
    read = object_of(fields, _OUTCOME)
    exposure, request = (optional_text(read, name) for name in ("exposure_id", "request_id"))
    unit = None if read.get("unit") is None else unit_of(read)
    if unit is None and exposure is None and request is None:
        raise DoorError("unit: missing, and so are exposure_id and request_id; one of them is needed")
    return Outcome(
        experiment=name_of(read, "experiment"),
        event_id=text_of(read, "event_id"),
        metric=text_of(read, "metric", NAME_LENGTH),
        value=MICRO if "value" not in read else _micro(read),
        time_us=time_of(read, "time", latest_us),
        unit=unit,
        exposure_id=exposure,
        request_id=request,
    )


def covariate_of(fields: object, _: int) -> Covariate:
    """A covariate from JSON. Raises DoorError."""
    read = object_of(fields, _COVARIATE)
    name = text_of(read, "covariate", NAME_LENGTH)
    return Covariate(name_of(read, "experiment"), unit_of(read), name, _micro(read))


def judged(read: Callable[[object, int], T], fields: object, latest_us: int, named: str) -> T | Refusal:
    """What `read` makes of one event, or the refusal that says why not. named: the field that is its id."""
    try:
        return read(fields, latest_us)
    except DoorError as error:
        return Refusal(_id_of(fields, named), str(error))


def batch_of(body: bytes, *, lines: bool) -> tuple[list[object], bool]:
    """The events of a body, and whether it is a single one.

    A JSON object is one event, a list or {"events": [...]} a batch; lines: an event a line, where a line that is not
    JSON is an event that is refused alone. Raises DoorError where nothing can be told apart.
    """
    if lines:
        lines_of = enumerate(body.splitlines(), start=1)
        return [_line(line, number) for number, line in lines_of if line.strip()], False
    document = parse(body)
    if isinstance(document, dict) and document.keys() == {"events"}:
        document = document["events"]
    elif isinstance(document, dict):
        return [document], True
    if not isinstance(document, list):
        raise DoorError('body: a JSON object, a list of them, or {"events": [...]} is expected')
    return document, False


def parse(body: bytes) -> object:
    """A JSON document. Raises DoorError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # NaN and the like are no JSON, but one bad number must not cost its neighbours: they are refused by event.
        try:
            return json.loads(body)
        except RecursionError:
            raise DoorError("body: not JSON that can be read: it is nested too deeply") from None
        except UnicodeDecodeError as error:
            raise DoorError(f"body: not JSON: no UTF-8 at byte {error.start}") from None
        except json.JSONDecodeError as error:
            raise DoorError(f"body: not JSON: {error}") from None
        except ValueError:  # Python's limit
            raise DoorError("body: not JSON that can be read: a number of thousands of digits") from None


def document_of(body: bytes, known: frozenset[str]) -> Fields:
    """The one JSON object of a body. Raises DoorError."""
    return object_of(parse(body), known)


def text_of(read: Fields, name: str, length: int = ID_LENGTH) -> str:
    """A text that is not empty, has no control characters and at most `length` characters. Raises DoorError."""
    value = read.get(name)
    if isinstance(value, str) and len(value) <= length and _TEXT.fullmatch(value):
        return value
    if name not in read:
        raise DoorError(f"{name}: missing")
    raise DoorError(f"{name} {shown(value)}: a text of 1 to {length} characters, none a control character, is expected")


def unit_of(read: Fields) -> str:
    """A unit, by the gateway's rule: what it refuses can have no exposure. Raises DoorError."""
    value = text_of(read, "unit")
    try:
        check_unit(value)
    except UserError:
        reason = f"1 to {ID_LENGTH} characters without white space, controls and commas are expected"
        raise DoorError(f"unit {shown(value)}: {reason}") from None
    return value


def name_of(read: Fields, name: str) -> str:
    """A name that is safe in paths. Raises DoorError."""
    value = text_of(read, name, NAME_LENGTH)
    if not _NAME.fullmatch(value):
        raise DoorError(f"{name} {shown(value)}: 1 to {NAME_LENGTH} letters, digits, dots, dashes or underscores")
    return value


def time_of(read: Fields, name: str, latest_us: int) -> int:
    """A moment in seconds since 1970, in microseconds. Raises DoorError for one that is too far ahead."""
    value = number_of(read, name)
    if value <= 0:
        raise DoorError(f"{name} {shown(read[name])}: seconds since 1970, above 0, are expected")
    if value * SECOND > latest_us:
        raise DoorError(
            f"{name} {shown(read[name])}: lies in the future; seconds since 1970 are expected, "
            f"now at most {latest_us / SECOND:.0f}"
        )
    return round(value * SECOND)


def phase_of(read: Fields) -> int:
    """The number of a phase. Raises DoorError."""
    value = read.get("phase")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _PHASES:
        raise DoorError("phase: missing" if "phase" not in read else f"phase {shown(value)}: a whole number from 0 on")
    return value


def weight_of(read: Fields, name: str) -> float:
    """A probability. Raises DoorError."""
    value = number_of(read, name)
    if not 0 <= value <= 1:
        raise DoorError(f"{name} {shown(value)}: a probability from 0 to 1 is expected")
    return value


def number_of(read: Fields, name: str) -> float:
    """A finite number. Raises DoorError."""
    value = read.get(name)
    if isinstance(value, float | int) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise DoorError(f"{name}: missing" if name not in read else f"{name} {shown(value)}: a finite number is expected")


def shown(value: object) -> str:
    """A value as a sentence shows it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        text = type(value).__name__
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return text.encode(errors="replace").decode()


def _micro(read: Fields) -> int:
    value = number_of(read, "value")
    if abs(value) > LARGEST:
        raise DoorError(f"value {shown(value)}: at most {LARGEST:g} in magnitude is kept")
    return round(value * MICRO)


def _arm(read: Fields) -> Arm:
    for arm in ARMS:
        if read.get("arm") == arm:
            return arm
    if "arm" not in read:
        raise DoorError("arm: missing")
    raise DoorError(f"arm {shown(read['arm'])}: baseline or candidate is expected")


def _flag(read: Fields, name: str) -> bool:
    value = read.get(name, False)
    if not isinstance(value, bool):
        raise DoorError(f"{name} {shown(value)}: true or false is expected")
    return value


def _request_id(read: Fields) -> str | None:
    """The id that the client chose, which may hold anything: one that is not kept does not cost its exposure."""
    value = read.get("request_id")
    return None if isinstance(value, str) and not _TEXT.fullmatch(value) else optional_text(read, "request_id")


def optional_text(read: Fields, name: str) -> str | None:
    """A text, or None where the field is null or absent. Raises DoorError."""
    return None if read.get(name) is None else text_of(read, name)


def object_of(fields: object, known: frozenset[str] | None) -> Fields:
    """A JSON object with no other fields than these; None: any. Raises DoorError."""
    if isinstance(fields, Malformed):
        raise DoorError(fields.reason)
    if not isinstance(fields, dict):
        raise DoorError(f"{shown(fields)}: a JSON object is expected")
    if known is not None and (unknown := fields.keys() - known):
        raise DoorError(f"no field {shown(min(unknown))}; there are {', '.join(sorted(known))}")
    return fields


def _id_of(fields: object, named: str) -> str | None:
    found = fields.get(named) if isinstance(fields, dict) else None
    return found if isinstance(found, str) and _TEXT.fullmatch(found) else None


class Malformed:
    """A line that is no JSON, in the place of an event."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def _line(line: bytes, number: int) -> object:
    try:
        return parse(line)
    except DoorError as error:
        return Malformed(str(error).replace("body", f"line {number}"))
