"""The training loop: batch, forward, check for finite values, backward, step; at intervals log, save, evaluate."""

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
from mae_rad.tracking import DelayedWrites, Tracker, default_uri
from mae_rad.training.attention_logits import AttentionLogits
from mae_rad.training.collapse_monitor import CollapseMonitor
from mae_rad.training.deepspeed_engine import (
    Engine,
    NonFiniteError,
    Ranks,
    gather_over_ranks,
    join_ranks,
    max_over_ranks,
    mean_over_ranks,
    micro_batch_size,
    on_first_rank,
)
from mae_rad.training.deterministic import deterministic_kernels
from mae_rad.training.heartbeat import Heartbeat
from mae_rad.training.learning_rate import learning_rate
from mae_rad.training.matmul_throughput import matrix_rate
from mae_rad.training.preemption import Preemption
from mae_rad.training.run_folder import FAULT, RunFolder
from mae_rad.training.save_and_resume import Checkpoints
from mae_rad.training.task import DrawnBatch, TrainingTask

_log = logging.getLogger(__name__)

MAX_LISTED = 5
"""Number of skipped films that are named in the log."""


def train(task: TrainingTask) -> None:
    """Run or resume a training; its result is in the run folder when it returns.

    Args:
        task: model, batches and evaluations of the training.

    Raises:
        SystemExit: with code ``preemption.REQUEUE`` after a request to exit and a checkpoint.
        UserError: an error of the user, or a loss that is not finite, on rank 0; the other ranks exit silently.
    """
    settings = task.settings
    folder = RunFolder(settings, task.dataset_sha256)
    folder.check()
    ranks = join_ranks(settings.runtime.threads, settings.runtime.timeout_seconds)
    micro_batch_size(settings, ranks.world)
    on_first_rank(ranks, folder.begin)
    try:
        with (
            deterministic_kernels(settings.runtime.deterministic),
            Preemption(settings.runtime, first=ranks.first) as preemption,
            Heartbeat(ranks, settings.runtime.timeout_seconds) as heartbeat,
            _tracked(task, folder, ranks) as writes,
        ):
            _train(task, folder, ranks, writes, heartbeat, preemption)
    finally:
        folder.release()


def _train(
    task: TrainingTask,
    folder: RunFolder,
    ranks: Ranks,
    writes: DelayedWrites | None,
    heartbeat: Heartbeat,
    preemption: Preemption,
) -> None:
    optimizer, runtime = task.settings.optimizer, task.settings.runtime
    checkpoints, engine, first_step = _resume(task, folder, ranks)
    if writes:
        writes.deliver()
    steps = StepRange(
        first_step, optimizer.steps, ranks.rank, ranks.world, micro_batch_size(task.settings, ranks.world)
    )
    batches = task.batches(steps, ranks.device)
    monitor, logits = CollapseMonitor(), AttentionLogits(engine.objective.encoder)
    if first_step:
        task.evaluate(first_step, folder, ranks)
    meter = _Meter(first_step, ranks, task)

    for step in range(first_step, optimizer.steps):
        heartbeat.at(step)
        rate = learning_rate(step, optimizer)
        done, is_last = step + 1, step + 1 == optimizer.steps
        is_logged = done % runtime.log_every == 0 or is_last
        parts: list[dict[str, float]] = []
        keys: list[str] = []
        for _ in range(optimizer.accumulation):
            batch, _ = meter.wait_for(batches)
            keys += batch.keys
            with logits.watched(is_logged):
                output = engine.forward(batch.to(ranks.device))
            parts.append(mean_over_ranks({"loss": output.loss, **output.metrics, **preemption.requests()}))
            if not math.isfinite(parts[-1]["loss"]):
                _stop_before_update(
                    "the loss", step, rate, [] if output.loss.isfinite() else list(batch.keys), folder, ranks
                )
            try:
                engine.backward_and_step(output.loss, rate)
            except NonFiniteError:
                _stop_before_update("the gradient", step, rate, keys, folder, ranks)
        means = {name: _mean_of_finite([part[name] for part in parts]) for name in parts[0]}
        stop = preemption.agreed(means)

        meter.show(done, means["loss"])
        if is_logged:
            values = means | meter.read(done)
            values |= _readings(engine, rate, None if runtime.compile else logits)  # hooks do not run in compiled code
            if ranks.first:
                folder.log(done, values)
                monitor.check(done, values)
        if done % runtime.checkpoint_every == 0 or is_last or stop.save or stop.exit:
            checkpoints.save(engine, done, last=is_last or stop.exit)
            preemption.saved()
        if stop.exit and not is_last:
            raise preemption.exit(done)
        with meter.paused():
            task.evaluate(done, folder, ranks)
        if writes and done % runtime.log_every == 0:
            writes.deliver()

    with engine.whole_parameters():
        task.finish(folder, ranks)
    meter.close()


