"""The training loop, top to bottom: batch, forward, finite?, backward, step; once in a while log, save, look."""

import logging
import math
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NoReturn

import torch

from data_prep.runtime.progress import Progress
from mae_rad.data.film_order import StepRange
from mae_rad.errors import RunError
from mae_rad.tracking import Outbox, Tracker, default_uri
from mae_rad.training.attention_logits import AttentionLogits
from mae_rad.training.checkpoints import Checkpoints
from mae_rad.training.collapse_monitor import Health
from mae_rad.training.deepspeed_engine import (
    Engine,
    NonFiniteError,
    Ranks,
    gather_over_ranks,
    join_ranks,
    max_over_ranks,
    mean_over_ranks,
    micro_batch,
    on_first_rank,
)
from mae_rad.training.deterministic import deterministic_kernels
from mae_rad.training.heartbeat import RollCall
from mae_rad.training.learning_rate import learning_rate
from mae_rad.training.matmul_throughput import matrix_rate
from mae_rad.training.preemption import Stopping
from mae_rad.training.run_folder import FAULT, RunFolder
from mae_rad.training.task import Drawn, TrainingTask

_log = logging.getLogger(__name__)

TOLD = 5
"""Skipped films that are named in the log."""


def train(task: TrainingTask) -> None:
    """Run, or take up again, one training; what it was made for lies in the run folder when it returns.

    Raises:
        SystemExit: with ``stopping.REQUEUE`` after it was told to leave and has saved itself.
        UserError: a mistake, or a loss that is not finite; on rank 0, the other ranks leave without a word.
    """
    settings = task.settings
    folder = RunFolder(settings, task.dataset_sha256)
    folder.check()
    who = join_ranks(settings.runtime.threads, settings.runtime.timeout_seconds)
    micro_batch(settings, who.world)
    on_first_rank(who, folder.begin)
    try:
        with (
            deterministic_kernels(settings.runtime.deterministic),
            Stopping(settings.runtime, first=who.first) as stopping,
            RollCall(who, settings.runtime.timeout_seconds) as roll,
            _tracked(task, folder, who) as outbox,
        ):
            _train(task, folder, who, outbox, roll, stopping)
    finally:
        folder.release()


def _train(  # noqa: PLR0912, PLR0915 - one loop, read top to bottom
    task: TrainingTask, folder: RunFolder, who: Ranks, outbox: Outbox | None, roll: RollCall, stopping: Stopping
) -> None:
    optimizer, runtime = task.settings.optimizer, task.settings.runtime
    checkpoints, engine, first_step = _resume(task, folder, who)
    if outbox:
        outbox.deliver()
    steps = StepRange(first_step, optimizer.steps, who.rank, who.world, micro_batch(task.settings, who.world))
    batches = task.batches(steps, who.device)
    progress = _progress(task, first_step, who)
    health, logits = Health(), AttentionLogits(engine.objective.encoder)
    if first_step:
        task.look(first_step, folder, who)
    meter = _Meter(first_step, who.device, task)

    for step in range(first_step, optimizer.steps):
        roll.at(step)
        rate = learning_rate(step, optimizer)
        done, last = step + 1, step + 1 == optimizer.steps
        logged = done % runtime.log_every == 0 or last
        parts: list[dict[str, float]] = []
        keys: list[str] = []
        for _ in range(optimizer.accumulation):
            batch, _ = meter.wait_for(batches)
            keys += batch.keys
            with logits.watched(logged):
                output = engine.forward(batch.to(who.device))
            parts.append(mean_over_ranks({"loss": output.loss, **output.metrics, **stopping.wishes()}))
            if not math.isfinite(parts[-1]["loss"]):
                _refuse("the loss", step, rate, [] if output.loss.isfinite() else list(batch.keys), folder, who)
            try:
                engine.backward_and_step(output.loss, rate)
            except NonFiniteError:
                _refuse("the gradient", step, rate, keys, folder, who)
        means = {name: _mean_of_known([part[name] for part in parts]) for name in parts[0]}
        wanted = stopping.agreed(means)

        if progress:
            progress.add(optimizer.batch, f"step {done}/{optimizer.steps}, loss {means['loss']:.4f}")
        if logged:
            values = means | meter.read(done, optimizer.batch, who.world)
            values |= _readings(engine, rate, None if runtime.compile else logits)  # no hook sees compiled code
            if who.first:
                folder.log(done, values)
                health.look(done, values)
        if done % runtime.checkpoint_every == 0 or last or wanted.save or wanted.leave:
            checkpoints.save(engine, done, last=last or wanted.leave)
            stopping.saved()
        if wanted.leave and not last:
            raise stopping.leave(done)
        with meter.paused():
            task.look(done, folder, who)
        if outbox and done % runtime.log_every == 0:
            outbox.deliver()

    with engine.whole_parameters():
        task.finish(folder, who)
    if progress:
        progress.close()


