"""Compute FLOPs and activation memory of transformer blocks and encoders from their shapes.

Legend: N tokens of self-attention, Q queries, M tokens of a context, D channels, b bytes of a matrix operand.
"""

from typing import NamedTuple

from mae_rad.encoders.attention import KEPT_PAIRS
from mae_rad.encoders.blocks import Shape
from mae_rad.encoders.convolutional_stem import CONVOLUTIONS, cells
from mae_rad.encoders.timm_cost import network_cost
from mae_rad.encoders.timm_encoder import TimmSettings
from mae_rad.encoders.vit import EncoderSettings

RESIDUAL = 4
"""Bytes per channel of the residual stream, which is float32."""


class BlockStack(NamedTuple):
    """Activation memory of a stack of blocks for one film.

    Attributes:
        block: bytes that one block stores for backward.
        input: bytes of the input of one block.
        working: bytes of gradients during backward of one block.
        depth: number of blocks.
    """

    block: float
    input: float
    working: float
    depth: int

    def saved(self, checkpointed: bool) -> float:
        """Bytes stored for backward; of ``checkpointed`` blocks only their inputs."""
        return self.depth * (self.input if checkpointed else self.block)

    def peak(self, checkpointed: bool) -> float:
        """Additional bytes during backward of one block."""
        return self.working + (self.block if checkpointed else 0.0)


class Activations(NamedTuple):
    """Activation memory of one film, in bytes.

    Attributes:
        kept: bytes stored for backward.
        peak: additional bytes at the peak of backward: gradients of one block, and the block if it is recomputed.
    """

    kept: float
    peak: float


def self_attention_stack(encoder: EncoderSettings, shape: Shape, tokens: int, b: int) -> BlockStack:
    """Compute the activation memory of self-attention blocks for one film.

    Args:
        encoder: settings of the encoder, for the kernel of attention.
        shape: size of the stack.
        tokens: N, tokens of the film.
        b: bytes of a matrix operand, 2 or 4.
    """
    # Inputs of norms (float32); outputs of norms, qkv, output of attention, both layers of the MLP.
    linear = tokens * shape.dim * (2 * RESIDUAL + b * (1 + 3 + 1 + 1 + 4 + 4))
    pairs = _pairs(encoder, shape.heads, tokens, tokens, b)
    working = tokens * shape.dim * (RESIDUAL + 5 * b) + pairs
    return BlockStack(linear + pairs, RESIDUAL * shape.dim * tokens, working, shape.depth)


def cross_attention_stack(encoder: EncoderSettings, shape: Shape, queries: int, context: int, b: int) -> BlockStack:
    """Compute the activation memory of cross-attention blocks for one film.

    Args:
        encoder: settings of the encoder, for the kernel of attention.
        shape: size of the stack.
        queries: Q, tokens that attend.
        context: M, tokens of the context.
        b: bytes of a matrix operand, 2 or 4.
    """
    linear = queries * shape.dim * (2 * RESIDUAL + b * (1 + 1 + 1 + 1 + 4 + 4)) + context * shape.dim * 2 * b
    pairs = _pairs(encoder, shape.heads, queries, context, b)
    working = queries * shape.dim * (RESIDUAL + 5 * b) + context * shape.dim * b + pairs
    return BlockStack(linear + pairs, RESIDUAL * shape.dim * queries, working, shape.depth)


def encoder_activations(settings: EncoderSettings | TimmSettings, patches: int, b: int) -> Activations:
    """Compute the activation memory of an encoder for one film.

    Args:
        settings: settings of the encoder; ``attention: auto`` counts as on a GPU.
        patches: number of input patches.
        b: bytes of a matrix operand, 2 or 4.
    """
    if isinstance(settings, TimmSettings):
        cost = network_cost(settings, patches)
        return Activations(b * cost.kept, 2 * b * cost.largest)
    is_checkpointed = settings.checkpoint_activations is True
    pixels, dim = settings.patch**2, settings.shape.dim
    stack = self_attention_stack(settings, settings.shape, patches + 1, b)
    inputs = (2 + b) * pixels * patches + RESIDUAL * dim * (patches + 1)  # patches; input of the last norm
    inputs += int(b * patches * _stem_values(settings))
    return Activations(inputs + stack.saved(is_checkpointed), stack.peak(is_checkpointed))