def _resume(task: TrainingTask, folder: RunFolder, ranks: Ranks) -> tuple[Checkpoints, Engine, int]:
    """Build the model under DeepSpeed, load the newest checkpoint, and return the number of steps it has taken."""
    runtime = task.settings.runtime
    torch.manual_seed(task.settings.seed)
    model = task.model(ranks)
    checkpoints = Checkpoints(folder.checkpoints, ranks, runtime.zero_stage, runtime.keep_checkpoints)
    saved = checkpoints.newest()
    with checkpoints.readable(saved) as source:
        engine = Engine(model, task.settings, ranks, universal=source != folder.checkpoints)
        step = engine.load(source, saved.tag)["step"] if saved else 0
    if ranks.first:
        folder.truncate_metrics(step)
    return checkpoints, engine, step


def _readings(engine: Engine, rate: float, logits: AttentionLogits | None) -> dict[str, float]:
    """Learning rate, norms and the largest attention logit of the last step. A collective call."""
    values = {"learning_rate": rate, "gradient_norm": engine.gradient_norm()}
    values |= {"parameter_norm": engine.parameter_norm()}
    return values | ({"attention_logit_max": max_over_ranks(logits.read())} if logits else {})


@contextmanager
def _tracked(task: TrainingTask, folder: RunFolder, ranks: Ranks) -> Iterator[DelayedWrites | None]:
    """On rank 0, yield the delayed writes to the MLflow run of the folder; end that run with the training."""
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

    writes = DelayedWrites(connect, folder.metrics, folder.samples, folder.evaluation) if ranks.first else None
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
    try:
        yield writes
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        if writes:
            writes.finish(status)


def _mean_of_finite(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else float("nan")


def _stop_before_update(
    what: str, step: int, rate: float, suspects: list[str], folder: RunFolder, ranks: Ranks
) -> NoReturn:
    """Stop all ranks before the update; rank 0 records and names the films that may be the cause."""
    by_rank = gather_over_ranks(list(dict.fromkeys(suspects)))  # a film may have contributed several squares
    if not ranks.first:
        raise SystemExit(2)
    folder.keep_fault(what, step, by_rank)
    films = [key for keys in by_rank for key in keys]
    more = f" and {len(films) - MAX_LISTED} more" if len(films) > MAX_LISTED else ""
    raise RunError(
        f"{what} is not finite at step {step} (learning rate {rate:.3g}), before the update; films:"
        f" {', '.join(films[:MAX_LISTED])}{more}, all in {folder.path / FAULT}."
        " Start a new runtime.run_dir with a lower optimizer.base_learning_rate, precision=f32, or without those films."
    )


class _Meter:
    """Measure speed, utilisation, memory, waiting for data and skipped films between two logged lines."""

    def __init__(self, step: int, ranks: Ranks, task: TrainingTask) -> None:
        self._skipped = 0
        self._device, self._world, self._task = ranks.device, ranks.world, task
        self._matrix_rate = matrix_rate(ranks.device, task.settings.precision, seconds=0.1)
        self._steps, self._films = task.settings.optimizer.steps, task.settings.optimizer.batch
        total = self._steps * self._films
        self._progress = Progress(task.name, "films", total, done=step * self._films) if ranks.first else None
        self._restart(step)

    def wait_for(self, batches: Iterator[DrawnBatch]) -> DrawnBatch:
        requested = time.monotonic()
        batch = next(batches)
        self._waited += time.monotonic() - requested
        for reason in batch[1]:
            self._skipped += 1
            if self._skipped <= MAX_LISTED:
                _log.warning("skipped film: %s", reason)
            if self._skipped == MAX_LISTED:
                _log.warning("further skipped films are counted in metrics.jsonl, not named")
        return batch

    def show(self, step: int, loss: float) -> None:
        if self._progress:
            self._progress.add(self._films, f"step {step}/{self._steps}, loss {loss:.4f}")

    def close(self) -> None:
        if self._progress:
            self._progress.close()

    def read(self, step: int) -> dict[str, float]:
        elapsed = time.monotonic() - self._since
        rate = self._films * (step - self._step) / elapsed
        flops = sum(self._task.training_flops(done) for done in range(self._step, step)) / (step - self._step)
        shares = mean_over_ranks(
            {
                "data_wait": torch.tensor(self._waited / elapsed),
                "skipped_films": torch.tensor(self._skipped),
                "flops_utilisation": torch.tensor(rate / self._world * flops / self._matrix_rate),
                "memory_gib": torch.tensor(_peak_bytes(self._device) / 2**30),
            }
        )
        self._restart(step)
        return shares | {"films_per_second": rate, "skipped_films": shares["skipped_films"] * self._world}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time within the context."""
        started = time.monotonic()
        yield
        self._since += time.monotonic() - started

    def _restart(self, step: int) -> None:
        self._step, self._waited, self._since = step, 0.0, time.monotonic()


def _peak_bytes(device: torch.device) -> int:
    """Peak memory: on a GPU since the last call, on a CPU resident memory of this process since its start."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
