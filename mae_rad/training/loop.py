"""The training loop: batch, forward, check for finite values, backward, step; at intervals log, save, evaluate."""

import logging
import math
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, NoReturn

import torch

from data_prep.runtime.progress import Progress
from mae_rad.data.film_order import StepRange
from mae_rad.data.loader import NO_SPACING, TOO_FEW_PATCHES
from mae_rad.data.seeded_random import generator_for
from mae_rad.errors import RunError, ShardFormatError
from mae_rad.tracking import DelayedWrites, Tracker, chosen_experiment, chosen_store
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
from mae_rad.training.matmul_throughput import measure_matmul_rate
from mae_rad.training.preemption import Preemption
from mae_rad.training.run_folder import NON_FINITE_FILE, RunFolder
from mae_rad.training.save_and_resume import Checkpoints
from mae_rad.training.settings import OptimizerSettings
from mae_rad.training.task import AnyBatch, DrawnBatch, TrainingTask

_log = logging.getLogger(__name__)

MAX_LISTED = 5
"""Number of films that are named in the log (skipped films) or in an error message (films of a non-finite loss)."""

MAX_UNREADABLE_SHARE = 0.2
"""Share of the drawn films of a rank that may be unreadable; more end the training."""
MIN_UNREADABLE = 16
"""Number of unreadable films up to which the share is not checked."""


def train(task: TrainingTask) -> str | None:
    """Train from step 0 or from the newest checkpoint; results are in the run folder when the function returns.

    Args:
        task: model, batches and evaluations of the training.

    Returns:
        Where the results are and what to do next, on rank 0; None on the other ranks.

    Raises:
        SystemExit: with code ``preemption.REQUEUE`` if training stops early, after writing a checkpoint.
        UserError: settings or data are wrong, or a loss or gradient is not finite; raised on rank 0 only, the other
            ranks exit without a message.
    """
    settings = task.settings
    folder = RunFolder(settings, task.dataset_sha256, task.inputs, task.joined)
    folder.check()
    ranks = join_ranks(settings.runtime.threads, settings.runtime.timeout_seconds)
    micro_batch_size(settings, ranks.world)
    on_first_rank(ranks, folder.begin)
    try:
        with (
            deterministic_kernels(settings.runtime.deterministic),
            Preemption(settings.runtime, first=ranks.first) as preemption,
            Heartbeat(ranks, settings.runtime.timeout_seconds) as heartbeat,
            _mlflow_run(task, folder, ranks) as mlflow_writes,
        ):
            _train(task, folder, ranks, mlflow_writes, heartbeat, preemption)
            if mlflow_writes and (result := task.result(folder)):
                mlflow_writes.register(result)
    finally:
        folder.release()
    return task.conclusion(folder) if ranks.first else None


