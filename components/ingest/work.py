"""The ingest step: raw log in, log artifact out."""
# ruff: noqa: PLC0415  # torch and polars are loaded only where something has to be made

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from components.ingest.fingerprint import fingerprint
from components.step import Step, step
from model.artifact.manifest import Manifest
from model.data.synthetic_config import SyntheticConfig


def run(log: Any, *, source: str | None, schema: str | None, store: str | None) -> None:
    """`log` is the kfp artifact that is made; the arguments are the component's."""
    with step("ingest", store) as this:
        if source is None:
            _from_synthetic(this, log)
        else:
            _from_source(this, log, source, schema)


def _from_source(this: Step, log: Any, source: str, schema: str | None) -> None:
    def make(out: Path) -> Manifest:
        from model.data.ingest import ingest

        return ingest(source, out, schema)

    this.produce(log, entry="model.data.ingest", inputs={"raw": fingerprint(source, schema)}, options={}, make=make)


def _from_synthetic(this: Step, log: Any) -> None:
    config = SyntheticConfig()

    def make(out: Path) -> Manifest:
        from model.data.ingest import ingest
        from model.data.synthetic import write_synthetic

        with tempfile.TemporaryDirectory() as raw:
            folder = Path(raw) / "synthetic"
            write_synthetic(folder, config)
            return ingest(str(folder), out)

    entries = ("model.data.synthetic", "model.data.ingest")
    this.produce(log, entry=entries, inputs={}, options=config.model_dump(mode="json"), make=make)
