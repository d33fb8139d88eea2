"""The cost table: sizes x models x budgets."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from mae_rad.cost.loader import pixels_per_film
from mae_rad.cost.memory import count_parameters, estimate_memory
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
    """The machine of a run.

    Attributes:
        flops: sustained FLOP/s of one GPU: rate of matrix products times utilisation.
        gpus: number of GPUs.
        memory: of one GPU in bytes.
        pixel_seconds: of one loader core for a pixel, decoded or put out, from reading to patches.
        stored_side: side of the stored films in pixels.
    """

    flops: float
    gpus: int
    memory: float
    pixel_seconds: float
    stored_side: int


def vary_settings(
    settings: PretrainSettings, tokens: Sequence[int], models: Sequence[str], budgets: Sequence[str]
) -> Iterator[PretrainSettings]:
    """Vary settings over sizes, models and budgets; an empty list keeps the value of the settings.

    Args:
        settings: to vary.
        tokens: sizes T, without stages; empty for each stage of the settings.
        models: names of models, or unique prefixes of them: vit_l.
        budgets: in the form of the objective, for example 0.25/0.25, or "published".

    Returns:
        The variants, by size, model and budget.

    Raises:
        SettingsError: an unknown model, or a size or budget that the objective cannot have.
    """
    by_tokens = [
        with_changes(settings, objective={"tokens": size, "schedule": ()}) for size in tokens
    ] or settings.stages()
    for variant in by_tokens:
        for model in models or [""]:
            for budget in budgets or [""]:
                yield _variant(variant, model, budget)


def cost_table(settings: Sequence[PretrainSettings], machine: Machine) -> str:
    """Format the cost table.

    Args:
        settings: variants of the settings.
        machine: of the run.

    Returns:
        Two lines of headings and one line per variant.
    """
    rows = [HEADINGS, UNITS, *(_row(variant, machine) for variant in settings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def films_that_fit(settings: PretrainSettings, machine: Machine) -> int:
    """Number of films per forward pass that fit on one GPU with a tenth of its memory free.

    Args:
        settings: of the run.
        machine: of the run.
    """
    memory = estimate_memory(settings, machine.gpus)
    return max(0, int((0.9 * machine.memory - memory.fixed) // (memory.per_film + memory.working)))


def films_per_second(settings: PretrainSettings, machine: Machine) -> float:
    """Training speed of one GPU in films per second, as limited by FLOPs.

    Args:
        settings: of the run.
        machine: of the run.
    """
    return machine.flops / flops_per_film(settings).hardware


def films_seen(settings: PretrainSettings) -> int:
    """Number of films drawn in the whole run, with repetitions."""
    return settings.optimizer.steps * settings.optimizer.batch


def loader_cores(settings: PretrainSettings, machine: Machine) -> float:
    """Number of loader cores that one GPU needs.

    Args:
        settings: of the run.
        machine: of the run.
    """
    pixels = pixels_per_film(settings, machine.stored_side)
    return films_per_second(settings, machine) * machine.pixel_seconds * pixels


def _row(settings: PretrainSettings, machine: Machine) -> tuple[str, ...]:
    flops, memory = flops_per_film(settings), estimate_memory(settings, machine.gpus)
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
        _published_ratio(settings, flops.training),
        f"{memory.fixed / GIB:.1f}",
        f"{(memory.per_film + memory.working) / 2**20:,.0f}",
        f"{films_that_fit(settings, machine):,}",
        f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}",
        f"{films_seen(settings) / rate / 3600:,.0f}",
        f"{loader_cores(settings, machine):.1f}",
    )


def _published_ratio(settings: PretrainSettings, training: float) -> str:
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
        models_found = [name for name in SHAPES if name.startswith(model)]
        if len(models_found) != 1:
            raise SettingsError(f"--models {model} is not one of {', '.join(SHAPES)}")
        encoder = {"model": models_found[0], "dim": None, "depth": None, "heads": None}
    return with_changes(settings, objective=objective, encoder=encoder)


def with_changes(settings: PretrainSettings, **changes: Mapping[str, Any]) -> PretrainSettings:
    """Change some settings.

    Args:
        settings: of the run.
        changes: group → setting → value.

    Raises:
        SettingsError: a value is not valid, or does not go with the others.
    """
    values = settings.model_dump()
    for group, changed in changes.items():
        values[group] |= changed
    try:
        return PretrainSettings.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        raise SettingsError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