def _resume(task: TrainingTask, folder: RunFolder, who: Ranks) -> tuple[Checkpoints, Engine, int]:
    """The model under DeepSpeed, with the weights of the newest checkpoint, and the number of steps it has taken."""
    runtime = task.settings.runtime
    torch.manual_seed(task.settings.seed)
    model = task.model(who)
    checkpoints = Checkpoints(folder.checkpoints, who, runtime.zero_stage, runtime.keep_checkpoints)
    saved = checkpoints.newest()
    with checkpoints.readable(saved) as place:
        engine = Engine(model, task.settings, who, universal=place != folder.checkpoints)
        step = engine.load(place, saved.tag)["step"] if saved else 0
    if who.first:
        folder.truncate_metrics(step)
    return checkpoints, engine, step


def _progress(task: TrainingTask, first_step: int, who: Ranks) -> Progress | None:
    """The progress line of rank 0."""
    optimizer = task.settings.optimizer
    films, done = optimizer.steps * optimizer.batch, first_step * optimizer.batch
    return Progress(task.name, "films", films, done=done) if who.first else None


def _readings(engine: Engine, rate: float, logits: AttentionLogits | None) -> dict[str, float]:
    """Learning rate, norms and the largest attention logit of the last step. A collective call."""
    values = {"learning_rate": rate, "gradient_norm": engine.gradient_norm()}
    values |= {"parameter_norm": engine.parameter_norm()}
    return values | ({"attention_logit_max": max_over_ranks(logits.read())} if logits else {})


@contextmanager
def _tracked(task: TrainingTask, folder: RunFolder, who: Ranks) -> Iterator[Outbox | None]:
    """On rank 0, what tells the MLflow run, which ends however the training ends and is found again by its folder."""
    runtime = task.settings.runtime

    def connect() -> Tracker:
        tracker = Tracker.start(
            runtime.mlflow_uri or default_uri(runtime.run_dir.parent),
            runtime.experiment,
            runtime.run_dir.name,
            run_id=folder.tracking_id(),
            params=task.settings.results(),
            tags=task.tags,
        )
        folder.keep_tracking_id(tracker.run_id)
        return tracker

    outbox = Outbox(connect, folder.metrics, folder.samples, folder.evaluation) if who.first else None
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
    try:
        yield outbox
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        if outbox:
            outbox.finish(status)


def _mean_of_known(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else float("nan")


def _refuse(what: str, step: int, rate: float, suspects: list[str], folder: RunFolder, who: Ranks) -> NoReturn:
    """Stop all ranks before the update; rank 0 keeps and names the films that may be the cause."""
    by_rank = gather_over_ranks(list(dict.fromkeys(suspects)))  # a film may have given several squares
    if not who.first:
        raise SystemExit(2)
    folder.keep_fault(what, step, by_rank)
    films = [key for keys in by_rank for key in keys]
    further = f" and {len(films) - TOLD} more" if len(films) > TOLD else ""
    raise RunError(
        f"{what} is not finite at step {step} (learning rate {rate:.3g}), before the update; films:"
        f" {', '.join(films[:TOLD])}{further}, all in {folder.path / FAULT};"
        " begin a new runtime.run_dir with a lower optimizer.base_learning_rate, precision=f32, or without those films"
    )


class _Meter:
    """Speed, utilisation, memory, share of time spent waiting for data, films passed over, since the last reading."""

    def __init__(self, step: int, device: torch.device, task: TrainingTask) -> None:
        self._skipped = 0
        self._device, self._task = device, task
        self._matrix_rate = matrix_rate(device, task.settings.precision, seconds=0.1)
        self._restart(step)

    def wait_for(self, batches: Iterator[Drawn]) -> Drawn:
        asked = time.monotonic()
        batch = next(batches)
        self._waited += time.monotonic() - asked
        for reason in batch[1]:
            self._skipped += 1
            if self._skipped <= TOLD:
                _log.warning("skipped film: %s", reason)
            if self._skipped == TOLD:
                _log.warning("further skipped films are counted in metrics.jsonl, not named")
        return batch

    def read(self, step: int, films_per_step: int, world: int) -> dict[str, float]:
        elapsed = time.monotonic() - self._since
        rate = films_per_step * (step - self._step) / elapsed
        flops = sum(self._task.training_flops(taken) for taken in range(self._step, step)) / (step - self._step)
        shares = mean_over_ranks(
            {
                "data_wait": torch.tensor(self._waited / elapsed),
                "skipped_films": torch.tensor(self._skipped),
                "flops_utilisation": torch.tensor(rate / world * flops / self._matrix_rate),
                "memory_gib": torch.tensor(_peak_bytes(self._device) / 2**30),
            }
        )
        self._restart(step)
        return shares | {"films_per_second": rate, "skipped_films": shares["skipped_films"] * world}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that is not spent on training."""
        began = time.monotonic()
        yield
        self._since += time.monotonic() - began

    def _restart(self, step: int) -> None:
        self._step, self._waited, self._since = step, 0.0, time.monotonic()


def _peak_bytes(device: torch.device) -> int:
    """Most that was in use: on a GPU since the last reading, on a CPU by this process since it began."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
