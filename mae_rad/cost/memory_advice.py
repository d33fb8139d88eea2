"""Whether a pretraining fits on a GPU, and which settings need less memory, at which price."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import torch

from mae_rad.cost.memory import estimate_memory
from mae_rad.cost.table import GIB, with_changes
from mae_rad.errors import SettingsError
from mae_rad.pretraining.run_flops import flops_per_film
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.deepspeed_engine import micro_batch_size

FREE_SHARE = 0.1
"""Share of the memory that stays free: context, fragmentation and pictures are not part of the estimate."""


class MemorySaver(NamedTuple):
    """A setting that needs less memory.

    Attributes:
        setting: as on the command line.
        bytes: estimated memory of one GPU with it.
        time: time of a step relative to that without it, by its FLOPs.
        effect: what else it changes.
    """

    setting: str
    bytes: float
    time: float
    effect: str

    def __str__(self) -> str:
        time = "the same time" if self.time < 1.01 else f"{self.time:.2f} times the time"
        return f"{self.setting} ({_size(self.bytes)}, {time}; {self.effect})"


def needed_bytes(settings: PretrainSettings, world: int) -> float:
    """Estimate the memory of one GPU in the stage that needs most of it.

    Args:
        settings: of the run.
        world: number of GPUs.

    Raises:
        SettingsError: the batch is not divisible.
    """
    films = settings.objective.films_in_memory(micro_batch_size(settings, world))
    return max(estimate_memory(stage, world).total(films) for stage in settings.stages())


def memory_savers(settings: PretrainSettings, world: int, limit: float) -> list[MemorySaver]:
    """List settings that need less memory than the given ones.

    Args:
        settings: of the run.
        world: number of GPUs.
        limit: bytes that may be used; the first number of films below it is proposed.

    Returns:
        Those that leave results as they are first.
    """
    kept, fewer = "the same result", "a new run; a loss between films compares fewer of them"
    now = needed_bytes(settings, world)
    found = _first_below(limit, kept, _smaller_passes(settings, world), world)
    for value in ("decoder", True) if hasattr(settings.encoder, "checkpoint_activations") else ():
        change = {"checkpoint_activations": value}
        found.append((_overrides("encoder", change), kept, with_changes(settings, encoder=change)))
    if world > 1 and settings.runtime.zero_stage == 0:
        found.append(("runtime.zero_stage=1", kept, with_changes(settings, runtime={"zero_stage": 1})))
    if not settings.objective.smaller_passes(1):
        found += _first_below(limit, fewer, _more_passes(settings, world), world)
    savers = [
        MemorySaver(name, needed_bytes(variant, world), _step_flops(variant) / _step_flops(settings), effect)
        for name, effect, variant in found
    ]
    return [saver for saver in savers if saver.bytes < 0.99 * now]


def fit_text(settings: PretrainSettings, world: int, memory: float) -> str:
    """Say whether a run fits on a GPU, and what helps if it does not.

    Args:
        settings: of the run.
        world: number of GPUs.
        memory: of one GPU in bytes.
    """
    need, limit = needed_bytes(settings, world), (1 - FREE_SHARE) * memory
    text = f"{micro_batch_size(settings, world):,} films per forward pass and GPU need about {_size(need)}:"
    if need <= limit:
        return f"{text} fits"
    return f"{text} does not fit. {_advice(settings, world, limit)}"


def out_of_memory_text(settings: PretrainSettings) -> str:
    """Say what a training that ran out of memory needs by estimate, and what needs less, at which price.

    Args:
        settings: of the run.
    """
    world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    memory = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
    need, films = needed_bytes(settings, world), micro_batch_size(settings, world)
    return (
        f"{films:,} films per forward pass need about {_size(need)} by estimate."
        f" {_advice(settings, world, (1 - FREE_SHARE) * memory or need / 2)}"
    )


def _advice(settings: PretrainSettings, world: int, limit: float) -> str:
    savers = "; ".join(map(str, memory_savers(settings, world, limit)))
    smaller = "a smaller objective.tokens or encoder.model (another result)"
    return f"Less is needed with {savers}; or {smaller}" if savers else f"Less is needed with {smaller}"


_Variant = tuple[str, PretrainSettings]


def _first_below(
    limit: float, effect: str, variants: Iterator[_Variant], world: int
) -> list[tuple[str, str, PretrainSettings]]:
    """The first variant that needs no more than ``limit`` bytes, else the last; none without variants."""
    last: list[tuple[str, str, PretrainSettings]] = []
    for name, variant in variants:
        last = [(name, effect, variant)]
        if needed_bytes(variant, world) <= limit:
            break
    return last


def _smaller_passes(settings: PretrainSettings, world: int) -> Iterator[_Variant]:
    for films in _fewer_films(settings, world):
        if change := settings.objective.smaller_passes(films):
            yield _overrides("objective", change), with_changes(settings, objective=change)


def _more_passes(settings: PretrainSettings, world: int) -> Iterator[_Variant]:
    for films in _fewer_films(settings, world):
        change = {"accumulation": settings.optimizer.batch // (world * films)}
        with suppress(SettingsError):  # an encoder may need the whole batch
            yield _overrides("optimizer", change), with_changes(settings, optimizer=change)


def _size(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size * 1024 / GIB:.0f} MiB"


def _fewer_films(settings: PretrainSettings, world: int) -> Iterator[int]:
    """Numbers of films per forward pass below the present one that divide the batch of a rank, in descending order."""
    present = settings.objective.films_in_memory(micro_batch_size(settings, world))
    films = settings.optimizer.batch // world
    yield from (films // parts for parts in range(2, films + 1) if films % parts == 0 and films // parts < present)


def _step_flops(settings: PretrainSettings) -> float:
    return max(flops_per_film(stage).hardware for stage in settings.stages())


def _overrides(group: str, changes: dict[str, Any]) -> str:
    return " ".join(
        f"{group}.{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in changes.items()
    )
