"""Estimates the memory of one GPU from shapes.

Counted are weights, gradients and the two moments of AdamW in float32, partitioned as in ZeRO (Rajbhandari et al. 2020,
section 5); the bf16 copies of weights that autocast stores for backward; the reduce bucket of gradients; every tensor
that backward needs; and the gradients of one block. Not counted are the CUDA context (about 0.5 GiB), fragmentation of
the allocator, and pictures: leave a tenth free. For ViT-S at T = 1024 (bf16, CPU), the estimate of activations is 1.01
times the measured peak, and 1.4 times with recomputation. Each objective counts its activations, from the blocks of
``encoders/transformer_cost.py``.
"""

from typing import NamedTuple

import torch

from mae_rad.encoders.any_encoder import build_any_encoder
from mae_rad.encoders.transformer_cost import Activations
from mae_rad.objectives import FILM, Objective
from mae_rad.pretraining.settings import PretrainSettings

REDUCE_BUCKET_ELEMENTS = 500_000_000
"""Elements of the reduce bucket of DeepSpeed."""


class Memory(NamedTuple):
    """Memory of one GPU in bytes.

    Attributes:
        weights: in float32, with buffers and their bf16 copies.
        gradients: with the reduce bucket.
        optimizer: moments, and in stages 1 and 2 the copy of the weights of DeepSpeed.
        per_film: activations of one film.
        working: additional peak per film: gradients of one block, with checkpointing also the recomputed block.
    """

    weights: float
    gradients: float
    optimizer: float
    per_film: float
    working: float

    @property
    def fixed(self) -> float:
        """Bytes that do not depend on the number of films."""
        return self.weights + self.gradients + self.optimizer

    def total(self, films: int) -> float:
        """Bytes with ``films`` per forward pass."""
        return self.fixed + films * (self.per_film + self.working)


def count_parameters(settings: PretrainSettings) -> tuple[int, int]:
    """Count all parameters of the objective, and those in matrices; nothing is allocated."""
    sizes = [(parameter.numel(), parameter.ndim) for parameter in _build(settings).parameters()]
    return sum(size for size, _ in sizes), sum(size for size, ndim in sizes if ndim > 1)


def count_untrained(settings: PretrainSettings) -> tuple[int, int]:
    """Count the parameters that no gradient trains, and the elements of buffers; nothing is allocated."""
    objective = _build(settings)
    frozen = sum(parameter.numel() for parameter in objective.parameters() if not parameter.requires_grad)
    return frozen, sum(buffer.numel() for buffer in objective.buffers())


def _build(settings: PretrainSettings) -> Objective:
    with torch.device("meta"):
        return settings.objective.build({FILM: build_any_encoder(settings.encoder)})


def estimate_memory(settings: PretrainSettings, world: int) -> Memory:
    """Estimate the memory of one GPU.

    Args:
        settings: of the run.
        world: number of GPUs.

    Returns:
        Bytes by purpose.
    """
    parameters, matrices = count_parameters(settings)
    frozen, kept = count_untrained(settings)
    trained = parameters - frozen
    stage = settings.runtime.zero_stage
    partitions = [world if stage >= first else 1 for first in (3, 2, 1)]  # weights, gradients, optimiser
    copies = 2 * matrices if settings.precision == "bf16" else 0
    # Stages 1 to 3 allocate the whole bucket for any model.
    bucket_bytes = 4 * (
        REDUCE_BUCKET_ELEMENTS if stage > 0 else min(trained, REDUCE_BUCKET_ELEMENTS) if world > 1 else 0
    )
    weight_copy = 4 * trained / world if stage in {1, 2} else 0
    average = 4 * parameters if settings.optimizer.average_decay else 0
    per_film, working = estimate_activations(settings)
    return Memory(
        weights=4 * parameters / partitions[0] + 4 * kept + copies + average,
        gradients=4 * trained / partitions[1] + bucket_bytes,
        optimizer=8 * trained / partitions[2] + weight_copy,
        per_film=per_film,
        working=working,
    )


def estimate_activations(settings: PretrainSettings) -> Activations:
    """Bytes per film that backward needs, and additional bytes at its peak; ``attention: auto`` counts as on a GPU."""
    operand_bytes = 2 if settings.precision == "bf16" else 4
    return settings.objective.activations(settings.encoders, settings.films_per_pass, operand_bytes)
