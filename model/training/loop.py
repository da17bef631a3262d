"""The training loop: one worker's view. The same inputs, config and seed give the same weights, resumed or not.

Legend: N rows, B rows of a batch, T tasks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from model.errors import Fault, UserError
from model.nets.interface import Architecture
from model.nets.node_store import NodeStore, Rows
from model.training.average import MovingAverage
from model.training.checkpoint import Checkpoints, Position, Saved
from model.training.config import TrainingConfig
from model.training.curve import Evaluation, TrainingReport, best_of, out_of_patience
from model.training.feed import Feed, Labelled, MemoryFeed
from model.training.handover import handed_over
from model.training.objective import loss_weights, prepared
from model.training.optimiser import clip_gradients, load_state, make_optimisers, scale_rates, state_tensors
from model.training.progress import Silent, Watcher
from model.training.schedule import is_evaluation, rate_factor
from model.training.sharded_tables import tables_of
from model.training.shift import shift_of_degrees
from model.training.space import on_entire_space
from model.training.tables import large_id_tables
from model.training.tracking import NullTracker, Tracker
from model.training.validation import Validation, share_moments
from model.training.world import World

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Job:
    """What is trained on what. rows of `train` are those that may be trained on; `validate` decides when to stop."""

    architecture: Architecture
    store: NodeStore
    train: Rows
    validate: Rows
    config: TrainingConfig
    title: str = "train"


@dataclass(frozen=True)
class Surroundings:
    """What a run talks to. checkpoints: None where a killed run may start from its beginning."""

    world: World = field(default_factory=World)
    checkpoints: Checkpoints | None = None
    tracker: Tracker = field(default_factory=NullTracker)
    watcher: Watcher = field(default_factory=Silent)


def fit(job: Job, around: Surroundings) -> tuple[Weights, TrainingReport]:
    """Trains until the epochs are over or patience is out.

    Returns the weights to keep (a state dict on the store's device) and the report. Torch's global random state is left
    as it was. Raises UserError for empty slices, Fault for a loss that is not finite or a checkpoint that cannot be
    written.
    """
    for name, rows in (("training", job.train), ("validation", job.validate)):
        if len(rows) == 0:
            raise UserError(f"the {name} slice holds no rows that can be used: move the split's moments")
    if len(job.train) < around.world.size:
        raise UserError(f"{len(job.train)} training rows for {around.world.size} workers: lower world_size")
    devices = [job.store.device] if job.store.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        return _Run(job, around).complete()


class _Run:
    """The moving parts of one fit()."""

    def __init__(self, job: Job, around: Surroundings) -> None:
        self.job = job
        self.config = job.config
        self.around = around
        world = around.world
        weights_T = loss_weights(job.store.spec.tasks, job.config)
        self.feed: Feed = MemoryFeed(
            job.store,
            on_entire_space(job.train, job.store.spec.given) if job.architecture.entire_space else job.train,
            batch_size=job.config.batch_size,
            seed=job.config.seed,
            loss_weights_T=torch.tensor(weights_T),
            rank=world.rank,
            size=world.size,
        )
        self.total = self.feed.steps_per_epoch * job.config.epochs
        self.parameters = sum(parameter.numel() for parameter in job.architecture.parameters())
        large = large_id_tables(job.architecture, job.config).values()
        self.tables = tables_of(job.architecture, job.config, world)
        self.optimisers = make_optimisers(job.architecture, job.config, large)
        self.average = None if job.config.ema_decay is None else MovingAverage(job.architecture, job.config.ema_decay)
        self.objective = prepared(job.architecture, job.config, world, sparse=len(self.optimisers) > 1)
        self.validation = Validation(
            job.store,
            job.validate,
            config=job.config,
            loss_weights=weights_T,
            world=world,
            fetch=self.tables.fetch,
        )
        self.best: Weights = {}
        self.best_tables: Weights = {}
        run = "" if around.checkpoints is None else around.checkpoints.run
        self.position = Position(run=run)
        self.saved_at = self.waited_from = time.monotonic()
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=job.store.device)

    def complete(self) -> tuple[Weights, TrainingReport]:
        started = time.monotonic()
        self._resume()
        before = self.position.seconds
        watcher = self.around.watcher
        watcher.begin(self.job.title, self.total, self.position.step)
        warning = shift_of_degrees(self.job.architecture, self.job.store, self.job.train, self.job.validate)
        if warning is not None:
            watcher.say(f"{self.job.title}: {warning}")
        self.job.architecture.train()
        stopped = self._stopped()
        try:
            while stopped is None:
                epoch, first = divmod(self.position.step, self.feed.steps_per_epoch)
                self.waited_from = time.monotonic()
                for labelled in self.feed.epoch(epoch, first):
                    self._step(labelled)
                    self._advance(before + time.monotonic() - started)
                    stopped = self._stopped()
                    if stopped is not None:
                        break
        finally:
            watcher.end()
        return self._kept(), self._report(stopped)

    def _step(self, labelled: Labelled) -> None:
        """One optimiser step; the position moves on by one."""
        step = self.position.step
        torch.manual_seed(_step_seed(self.config.seed, self.around.world.rank, step))
        factor = rate_factor(step, self.total, self.config)
        scale_rates(self.optimisers, factor)
        self.tables.begin(factor)
        self.tables.fetch(labelled.batch)
        loss: Tensor = self.objective(labelled.batch, labelled.labels_BT, labelled.weight_BT)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.gradient_clip is not None:
            clip_gradients(self.job.architecture, self.config.gradient_clip)
        for optimiser in self.optimisers:
            optimiser.step()
        self.tables.step()
        if self.average is not None:
            self.average.update()
        self.loss_sum += loss.detach()
        shown = float(loss.detach()) if self.around.watcher.wants_loss(step + 1) else None
        spent = self.position.train_seconds + time.monotonic() - self.waited_from
        rows = self.position.train_rows + labelled.rows
        self.around.watcher.stepped(step + 1, shown, rows / max(spent, 1e-9))
        self.position = self.position.model_copy(
            update={
                "step": step + 1,
                "loss_steps": self.position.loss_steps + 1,
                "train_seconds": spent,
                "train_rows": rows,
            }
        )

    def _advance(self, seconds: float) -> None:
        """What follows a step: an evaluation and a checkpoint where they are due."""
        self.position = self.position.model_copy(update={"seconds": seconds})
        if is_evaluation(self.position.step, self.feed.steps_per_epoch, self.config):
            self._evaluate()
        if self._checkpoint_due():
            self._save()
        self.waited_from = time.monotonic()

    def _evaluate(self) -> None:
        loss = float(self.around.world.sum(self.loss_sum.clone())) / self.around.world.size / self.position.loss_steps
        if not np.isfinite(loss):
            raise Fault(
                f"the training loss became {loss} before step {self.position.step}: "
                "lower learning_rate or set gradient_clip"
            )
        if self.average is None:
            auc, mean, log_loss = self.validation.measure(self.job.architecture)
        else:
            with self.average.applied():
                auc, mean, log_loss = self.validation.measure(self.job.architecture)
        point = Evaluation(
            step=self.position.step,
            epoch=self.position.step / self.feed.steps_per_epoch,
            train_loss=loss,
            auc=auc,
            mean_auc=mean,
            log_loss=log_loss,
            rows_per_second=self.position.train_rows / max(self.position.train_seconds, 1e-9),
            seconds=self.position.seconds,
            learning_rate=self.optimisers[0].param_groups[0]["lr"],
        )
        curve = (*self.position.curve, point)
        self.position = self.position.model_copy(
            update={"curve": curve, "loss_steps": 0, "train_seconds": 0.0, "train_rows": 0}
        )
        self.loss_sum.zero_()
        if best_of(curve, self.config.metric) == len(curve) - 1:
            self.best, self.best_tables = self._current(), self.tables.weights()
        self.around.tracker.evaluated(point)
        self.around.watcher.evaluated(point)

    def _stopped(self) -> Literal["epochs", "patience"] | None:
        if out_of_patience(self.position.curve, self.config.metric, self.config.patience):
            return "patience"
        return "epochs" if self.position.step >= self.total else None

    def _current(self) -> Weights:
        """A copy of the weights that an evaluation sees."""
        weights = {name: tensor.detach().clone() for name, tensor in self.job.architecture.state_dict().items()}
        if self.average is not None:
            weights |= {name: average.clone() for name, average in self.average.averages.items()}
        return weights

    def _kept(self) -> Weights:
        if self.config.restore_best:
            return self.best | self.tables.whole(self.best_tables, "weight")
        return self._current() | self.tables.whole(self.tables.weights(), "weight")

    def _report(self, stopped: Literal["epochs", "patience"]) -> TrainingReport:
        curve = self.position.curve
        best = curve[best_of(curve, self.config.metric)].step if self.config.restore_best else self.position.step
        return TrainingReport(
            curve=curve,
            stopped=stopped,
            steps=self.position.step,
            steps_per_epoch=self.feed.steps_per_epoch,
            best_step=best,
            metric=self.config.metric,
            train_rows=len(self.job.train),
            validation_rows=len(self.validation),
            parameters=self.parameters,
            wall_seconds=self.position.seconds,
            resumed_from=self.position.resumed_from,
            world_size=self.around.world.size,
            device=self.job.store.device.type,
        )

    def _checkpoint_due(self) -> bool:
        """The same for all workers: each has a part in a checkpoint."""
        if self.around.checkpoints is None:
            return False
        if self.config.checkpoint_unit == "steps":
            return self.position.step % max(1, round(self.config.checkpoint_every)) == 0
        return self.around.world.agreed(time.monotonic() - self.saved_at >= self.config.checkpoint_every)

    def _save(self) -> None:
        """Sums over workers, whole tables, and what is the same on all of them; the first one writes it."""
        world, architecture = self.around.world, self.job.architecture
        share_moments(architecture, world)
        loss_sum = world.sum(self.loss_sum.clone()) / world.size
        tables = self.tables.whole(self.tables.weights(), "weight")
        best_tables = self.tables.whole(self.best_tables, "weight") if self.best_tables else {}
        sums = self.tables.whole(self.tables.sums(), "sum")
        self.saved_at = time.monotonic()
        if self.around.checkpoints is None or world.rank != 0:
            return
        tensors = {f"model.{name}": tensor for name, tensor in (architecture.state_dict() | tables).items()}
        tensors |= {f"best.{name}": tensor for name, tensor in (self.best | best_tables).items()}
        tensors |= {f"optimiser.{name}": tensor for name, tensor in state_tensors(self.optimisers).items()}
        tensors |= {f"tables.{name}": tensor for name, tensor in sums.items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.averages.items()}
        tensors["loss_sum"] = loss_sum
        self.around.checkpoints.save(self.position, tensors)

    def _resume(self) -> None:
        found = self._newest()
        if found is None:
            return
        position, tensors = found
        weights, best, apart = _part(tensors, "model."), _part(tensors, "best."), self.tables.apart
        self.job.architecture.load_state_dict(_without(weights, apart))
        load_state(self.optimisers, _part(tensors, "optimiser."))
        self.tables.load(self.tables.part(weights), self.tables.part(_part(tensors, "tables.")))
        device = self.job.store.device
        self.best = {name: tensor.to(device) for name, tensor in _without(best, apart).items()}
        self.best_tables = {name: best_part.to(device) for name, best_part in self.tables.part(best).items()}
        if self.average is not None:
            self.average.load(_part(tensors, "average."))
        self.loss_sum.copy_(tensors["loss_sum"])
        self.position = position.model_copy(update={"resumed_from": (*position.resumed_from, position.step)})
        for point in position.curve:  # the tracker's run may be a new one: it gets the whole curve
            self.around.tracker.evaluated(point)
        self.around.watcher.say(f"{self.job.title}: going on from step {position.step} of {self.total}")

    def _newest(self) -> Saved | None:
        """The checkpoint that the first worker finds: all go on from the same one, whatever each of them could see."""
        checkpoints, world = self.around.checkpoints, self.around.world
        found = checkpoints.latest() if checkpoints is not None and world.rank == 0 else None
        return handed_over(found, world)


def _step_seed(seed: int, rank: int, step: int) -> int:
    """Seed of one step's dropout on one worker: a mix of all three, so that neighbours are unrelated."""
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1, np.uint64)[0])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _without(tensors: dict[str, Tensor], names: frozenset[str]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name not in names}
