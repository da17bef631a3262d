"""Component: build a macro graph."""
# ruff: noqa: PLC0415, UP045  # kfp ships the source of the function alone and reads no `str | None`

from typing import Optional

from kfp import dsl

from components.artifacts import Log, MacroGraph
from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def build_graph(
    log: dsl.Input[Log],
    graph: dsl.Output[MacroGraph],
    recipe: str,
    store: Optional[str] = None,
) -> None:
    """Merge a log's feedback into one graph, group its nodes and sum the edges into a macro graph.

    Args:
        log: The encoded log.
        graph: The macro graph with its version.
        recipe: Recipe as YAML text, a shipped name or a path; its `graph` section is read.
        store: Artifact store (folder or s3://bucket/prefix) to publish to and to reuse from.
    """
    from components.build_graph.work import run

    run(log, graph, recipe=recipe, store=store)
