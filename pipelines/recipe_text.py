"""A recipe as text: what travels to a cluster, where the caller's files are not."""

from __future__ import annotations

import yaml

from model.errors import UserError
from model.recipe import load_recipe, shipped_recipes


def recipe_text(recipe: str) -> str:
    """The recipe (a shipped name or a path) as YAML of what it sets. Raises UserError when it is wrong."""
    return yaml.safe_dump(load_recipe(recipe).model_dump(mode="json", exclude_unset=True), sort_keys=False)


def default_recipe(data: str | None) -> str:
    """The recipe for a log when none is named: `synthetic` without a log, else the shipped one of the folder's name.

    Raises UserError where there is none.
    """
    if data is None:
        return "synthetic"
    name = data.rstrip("/").rsplit("/", 1)[-1]
    if name not in shipped_recipes():
        shipped = ", ".join(shipped_recipes())
        raise UserError(f"no recipe is called {name!r} like the log: name one with --recipe, {shipped} or a file")
    return name
