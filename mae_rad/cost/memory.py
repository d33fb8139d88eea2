"""Memory of one GPU, estimated from shapes.

What is counted: weights, gradients and AdamW's two moments in float32, parted as in ZeRO (Rajbhandari et al. 2020,
section 5); the bf16 copies of weights that autocast keeps for backward; the bucket that gradients are reduced in; every
tensor that backward needs; and the gradients of one block. What is not: the CUDA context (about 0.5 GiB), the
allocator's fragments, pictures: leave a tenth free. Against the peak of ViT-S at T = 1024 (bf16, CPU) activations come
out as 1.01 of the measured, and on the safe side, as 1.4, where they are computed again.

Legend: N tokens, D channels, H heads; b bytes of a matrix operand (2 in bf16, 4 in f32).
"""

from typing import NamedTuple

import torch

from mae_rad.encoders.blocks import Shape
from mae_rad.encoders.convolutional_stem import CONVOLUTIONS, cells
from mae_rad.encoders.transformer_cost import RESIDUAL, cross_attention_stack, self_attention_stack
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.objectives import MAESettings, build_objective
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
        objective = build_objective(settings.objective, build_encoder(settings.encoder))
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


def activations(settings: PretrainSettings) -> tuple[float, float]:
    """Bytes per film that backward needs, and those alive besides at its peak; ``attention: auto`` is as on a GPU."""
    b = 2 if settings.precision == "bf16" else 4
    encoder, objective = settings.encoder, settings.objective
    again, again_decoder = encoder.checkpoint_activations is True, bool(encoder.checkpoint_activations)
    pixels, dim = encoder.patch**2, encoder.shape.dim
    if isinstance(objective, MAESettings):
        visible, predicted = objective.view.budgets
        assert visible is not None
        views, hidden = 1, objective.decoder_dim
        context = visible + 1
        shape = Shape(hidden, objective.decoder_depth, objective.decoder_heads)
        if objective.decoder == "self":
            rest = self_attention_stack(encoder, shape, context + predicted, b)
            outputs = RESIDUAL * hidden * (context + predicted)
        else:
            rest = cross_attention_stack(encoder, shape, predicted, context, b)
            outputs = RESIDUAL * hidden * predicted + b * hidden * context
        # Decoder embedding, its norm and head; squared errors in float32.
        ends = b * dim * context + outputs + b * hidden * predicted + 4 * pixels * predicted
        peak_of_rest = rest.peak(again_decoder)
        saved_of_rest = rest.saved(again_decoder) + ends
    else:
        views, visible = 2, objective.view.budgets[0] or objective.tokens
        # Each hidden layer: output, norm, GELU; the similarities of two views to all.
        saved_of_rest = 2.0 * (2 * (b + 4 + b) * objective.head_hidden + 8 * objective.head_dim)
        saved_of_rest += 2 * 3 * 4 * 2 * settings.optimizer.batch // settings.optimizer.accumulation
        peak_of_rest = 0.0
    stack = self_attention_stack(encoder, encoder.shape, visible + 1, b)
    inputs = (2 + b) * pixels * visible + RESIDUAL * dim * (visible + 1)  # patches; input of the last norm
    inputs += int(b * visible * _stem(encoder))
    return views * (inputs + stack.saved(again)) + saved_of_rest, max(views * stack.peak(again), peak_of_rest)


def _stem(encoder: EncoderSettings) -> float:
    """Values that the stem keeps of a patch: its input, and before and after GELU what each convolution makes of it."""
    if encoder.stem == "linear":
        return 0.0
    made = sum(one.outputs * count for one, count in zip(CONVOLUTIONS, cells(encoder.patch), strict=True))
    return float(encoder.patch**2 + 2 * made)
