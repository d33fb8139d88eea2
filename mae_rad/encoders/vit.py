"""Vision Transformer (Dosovitskiy et al. 2021) on patches of films of any shape.

Initialised as in He et al. 2022, except the stem, which has torch's initialisation. Deviations from the published MAE
encoder: one channel; the input are patches, so the patch embedding is a Linear, optionally with emphasis of fine detail
or a convolutional stem; positions are computed from the coordinates of each patch, not from a table of one square grid.
Masking happens outside: the encoder encodes all patches that it is given.

Legend: B films, N patches, p patch side in pixels, D channels.
"""

import re
from collections.abc import Sequence
from itertools import islice
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from data_prep.settings import Settings
from mae_rad.data.batch import Patches
from mae_rad.data.patch_layout import FilmScale
from mae_rad.encoders.attention import Kernel, unpack
from mae_rad.encoders.blocks import EPSILON, Blocks, Shape, initialise
from mae_rad.encoders.convolutional_stem import PatchStem
from mae_rad.encoders.detail_emphasis import emphasis_map
from mae_rad.encoders.film_pooling import pool_film
from mae_rad.encoders.pooling_name import FilmPool, check_blocks
from mae_rad.encoders.positions import sincos_positions

DISPLAY_RANGE = 65535.0
"""Largest display value (uint16)."""

_BLOCK = re.compile(r"blocks\.(\d+)\.")


class Features(NamedTuple):
    """Features of films.

    Attributes:
        tokens: [B, N, D] one vector per patch, in the order of the patches.
        pooled: [B, D] one vector per film.
        cls: [B, D] the class token.
    """

    tokens: Tensor
    pooled: Tensor
    cls: Tensor


SHAPES: dict[str, Shape] = {
    "vit_tiny": Shape(192, 12, 3),
    "vit_small": Shape(384, 12, 6),
    "vit_base": Shape(768, 12, 12),
    "vit_large": Shape(1024, 24, 16),
}


