"""A recipe as text: what travels to a cluster, where the caller's files are not."""

from __future__ import annotations

from pathlib import Path

import yaml

from model.errors import UserError
from model.recipe import load_recipe, shipped_recipes


def recipe_text(recipe: str) -> str:
    """The recipe (a shipped name or a path) as YAML of what it sets. Raises UserError when it is wrong."""
    return yaml.safe_dump(load_recipe(recipe).model_dump(mode="json", exclude_unset=True), sort_keys=False)


def default_recipe(data: str | None) -> str:
    """The recipe for a log when none is named: `synthetic` without a log, else the shipped one of the folder's name.

    data: as check_there() has let it pass. Raises UserError where there is none.
    """
    if data is None:
        return "synthetic"
    name = data.rstrip("/").rsplit("/", 1)[-1]
    if name not in shipped_recipes():
        shipped = ", ".join(shipped_recipes())
        raise UserError(f"no recipe is called {name!r} like the log: name one with --recipe, {shipped} or a file")
    return name


def check_there(data: str | None) -> None:
    """Refuse a log on this machine that is not there, before anything is made for it. Raises UserError."""
    if data is not None and "://" not in data and not Path(data).exists():
        raise UserError(f"log {data} does not exist; name a folder, s3://bucket/prefix, or none for a synthetic log")
