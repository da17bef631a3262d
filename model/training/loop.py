"""The training loop: one worker's view. The same inputs, config and seed give the same weights, resumed or not.

Legend: N rows, B rows of a batch, T tasks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.errors import Fault, UserError
from model.nets.interface import Architecture
from model.nets.node_store import NodeStore, Rows
from model.training.average import MovingAverage
from model.training.checkpoint import Checkpoints, Position, Saved
from model.training.config import TrainingConfig
from model.training.curve import Evaluation, TrainingReport, best_of, measure, out_of_patience
from model.training.feed import Feed, Labelled, MemoryFeed
from model.training.handover import handed_over
from model.training.objective import Objective
from model.training.optimiser import clip_gradients, load_state, make_optimisers, scale_rates, state_tensors
from model.training.prediction import predict_rows
from model.training.progress import Silent, Watcher
from model.training.schedule import is_evaluation, rate_factor
from model.training.shift import shift_of_degrees
from model.training.space import on_entire_space
from model.training.tracking import NullTracker, Tracker
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
        tasks = job.store.spec.tasks
        self.loss_weights = loss_weights(tasks, job.config)
        self.feed: Feed = MemoryFeed(
            job.store,
            on_entire_space(job.train, job.store.spec.given) if job.architecture.entire_space else job.train,
            batch_size=job.config.batch_size,
            seed=job.config.seed,
            loss_weights_T=torch.tensor(self.loss_weights),
            rank=around.world.rank,
            size=around.world.size,
        )
        self.total = self.feed.steps_per_epoch * job.config.epochs
        self.optimisers = make_optimisers(job.architecture, job.config)
        self.average = None if job.config.ema_decay is None else MovingAverage(job.architecture, job.config.ema_decay)
        self.objective = _objective(job, around.world)
        self.validation = _validation_rows(len(job.validate), job.config)
        self.best: Weights = {}
        run = "" if around.checkpoints is None else around.checkpoints.run
        self.position = Position(run=run)
        self.saved_at = time.monotonic()
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
        began = time.monotonic()
        step = self.position.step
        torch.manual_seed(_step_seed(self.config.seed, self.around.world.rank, step))
        scale_rates(self.optimisers, rate_factor(step, self.total, self.config))
        loss: Tensor = self.objective(labelled.batch, labelled.labels_BT, labelled.weight_BT)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.gradient_clip is not None:
            clip_gradients(self.job.architecture, self.config.gradient_clip)
        for optimiser in self.optimisers:
            optimiser.step()
        if self.average is not None:
            self.average.update()
        self.loss_sum += loss.detach()
        shown = float(loss.detach()) if self.around.watcher.wants_loss(step + 1) else None
        spent = self.position.train_seconds + time.monotonic() - began
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

    def _evaluate(self) -> None:
        loss = float(self.around.world.sum(self.loss_sum.clone())) / self.around.world.size / self.position.loss_steps
        if not np.isfinite(loss):
            raise Fault(
                f"the training loss became {loss} before step {self.position.step}: "
                "lower learning_rate or set gradient_clip"
            )
        if self.average is None:
            auc, mean, log_loss = self._measure()
        else:
            with self.average.applied():
                auc, mean, log_loss = self._measure()
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
            self.best = self._current()
        self.around.tracker.evaluated(point)
        self.around.watcher.evaluated(point)

    def _measure(self) -> tuple[dict[str, float | None], float | None, float]:
        """Every worker predicts its share of the validation rows; the sum over workers is the whole."""
        world, job = self.around.world, self.job
        world.as_the_first(job.architecture.buffers())  # running moments: those that are kept with the weights
        index = torch.arange(world.rank, len(self.validation), world.size, device=job.store.device)
        rows_N = self.validation.to(job.store.device)
        share = predict_rows(job.architecture, job.store, job.validate, rows_N[index])
        whole = torch.zeros(len(rows_N), share.shape[1], device=job.store.device)
        whole[index] = share
        labels, observed = job.validate.labels_NT[rows_N], job.validate.observed_NT[rows_N]
        return measure(
            job.store.spec.tasks,
            self.loss_weights,
            labels.cpu().numpy(),
            observed.cpu().numpy(),
            world.sum(whole).cpu().numpy(),
        )

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
        return self.best if self.config.restore_best else self._current()

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
            parameters=sum(parameter.numel() for parameter in self.job.architecture.parameters()),
            wall_seconds=self.position.seconds,
            resumed_from=self.position.resumed_from,
            world_size=self.around.world.size,
            device=self.job.store.device.type,
        )

    def _checkpoint_due(self) -> bool:
        if self.around.checkpoints is None or self.around.world.rank != 0:
            return False
        if self.config.checkpoint_unit == "steps":
            return self.position.step % max(1, round(self.config.checkpoint_every)) == 0
        return time.monotonic() - self.saved_at >= self.config.checkpoint_every

    def _save(self) -> None:
        if self.around.checkpoints is None:
            return
        tensors = {f"model.{name}": tensor for name, tensor in self.job.architecture.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"optimiser.{name}": tensor for name, tensor in state_tensors(self.optimisers).items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.averages.items()}
        tensors["loss_sum"] = self.loss_sum
        self.around.checkpoints.save(self.position, tensors)
        self.saved_at = time.monotonic()

    def _resume(self) -> None:
        found = self._newest()
        if found is None:
            return
        position, tensors = found
        self.job.architecture.load_state_dict(_part(tensors, "model."))
        load_state(self.optimisers, _part(tensors, "optimiser."))
        self.best = {name: tensor.to(self.job.store.device) for name, tensor in _part(tensors, "best.").items()}
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


def loss_weights(tasks: tuple[str, ...], config: TrainingConfig) -> list[float]:
    """lambda of every task, in order. Raises UserError for weights of tasks that the log does not have."""
    unknown = sorted(set(config.loss_weights) - set(tasks))
    if unknown:
        raise UserError(f"loss_weights names the task {unknown[0]!r}, but the log's tasks are {', '.join(tasks)}")
    return [config.loss_weights.get(task, 1.0) for task in tasks]


def _objective(job: Job, world: World) -> nn.Module:
    objective: nn.Module = Objective(job.architecture, job.config.precision, job.store.device.type)
    if job.config.compile:
        objective = torch.compile(objective)  # type: ignore[assignment]
    if world.size == 1:
        return objective
    if world.device.type == "cuda" and job.config.sparse_optimiser != "none":
        raise UserError("NCCL sums no sparse gradients: set sparse_optimiser to none, or train on one GPU")
    # Towers of a conditional task, or tables of an unused option, may get no gradient in a step.
    return DistributedDataParallel(objective, find_unused_parameters=True)


def _validation_rows(n_rows: int, config: TrainingConfig) -> Tensor:
    """Which validation rows are measured: all, or a draw by the seed, in the log's order."""
    if config.validation_rows is None or config.validation_rows >= n_rows:
        return torch.arange(n_rows)
    drawn = np.random.default_rng([config.seed, n_rows]).choice(n_rows, config.validation_rows, replace=False)
    return torch.from_numpy(np.sort(drawn))


def _step_seed(seed: int, rank: int, step: int) -> int:
    """Seed of one step's dropout on one worker: a mix of all three, so that neighbours are unrelated."""
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1, np.uint64)[0])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
