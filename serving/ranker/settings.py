"""Settings of the ranker; every one has a default that serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ScorerName = Literal["eager", "factorised", "aoti", "onnx", "native"]
"""`eager`: the architecture's own score(), as in training. The others compute the same from the factorised form:
`factorised` in eager torch, `aoti` compiled by AOTInductor, `onnx` by ONNX Runtime, `native` (MMoE and MGOE) by C++
of our own that keeps a block of pairs in the processor's first cache."""

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Settings):
    """What a request may hold; beyond it, it is refused with a 4xx and a sentence."""

    candidates: Count = 5000
    """Items of one request."""
    id_length: Count = 256
    """Characters of a user, item or request id."""
    body_bytes: Count = 4 * 2**20
    """Bytes of a request's body; 5,000 ids of 256 characters fit."""
    context_values: Count = 256
    """Values of one multi-valued context feature."""
    context_length: Count = 1024
    """Characters of one text value in the context."""


class BatchSettings(_Settings):
    """How requests are scored together."""

    rows: Count = 512
    """Candidates that are scored in one call at most; a single larger request is a batch of its own. Batches save what
    a request costs beside its candidates, so small requests gain; beyond some hundred rows a batch only keeps all of
    its requests waiting for the last one."""
    wait_s: Annotated[float, Field(ge=0)] = 0.0005
    """How long a batch may wait for more requests, and only while requests arrive faster than they are scored. On an
    event loop a batch is what the loop has read."""
    queue: Count = 256
    """Requests that may wait; one more is refused."""
    deadline_s: Positive = 1.0
    """After so many seconds a request without a deadline of its own is answered with a refusal."""


class RequiredSignature(_Settings):
    """Whose signature a bundle must carry to be loaded."""

    files: Annotated[tuple[Path, ...], Field(min_length=1)]
    """One public key, or certificates that the signer's must go back to: PEM files, read at every load."""
    signer: str | None = None
    """Name in the signer's certificate (common or alternative); None: anyone whom the certificates vouch for."""


class RankerSettings(_Settings):
    """How a bundle is loaded and scored."""

    arm: str | None = None
    """Name of the side of the experiment; carried into answers and metrics."""
    scorers: tuple[ScorerName, ...] = ("factorised", "aoti", "onnx", "native")
    """Scorers that may be used, quickest by measurement at load; `eager` is always there as the reference."""
    cache: Path | None = None
    """Folder for compiled scorers and tables that workers map; None: a folder of its own below the system's cache."""
    signature: RequiredSignature | None = None
    """None: bundles are checked by their digests alone."""
    item_table_bytes: Count = 2 * 2**30
    """Largest table of item parts; an MGOE whose table would be larger keeps narrower parts and computes more."""
    threads: Count = 1
    """Threads of one scoring call. One: workers share cores better than calls do."""
    tolerance: Positive = 1e-5
    """Largest difference of a probability between scorers, and from the trainer's, that is let pass."""
    limits: Limits = Limits()
    batch: BatchSettings = BatchSettings()
