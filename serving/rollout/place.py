"""Whose rollouts a command means: this machine's, or a cluster's. Three options that every command has."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.errors import UserError
from serving.rollout.sqlite_store import SqliteStore

if TYPE_CHECKING:
    from serving.rollout.desk import Desk

DEFAULT_STORE = Path(os.environ.get("MGOE_STATE", "runs/stack")) / "rollouts.db"
"""The stack's of `mgoe up`, so that whatever moves or names rollouts on one machine means the same ones."""

Store = Annotated[Path, typer.Option("--store", envvar="MGOE_ROLLOUTS", help="The local controller's database.")]
Context = Annotated[str | None, typer.Option("--context", help="A cluster of the kubeconfig, instead of this machine.")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Of the cluster's current context, or of --context.")
]
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "store": (Store, DEFAULT_STORE),
    "context": (Context, None),
    "namespace": (Namespace, None),
}


def desk_of(store: Path, context: str | None, namespace: str | None, *, new: bool = False) -> Desk:
    """Where the rollouts are. new: a local database may be made. Raises UserError."""
    if context is not None or namespace is not None:
        from serving.rollout.cluster_client import cluster_client, namespace_of  # noqa: PLC0415  half a second
        from serving.rollout.desk import ClusterDesk  # noqa: PLC0415

        return ClusterDesk(cluster_client(context), namespace or namespace_of(context))
    if not new and not store.is_file():
        raise UserError(
            f"no rollouts here: {store} does not exist (`mgoe up` makes it in its folder, --store names another "
            "database, -n NAMESPACE means a cluster's)"
        )
    return SqliteStore(store)


def placed(*, later: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command `desk` by the three options, which its signature gets in place of it.

    later: the command gets what makes the desk, and a local database is made where there is none.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(*, store: Path, context: str | None, namespace: str | None, **rest: Any) -> None:
            desk = functools.partial(desk_of, store, context, namespace)
            command(desk=functools.partial(desk, new=True) if later else desk(), **rest)

        told = inspect.signature(command, eval_str=True, locals={"Desk": object, "Callable": Callable})
        kept = [each.replace(kind=each.KEYWORD_ONLY) for each in told.parameters.values() if each.name != "desk"]
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in _OPTIONS.items()
        ]
        run.__signature__ = told.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in (*kept, *added)}
        del run.__wrapped__  # typer would read the signature of what is wrapped
        return run

    return decorate
