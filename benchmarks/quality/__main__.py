"""Quality of all architectures and of trees on KuaiRand-Pure, equally tuned.

    python -m benchmarks.quality --data ../shared/data/kuairand_pure --seeds 5 --settings a,b --out runs/quality

Stages: search (validation rows only; `--trials 0` keeps the committed recipes), final runs by seed, ablations of MGOE,
report. Every run is cached under --out, so a stopped benchmark goes on where it was. The test rows are read by the
report alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch
import typer
import yaml
from rich.console import Console

from benchmarks.quality import contenders, report
from benchmarks.quality.recipe import Chosen, NetRecipe, Setting, TreesRecipe, read_chosen, write_chosen
from benchmarks.quality.runs import Bench, EncodedLog, Run, Scores
from model.artifact.manifest import read_manifest
from model.data.artifact import read_dataset
from model.data.ingest import ingest
from model.data.place import open_place
from model.data.schema import LogSchema
from model.data.schema_file import resolve_schema
from model.errors import UserError

Results = dict[tuple[str, str], list[tuple[Run, Scores]]]


def main(  # noqa: PLR0917 - typer's options
    data: Annotated[Path, typer.Option(help="Folder of the raw log (kuairand_pure).")],
    out: Annotated[Path, typer.Option(help="Where the encoded log and every finished run are kept.")] = Path(
        "runs/quality"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every final run.")] = 5,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of all seeds.")] = 0,
    settings: Annotated[str, typer.Option(help="a (plain fields), b (dense history), or both: a,b.")] = "a,b",
    trials: Annotated[int, typer.Option(min=0, help="Recipes tried a contender; 0 keeps the committed ones.")] = 0,
    trial_seeds: Annotated[int, typer.Option(min=1, help="Seeds of every tried recipe.")] = 1,
    ablation_seeds: Annotated[int, typer.Option(min=0, help="Seeds of every ablation; 0: none.")] = 3,
    ablate: Annotated[str, typer.Option(help="Settings to ablate MGOE in.")] = "a,b",
    probe_seeds: Annotated[int, typer.Option(min=0, help="Seeds of history and frozen contenders; 0: none.")] = 3,
    history: Annotated[str, typer.Option(help="Settings to train on history rows in, too; empty: none.")] = "b",
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap draws of test users.")] = 500,
    only: Annotated[str, typer.Option(help="Contenders, by comma; all by default.")] = "",
) -> None:
    """Search, train, ablate, report."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    console = Console(width=160)
    bench = _bench(data, out, first_seed)
    wanted = [cast("Setting", name) for name in settings.split(",")]
    names = only.split(",") if only else [*contenders.searched(), *contenders.COLUMNS]
    if trials:
        for setting in wanted:
            for name in contenders.searched():
                if name in names:
                    search(console, bench, setting, name, trials=trials, seeds=trial_seeds)
    results: Results = {}
    frozen = bench.frozen()
    for setting in wanted:
        for name in names:
            results[setting, name] = _seeded(console, bench, setting, name, _recipe_of(setting, name), seeds)
        for name in _unsearched(setting, names, history) if probe_seeds else ():
            on = frozen if name in contenders.FROZEN[setting] else bench
            results[setting, name] = _seeded(console, on, setting, name, _recipe_of(setting, name), probe_seeds)
        if ablation_seeds and "mgoe" in names and setting in ablate.split(","):
            for title, recipe in _ablations(setting).items():
                runs = _seeded(console, bench, setting, title, recipe, ablation_seeds)
                results[setting, f"ablation: {title}"] = runs
    flags: dict[str, str | int] = {
        "seeds": seeds,
        "settings": settings,
        "ablation-seeds": ablation_seeds,
        "ablate": ablate,
        "probe-seeds": probe_seeds,
        "history": history,
        "only": only,
        "first-seed": first_seed or "",
    }
    report.report(console, bench.log.dataset, results, draws, _command(flags))


