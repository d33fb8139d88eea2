"""Memory of one GPU, estimated from shapes.

What is counted: weights, gradients and AdamW's two moments in float32, parted as in ZeRO (Rajbhandari et al. 2020,
section 5); the bf16 copies of weights that autocast keeps for backward; the bucket that gradients are reduced in; every
tensor that backward needs; and the gradients of one block. What is not: the CUDA context (about 0.5 GiB), the
allocator's fragments, pictures: leave a tenth free. Against the peak of ViT-S at T = 1024 (bf16, CPU) activations come
out as 1.01 of the measured, and on the safe side, as 1.4, where they are computed again. Each objective counts its own
activations, by the blocks of ``encoders/transformer_cost.py``.
"""

from typing import NamedTuple

import torch

from mae_rad.encoders.transformer_cost import Activations
from mae_rad.encoders.vit import build_encoder
from mae_rad.objectives import FILM
from mae_rad.pretraining.settings import PretrainSettings

BUCKET = 500_000_000
"""Elements of DeepSpeed's reduce bucket."""


class Memory(NamedTuple):
    """Bytes of one GPU.

    Attributes:
        weights: float32, and the bf16 copies.
        gradients: with the reduce bucket.
        optimizer: moments, and DeepSpeed's own copy of the weights of stages 1 and 2.
        per_film: activations of one film.
        working: per film, on top: gradients of one block; with checkpointing also the block that is computed again.
    """

    weights: float
    gradients: float
    optimizer: float
    per_film: float
    working: float

    @property
    def fixed(self) -> float:
        """What does not grow with the films."""
        return self.weights + self.gradients + self.optimizer

    def total(self, films: int) -> float:
        """With ``films`` per forward pass."""
        return self.fixed + films * (self.per_film + self.working)


def count_parameters(settings: PretrainSettings) -> tuple[int, int]:
    """(all, of matrices) parameters of the whole objective; nothing is allocated."""
    with torch.device("meta"):
        objective = settings.objective.build({FILM: build_encoder(settings.encoder)})
    sizes = [(parameter.numel(), parameter.ndim) for parameter in objective.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, ndim in sizes if ndim > 1)


def estimate(settings: PretrainSettings, world: int) -> Memory:
    """Memory of one GPU among ``world``."""
    parameters, matrices = count_parameters(settings)
    stage = settings.runtime.zero_stage
    parts = [world if stage >= first else 1 for first in (3, 2, 1)]  # weights, gradients, optimiser
    copies = 2 * matrices if settings.precision == "bf16" else 0
    # Stages 1 to 3 take it whole, whatever the model.
    bucket = 4 * (BUCKET if stage > 0 else min(parameters, BUCKET) if world > 1 else 0)
    own_copy = 4 * parameters / world if stage in {1, 2} else 0
    saved, working = activations(settings)
    return Memory(
        weights=4 * parameters / parts[0] + copies,
        gradients=4 * parameters / parts[1] + bucket,
        optimizer=8 * parameters / parts[2] + own_copy,
        per_film=saved,
        working=working,
    )


def activations(settings: PretrainSettings) -> Activations:
    """Bytes per film that backward needs, and those alive besides at its peak; ``attention: auto`` is as on a GPU."""
    operand_bytes = 2 if settings.precision == "bf16" else 4
    return settings.objective.activations(settings.encoders, settings.films_per_pass, operand_bytes)
