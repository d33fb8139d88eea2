"""The answer of ``mae-rad cost``: the table, and what its numbers rest on."""

from mae_rad.cost.table import GIB, Machine, films_seen, table, variants
from mae_rad.encoders.precision import fast_device
from mae_rad.errors import SettingsError
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.matmul_throughput import matrix_rate


def plan(
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
    decode_ms: float,
    films: int,
) -> str:
    """The table with its assumptions; the arguments are those of the command.

    Raises:
        SettingsError: a number out of range, or a variant that cannot be.
    """
    for name, value in {
        "tflops": tflops,
        "utilisation": utilisation,
        "gpus": gpus,
        "gpu-gib": gpu_gib,
        "films": films,
    }.items():
        if value <= 0:
            raise SettingsError(f"--{name} {value} must be positive")
    rate, whose = tflops * 1e12, "given"
    if measure:
        device = fast_device()
        rate, whose = matrix_rate(device, settings.precision, seconds=1.0), f"measured on this {device.type.upper()}"
    try:
        sizes = [int(word) for word in tokens.split(",") if word]
    except ValueError:
        raise SettingsError(f"--tokens {tokens} are not whole numbers with commas between") from None
    chosen = [[word for word in text.split(",") if word] for text in (models, budgets)]
    machine = Machine(rate * utilisation, gpus, gpu_gib * GIB, decode_ms / 1000)
    seen = films_seen(settings)
    notes = {
        "the run": f"{settings.optimizer.steps:,} steps x {settings.optimizer.batch:,} films = {seen:,} films,"
        f" {seen / films:,.0f} epochs of {films:,}",
        "training": "model FLOPs, forward and backward; published / this: the published design of the same size",
        "speed": f"{rate / 1e12:,.2f} TFLOP/s of bare {settings.precision} matrices ({whose}) x {utilisation:.0%};"
        f" small models reach less; wall time is GPU hours / {gpus}",
        "memory": f"an estimate: {gpu_gib:g} GiB of which a tenth stays free, {gpus} GPUs, ZeRO stage"
        f" {settings.runtime.zero_stage}, {_checkpointed(settings)}",
        "loader": f"{decode_ms:g} ms of one core for a film of T = 1024, in proportion to T; measure yours",
    }
    if settings.objective.schedule and not sizes:
        notes["stages"] = "a line each; GPU hours are those of the stage"
    rows = table(list(variants(settings, sizes, *chosen)), machine)
    return "\n".join([rows, "", *(f"{name:10}{note}" for name, note in notes.items())])


def _checkpointed(settings: PretrainSettings) -> str:
    told = {True: "activations computed again", False: "activations kept", "decoder": "the decoder's computed again"}
    return told[settings.encoder.checkpoint_activations]
