"""The graph on disk: graph.json beside .npy arrays that are mapped, not read.

groups/user.npy, groups/item.npy; <side>/<field>.npy with the snapshots stacked as the first dimension.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from model.errors import UserError
from model.graph.array_file import load_array, save_array, save_stacked
from model.graph.config import GraphConfig
from model.graph.macro_graph import MacroEdges, MacroGraph, Side, Snapshot
from model.graph.scratch import OUT_OF_PLACE, disk_errors

Array = npt.NDArray[Any]
FORMAT = 1
FACTS = "graph.json"
DENSE_IDS = "dense_ids"
"""Fact of a streamed graph: its node i + 1 has the id i."""


def write_graph(graph: MacroGraph, folder: Path) -> None:
    """Writes the graph into an existing or new folder; arrays that a build made there stay.

    Raises Fault on a full disk.
    """
    facts = {
        "format": FORMAT,
        "version": graph.version,
        "tasks": list(graph.tasks),
        "n_user_groups": graph.n_user_groups,
        "n_item_groups": graph.n_item_groups,
        "as_of": [snapshot.as_of for snapshot in graph.snapshots],
        "trainable_from": graph.trainable_from,
        "config": graph.config.model_dump(mode="json"),
    }
    with disk_errors(folder, OUT_OF_PLACE):
        folder.mkdir(parents=True, exist_ok=True)
        save_array(folder / "groups" / "user.npy", [graph.user_group])
        save_array(folder / "groups" / "item.npy", [graph.item_group])
        for name in ("user", "item"):
            sides = [_arrays(getattr(snapshot, name)) for snapshot in graph.snapshots]
            for key in sides[0]:
                save_stacked(folder / name / f"{key}.npy", [side[key] for side in sides])
        (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")


def _arrays(side: Side) -> dict[str, Array]:
    """The side's arrays by file name; nested fields are joined with a dot."""
    found: dict[str, Array] = {}
    for field in fields(side):
        value = getattr(side, field.name)
        if isinstance(value, np.ndarray):
            found[field.name] = value
        elif value is not None:
            found |= {
                f"{field.name}.{part.name}": getattr(value, part.name)
                for part in fields(value)
                if part.name != "n_macro"
            }
    return found


def read_graph(folder: Path) -> MacroGraph:
    """The graph, its arrays mapped read-only. Raises UserError where the folder holds no graph that this code reads."""
    facts = _facts(folder)
    config = GraphConfig.model_validate(facts["config"])
    n_groups = {"user": int(facts["n_user_groups"]), "item": int(facts["n_item_groups"])}
    stacked = {
        name: {path.stem: load_array(path) for path in sorted((folder / name).glob("*.npy"))} for name in n_groups
    }
    snapshots = tuple(
        Snapshot(
            as_of,
            _side(config, stacked["user"], number, n_groups["item"], n_groups["user"]),
            _side(config, stacked["item"], number, n_groups["user"], n_groups["item"]),
        )
        for number, as_of in enumerate(facts["as_of"])
    )
    return MacroGraph(
        config=config,
        version=facts["version"],
        tasks=tuple(facts["tasks"]),
        user_group=load_array(folder / "groups" / "user.npy"),
        item_group=load_array(folder / "groups" / "item.npy"),
        n_user_groups=n_groups["user"],
        n_item_groups=n_groups["item"],
        snapshots=snapshots,
        trainable_from=facts["trainable_from"],
    )


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / FACTS
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
        if facts["format"] != FORMAT:
            raise UserError(f"{path}: format {facts['format']}, this version reads {FORMAT}; build the graph again")
        GraphConfig.model_validate(facts["config"])
    except FileNotFoundError:
        raise UserError(f"{folder}: not a macro graph ({FACTS} is missing)") from None
    except (json.JSONDecodeError, KeyError, ValidationError) as error:
        raise UserError(
            f"{path}: not a readable graph description ({type(error).__name__}); build the graph again"
        ) from None
    return facts


def _side(config: GraphConfig, stacked: dict[str, Array], number: int, n_across: int, n_own: int) -> Side:
    at = {name: array[number] for name, array in stacked.items()}
    try:
        return Side(
            hop1=MacroEdges(at["hop1.macro"], at["hop1.log_count"], n_across),
            hop2=MacroEdges(at["hop2.macro"], at["hop2.log_count"], n_own),
            dominant=at["dominant"],
            recent=at["recent"],
            recent_score=at["recent_score"],
            log_degree=at["log_degree"],
            log_exposure=at["log_exposure"],
            task_log_count=at["task_log_count"] if config.task_edges else None,
            neighbour_mean=at["neighbour_mean"] if config.neighbour_means else None,
        )
    except KeyError as error:
        raise UserError(f"macro graph: array {error.args[0]}.npy is missing; build the graph again") from None
