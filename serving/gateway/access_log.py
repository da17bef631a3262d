"""The gateway's access log: its JSON format for Envoy, and what one line says of an exposure.

A line is written by Envoy when a request has ended. Experiment, phase and weight come from the metadata of the route
that took the request, so a line carries the phase under which it was routed, whatever the weights are by then; the arm
comes from the metadata of the cluster that answered. Pure: whoever reads the file is elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from serving.gateway.assignment import BUCKETS, Arm

FORMAT: Mapping[str, str] = {
    "time": "%START_TIME(%s.%6f)%",
    "experiment": "%METADATA(ROUTE:mgoe:experiment)%",
    "phase": "%METADATA(ROUTE:mgoe:phase)%",
    "candidate_weight": "%METADATA(ROUTE:mgoe:candidate_weight)%",
    "kind": "%METADATA(ROUTE:mgoe:kind)%",
    "rule": "%METADATA(ROUTE:mgoe:rule)%",
    "arm": "%METADATA(CLUSTER:mgoe:arm)%",
    "unit": "%REQ(X-MGOE-UNIT)%",
    "shadow": "%REQ(X-MGOE-SHADOW)%",
    "request_id": "%REQ(X-REQUEST-ID):256%",
    "digest": "%RESP(X-MGOE-DIGEST)%",
    "digest_trailer": "%TRAILER(X-MGOE-DIGEST)%",
    "exposure_id": "%RESP(X-MGOE-EXPOSURE-ID)%",
    "exposure_id_trailer": "%TRAILER(X-MGOE-EXPOSURE-ID)%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH):256%",
    "protocol": "%PROTOCOL%",
    "upstream": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "upstream_us": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)%",
    "duration_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
}
"""`json_format` of Envoy's file access log. What a request lacks is null. gRPC answers carry the ranker's headers as
trailers, hence the two columns each for digest and exposure id."""


class LogLineError(ValueError):
    """A line that is no line of this log; the message says why."""


@dataclass(frozen=True)
class ExposureRecord:
    """One ranking answer, or one ranking request that got none, as the gateway saw it."""

    experiment: str
    phase: int
    """Number of the weight under which the request was routed."""
    propensity: float
    """Probability that this phase gives a unit to the candidate, 0..1; whichever arm this unit got."""
    arm: Arm
    unit: str | None
    """None: the request named none, and the baseline answered."""
    digest: str | None
    """Digest of the bundle that answered; None: nobody did, or the bundle changed between the answers of one line."""
    exposure_id: str | None
    """The ranker's id of this answer; None: there was no answer."""
    request_id: str | None
    time: float
    """When the request began, unix seconds."""
    forced: bool
    """The arm was asked for by `x-mgoe-variant`."""
    shadow: bool
    """The request was a mirrored copy; nobody saw its answer."""
    status: int
    """HTTP status that the client got; 0: it went away before there was one."""
    grpc_status: int | None
    """None: not a gRPC request."""
    upstream_ms: float | None
    """From the first byte sent to the ranker to its first byte, of the last attempt; None: no ranker answered."""
    duration_ms: float | None
    """From the client's first byte to the last byte sent to it; None: the client went away."""
    flags: str
    """Envoy's response flags ("UH": no healthy upstream, "UT": timeout, ...); empty: none."""

    @property
    def succeeded(self) -> bool:
        """Whether the client got a whole ranking: flags tell of answers that broke off after their status."""
        return 200 <= self.status < 300 and self.grpc_status in {None, 0} and not self.flags

    @property
    def excluded(self) -> str | None:
        """Why this record is no evidence, in a word; None: it is an exposure."""
        if self.shadow:
            return "shadow"
        if self.forced:
            return "forced"
        if self.unit is None:
            return "no_unit"
        if not self.succeeded:
            return "failed"
        if self.exposure_id is None or self.digest is None:
            return "unnamed"
        return None


def parse(line: str | bytes) -> tuple[ExposureRecord, ...]:
    """What one line of the log says of exposures: none for requests that are not rankings, mostly one.

    A V1 request of several instances has as many answers, each with an exposure id of its own; each is a record.
    Raises LogLineError for anything that FORMAT does not write; a reader counts it and goes on.
    """
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LogLineError(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise LogLineError(f"a JSON object is expected, not {type(fields).__name__}")
    if fields.get("kind") != "rank":
        return ()
    try:
        return _records(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise LogLineError(f"field missing or of another type: {error!r}") from None


def _records(fields: Mapping[str, object]) -> tuple[ExposureRecord, ...]:
    arm = fields["arm"]
    if arm not in {"baseline", "candidate"}:
        raise ValueError(f"arm {arm!r}")
    digest = _text(fields, "digest") or _text(fields, "digest_trailer")
    experiment, time = _text(fields, "experiment"), float(_text(fields, "time") or "")
    propensity = _number(fields, "candidate_weight") / BUCKETS
    if not experiment or not math.isfinite(time) or not 0 <= propensity <= 1:
        raise ValueError(f"experiment {experiment!r}, time {time}, propensity {propensity}")
    ids = _text(fields, "exposure_id") or _text(fields, "exposure_id_trailer")
    grpc_status = fields["grpc_status"]
    return tuple(
        ExposureRecord(
            experiment=experiment,
            phase=int(_number(fields, "phase")),
            propensity=propensity,
            arm="baseline" if arm == "baseline" else "candidate",
            unit=_text(fields, "unit"),
            digest=None if digest is None or "," in digest else digest,
            exposure_id=exposure_id,
            request_id=_text(fields, "request_id"),
            time=time,
            forced=fields["rule"] == "forced",
            shadow=fields["shadow"] is not None,
            status=int(_number(fields, "status")),
            grpc_status=None if grpc_status is None else int(_number(fields, "grpc_status")),
            upstream_ms=_milliseconds(fields, "upstream_us"),
            duration_ms=_milliseconds(fields, "duration_us"),
            flags=(_text(fields, "flags") or "").strip("-"),
        )
        for exposure_id in (ids.split(",") if ids else [None])
    )


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields[name]
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{name} {value!r}")


def _number(fields: Mapping[str, object], name: str) -> float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{name} {value!r}")
    return float(value)


def _milliseconds(fields: Mapping[str, object], name: str) -> float | None:
    return None if fields[name] is None else _number(fields, name) / 1000