def _train(
    task: TrainingTask,
    folder: RunFolder,
    ranks: Ranks,
    mlflow_writes: DelayedWrites | None,
    heartbeat: Heartbeat,
    preemption: Preemption,
) -> None:
    optimizer, runtime = task.settings.optimizer, task.settings.runtime
    checkpoints, engine, first_step = _resume(task, folder, ranks)
    if mlflow_writes:
        mlflow_writes.deliver()
    steps = StepRange(
        first_step, optimizer.steps, ranks.rank, ranks.world, micro_batch_size(task.settings, ranks.world)
    )
    batches = task.iterate_batches(steps, ranks.device)
    monitor, attention_logits = (
        _begin(task, first_step, folder, ranks, engine),
        AttentionLogits(engine.objective.encoder),
    )
    meter = _Meter(first_step, ranks, task)

    for step in range(first_step, first_step if task.is_complete else optimizer.steps):
        heartbeat.set_step(step)
        with meter.paused():
            task.begin_step(step, folder, ranks)
        lr = learning_rate(step, optimizer)
        steps_done, is_last, is_end = step + 1, step + 1 == optimizer.steps, step + 1 in optimizer.segment_ends
        is_logged = steps_done % runtime.log_every == 0 or is_end
        means = _update(
            task,
            engine,
            lambda: meter.next_batch(batches),
            lambda: attention_logits.measuring(is_logged),  # noqa: B023 - called within the step
            preemption,
            step,
            folder,
            ranks,
        )
        stop_request = preemption.pop_requests(means)

        meter.update_progress(steps_done, means["loss"])
        if ranks.first and steps_done == 1 and not is_logged:
            monitor.check(steps_done, means)  # where the curves begin
        if is_logged:
            values = means | meter.measure(steps_done) | _segment_number(step, optimizer)
            # hooks do not run in compiled code
            values |= _measure_update(
                engine, lr, None if runtime.compile or not attention_logits.has_layers else attention_logits
            )
            if ranks.first:
                folder.log(steps_done, values)
                monitor.check(steps_done, values)
        is_saved = steps_done % runtime.checkpoint_every == 0 or is_end or stop_request.save or stop_request.exit
        if is_saved:
            checkpoints.save(engine, steps_done, last=is_last or stop_request.exit)
            preemption.restart_save_interval()
        if stop_request.exit and not is_last:
            raise preemption.build_exit(steps_done)
        with meter.paused(), engine.average.applied(task.evaluates(steps_done)):
            monitor.check(steps_done, task.evaluate(steps_done, folder, ranks) or {})
        if mlflow_writes and steps_done % runtime.log_every == 0:
            mlflow_writes.deliver()
        if task.is_complete:
            if not is_saved:
                checkpoints.save(engine, steps_done, last=True)
            break

    with engine.whole_parameters(), engine.average.applied():
        task.finish(folder, ranks)
    meter.close()


def _update(
    task: TrainingTask,
    engine: Engine,
    next_batch: Callable[[], AnyBatch],
    measuring: Callable[[], AbstractContextManager[None]],
    preemption: Preemption,
    step: int,
    folder: RunFolder,
    ranks: Ranks,
) -> dict[str, float]:
    """Take one optimiser step; returns the means of its metrics over micro batches and ranks."""
    optimizer = task.settings.optimizer
    lr = learning_rate(step, optimizer)
    micro_batch_metrics: list[dict[str, float]] = []
    film_keys: list[str] = []
    for part in range(optimizer.accumulation):
        batch = next_batch()
        film_keys += batch.keys
        with measuring(), _counted_dropout(task.settings.seed, step, part, ranks.rank):
            output = engine.forward(batch.to(ranks.device))
        # requests to stop are averaged with the loss, which saves a second collective operation
        metrics = mean_over_ranks({"loss": output.loss, **output.metrics, **preemption.requests()})
        micro_batch_metrics.append(metrics)
        if not math.isfinite(metrics["loss"]):
            suspects = [] if output.loss.isfinite() else list(batch.keys)  # the loss of another rank is not finite
            _stop_before_update("the loss", step, lr, suspects, folder, ranks)
        try:
            engine.backward_and_step(output.loss, lr, min((step + 1) / optimizer.scheduled_steps, 1.0))
        except NonFiniteError:
            _stop_before_update("the gradient", step, lr, film_keys, folder, ranks)
    return {name: _mean_of_finite([one[name] for one in micro_batch_metrics]) for name in micro_batch_metrics[0]}


def _resume(task: TrainingTask, folder: RunFolder, ranks: Ranks) -> tuple[Checkpoints, Engine, int]:
    """Build the DeepSpeed engine and load the newest checkpoint, if there is one.

    Returns:
        The checkpoints of the run, the engine, and the number of optimiser steps taken so far.
    """
    runtime = task.settings.runtime
    torch.manual_seed(task.settings.seed)
    model = task.build_model(ranks)
    checkpoints = Checkpoints(
        folder.checkpoints, ranks, runtime.zero_stage, runtime.keep_checkpoints, trusted=runtime.trust_run
    )
    saved = checkpoints.newest()
    with checkpoints.loadable_folder(saved) as source:
        # another folder than that of the run holds a converted copy, in the universal format of DeepSpeed
        engine = Engine(model, task.settings, ranks, universal=source != folder.checkpoints)
        step = engine.load(source, saved.tag)["step"] if saved else 0
    if not step:
        torch.no_grad()(engine.objective.stepped)(0.0)
    if ranks.first:
        folder.truncate_metrics(step)
    return checkpoints, engine, step


