"""Why a request is refused, and why a server is not ready. One line each; `status` is the HTTP status of the answer."""

from __future__ import annotations

from collections.abc import Mapping

from model.errors import MgoeError

_SHOWN = 60


class NotReady(MgoeError):  # noqa: N818  # a state of the server, named as the field names it
    """The bundle cannot be served: the message names the broken file, the probe row or the limit.

    exit_code: of a command that ends because of it.
    """

    def __init__(self, sentence: str, exit_code: int = MgoeError.exit_code) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class Refusal(MgoeError):  # noqa: N818  # an answer, not a failure of the server
    """Base of all refusals of one request. reason: a label of few values for metrics."""

    status = 500
    reason = "refused"
    counted = False
    """Whether the metrics have it already."""


class RequestError(Refusal):
    """The request itself is wrong. status: 400, 413 or 422."""

    def __init__(self, sentence: str, status: int = 400, reason: str = "malformed") -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = reason


class QueueFull(Refusal):
    """More requests wait than the queue holds; the caller may try again."""

    status = 429
    reason = "queue_full"


class DeadlinePassed(Refusal):
    """The request's deadline passed before its turn came, or before its answer was there."""

    status = 504
    reason = "deadline"


class Draining(Refusal):
    """The server is shutting down, or holds no bundle: it takes no new requests."""

    status = 503
    reason = "draining"


def shown(value: object) -> str:
    """A short name of a wrong value from outside, for a sentence: ASCII, and never longer than a line."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a very large number"
    text = ascii(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
