"""FLOPs and memory of transformer blocks and of an encoder, counted from shapes.

Legend: N tokens of self-attention, Q queries, M tokens of a context, D channels, b bytes of a matrix operand.
"""

from typing import NamedTuple

from mae_rad.encoders.attention import KEPT_PAIRS
from mae_rad.encoders.blocks import Shape
from mae_rad.encoders.convolutional_stem import CONVOLUTIONS, cells
from mae_rad.encoders.vit import EncoderSettings

RESIDUAL = 4
"""Bytes of a channel of the residual stream, which stays in float32."""


class BlockStack(NamedTuple):
    """Saved bytes of a stack of blocks: of one block, of its input, and of the gradients while one is in backward."""

    block: float
    input: float
    working: float
    depth: int

    def saved(self, checkpointed: bool) -> float:
        """Bytes that backward needs; with ``checkpointed`` blocks only their inputs."""
        return self.depth * (self.input if checkpointed else self.block)

    def peak(self, checkpointed: bool) -> float:
        """Bytes alive besides while one block is in backward."""
        return self.working + (self.block if checkpointed else 0.0)


class Activations(NamedTuple):
    """Bytes of one film.

    Attributes:
        kept: that backward needs.
        peak: alive besides at the peak of backward: gradients of one block, and the block if it is computed again.
    """

    kept: float
    peak: float


def self_attention_stack(encoder: EncoderSettings, shape: Shape, tokens: int, b: int) -> BlockStack:
    """Memory of blocks of self-attention over ``tokens``, of one film."""
    # Norm inputs; norm outputs, qkv, attention's output, both layers of the perceptron.
    linear = tokens * shape.dim * (2 * RESIDUAL + b * (1 + 3 + 1 + 1 + 4 + 4))
    pairs = _pairs(encoder, shape.heads, tokens, tokens, b)
    working = tokens * shape.dim * (RESIDUAL + 5 * b) + pairs
    return BlockStack(linear + pairs, RESIDUAL * shape.dim * tokens, working, shape.depth)


def cross_attention_stack(encoder: EncoderSettings, shape: Shape, queries: int, context: int, b: int) -> BlockStack:
    """Memory of blocks in which ``queries`` attend to ``context`` tokens, of one film."""
    linear = queries * shape.dim * (2 * RESIDUAL + b * (1 + 1 + 1 + 1 + 4 + 4)) + context * shape.dim * 2 * b
    pairs = _pairs(encoder, shape.heads, queries, context, b)
    working = queries * shape.dim * (RESIDUAL + 5 * b) + context * shape.dim * b + pairs
    return BlockStack(linear + pairs, RESIDUAL * shape.dim * queries, working, shape.depth)


def encoder_activations(settings: EncoderSettings, patches: int, b: int) -> Activations:
    """Memory of an encoder on ``patches`` patches of one film.

    Args:
        settings: of the encoder; ``attention: auto`` counts as on a GPU.
        patches: that the encoder takes of the film.
        b: bytes of a matrix operand, 2 or 4.

    Returns:
        Bytes of the film.
    """
    again = settings.checkpoint_activations is True
    pixels, dim = settings.patch**2, settings.shape.dim
    stack = self_attention_stack(settings, settings.shape, patches + 1, b)
    inputs = (2 + b) * pixels * patches + RESIDUAL * dim * (patches + 1)  # patches; input of the last norm
    inputs += int(b * patches * _stem_values(settings))
    return Activations(inputs + stack.saved(again), stack.peak(again))


def _stem_values(settings: EncoderSettings) -> float:
    """Values that the stem keeps of a patch: its input, and each convolution's output before and after GELU."""
    if settings.stem == "linear":
        return 0.0
    made = sum(one.outputs * count for one, count in zip(CONVOLUTIONS, cells(settings.patch), strict=True))
    return float(settings.patch**2 + 2 * made)


def _pairs(encoder: EncoderSettings, heads: int, queries: int, context: int, b: int) -> float:
    """Bytes of the attention weights where the kernel keeps them."""
    if encoder.attention == "plain" and queries * context <= KEPT_PAIRS:
        return heads * queries * context * b
    return 4.0 * heads * queries  # the fused kernel keeps a logarithm per query


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


def block(tokens: int, dim: int) -> float:
    """Self-attention and perceptron: products with 12 D² weights, and two products of [N, N] by D."""
    return 24.0 * tokens * dim**2 + 4.0 * tokens**2 * dim


def cross_block(queries: int, context: int, dim: int) -> float:
    """Attention to a context and perceptron: 10 D² weights per query, 2 D² per context token."""
    return (20.0 * queries + 4.0 * context) * dim**2 + 4.0 * queries * context * dim


def last_layer(tokens: int, dim: int) -> float:
    """FLOPs of the last layer of a perceptron, which is not computed again."""
    return 8.0 * tokens * dim**2


def encoder_flops(settings: EncoderSettings, patches: int) -> Flops:
    """FLOPs of an encoder on ``patches`` patches of one film."""
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
