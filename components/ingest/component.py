"""Component: ingest a log."""
# ruff: noqa: PLC0415, UP045  # kfp ships the source of the function alone and reads no `str | None`

from typing import Optional

from kfp import dsl

from components.artifacts import Log
from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def ingest(
    log: dsl.Output[Log],
    source: Optional[str] = None,
    schema: Optional[str] = None,
    store: Optional[str] = None,
) -> None:
    """Read a log of impressions, check it, split it by time and encode it.

    Args:
        log: The encoded log.
        source: Folder or s3://bucket/prefix of the raw log. The embedded synthetic log when absent.
        schema: Name of a shipped schema or path of a schema file. The log's own schema.yaml when absent.
        store: Artifact store (folder or s3://bucket/prefix) to publish to and to reuse from.
    """
    from components.ingest.work import run

    run(log, source=source, schema=schema, store=store)
