"""The output of ``mae-rad cost``: the cost table and its assumptions."""

from mae_rad.cost.loader import measure_pixel_seconds, pixels_per_film
from mae_rad.cost.memory_advice import fit_text
from mae_rad.cost.table import GIB, Machine, cost_table, films_seen, vary_settings
from mae_rad.encoders.precision import fast_device
from mae_rad.errors import SettingsError
from mae_rad.pretraining.rate_report import rate_report
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.pretraining.usable_films import usable_films_text
from mae_rad.training.matmul_throughput import measure_matmul_rate


def cost_report(
    settings: PretrainSettings,
    *,
    tokens: str,
    models: str,
    budgets: str,
    tflops: float,
    measure: bool,
    utilisation: float,
    gpus: int,
    gpu_gib: float,
    pixel_ns: float,
    stored_side: int,
    films: int,
) -> str:
    """Format the cost table with its assumptions.

    Args:
        settings: of the run.
        tokens: comma-separated sizes T; empty for those of the settings.
        models: comma-separated names of models; empty for that of the settings.
        budgets: comma-separated budgets of the objective; empty for that of the settings.
        tflops: rate of matrix products of one GPU, in TFLOP/s.
        measure: measure this rate on this machine instead.
        utilisation: share of this rate that training reaches, in (0, 1].
        gpus: number of GPUs.
        gpu_gib: memory of one GPU in GiB.
        pixel_ns: nanoseconds that one loader core needs for a pixel, decoded or put out; ``measure`` measures it.
        stored_side: side of the films in the shards, in pixels.
        films: number of films in the shards, for the number of epochs.

    Returns:
        Several lines of text.

    Raises:
        SettingsError: a number out of range, or an invalid variant.
    """
    numbers = {"tflops": tflops, "utilisation": utilisation, "gpus": gpus, "gpu-gib": gpu_gib, "films": films}
    numbers |= {"pixel-ns": pixel_ns, "stored-side": stored_side}
    for name, value in numbers.items():
        if value <= 0:
            raise SettingsError(f"--{name} must be above 0, not {value}")
    rate, rate_source = tflops * 1e12, "given"
    if measure:
        device = fast_device()
        rate = measure_matmul_rate(device, settings.precision, seconds=1.0)
        rate_source = f"measured on this {device.type.upper()}"
        pixel_ns = measure_pixel_seconds() * 1e9
    try:
        sizes = [int(item) for item in tokens.split(",") if item]
    except ValueError:
        raise SettingsError(f"--tokens {tokens} are not comma-separated whole numbers") from None
    names = [[item for item in text.split(",") if item] for text in (models, budgets)]
    machine = Machine(rate * utilisation, gpus, gpu_gib * GIB, pixel_ns / 1e9, stored_side)
    speed = f"{rate / 1e12:,.2f} TFLOP/s of {settings.precision} matrix products ({rate_source}) x {utilisation:.0%}"
    notes = _assumptions(settings, machine, speed, films, measured=measure)
    if settings.objective.schedule and not sizes:
        notes["stages"] = "one line per stage; GPU hours are those of the stage"
    rows = cost_table(list(vary_settings(settings, sizes, *names)), machine)
    return "\n".join([rows, "", *(f"{name:10}{note}" for name, note in notes.items())])


def _assumptions(
    settings: PretrainSettings, machine: Machine, speed: str, films: int, *, measured: bool
) -> dict[str, str]:
    """Column of the table → what its numbers rest on."""
    films_drawn = films_seen(settings)
    return {
        "the run": f"{settings.optimizer.steps:,} steps x {settings.optimizer.batch:,} films = {films_drawn:,} films,"
        f" {films_drawn / films:,.0f} epochs of {films:,}",
        "films": usable_films_text(settings),
        "rate": rate_report(settings).text,
        "training": "model FLOPs, forward and backward; published / this: the published design of the same size",
        "speed": f"{speed}; small models reach less; wall time is GPU hours / {machine.gpus}",
        "memory": f"an estimate: {machine.memory / GIB:g} GiB of which a tenth stays free, {machine.gpus} GPUs,"
        f" ZeRO stage {settings.runtime.zero_stage}, {_checkpointed(settings)}",
        "fits": fit_text(settings, machine.gpus, machine.memory),
        "loader": f"{pixels_per_film(settings, machine.stored_side) / 1e6:.2f} million pixels a film, decoded (stored"
        f" {machine.stored_side} x {machine.stored_side}) and put out, at {1e9 * machine.pixel_seconds:.1f} ns of one"
        f" core{' (measured here)' if measured else '; --measure measures yours'}",
    }


def _checkpointed(settings: PretrainSettings) -> str:
    texts = {
        True: "activations recomputed",
        False: "activations stored",
        "decoder": "activations of the decoder recomputed",
    }
    return texts[settings.encoder.checkpoint_activations]
