"""Floating-point operations of one film, counted from shapes: matrix products only, a multiply-add is two.

These are model FLOPs (Chowdhery et al. 2022, appendix B): backward is twice forward, and what is computed again to save
memory does not count. Norms, softmax and GELU are left out: under 1 % of the operations.

Legend: N tokens of self-attention, Q queries, M tokens of a context, D channels.
"""

from typing import NamedTuple

from mae_rad.config import PretrainSettings
from mae_rad.encoders.stem import CONVOLUTIONS, cells
from mae_rad.encoders.vit import EncoderSettings
from mae_rad.objectives import MAESettings, SimCLRSettings


class Flops(NamedTuple):
    """Of one film, forward.

    Attributes:
        embedding: patch embedding; its input needs no gradient, so its backward is once forward.
        encoder: blocks of the encoder.
        rest: decoder, or projection head and similarities.
        again: what ``encoder.checkpoint_activations`` computes a second time: blocks up to their last layer.
        fixed: what learns nothing, so it has no backward: the emphasis.
    """

    embedding: float
    encoder: float
    rest: float
    again: float
    fixed: float = 0.0

    @property
    def forward(self) -> float:
        """One pass forward."""
        return self.fixed + self.embedding + self.encoder + self.rest

    @property
    def training(self) -> float:
        """Forward and backward."""
        return self.fixed + 2 * self.embedding + 3 * (self.encoder + self.rest)

    @property
    def hardware(self) -> float:
        """Forward and backward, with what is computed again."""
        return self.training + self.again


def flops_per_film(settings: PretrainSettings) -> Flops:
    """What one film costs in a step of training with ``settings``."""
    objective = settings.objective
    if isinstance(objective, MAESettings):
        return mae_flops(settings.encoder, objective)
    return simclr_flops(settings.encoder, objective, settings.optimizer.batch // settings.optimizer.accumulation)


def training_flops(settings: PretrainSettings, steps: int | None = None) -> float:
    """What a run costs over all its stages, or its first ``steps``; a film counts as often as it is seen."""
    left = settings.optimizer.steps if steps is None else steps
    total = 0.0
    for stage in settings.stages():
        taken = min(stage.optimizer.steps, left)
        total += flops_per_film(stage).training * taken * stage.optimizer.batch
        left -= taken
    return total


def block(tokens: int, dim: int) -> float:
    """Self-attention and perceptron: products with 12 D² weights, and two products of [N, N] by D."""
    return 24.0 * tokens * dim**2 + 4.0 * tokens**2 * dim


def cross_block(queries: int, context: int, dim: int) -> float:
    """Attention to a context and perceptron: 10 D² weights per query, 2 D² per context token."""
    return (20.0 * queries + 4.0 * context) * dim**2 + 4.0 * queries * context * dim


def last_layer(tokens: int, dim: int) -> float:
    return 8.0 * tokens * dim**2


def encoder_flops(settings: EncoderSettings, patches: int) -> Flops:
    dim, depth, _ = settings.shape
    blocks = depth * block(patches + 1, dim)
    again = blocks - depth * last_layer(patches + 1, dim) if settings.checkpoint_activations is True else 0.0
    pixels = settings.patch**2
    first, stem = (patches * part for part in _stem(settings))
    fixed = 2.0 * patches * pixels**2 if settings.emphasis else 0.0
    return Flops(2.0 * patches * pixels * dim + first, blocks + stem, 0.0, again, fixed)


def _stem(settings: EncoderSettings) -> tuple[float, float]:
    """Of one patch: the first convolution, and what comes after it."""
    if settings.stem == "linear":
        return 0.0, 0.0
    first, *rest = (
        2.0 * count * one.side**2 * one.inputs * one.outputs
        for one, count in zip(CONVOLUTIONS, cells(settings.patch), strict=True)
    )
    return first, sum(rest) + 2.0 * 2 * CONVOLUTIONS[-1].outputs * settings.shape.dim


def mae_flops(encoder: EncoderSettings, settings: MAESettings) -> Flops:
    visible, predicted = settings.view.budgets
    assert visible is not None  # a masked autoencoder always has a budget
    context, dim, depth = visible + 1, settings.decoder_dim, settings.decoder_depth
    if settings.decoder == "self":
        blocks, decoded = depth * block(context + predicted, dim), context + predicted
    else:
        blocks, decoded = depth * cross_block(predicted, context, dim), predicted
    ends = 2.0 * dim * (context * encoder.shape.dim + predicted * encoder.patch**2)
    ours = encoder_flops(encoder, visible)
    again = blocks - depth * last_layer(decoded, dim) if encoder.checkpoint_activations else 0.0
    return ours._replace(rest=blocks + ends, again=ours.again + again)


def simclr_flops(encoder: EncoderSettings, settings: SimCLRSettings, films: int) -> Flops:
    visible, _ = settings.view.budgets
    one = encoder_flops(encoder, settings.tokens if visible is None else visible)
    hidden, dim = settings.head_hidden, settings.head_dim
    head = 2.0 * (encoder.shape.dim * hidden + hidden**2 + hidden * dim)
    similarities = 2.0 * dim * 2 * films  # of one view to both views of every film
    return Flops(2 * one.embedding, 2 * one.encoder, 2 * (head + similarities), 2 * one.again, 2 * one.fixed)
