"""The table that a user reads before booking nodes: sizes x models x budgets."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from mae_rad.cost.memory import count_parameters, estimate
from mae_rad.encoders.vit import SHAPES
from mae_rad.errors import SettingsError
from mae_rad.pretraining.run_flops import flops_per_film
from mae_rad.pretraining.settings import PretrainSettings

GIB = 2.0**30

HEADINGS = (
    "T", "pixels", "model", "parameters", "budget", "forward", "training", "published",
    "fixed", "a film", "films fit", "films/s", "GPU hours", "loader cores",
)  # fmt: skip
UNITS = (
    "tokens", "square", "", "M", "visible/predicted", "GFLOP", "GFLOP", "/ this",
    "GiB", "MiB", "a GPU", "a GPU", "the run", "a GPU",
)  # fmt: skip


class Machine(NamedTuple):
    """What the run is planned on.

    Attributes:
        flops: sustained FLOP/s of one GPU: its bare matrix rate times the utilisation.
        gpus: in all.
        memory: bytes of one GPU.
        decode_seconds: of one loader core for one film of T = 1024, from reading to patches; in proportion to T.
    """

    flops: float
    gpus: int
    memory: float
    decode_seconds: float


def variants(
    settings: PretrainSettings, tokens: Sequence[int], models: Sequence[str], budgets: Sequence[str]
) -> Iterator[PretrainSettings]:
    """The config at every size, model and budget; an empty list keeps the config's own.

    Args:
        settings: of the config.
        tokens: T, without stages; an empty list gives every stage of the config as a run of its own.
        models: names as in the config, or as much of them as tells them apart: vit_l.
        budgets: as the objective reads them, for example 0.25/0.25, or "published".

    Raises:
        SettingsError: an unknown model, or a size or budget that the objective cannot have.
    """
    sized = [_with(settings, objective={"tokens": size, "schedule": ()}) for size in tokens] or settings.stages()
    for one in sized:
        for model in models or [""]:
            for budget in budgets or [""]:
                yield _variant(one, model, budget)


def table(settings: Sequence[PretrainSettings], machine: Machine) -> str:
    """The table, one line per variant."""
    rows = [HEADINGS, UNITS, *(_row(one, machine) for one in settings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def films_that_fit(settings: PretrainSettings, machine: Machine) -> int:
    """Films per forward pass that one GPU holds, a tenth of its memory left free."""
    memory = estimate(settings, machine.gpus)
    return max(0, int((0.9 * machine.memory - memory.fixed) // (memory.per_film + memory.working)))


def films_per_second(settings: PretrainSettings, machine: Machine) -> float:
    """Of one GPU, as far as arithmetic limits it."""
    return machine.flops / flops_per_film(settings).hardware


def films_seen(settings: PretrainSettings) -> int:
    """Films of the whole run, counted each time they are seen."""
    return settings.optimizer.steps * settings.optimizer.batch


def loader_cores(settings: PretrainSettings, machine: Machine) -> float:
    """Cores that keep one GPU fed."""
    return films_per_second(settings, machine) * machine.decode_seconds * settings.objective.tokens / 1024


def _row(settings: PretrainSettings, machine: Machine) -> tuple[str, ...]:
    flops, memory = flops_per_film(settings), estimate(settings, machine.gpus)
    rate = films_per_second(settings, machine)
    tokens = settings.objective.tokens
    return (
        f"{tokens:,}",
        f"{round(tokens**0.5 * settings.encoder.patch):,}",
        settings.encoder.model,
        f"{count_parameters(settings)[0] / 1e6:.0f}",
        settings.objective.cost_column(),
        f"{flops.forward / 1e9:,.1f}",
        f"{flops.training / 1e9:,.0f}",
        _gain(settings, flops.training),
        f"{memory.fixed / GIB:.1f}",
        f"{(memory.per_film + memory.working) / 2**20:,.0f}",
        f"{films_that_fit(settings, machine):,}",
        f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}",
        f"{films_seen(settings) / rate / 3600:,.0f}",
        f"{loader_cores(settings, machine):.1f}",
    )


def _gain(settings: PretrainSettings, training: float) -> str:
    published = settings.objective.published()
    if published is None:
        return "-"
    return f"{flops_per_film(settings.model_copy(update={'objective': published})).training / training:.2f}"


def _variant(settings: PretrainSettings, model: str, budget: str) -> PretrainSettings:
    objective: dict[str, Any] = {}
    if budget:
        published = settings.objective.published() if budget == "published" else None
        objective = published.model_dump() if published else settings.objective.parse_budget(budget)
    encoder: dict[str, Any] = {}
    if model:
        named = [name for name in SHAPES if name.startswith(model)]
        if len(named) != 1:
            raise SettingsError(f"--models {model} is not one of {', '.join(SHAPES)}")
        encoder = {"model": named[0], "dim": None, "depth": None, "heads": None}
    return _with(settings, objective=objective, encoder=encoder)


def _with(settings: PretrainSettings, **changes: Mapping[str, Any]) -> PretrainSettings:
    values = settings.model_dump()
    for group, changed in changes.items():
        values[group] |= changed
    try:
        return PretrainSettings.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        raise SettingsError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
