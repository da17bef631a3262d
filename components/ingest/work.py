"""The ingest step: raw log in, log artifact out."""
# ruff: noqa: PLC0415  # torch and polars are loaded only where something has to be made

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from components.ingest.fingerprint import fingerprint
from components.step import step
from model.artifact.manifest import Manifest


def run(log: Any, *, source: str | None, schema: str | None, store: str | None) -> None:
    """`log` is the kfp artifact that is made; the arguments are the component's."""
    with step("ingest", store) as this:
        if source is None:
            from model.data.synthetic import SyntheticConfig

            origin = f"synthetic:{SyntheticConfig().model_dump_json()}"
            this.produce(log, entry="model.data.synthetic_log", inputs={}, options={"origin": origin}, make=_synthetic)
        else:
            inputs = {"raw": fingerprint(source, schema)}
            this.produce(log, entry="model.data.ingest", inputs=inputs, options={}, make=_reader(source, schema))


def _reader(source: str, schema: str | None):  # type: ignore[no-untyped-def]
    def make(out: Path) -> Manifest:
        from model.data.ingest import ingest

        return ingest(source, out, schema)

    return make


def _synthetic(out: Path) -> Manifest:
    from model.data.synthetic import SyntheticConfig, write_synthetic

    from model.data.ingest import ingest

    with tempfile.TemporaryDirectory() as raw:
        write_synthetic(Path(raw), SyntheticConfig())
        return ingest(raw, out)