def _stem_values(settings: EncoderSettings) -> float:
    """Values that the stem stores per patch: its input, and the output of each convolution before and after GELU."""
    if settings.stem == "linear":
        return 0.0
    outputs = sum(size.outputs * count for size, count in zip(CONVOLUTIONS, cells(settings.patch), strict=True))
    return float(settings.patch**2 + 2 * outputs)


def _pairs(encoder: EncoderSettings, heads: int, queries: int, context: int, b: int) -> float:
    """Bytes of the attention weights that the kernel stores."""
    if encoder.attention == "plain" and queries * context <= KEPT_PAIRS:
        return heads * queries * context * b
    return 4.0 * heads * queries  # the fused kernel stores a log-sum-exp per query


class Flops(NamedTuple):
    """Forward FLOPs of one film.

    Attributes:
        embedding: patch embedding; its input needs no gradient, so backward costs as much as forward.
        encoder: blocks of the encoder.
        rest: decoder, or projection head and similarities.
        again: recomputation by ``encoder.checkpoint_activations``: blocks without their last layer.
        fixed: operations without backward: the emphasis.
    """

    embedding: float
    encoder: float
    rest: float
    again: float
    fixed: float = 0.0

    @property
    def forward(self) -> float:
        """FLOPs of the forward pass."""
        return self.fixed + self.embedding + self.encoder + self.rest

    @property
    def training(self) -> float:
        """FLOPs of forward and backward."""
        return self.fixed + 2 * self.embedding + 3 * (self.encoder + self.rest)

    @property
    def hardware(self) -> float:
        """FLOPs of forward and backward with recomputation."""
        return self.training + self.again


def block(tokens: int, dim: int) -> float:
    """FLOPs of a self-attention block: products with 12 D² weights, and two products of [N, N] by D.

    Args:
        tokens: N.
        dim: D.
    """
    return 24.0 * tokens * dim**2 + 4.0 * tokens**2 * dim


def cross_block_flops(queries: int, context: int, dim: int) -> float:
    """FLOPs of a cross-attention block: 10 D² weights per query, 2 D² per context token.

    Args:
        queries: Q.
        context: M.
        dim: D.
    """
    return (20.0 * queries + 4.0 * context) * dim**2 + 4.0 * queries * context * dim


def last_layer_flops(tokens: int, dim: int) -> float:
    """FLOPs of the last layer of an MLP, which is not recomputed.

    Args:
        tokens: N.
        dim: D.
    """
    return 8.0 * tokens * dim**2


def encoder_flops(settings: EncoderSettings | TimmSettings, patches: int) -> Flops:
    """Compute the FLOPs of an encoder for one film.

    Args:
        settings: settings of the encoder.
        patches: number of input patches.
    """
    if isinstance(settings, TimmSettings):
        cost = network_cost(settings, patches)
        return Flops(cost.first, cost.others, 0.0, 0.0)
    dim, depth, _ = settings.shape
    blocks = depth * block(patches + 1, dim)
    again = blocks - depth * last_layer_flops(patches + 1, dim) if settings.checkpoint_activations is True else 0.0
    pixels = settings.patch**2
    first, stem = (patches * flops for flops in _stem(settings))
    fixed = 2.0 * patches * pixels**2 if settings.emphasis else 0.0
    return Flops(2.0 * patches * pixels * dim + first, blocks + stem, 0.0, again, fixed)


def _stem(settings: EncoderSettings) -> tuple[float, float]:
    """FLOPs of the stem per patch: of its first convolution, and of the others with the projection."""
    if settings.stem == "linear":
        return 0.0, 0.0
    first, *later = (
        2.0 * count * size.side**2 * size.inputs * size.outputs
        for size, count in zip(CONVOLUTIONS, cells(settings.patch), strict=True)
    )
    return first, sum(later) + 2.0 * 2 * CONVOLUTIONS[-1].outputs * settings.shape.dim
