"""The published table of transitions, as a page: docs/rollout-states.md."""

from __future__ import annotations

from typing import get_args

from serving.rollout.state import TERMINAL, Phase
from serving.rollout.table import TABLE, Rule

_HEAD = """\
# States of a rollout

Printed from the table that decide() executes (`serving/rollout/table.py`) by `python -m serving.rollout.golden`.

One decision makes at most one transition: the first line, from the top, whose state and condition fit. Every transition
is one Event, one line in `status.history`, and carries its numbers. A line with `(stays)` changes the step, the weight
or the alarm and leaves the state.

| from | to | name | when |
|---|---|---|---|
"""


def page() -> str:
    """The page as Markdown."""
    return _HEAD + "".join(_line(rule) for rule in TABLE) + _order()


def _line(rule: Rule) -> str:
    target = rule.target or "(stays)"
    return f"| {_sources(rule)} | {target} | {rule.reason} | {rule.when} |\n"


def _sources(rule: Rule) -> str:
    phases: tuple[str, ...] = get_args(Phase)
    if len(rule.sources) == len(phases):
        return "any"
    return ", ".join(phase for phase in phases if phase in rule.sources)


def _order() -> str:
    ends = ", ".join(sorted(TERMINAL))
    return (
        f"\n{ends} are final for their run: nothing but another run leaves them.\n\n"
        "In a rollback the router is written first, then the status; in everything else the status comes first, on\n"
        "the version of the resource that was read, so that a person's change in between stops the write.\n"
    )
