"""A replay from its options to its exit: reads the log, connects, shows progress, stops on a signal, sums up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from model.data.artifact import read_dataset, read_encoders
from model.errors import Fault, UserError
from serving.traffic.address import require_address
from serving.traffic.arrivals import PROCESSES, constant, logged, poisson
from serving.traffic.click_model import ClickModel, ClickModelConfig
from serving.traffic.evidence_token import read_token
from serving.traffic.gateway_client import GatewayClient
from serving.traffic.logged_context import LoggedContext
from serving.traffic.outcome_poster import OutcomePoster
from serving.traffic.plant import parse_plants
from serving.traffic.ranking_call import PROTOCOLS, RankingCall
from serving.traffic.replay import Replay, ReplayPlan
from serving.traffic.sessions import sessions_of
from serving.traffic.summary import Circumstances, Delivery, summary_json, summary_text
from serving.traffic.visits import Visits


@dataclass(frozen=True)
class LoadOptions:
    """What `mgoe traffic replay` is told. Raises UserError where options contradict each other."""

    log: Path
    gateway: str
    click_model: ClickModelConfig
    evidence: str | None = None
    experiment: str | None = None
    token: Path | None = None
    rate: float = 20.0
    duration_s: float | None = 60.0
    requests: int | None = None
    arrivals: str = "poisson"
    speed: float = 1.0
    seed: int = 0
    plants: tuple[str, ...] = ()
    protocol: str = "v2"
    model: str = "mgoe"
    candidates: int = 20
    extras: int = 5
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        for name, value, known in (("arrivals", self.arrivals, PROCESSES), ("protocol", self.protocol, PROTOCOLS)):
            if value not in known:
                raise UserError(f"--{name} {value}: write one of {', '.join(known)}")
        for name, number in (("rate", self.rate), ("speed", self.speed)):
            if not 0 < number <= 1e6:
                raise UserError(f"--{name} {number:g}: write a number above 0, at most 1000000")
        if (self.evidence is None) != (self.experiment is None):
            raise UserError("--evidence and --experiment go together: outcomes belong to an experiment")
        for name, address in (("gateway", self.gateway), ("evidence", self.evidence)):
            if address is not None:
                require_address(f"--{name}", address)

    @property
    def process(self) -> str:
        """The arrivals in words."""
        return (
            f"the log's own, {self.speed:g} times as fast"
            if self.arrivals == "log"
            else f"{self.arrivals} at {self.rate:g}/s"
        )


def run_load(options: LoadOptions, summary: Path | None, *, quiet: bool) -> None:
    """Runs it to its end. summary: file for the figures, - for standard output.

    Raises Fault where nothing was answered, or outcomes were refused or could not be delivered.
    """
    plan, call = prepare(options)
    token = read_token(options.token) if options.evidence else None
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(options, plan, call, token, summary, quiet=quiet))


def prepare(options: LoadOptions) -> tuple[ReplayPlan, RankingCall]:
    """Reads the log. Raises UserError or Fault."""
    plant = parse_plants(list(options.plants), options.click_model.relevant)
    dataset, encoders = read_dataset(options.log, mapped=True), read_encoders(options.log)
    sessions = sessions_of(dataset, options.candidates)
    names = dataset.schema.task_names
    given = tuple(None if task.given is None else names.index(task.given) for task in dataset.schema.tasks)
    context = LoggedContext(encoders)
    visits = Visits(
        sessions,
        ClickModel(options.click_model, sessions.share_T, given),
        context,
        seed=options.seed,
        extras=options.extras,
        pick="logged" if options.arrivals == "log" else "drawn",
    )
    moments: Iterator[float]
    if options.arrivals == "log":
        moments = logged(sessions.time_S, options.speed)
    else:
        moments = poisson(options.rate, options.seed) if options.arrivals == "poisson" else constant(options.rate)
    plan = ReplayPlan(visits, moments, plant, options.experiment, options.duration_s, options.requests)
    return plan, RankingCall("v1" if options.protocol == "v1" else "v2", options.model, context.multi)


async def _run(
    options: LoadOptions, plan: ReplayPlan, call: RankingCall, token: str | None, summary: Path | None, *, quiet: bool
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        client = GatewayClient(options.gateway, call, timeout_s=options.timeout_s)
        stack.push_async_callback(client.close)
        poster = None
        if options.evidence is not None:
            poster = OutcomePoster(options.evidence, token)
            stack.push_async_callback(poster.close)
        replay = Replay(plan, client, poster)
        await replay.require_ready()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, _stop_once, loop, replay)
        try:
            with _progress(plan, options, quiet=quiet) as show:
                await replay.run(show)
        finally:
            if replay.tally.sent:
                _sum_up(options, replay, summary)
    _judge(replay)


def _stop_once(loop: asyncio.AbstractEventLoop, replay: Replay) -> None:
    """The first signal ends the arrivals; the next one ends the process as signals do."""
    replay.stop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(name)


def _sum_up(options: LoadOptions, replay: Replay, summary: Path | None) -> None:
    poster = replay.poster
    delivery = None
    if poster is not None:
        delivery = Delivery(poster.accepted, dict(poster.refused), poster.waiting, poster.retries, poster.uncounted)
    circumstances = Circumstances(
        log=str(options.log),
        gateway=options.gateway,
        arrivals=options.process,
        seed=options.seed,
        plant=str(replay.plan.plant),
        elapsed_s=replay.elapsed_s,
        left_out_rows=replay.plan.visits.sessions.left_out,
        stopped=replay.stopped,
    )
    figures = json.dumps(summary_json(replay.tally, delivery, circumstances), indent=1, allow_nan=False) + "\n"
    if summary == Path("-"):
        sys.stdout.write(figures)
        return
    Console(highlight=False).print(summary_text(replay.tally, delivery, circumstances))
    if summary is not None:
        try:
            summary.write_text(figures, encoding="utf-8")
        except OSError as error:
            raise Fault(f"summary {summary} cannot be written: {error.strerror}") from None


def _judge(replay: Replay) -> None:
    """Raises Fault where the replay did not do what it is for."""
    tally, poster = replay.tally, replay.poster
    if tally.sent and not tally.answered:
        kinds = sum((arm.answers for arm in tally.arms.values()), tally.nobody.answers)
        said = ", ".join(f"{count:,} × {kind}" for kind, count in kinds.most_common())
        raise Fault(f"gateway {replay.client.address}: none of {tally.sent:,} requests was answered well: {said}")
    if poster is not None and poster.refused:
        raise Fault(
            f"evidence {poster.address}: {poster.refused.total():,} of {tally.put:,} outcomes were refused; "
            f"the first: {poster.first_refusal}"
        )


@contextlib.contextmanager
def _progress(plan: ReplayPlan, options: LoadOptions, *, quiet: bool) -> Iterator[_Show]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as bar:
        if plan.requests is not None:
            total: float | None = plan.requests
        elif plan.duration_s is not None:
            total = plan.duration_s * options.rate if options.arrivals != "log" else len(plan.visits.sessions)
        else:
            total = None
        yield _Show(bar, total)


class _Show:
    """Puts a replay's counts beside its bar."""

    def __init__(self, bar: Progress, total: float | None) -> None:
        self._bar = bar
        self._task = bar.add_task("traffic (simulated feedback)", total=total, said="")

    def __call__(self, replay: Replay) -> None:
        tally, poster = replay.tally, replay.poster
        said = f"{tally.sent:,} sent, {tally.answered:,} answered, {tally.errors:,} failed, {replay.open:,} open"
        if poster is not None:
            said += f", {poster.accepted:,} outcomes accepted, {poster.waiting:,} wait"
            said += f" ({poster.trouble})" if poster.trouble else ""
        self._bar.update(self._task, completed=tally.sent + tally.shed, said=said)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed: half the load's own processor time."""
    try:
        import uvloop  # noqa: PLC0415
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