def search(console: Console, bench: Bench, setting: Setting, name: str, *, trials: int, seeds: int) -> Chosen:
    """Tries the first points of a contender's space and keeps the best by validation AUC, averaged over seeds."""
    found: list[tuple[float, NetRecipe | TreesRecipe]] = []
    for recipe in contenders.points_of(name, setting)[:trials]:
        runs = [bench.run(name, setting, recipe, seed)[0] for seed in range(seeds)]
        _tell(console, setting, f"{name}, trial {len(found) + 1}", runs)
        found.append((float(np.mean([run.mean for run in runs])), recipe))
    best, recipe = max(found, key=lambda pair: pair[0])
    chosen = Chosen(
        contender=name, setting=setting, validation=round(best, 5), trials=len(found), seeds=seeds, recipe=recipe
    )
    number = [value for value, _ in found].index(best) + 1
    console.print(f"{setting} {name}: kept trial {number} in {write_chosen(chosen)}")
    return chosen


def _unsearched(setting: Setting, names: list[str], history: str) -> list[str]:
    """Contenders with the recipe of another one among `names`."""
    replayed = contenders.HISTORY.items() if setting in history.split(",") else ()
    return [name for name, base in (*replayed, *contenders.FROZEN[setting].items()) if base in names]


def _recipe_of(setting: Setting, name: str) -> NetRecipe | TreesRecipe:
    base = contenders.FROZEN[setting].get(name, contenders.HISTORY.get(name, name))
    recipe = read_chosen(setting, contenders.COLUMNS.get(base, base)).recipe
    if base in contenders.COLUMNS:
        recipe = contenders.with_columns(recipe)
    return contenders.with_history(recipe) if name in contenders.HISTORY else recipe


def _seeded(  # noqa: PLR0917 - one run is named by all of them
    console: Console, bench: Bench, setting: Setting, name: str, recipe: NetRecipe | TreesRecipe, seeds: int
) -> list[tuple[Run, Scores]]:
    runs = [bench.run(name, setting, recipe, seed) for seed in range(seeds)]
    _tell(console, setting, name, [run for run, _ in runs])
    return runs


def _ablations(setting: Setting) -> dict[str, NetRecipe]:
    recipe = read_chosen(setting, "mgoe").recipe
    assert isinstance(recipe, NetRecipe)  # noqa: S101 - the search of a net keeps a net
    return contenders.ablations_of(recipe)


def _tell(console: Console, setting: str, title: str, runs: list[Run]) -> None:
    means = [run.mean for run in runs]
    tasks = " ".join(f"{task} {np.mean([run.validation[task] for run in runs]):.4f}" for task in runs[0].validation)
    seconds = np.mean([run.seconds for run in runs])
    console.print(
        f"{setting} {title:32s} validation {np.mean(means):.4f} ± {np.std(means):.4f}  {tasks}  {seconds:.0f} s a run"
    )


def _bench(data: Path, out: Path, first_seed: int) -> Bench:
    schema = resolve_schema(open_place(str(data)), None)
    if schema.history is None:
        raise UserError(f"log {schema.name!r} has no history: this benchmark compares what models make of one")
    history = schema.history.model_copy(update={"replay": contenders.REPLAY})
    replaying = schema.model_copy(update={"history": history})
    return Bench(_encoded(data, out / "log", schema), _encoded(data, out / "log-replayed", replaying), out, first_seed)


def _encoded(data: Path, log: Path, schema: LogSchema) -> EncodedLog:
    """The log artifact, made where it is not there yet."""
    if not log.exists():
        log.parent.mkdir(parents=True, exist_ok=True)
        described = log.with_suffix(".yaml")
        described.write_text(yaml.safe_dump(schema.model_dump(mode="json", exclude_none=True)))
        ingest(str(data), log, str(described))
    return EncodedLog(read_dataset(log), read_manifest(log).digest)


def _command(flags: dict[str, str | int]) -> str:
    """The recipes that were run carry their searches' budgets, so the searches' flags are left out."""
    words = (f"--{name} {value}" for name, value in flags.items() if value != "")
    return " ".join(["python -m benchmarks.quality --data kuairand_pure", *words])


if __name__ == "__main__":
    typer.run(main)
