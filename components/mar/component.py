"""Component: make the TorchServe archive of a bundle."""
# ruff: noqa: PLC0415, PLR0917, UP045  # kfp ships the source of the function alone and reads no `str | None`

from typing import Optional

from kfp import dsl

from components.artifacts import Bundle, ModelArchive
from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def mar(
    bundle: dsl.Input[Bundle],
    archive: dsl.Output[ModelArchive],
    options: Optional[str] = None,
    uri: Optional[str] = None,
    store: Optional[str] = None,
    role: Optional[str] = None,
) -> None:
    """Make the model archive (MAR) that TorchServe loads; equal bundles and options give equal bytes.

    Args:
        bundle: The bundle to serve.
        archive: Handler, settings, and the bundle or where it lies.
        options: Options of the archive as YAML text: name, workers, batch, ranker and more (ArchiveOptions).
        uri: Where workers fetch the bundle from (s3://bucket/key); it is packed into the archive when absent.
        store: Artifact store (folder or s3://bucket/prefix) to publish to and to reuse from.
        role: `baseline` or `candidate`: which of a pipeline's two bundles this is; the arm that answers name.
    """
    from components.mar.work import run

    run(bundle, archive, options=options, uri=uri, store=store, role=role)