def _begin(task: TrainingTask, first_step: int, folder: RunFolder, ranks: Ranks, engine: Engine) -> CollapseMonitor:
    """Evaluate before the first step, and return the monitor, which knows the logged lines of an earlier start."""
    optimizer = task.settings.optimizer
    if ranks.first and first_step in optimizer.segments:
        _log.info(
            "the run of %s steps is extended by %s: the learning rate warms up and falls again",
            f"{first_step:,}",
            f"{optimizer.segment_of(first_step)[1] - first_step:,}",
        )
    monitor = CollapseMonitor(task.settings.optimizer.warmup_steps)
    monitor.replay(folder.logged() if ranks.first else [])
    with engine.average.applied():
        monitor.check(first_step, task.begin(first_step, folder, ranks))
    return monitor


def _segment_number(step: int, optimizer: OptimizerSettings) -> dict[str, float]:
    """Metric ``segment`` of an optimiser step, counted from 1; none for a run that was not extended."""
    number = optimizer.segment_ends.index(optimizer.segment_of(step)[1]) + 1
    return {"segment": float(number)} if optimizer.segments else {}


def _measure_update(engine: Engine, lr: float, attention_logits: AttentionLogits | None) -> dict[str, float]:
    """Return learning rate, norms and largest attention logit of the last step; all ranks must call it."""
    values = {"learning_rate": lr, "gradient_norm": engine.gradient_norm(), "parameter_norm": engine.parameter_norm()}
    return values | ({"attention_logit_max": max_over_ranks(attention_logits.read())} if attention_logits else {})


@contextmanager
def _mlflow_run(task: TrainingTask, folder: RunFolder, ranks: Ranks) -> Iterator[DelayedWrites | None]:
    """Yield the delayed writes to the MLflow run of the folder, which ends with the context; None but on rank 0."""
    runtime = task.settings.runtime

    def connect() -> Tracker:
        tracker = Tracker.start(
            chosen_store(runtime.mlflow_uri, runtime.run_dir.parent),
            chosen_experiment(runtime.experiment, "mae_rad"),
            runtime.run_dir.name,
            run_id=folder.tracking_id(),
            parent=runtime.mlflow_parent,
            params=task.settings.results(),
            tags=task.tags,
        )
        folder.write_tracking_id(tracker.run_id)
        tracker.inputs([task.data_used])
        tracker.watch_system()
        return tracker

    mlflow_writes = DelayedWrites(connect, folder.metrics, folder.samples, folder.evaluation) if ranks.first else None
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
    try:
        yield mlflow_writes
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        if mlflow_writes:
            mlflow_writes.finish(status)


@contextmanager
def _counted_dropout(seed: int, step: int, part: int, rank: int) -> Iterator[None]:
    """Seed torch for dropout and drop path, which then draw the same whether or not the run was interrupted."""
    torch.manual_seed(int(generator_for("dropout", seed, step, part, rank).integers(2**63)))
    yield


