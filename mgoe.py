"""The command `mgoe`: composes each folder's own commands and loads a folder only when its command is called.

So `mgoe --help` answers at once, and the commands of one room work where the packages of another are not installed.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import typer
from typer.exceptions import TyperException

from model.errors import MgoeError, UserError

_OURS = frozenset({"mgoe", "model", "components", "pipelines", "serving"})


_PLAINER = (
    (r"Value error, ", ""),
    (r"argument\(s\) \((.*)\)$", r"argument \1"),
    (r"\(env var: '(\w+)'\)", r"(or set \1)"),
    (r"(option: -[\d.].*)$", r"\1 (a number below 0 stands after --)"),
)
"""What typer says of a wrong command line, and what a reader without its code makes more of."""


@dataclass(frozen=True)
class Room:
    """A folder's commands: where its typer app lives, the extra that installs what it needs, and one line of help."""

    module: str
    extra: str
    help: str
    inline: bool = False
    """The app's command of this name is mounted by itself (`mgoe run`), not the app as a group (`mgoe data check`)."""


_STACK = "control,gateway,serve,train"

ROOMS: Mapping[str, Room] = {
    "run": Room("pipelines.commands", "train,pipeline", "Run the whole pipeline on this machine.", inline=True),
    "data": Room("model.data.commands", "train", "Check, ingest, describe and generate logs."),
    "graph": Room("model.graph.commands", "train", "Build and inspect macro graphs."),
    "train": Room("model.training.commands", "train", "Train one model.", inline=True),
    "evaluate": Room("model.evaluation.commands", "train", "Measure one model on the test slice.", inline=True),
    "compare": Room("model.evaluation.commands", "train", "Compare two evaluations, paired.", inline=True),
    "bundle": Room("model.bundle.commands", "train", "Package a model for serving; show, verify and sign bundles."),
    "serve": Room("serving.ranker.commands", "serve", "Serve a bundle by KServe's protocols.", inline=True),
    "prepare": Room("serving.ranker.commands", "serve", "Fill a server's cache for a bundle ahead.", inline=True),
    "torchserve": Room("serving.ranker.torchserve.commands", "serve", "Archive a bundle for TorchServe and serve it."),
    "gateway": Room("serving.gateway.commands", "control,gateway", "Split traffic between two arms with Envoy."),
    "evidence": Room("serving.evidence.commands", "control", "Take in exposures and outcomes, and keep them."),
    "experiment": Room(
        "serving.experiment.commands", "control", "Report on an experiment; plan its size and duration."
    ),
    "rollout": Room(
        "serving.rollout.commands", "control", "Put the candidate in production on proof; steer and watch."
    ),
    "console": Room("serving.console.commands", "control", "A web page to watch and steer rollouts."),
    "traffic": Room("serving.traffic.commands", "control,train", "Send a log's users through the gateway, open loop."),
    "up": Room("serving.stack.commands", _STACK, "Start rankers, gateway, evidence, controller here.", inline=True),
    "down": Room("serving.stack.commands", _STACK, "End what `mgoe up` started.", inline=True),
    "status": Room("serving.stack.commands", _STACK, "Show the processes that `mgoe up` started.", inline=True),
    "logs": Room("serving.stack.commands", _STACK, "Show what these processes wrote.", inline=True),
    "registry": Room("model.registry.commands", "train", "List, show and register model versions."),
    "pipeline": Room("pipelines.commands", "train,pipeline", "Compile, submit and schedule the pipeline."),
}


def _dispatch(name: str, args: list[str]) -> None:
    """Load the room behind `name` and hand it the rest of the command line."""
    room = ROOMS[name]
    try:
        app: typer.Typer = importlib.import_module(room.module).app
    except ModuleNotFoundError as missing:
        package = (missing.name or "").split(".")[0]
        if package in _OURS:
            raise
        raise UserError(
            f"`mgoe {name}` needs the package {package!r}, which is not installed: pip install 'mgoe[{room.extra}]'"
        ) from missing
    app.rich_markup_mode = "markdown"  # rich's own markup would take `[default: ...]` in a help text for a tag
    only_command = len(app.registered_commands) == 1 and not app.registered_groups  # then typer makes no group of it
    if room.inline and not only_command:
        _call(app, [name, *args], "mgoe")
    else:
        _call(app, args, f"mgoe {name}")


def _call(app: typer.Typer, args: list[str], path: str) -> None:
    """Run the command `path`. Raises UserError for a wrong command line, which typer would show in a box."""
    command = typer.main.get_command(app)
    try:
        code = command.main(args=args, prog_name=path, standalone_mode=False)
    except TyperException as wrong:
        if not wrong.format_message():  # nothing was asked for, and the help that is shown then has been printed
            sys.exit(wrong.exit_code)
        if args and args[0] in getattr(command, "commands", {}):
            path = f"{path} {args[0]}"
        context = getattr(wrong, "ctx", None)
        raise UserError(usage_error(wrong.format_message(), context.command_path if context else path)) from None
    if code:
        sys.exit(code)


def usage_error(said: str, path: str) -> str:
    """One line of what typer says of a wrong command line, with where help is. path: the command's, with `mgoe`."""
    line = " ".join(said.split()).rstrip(".")
    for found, better in _PLAINER:
        line = re.sub(found, better, line)
    return f"{line[0].lower()}{line[1:]}; see `{path} --help`"


def _root() -> typer.Typer:
    root = typer.Typer(
        name="mgoe",
        help="Train a graph-augmented multi-task ranker beside its baseline, and promote it on proof.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    passed_on = {
        "allow_extra_args": True,
        "allow_interspersed_args": False,  # else `--` is taken out
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
    for name, room in ROOMS.items():
        root.command(name, help=room.help, context_settings=passed_on)(_pass_on)
    return root


def _pass_on(context: typer.Context) -> None:
    _dispatch(str(context.info_name), context.args)


def main() -> None:
    """Entry point: an error that a person can mend is one line on stderr and its exit code, never a traceback."""
    # OpenMP's threads spin while they wait: on cores that others use too, training then takes many times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        try:
            _call(_root(), sys.argv[1:], "mgoe")
        finally:
            sys.stdout.flush()  # a disk that is full is told here, not while Python ends
    except MgoeError as error:
        sys.stderr.write(f"mgoe: {error}\n")
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.stderr.write("mgoe: a question was left without an answer: nothing more is done\n")
        sys.exit(1)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EPIPE}:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the rest of it is tried again at the end
        if error.errno == errno.ENOSPC:
            sys.stderr.write(f"mgoe: {error.filename or 'standard output'} cannot be written: {error.strerror}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
