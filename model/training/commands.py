"""`mgoe train`: one model from a log and a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import typer
import yaml
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from model.artifact.code_version import code_version
from model.data.refused_field import refusal
from model.errors import UserError
from model.nets.config import MODEL_CONFIG
from model.training.config import TrainingConfig
from model.training.curve import TrainingReport

Read = TypeVar("Read")

app = typer.Typer(add_completion=False, help="Train one model.", no_args_is_help=True)


@app.command("train")
def train_command(  # noqa: PLR0917 - typer reads options from the signature
    log: Annotated[Path, typer.Option(help="Log artifact.")],
    out: Annotated[Path, typer.Option(help="Where the model artifact goes.")],
    model: Annotated[Path, typer.Option(help="YAML: `architecture:` and its options.")],
    graph: Annotated[Path | None, typer.Option(help="Macro graph artifact; none for models that read none.")] = None,
    training: Annotated[Path | None, typer.Option(help="YAML of training options; all defaults when absent.")] = None,
    role: Annotated[str, typer.Option(help="What the model is for: baseline or candidate.")] = "candidate",
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow: sqlite:///mlflow.db or a server.")] = None,
) -> None:
    """Train one model and show its learning curve."""
    from model.training.run import train  # noqa: PLC0415 - torch takes seconds, `--help` should not
    from model.training.trained import REPORT  # noqa: PLC0415

    model_config = read_yaml(model, MODEL_CONFIG)
    training_config = TrainingConfig() if training is None else read_yaml(training, TypeAdapter(TrainingConfig))
    code = code_version("model.training.run")
    manifest = train(log, graph, out, model_config, training_config, role, tracking_uri, code=code)
    report = TrainingReport.model_validate_json((out / REPORT).read_bytes())
    console = Console()
    console.print(curve_table(report))
    console.print(f"model {out} ({manifest.digest[:12]}), {report.wall_seconds:.1f} s, stopped by {report.stopped}")


def read_yaml(path: Path, adapter: TypeAdapter[Read]) -> Read:
    """One YAML file, validated. Raises UserError naming the field, the value and what would be right."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if content is None:
            raise UserError(f"{path} is empty")
        return adapter.validate_python(content)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {field}: {refusal(first)}") from error


def curve_table(report: TrainingReport) -> Table:
    """One row an evaluation; the kept one is marked."""
    table = Table(title="Learning curve (validation AUC)")
    tasks = list(report.curve[0].auc) if report.curve else []
    for column in ("epoch", "train loss", "log loss", *tasks, "mean", "rows/s"):
        table.add_column(column, justify="right")
    for point in report.curve:
        scores = ["-" if value is None else f"{value:.4f}" for value in (*point.auc.values(), point.mean_auc)]
        table.add_row(
            f"{point.epoch:.2f}",
            f"{point.train_loss:.4f}",
            f"{point.log_loss:.4f}",
            *scores,
            f"{point.rows_per_second:,.0f}",
            style="bold green" if point.step == report.best_step else None,
        )
    return table
