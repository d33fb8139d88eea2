"""The only module that imports DeepSpeed: ranks, optimiser, backward, step, checkpoints; gloo on CPUs, NCCL on GPUs."""

import atexit
import logging
import math
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from data_prep.runtime.worker_pool import available_cores
from mae_rad.encoders.precision import fast_device
from mae_rad.errors import RunError, SettingsError, UserError
from mae_rad.objectives.interface import ObjectiveOutput, Trainable
from mae_rad.training.settings import TrainingSettings
from mae_rad.training.untrained_state import UntrainedState
from mae_rad.training.weight_average import WeightAverage

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("DEEPSPEED_LOG_LEVEL", "warning")

import deepspeed  # reads DS_ACCELERATOR when imported

T = TypeVar("T")

_OF_A_LAUNCHER = ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that a launcher sets beside RANK."""
_RATE = "rate"
"""Key of a parameter group: factor on its learning rate."""


@dataclass(frozen=True)
class Ranks:
    """Rank and device of this process, and the number of ranks."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes files and logs."""
        return self.rank == 0


def join_ranks(threads: int = 0, timeout_seconds: float = 600) -> Ranks:
    """Join the process group of a launcher (``deepspeed``, ``torchrun``), or create one of a single process.

    Args:
        threads: arithmetic threads of this process on a CPU; 0 shares the cores among the ranks of this machine.
        timeout_seconds: time-out of a collective operation, in seconds.

    Raises:
        SettingsError: the master port is used by another training on this machine, or a launcher set only some of its
            variables.
        RunError: not all ranks connect in time.
    """
    missing = [name for name in _OF_A_LAUNCHER if name not in os.environ]
    if "RANK" in os.environ and 0 < len(missing) < len(_OF_A_LAUNCHER):
        raise SettingsError(
            f"RANK is set, but not {', '.join(missing)}. Start the ranks with deepspeed or torchrun, or unset RANK to"
            " train in one process."
        )
    if "RANK" not in os.environ or missing:  # containers and job systems may set RANK alone
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", LOCAL_WORLD_SIZE="1")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port()))
    local = int(os.environ.setdefault("LOCAL_RANK", "0"))
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(local)
    else:
        local_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("LOCAL_SIZE", "1")))
        torch.set_num_threads(threads or max(1, available_cores() // local_ranks))
        # The shared-memory operator, which serves only tensor parallelism, would be compiled at the first start.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    if not dist.is_initialized():
        # NCCL's watchdog does not name the lost rank: the heartbeat, with the same time-out, must report first.
        timeout = timedelta(seconds=timeout_seconds + (30 if on_gpu else 0))
        # Defaults for the groups that DeepSpeed creates later.
        for name in ("default_pg_timeout", "default_pg_nccl_timeout"):
            setattr(dist.distributed_c10d, name, timeout)
        try:
            deepspeed.init_distributed(dist_backend="nccl" if on_gpu else "gloo", verbose=False, timeout=timeout)
        except dist.DistError as error:
            if "EADDRINUSE" not in str(error):
                raise RunError(
                    f"not all ranks connected to {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} in time."
                    " Check the messages of the other ranks, then run the same command again."
                ) from None
            raise SettingsError(
                f"port {os.environ['MASTER_PORT']} is in use, probably by another training on this machine."
                " Give another port: `deepspeed --master_port PORT …`, or MASTER_PORT in the environment."
            ) from None
        atexit.register(dist.destroy_process_group)  # DeepSpeed's own groups end with the process
    return Ranks(dist.get_rank(), dist.get_world_size(), fast_device(local))


def micro_batch_size(settings: TrainingSettings, world: int) -> int:
    """Compute the number of films per forward pass and rank.

    Args:
        settings: settings of the training.
        world: number of ranks.

    Raises:
        SettingsError: the batch is not divisible.
    """
    parts = world * settings.optimizer.accumulation
    if settings.optimizer.batch % parts:
        raise SettingsError(
            f"optimizer.batch {settings.optimizer.batch} is not divisible by {world} ranks x accumulation"
            f" {settings.optimizer.accumulation}. Choose a multiple of {parts}."
        )
    return settings.optimizer.batch // parts


def deepspeed_config(settings: TrainingSettings, world: int, *, universal: bool = False) -> dict[str, Any]:
    """Build DeepSpeed's configuration.

    Args:
        settings: settings of the training.
        world: number of ranks.
        universal: whether a converted checkpoint will be loaded.
    """
    return {
        "train_batch_size": settings.optimizer.batch,
        "train_micro_batch_size_per_gpu": micro_batch_size(settings, world),
        "gradient_accumulation_steps": settings.optimizer.accumulation,
        "gradient_clipping": settings.optimizer.clip_norm,
        "zero_optimization": {"stage": settings.runtime.zero_stage},
        "zero_allow_untested_optimizer": True,
        "checkpoint": {"load_universal": universal},
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


class NonFiniteError(Exception):
    """A gradient is not finite; raised before the update, on all ranks."""


class Engine:
    """A model and its optimiser under DeepSpeed."""

    def __init__(
        self, objective: Trainable, settings: TrainingSettings, ranks: Ranks, *, universal: bool = False
    ) -> None:
        self._stage = settings.runtime.zero_stage
        self.objective = objective
        self._norm = float("nan")
        self.average = WeightAverage(objective, settings.optimizer.average_decay)
        self._untrained = UntrainedState(objective)
        optimizer = torch.optim.AdamW(
            _parameter_groups(objective, settings.optimizer.weight_decay),
            lr=0.0,
            betas=settings.optimizer.betas,
            fused=True,
        )
        if settings.runtime.compile:
            # In place: weights keep their names. Static shapes: each stage of the schedule is compiled once.
            objective.compile(dynamic=False)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=_Autocast(objective, settings.precision == "bf16", ranks.device),
            optimizer=optimizer,
            config=deepspeed_config(settings, ranks.world, universal=universal),
        )
        self._files = _Files(self._engine.checkpoint_engine.save)
        self._engine.checkpoint_engine.save = self._files.write
        # Only rank 0 would write the script, and could fail; `mae-rad export` replaces it.
        self._engine._copy_recovery_script = lambda _: None

    def forward(self, batch: Any) -> ObjectiveOutput:
        """Compute loss and metrics of this rank's micro batch."""
        output: ObjectiveOutput = self._engine(batch)
        return output

    def backward_and_step(self, loss: Tensor, learning_rate: float, progress: float) -> None:
        """Accumulate gradients; at the end of the step, with ``progress`` of the run done, reduce, clip and update."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate * group[_RATE]
        self._engine.backward(loss)
        last = bool(self._engine.is_gradient_accumulation_boundary())
        if last and self._stage == 0:  # DeepSpeed computes no norm in stage 0
            gradients = [p.grad for p in self.objective.parameters() if p.grad is not None]
            self._norm = float(nn.utils.get_total_norm(gradients))
            self._check_norm()
        self._engine.step()
        if last and self._stage > 0:  # known only after the step; DeepSpeed skips an update whose norm is not finite
            self._norm = float(self._engine.get_global_grad_norm())
            self._check_norm()
        if last:
            with torch.no_grad():
                self.objective.stepped(progress)
            self.average.update(int(self._engine.global_steps))

    def gradient_norm(self) -> float:
        """Return the global gradient norm of the last step, before clipping."""
        return self._norm

    def parameter_norm(self) -> float:
        """Compute the norm of all weights. A collective call: in stage 3 every rank holds a part of each."""
        weights = list(self.objective.parameters())
        if self._stage < 3:
            return float(nn.utils.get_total_norm(weights))
        shards: list[Tensor] = [weight.ds_tensor for weight in weights]  # type: ignore[attr-defined]
        squares = torch.stack([part.float().square().sum() for part in shards]).sum().to(_group_device())
        dist.all_reduce(squares)
        return float(squares.sqrt())

    def _check_norm(self) -> None:
        # The norm is the same on all ranks, so all of them raise.
        if not math.isfinite(self._norm):
            raise NonFiniteError("the gradient")

    @contextmanager
    def whole_parameters(self) -> Iterator[None]:
        """Gather the full parameters on every rank within the context; ZeRO stage 3 partitions them."""
        gather = (
            deepspeed.zero.GatheredParameters(list(self.objective.parameters())) if self._stage == 3 else nullcontext()
        )
        with gather:
            yield

    def save(self, folder: Path, tag: str, state: dict[str, Any]) -> str | None:
        """Write a checkpoint; returns on all ranks when all have finished.

        Args:
            folder: folder of the checkpoints.
            tag: name of the checkpoint.
            state: values that :meth:`load` returns.

        Returns:
            The reason why this rank could not write its files; None without an error.
        """
        self._files.fault = None
        client_state = {"mae_rad": state | self.average.state() | self._untrained.state()}
        self._engine.save_checkpoint(str(folder), tag=tag, client_state=client_state, save_latest=False)
        dist.barrier()
        return self._files.fault

    def load(self, folder: Path, tag: str) -> dict[str, Any]:
        """Load a checkpoint.

        Args:
            folder: folder of the checkpoints.
            tag: name of the checkpoint.

        Returns:
            The values given to :meth:`save`.

        Raises:
            RunError: it cannot be loaded.
        """
        group_settings = [
            {name: group[name] for name in ("weight_decay", _RATE)} for group in self._optimizer.param_groups
        ]
        path, client = self._engine.load_checkpoint(str(folder), tag=tag)
        if path is None:
            raise RunError(
                f"checkpoint {tag} of the run folder cannot be loaded. Give a new runtime.run_dir to start again."
            )
        # A converted checkpoint of stage 3 has the settings of the first group for all, and one step counter tensor.
        for group, settings in zip(self._optimizer.param_groups, group_settings, strict=True):
            group.update(settings)
        for moments in getattr(self._optimizer, "optimizer", self._optimizer).state.values():
            if isinstance(moments.get("step"), Tensor):
                moments["step"] = moments["step"].clone()
        state: dict[str, Any] = client["mae_rad"]
        self.average.load(state)
        self._untrained.load(state)
        return state


def mean_over_ranks(values: dict[str, Tensor]) -> dict[str, float]:
    """Average scalars over the ranks whose value is finite; a collective call.

    Args:
        values: name → [] scalar; the same names on every rank.

    Returns:
        Name → mean, NaN where no rank has a finite value. ``loss`` is NaN if it is not finite on any rank.
    """
    names = sorted(values)
    device = _group_device()
    stacked = torch.stack([values[name].detach().to(device, torch.float32) for name in names])
    known = stacked.isfinite()
    sums = torch.cat((stacked.nan_to_num(0.0, 0.0, 0.0), known.float()))
    dist.all_reduce(sums)
    totals, counts = sums.chunk(2)
    means = dict(zip(names, (totals / counts).tolist(), strict=True))
    if "loss" in means and counts[names.index("loss")] < dist.get_world_size():
        means["loss"] = float("nan")
    return means


def max_over_ranks(value: Tensor) -> float:
    """Largest value of a [] scalar over the ranks; a collective call."""
    largest = value.detach().to(_group_device(), torch.float32)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest.item()


def on_first_rank(ranks: Ranks, action: Callable[[], T]) -> T:
    """Run ``action`` on rank 0 and return its result on all ranks.

    Args:
        ranks: rank of this process and number of ranks.
        action: its result must be picklable. An error of the user stops all ranks.

    Raises:
        UserError: raised by ``action``, on rank 0; the other ranks exit with code 2.
    """
    outcome: list[Any] = [None, None]
    if ranks.first:
        try:
            outcome[0] = action()
        except UserError as error:
            outcome[1] = error
        except OSError as error:
            outcome[1] = RunError(f"the run folder cannot be written ({error.strerror}). Check runtime.run_dir.")
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1] if ranks.first else SystemExit(2)  # reported once
    result: T = outcome[0]
    return result


def gather_over_ranks(value: T) -> list[T]:
    """Gather the values of all ranks, in their order, on all ranks."""
    if dist.get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


class _Files:
    """Write a rank's files of a checkpoint, and record an error instead of raising it.

    The ranks communicate between two files; a rank that raised would block the others.
    """

    def __init__(self, write: Callable[[Any, str], None]) -> None:
        self._write = write
        self.fault: str | None = None

    def write(self, state_dict: Any, path: str) -> None:
        try:
            self._write(state_dict, path)
        except OSError as error:
            self.fault = error.strerror or type(error).__name__
        except RuntimeError:  # torch's writer turns an OSError into this
            self.fault = "disk full, quota exceeded, or disk failure"


class _Autocast(nn.Module):
    """Run a model under bf16 autocast, if enabled."""

    def __init__(self, objective: Trainable, enabled: bool, device: torch.device) -> None:
        super().__init__()
        self.objective = objective
        self._enabled, self._device = enabled, device

    def forward(self, batch: Any) -> ObjectiveOutput:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._enabled):
            output: ObjectiveOutput = self.objective(batch)
            return output


def _parameter_groups(model: Trainable, weight_decay: float) -> list[dict[str, Any]]:
    # Biases, norms and tokens are not decayed: all of them are one-dimensional.
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (model.rate_of(name), 0.0 if parameter.ndim < 2 else weight_decay)
            groups.setdefault(key, []).append(parameter)
    ordered = sorted(groups.items(), reverse=True, key=lambda item: item[0])
    return [{"params": members, "weight_decay": decay, _RATE: rate} for (rate, decay), members in ordered]


def _group_device() -> torch.device:
    """Device of tensors in collectives: NCCL needs those of its GPU."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
