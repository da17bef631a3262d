"""Probes: raw requests whose scores the trainer computed, so that a server can prove that it scores as training did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from model.bundle.array_file import load_array, save_array
from model.bundle.layout import PROBE, PROBE_SCORES
from model.errors import Fault, UserError

Float32 = npt.NDArray[np.float32]
Value = str | int | float | list[str] | None

TOLERANCE = 1e-5
"""Largest difference of a probability between training and serving."""


class ProbeRequest(BaseModel):
    """A request as it comes over the wire: raw ids, raw context values by feature name, unix seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """What it probes, for the line that says it failed."""
    user: str
    items: tuple[str, ...]
    context: Mapping[str, Value]
    time: float


class Probe:
    """A probe request with the trainer's probabilities, float32 [items, T]."""

    def __init__(self, request: ProbeRequest, probability_NT: Float32) -> None:
        self.request = request
        self.probability_NT = probability_NT

    def difference(self, probability_NT: Float32) -> float:
        """Largest absolute difference to the trainer's; infinite where a value is no number or the shape is another."""
        if probability_NT.shape != self.probability_NT.shape:
            return float("inf")
        worst = float(np.abs(probability_NT.astype(np.float64) - self.probability_NT).max(initial=0.0))
        return worst if np.isfinite(worst) else float("inf")

    def check(self, probability_NT: Float32, where: str) -> float:
        """The difference. Raises Fault where it is beyond TOLERANCE; `where` names the bundle."""
        difference = self.difference(probability_NT)
        if difference > TOLERANCE:
            raise Fault(
                f"{where}: probe {self.request.name} scores {difference:.2e} away from the trainer;"
                f" at most {TOLERANCE:g} is right"
            )
        return difference


_REQUESTS: TypeAdapter[tuple[ProbeRequest, ...]] = TypeAdapter(tuple[ProbeRequest, ...])


def write_probes(requests: tuple[ProbeRequest, ...], probability_NT: Float32, folder: Path) -> None:
    """probability_NT: rows of all requests one after the other."""
    (folder / PROBE).write_bytes(_REQUESTS.dump_json(requests, indent=1) + b"\n")
    save_array(folder / PROBE_SCORES, probability_NT.astype(np.float32))


def read_probes(folder: Path) -> tuple[Probe, ...]:
    """What `write_probes` wrote. Raises UserError, naming the file, where it is malformed."""
    try:
        requests = _REQUESTS.validate_json((folder / PROBE).read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"bundle file {folder / PROBE} holds no probes: {str(error).splitlines()[0]}") from None
    probability_NT = load_array(folder / PROBE_SCORES)
    ends = np.cumsum([len(request.items) for request in requests])
    if not len(requests) or probability_NT.ndim != 2 or len(probability_NT) != ends[-1]:
        raise UserError(f"bundle file {folder / PROBE_SCORES} does not hold one row for every item in {PROBE}")
    rows = np.split(probability_NT, ends[:-1])
    return tuple(Probe(request, part) for request, part in zip(requests, rows, strict=True))
