"""A recipe as text: what travels to a cluster, where the caller's files are not."""

from __future__ import annotations

import yaml

from model.data.schema import LogSchema
from model.graph.config import GraphConfig
from model.recipe import load_recipe, shipped_recipes


def recipe_text(recipe: str) -> str:
    """The recipe (a shipped name or a path) as YAML of what it sets. Raises UserError when it is wrong."""
    return yaml.safe_dump(load_recipe(recipe).model_dump(mode="json", exclude_unset=True), sort_keys=False)


def default_recipe(data: str | None) -> str:
    """The shipped recipe for a log when none is named: `synthetic` without a log, the one of the folder's name, or
    `default`."""
    if data is None:
        return "synthetic"
    name = data.rstrip("/").rsplit("/", 1)[-1]
    return name if name in shipped_recipes() else "default"


def suited_text(recipe: str, data: str | None, schema: str | None) -> str:
    """The recipe's text; `default` is fitted to the log's schema.

    A log with a history has its grouping fitted on all of that. Raises UserError where the log has no schema, or lacks
    a task that the recipe names.
    """
    text = recipe_text(recipe)
    described = _schema_of(data, schema)
    load_recipe(text).check_tasks(described.task_names)
    if recipe != "default" or data is None or described.history is None:
        return text
    fields = yaml.safe_load(text)
    fields["graph"]["fit_quantile"] = GraphConfig().fit_quantile
    return yaml.safe_dump(fields, sort_keys=False)


def _schema_of(data: str | None, schema: str | None) -> LogSchema:
    """The schema of the log at `data`, or of the synthetic one. Loaded late: the pipeline image reads no logs."""
    if data is None:
        from model.data.synthetic import synthetic_schema  # noqa: PLC0415
        from model.data.synthetic_config import SyntheticConfig  # noqa: PLC0415

        return synthetic_schema(SyntheticConfig())
    from model.data.place import open_place  # noqa: PLC0415
    from model.data.schema_file import resolve_schema  # noqa: PLC0415

    return resolve_schema(open_place(data), schema)