def _mean_of_finite(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else float("nan")


def _stop_before_update(
    quantity: str, step: int, lr: float, suspects: list[str], folder: RunFolder, ranks: Ranks
) -> NoReturn:
    """Stop all ranks before the optimiser step; rank 0 records and names the films that may be the cause.

    Args:
        quantity: "the loss" or "the gradient", which is not finite.
        step: optimiser step, counted from 0.
        lr: learning rate of the step.
        suspects: keys of the films of this rank that may be the cause; may repeat.
        folder: run folder.
        ranks: rank of this process and number of ranks.
    """
    film_keys_by_rank = gather_over_ranks(list(dict.fromkeys(suspects)))  # each key once, in order
    if not ranks.first:
        raise SystemExit(2)
    folder.write_non_finite(quantity, step, film_keys_by_rank)
    film_keys = [key for keys in film_keys_by_rank for key in keys]
    unlisted = f" and {len(film_keys) - MAX_LISTED} more" if len(film_keys) > MAX_LISTED else ""
    raise RunError(
        f"{quantity} is not finite at step {step} (learning rate {lr:.3g}), before the update; films:"
        f" {', '.join(film_keys[:MAX_LISTED])}{unlisted}, all in {folder.path / NON_FINITE_FILE}."
        " Start a new runtime.run_dir with a lower optimizer.base_learning_rate, precision=f32, or without those films."
    )


class _Meter:
    """Measure speed, FLOPs utilisation, memory, time spent waiting for data, and skipped films between logged steps.

    Args:
        step: optimiser steps taken before the first measurement.
        ranks: rank and device of this process, and number of ranks.
        task: training task.
    """

    def __init__(self, step: int, ranks: Ranks, task: TrainingTask) -> None:
        self._skipped = self._drawn = self._unreadable = 0
        self._device, self._world, self._task = ranks.device, ranks.world, task
        self._peak_flops_per_second = measure_matmul_rate(ranks.device, task.settings.precision, seconds=0.1)
        self._total_steps, self._global_batch = task.settings.optimizer.steps, task.settings.optimizer.batch
        total = self._total_steps * self._global_batch
        self._progress = Progress(task.name, "films", total, done=step * self._global_batch) if ranks.first else None
        self._restart(step)

    def next_batch(self, batches: Iterator[DrawnBatch]) -> AnyBatch:
        """Return the next micro batch; add the waiting time and the skipped films to the measurement."""
        started = time.monotonic()
        batch, skip_reasons = next(batches)
        self._wait_seconds += time.monotonic() - started
        for reason in skip_reasons:
            self._skipped += 1
            if self._skipped <= MAX_LISTED:
                _log.warning("skipped film: %s", reason)
            if self._skipped == MAX_LISTED:
                _log.warning("further skipped films are counted in metrics.jsonl, not named")
        self._drawn += len(batch.keys)
        whole = (TOO_FEW_PATCHES, NO_SPACING)
        self._unreadable += sum(not any(why in reason for why in whole) for reason in skip_reasons)
        if self._unreadable > max(MIN_UNREADABLE, MAX_UNREADABLE_SHARE * (self._drawn + self._unreadable)):
            raise ShardFormatError(
                f"{self._unreadable} films could not be read while {self._drawn} could: the shards are damaged."
                " Check them with `mae-rad verify`, restore them, and run the same command again."
            )
        return batch

    def update_progress(self, step: int, loss: float) -> None:
        """Advance the progress display by one optimiser step."""
        if self._progress:
            self._progress.add(self._global_batch, f"step {step}/{self._total_steps}, loss {loss:.4f}")

    def close(self) -> None:
        if self._progress:
            self._progress.close()

    def measure(self, step: int) -> dict[str, float]:
        """Return the metrics since the last call, for ``step`` optimiser steps taken; all ranks must call it."""
        seconds, steps = time.monotonic() - self._started, step - self._first_step
        films_per_second = self._global_batch * steps / seconds
        flops_per_film = sum(self._task.training_flops(index) for index in range(self._first_step, step)) / steps
        flops_per_second = films_per_second / self._world * flops_per_film  # of one rank
        means = mean_over_ranks(
            {
                "data_wait": torch.tensor(self._wait_seconds / seconds),
                "skipped_films": torch.tensor(self._skipped),
                "flops_utilisation": torch.tensor(flops_per_second / self._peak_flops_per_second),
                "memory_gib": torch.tensor(_peak_bytes(self._device) / 2**30),
            }
        )
        self._restart(step)
        skipped = means["skipped_films"] * self._world  # sum over ranks
        return means | {"films_per_second": films_per_second, "skipped_films": skipped}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time within the context from the speed, such as that of an evaluation."""
        started = time.monotonic()
        yield
        self._started += time.monotonic() - started

    def _restart(self, step: int) -> None:
        self._first_step, self._wait_seconds, self._started = step, 0.0, time.monotonic()


def _peak_bytes(device: torch.device) -> int:
    """Peak memory in bytes: on a GPU allocated since the last call, on a CPU resident since the process began."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux reports KiB