class EncoderSettings(Settings):
    """Settings of an encoder; all change results, except ``attention`` and ``checkpoint_activations``."""

    model: Literal["vit_tiny", "vit_small", "vit_base", "vit_large"] = "vit_base"
    """Size by its published name."""
    dim: int | None = Field(default=None, ge=4, le=2**14)
    """Channels (default: those of the model); a multiple of 4 and of heads."""
    depth: int | None = Field(default=None, ge=1, le=256)
    """Number of blocks (default: that of the model)."""
    heads: int | None = Field(default=None, ge=1, le=256)
    """Attention heads (default: those of the model)."""
    patch: int = Field(default=16, ge=2)
    """Patch side in pixels."""
    scale: Literal["content", "native"] = "content"
    """Size of a film that is cut into patches. content: its content box holds about T patches; native: that of the
    shard, without any scaling, and T only sets how many patches a masked autoencoder draws."""
    mm_per_patch: float | None = Field(default=None, gt=0)
    """Millimetres that a patch covers, so that anatomy has one scale on all films, by their pixel spacing; null:
    ``scale`` decides."""
    without_spacing: Literal["content", "skip"] = "content"
    """Films without a usable pixel spacing in pretraining, with ``mm_per_patch``: scaled by their content, or skipped.
    Elsewhere they are always scaled by their content."""
    mean: float = 0.5
    """Subtracted from display values in [0, 1]."""
    std: float = Field(default=0.25, gt=0)
    """Divides the difference."""
    emphasis: float = Field(default=0, ge=0, le=3)
    """Emphasis of fine detail within a patch: exponent of the frequency, 0 for none. With 1.5, small findings are
    learned from labels in fewer steps."""
    stem: Literal["linear", "convolutional"] = "linear"
    """Patch embedding: a linear layer, or additionally two convolutions within the patch, which learn small findings
    from fewer films and cannot be exported to timm or Hugging Face."""
    pool: Literal["cls", "mean"] = "mean"
    """The vector of a film in training, ``pooled``: class token, or mean of the patch tokens."""
    vector: FilmPool | None = None
    """The vector of a film wherever the trained encoder embeds films, see ``encoders/pooling_name.py`` (default:
    ``pool``); has no effect on training."""
    drop_path: float = Field(default=0, ge=0, lt=1)
    """Stochastic depth in training: probability that the last block drops its effect on a film; it rises from 0 at the
    first block."""
    attention: Kernel = "auto"
    """Kernel of attention, also of the decoder; affects time, memory and rounding."""
    checkpoint_activations: bool | Literal["decoder"] = False
    """Recompute activations to save memory: a third more time for encoder and decoder, a tenth for the decoder."""

    @property
    def shape(self) -> Shape:
        """Size of the model with overrides."""
        shape = SHAPES[self.model]
        return Shape(self.dim or shape.dim, self.depth or shape.depth, self.heads or shape.heads)

    @property
    def block_dims(self) -> tuple[int, ...]:
        """Channels of each block."""
        return (self.shape.dim,) * self.shape.depth

    @property
    def off(self) -> set[str]:
        """Settings that hashes exclude.

        Newer ones at their defaults, so that earlier hashes stay valid, and the film vector, which changes neither
        weights nor features.
        """
        newer = {"emphasis": 0, "stem": "linear", "drop_path": 0}
        newer |= {"scale": "content", "mm_per_patch": None, "without_spacing": "content"}
        return {name for name, default in newer.items() if getattr(self, name) == default} | {"vector"}

    @property
    def film_vector(self) -> str:
        """Name of the pooling of the film vector."""
        return self.vector or self.pool

    @property
    def film_scale(self) -> FilmScale:
        """How large films are when they are cut into patches."""
        return FilmScale(self.scale == "native", self.mm_per_patch, self.without_spacing == "skip")

    @model_validator(mode="after")
    def _has_one_scale(self) -> Self:
        if self.scale == "native" and self.mm_per_patch is not None:
            raise ValueError("scale: native keeps the pixels of a film, mm_per_patch scales them. Give one of the two")
        if self.without_spacing == "skip" and self.mm_per_patch is None:
            raise ValueError("without_spacing is for mm_per_patch. Give mm_per_patch, or leave it out")
        return self

    @model_validator(mode="after")
    def _divides(self) -> Self:
        dim, _, heads = self.shape
        if dim % 4 or dim % heads:
            raise ValueError(f"dim {dim} must be a multiple of 4 and of heads ({heads})")
        return self

    @model_validator(mode="after")
    def _has_the_blocks(self) -> Self:
        check_blocks(self.film_vector, self.shape.depth)
        return self


class ViT(nn.Module):
    """Vision Transformer encoder.

    Attributes:
        dim: channels D of the features.
        block_dims: channels of each block, D.
        depth: number of blocks.
        heads: attention heads.
        patch: patch side p in pixels.
        pool: pooling of ``pooled`` in training.
        vector: name of the pooling of the film vector.
        emphasis: exponent of the emphasis of fine detail.
        stem: convolutional stem, or None.
        checkpoint_activations: as in the settings; a decoder uses it, too.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        patch: int,
        mean: float,
        std: float,
        emphasis: float = 0,
        stem: Literal["linear", "convolutional"] = "linear",
        pool: Literal["cls", "mean"],
        vector: str | None = None,
        attention: Kernel = "auto",
        checkpoint_activations: bool | Literal["decoder"] = False,
        drop_path: float = 0,
    ) -> None:
        super().__init__()
        self.dim = shape.dim
        self.depth = shape.depth
        self.block_dims = (shape.dim,) * shape.depth
        self.heads = shape.heads
        self.patch = patch
        self.mean = mean
        self.std = std
        self.emphasis = emphasis
        self.pool: Literal["cls", "mean"] = pool
        self.vector: str = vector or pool
        self.embedding = nn.Linear(patch * patch, shape.dim)
        self.cls = nn.Parameter(torch.empty(shape.dim))
        self.checkpoint_activations = checkpoint_activations
        recompute = checkpoint_activations is True
        self.blocks = Blocks(shape, kernel=attention, recompute=recompute, drop_path=drop_path)
        self.norm = nn.LayerNorm(shape.dim, eps=EPSILON)
        self.apply(initialise)
        nn.init.normal_(self.cls, std=0.02)
        self.stem = PatchStem(patch, shape.dim) if stem == "convolutional" else None

    def forward(self, patches: Patches | Sequence[Patches], blocks: Sequence[int] = ()) -> Features | list[Features]:
        """Encode patches; values are normalised on their device.

        Args:
            patches: films of equal size, or several groups of films, each of one size. Attention treats groups
                separately; all other layers process the tokens of all groups together.
            blocks: numbers of blocks, counted from 1, whose features are requested; for one group of films.

        Returns:
            Features of the films, or of each group; with ``blocks``, of the films after each of these blocks. The
            final norm is applied to all of them.
        """
        if blocks:
            assert isinstance(patches, Patches)
            return self._features_of_blocks(patches, blocks)
        if isinstance(patches, Patches):
            return self.features(self.blocks(self.embed(patches)))
        embedded = [self.embed(group) for group in patches]
        sizes = [(x.shape[0], x.shape[1]) for x in embedded]
        x = self.blocks(torch.cat([x.flatten(0, 1) for x in embedded]), sizes)
        return [self.features(group) for group in unpack(x, sizes)]

    def _features_of_blocks(self, patches: Patches, blocks: Sequence[int]) -> list[Features]:
        x, of_block = self.embed(patches), {}
        for number, block in enumerate(islice(self.blocks, max(blocks)), 1):
            x = block(x)
            if number in blocks:
                of_block[number] = self.features(x)
        return [of_block[number] for number in blocks]

    def embed(self, patches: Patches) -> Tensor:
        """Compute the input of the first block, [B, 1 + N, D]: class token, then the patches in their order."""
        dtype = self.embedding.weight.dtype
        precise = torch.promote_types(dtype, torch.float32)
        values = (patches.values.to(precise) / DISPLAY_RANGE - self.mean) / self.std
        positions = sincos_positions(patches.coords.to(precise), self.dim).to(dtype)
        # Under autocast the sum is float32, and so is the residual stream after it.
        tokens = self.embedding(self._emphasise(values).to(dtype)) + positions
        if self.stem is not None:
            tokens = tokens + self.stem(values)
        return torch.cat([self.cls.expand(tokens.shape[0], 1, -1), tokens], dim=1)

    def _emphasise(self, values: Tensor) -> Tensor:
        if not self.emphasis:
            return values
        with torch.autocast(values.device.type, enabled=False):  # bf16 would round off the fine detail
            return values @ emphasis_map(self.patch, self.emphasis, values).T

    @property
    def patch_kernel(self) -> Tensor:
        """Weight [D, p*p] of the linear embedding on normalised pixels, with the emphasis folded in.

        Assigning it sets the weight that has this effect under the emphasis of this encoder.
        """
        weight = self.embedding.weight.detach()
        if not self.emphasis:
            return weight
        precise = weight.double()
        return (precise @ emphasis_map(self.patch, self.emphasis, precise)).to(weight.dtype)

    @patch_kernel.setter
    def patch_kernel(self, kernel: Tensor) -> None:
        precise = kernel.double()
        if self.emphasis:  # rows are orthogonal: the inverse is the transpose over their squared norms
            rows = emphasis_map(self.patch, self.emphasis, precise)
            precise = precise @ (rows / rows.square().sum(dim=1, keepdim=True)).T
        with torch.no_grad():
            self.embedding.weight.copy_(precise)

    def layers_above(self, name: str) -> int:
        """Number of layers between a parameter and the features, for layer-wise decay (He et al. 2022, appendix A.1).

        Args:
            name: name of the parameter in the encoder.
        """
        if name.startswith("norm."):
            return 0
        block = _BLOCK.match(name)
        return self.depth - int(block[1]) if block else self.depth + 1

    def features(self, x: Tensor) -> Features:
        """Compute the features from the output [B, 1 + N, D] of the last block."""
        x = self.norm(x)
        cls, tokens = x[:, 0], x[:, 1:]
        return Features(tokens, pool_film(self.pool, tokens, cls), cls)


def build_encoder(settings: EncoderSettings) -> ViT:
    """Build an encoder with initial weights from torch's global random state."""
    return ViT(
        settings.shape,
        patch=settings.patch,
        mean=settings.mean,
        std=settings.std,
        emphasis=settings.emphasis,
        stem=settings.stem,
        pool=settings.pool,
        vector=settings.vector,
        attention=settings.attention,
        checkpoint_activations=settings.checkpoint_activations,
        drop_path=settings.drop_path,
    )
