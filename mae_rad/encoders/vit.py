"""Vision Transformer on patches of films of any shape (Dosovitskiy et al. 2021; initialised as in He et al. 2022,
but for the stem, which is as torch makes it).

Deviations from the published MAE encoder: one channel; patches come cut, so the patch embedding is a Linear, which may
be helped to see fine detail (emphasis, stem; off by default); positions are computed from the coordinates of each
patch, not looked up in a table for one square grid. Masking is none of its business: it encodes the patches that it is
given.

Legend: B films, N patches, p patch side in pixels, D channels.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from data_prep.settings import Settings
from mae_rad.data.batch import Patches
from mae_rad.encoders.attention import Kernel, unpack
from mae_rad.encoders.blocks import EPSILON, Blocks, Shape, initialise
from mae_rad.encoders.convolutional_stem import PatchStem
from mae_rad.encoders.detail_emphasis import emphasis_map
from mae_rad.encoders.film_pooling import pool_film
from mae_rad.encoders.positions import sincos_positions

DISPLAY_RANGE = 65535.0
"""Display values are uint16 over this range."""


class Features(NamedTuple):
    """What an encoder makes of films.

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
    """Settings of the encoder; they change results, except ``attention`` and ``checkpoint_activations``."""

    model: Literal["vit_tiny", "vit_small", "vit_base", "vit_large"] = "vit_base"
    """Size by its published name."""
    dim: int | None = Field(default=None, ge=4)
    """Channels instead of the model's; a multiple of 4 and of heads."""
    depth: int | None = Field(default=None, ge=1)
    """Blocks instead of the model's."""
    heads: int | None = Field(default=None, ge=1)
    """Attention heads instead of the model's."""
    patch: int = Field(default=16, ge=2)
    """Patch side in pixels."""
    mean: float = 0.5
    """Taken off display values in [0, 1]."""
    std: float = Field(default=0.25, gt=0)
    """Divides them after."""
    emphasis: float = Field(default=0, ge=0, le=3)
    """Of fine detail within a patch: exponent of the frequency, 0 for none; with 1.5 small findings are learned sooner
    from labels."""
    stem: Literal["linear", "convolutional"] = "linear"
    """What embeds a patch: one linear layer, or beside it two convolutions within the patch, which learn small findings
    from fewer films and have no place in a timm or Hugging Face ViT."""
    pool: Literal["cls", "mean"] = "mean"
    """The vector of a film: class token, or mean of the patch tokens."""
    attention: Kernel = "auto"
    """Kernel of attention, of the decoder too: time, memory and rounding."""
    checkpoint_activations: bool | Literal["decoder"] = False
    """Less memory: about a third more time for encoder and decoder, a tenth for the decoder alone; results stay."""

    @property
    def shape(self) -> Shape:
        """The model's size with what is overridden."""
        shape = SHAPES[self.model]
        return Shape(self.dim or shape.dim, self.depth or shape.depth, self.heads or shape.heads)

    @property
    def off(self) -> set[str]:
        """Settings that came later and are off: hashes leave them out, so that what was stored stays valid."""
        later = {"emphasis": 0, "stem": "linear"}
        return {name for name, plain in later.items() if getattr(self, name) == plain}

    @model_validator(mode="after")
    def _divides(self) -> Self:
        dim, _, heads = self.shape
        if dim % 4 or dim % heads:
            raise ValueError(f"dim {dim} must be a multiple of 4 and of heads ({heads})")
        return self


class ViT(nn.Module):
    """Vision Transformer encoder.

    Attributes:
        dim: channels D of its features.
        depth: number of its blocks.
        heads: of its attention.
        patch: side p of its patches in pixels.
        pool: as in the settings.
        emphasis, stem: how patches are embedded, as in the settings; None is no stem.
        checkpoint_activations: as in the settings; a decoder follows it.
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
        attention: Kernel = "auto",
        checkpoint_activations: bool | Literal["decoder"] = False,
    ) -> None:
        super().__init__()
        self.dim = shape.dim
        self.depth = shape.depth
        self.heads = shape.heads
        self.patch = patch
        self.mean = mean
        self.std = std
        self.emphasis = emphasis
        self.pool: Literal["cls", "mean"] = pool
        self.embedding = nn.Linear(patch * patch, shape.dim)
        self.cls = nn.Parameter(torch.empty(shape.dim))
        self.checkpoint_activations = checkpoint_activations
        self.blocks = Blocks(shape, kernel=attention, recompute=checkpoint_activations is True)
        self.norm = nn.LayerNorm(shape.dim, eps=EPSILON)
        self.apply(initialise)
        nn.init.normal_(self.cls, std=0.02)
        self.stem = PatchStem(patch, shape.dim) if stem == "convolutional" else None

    def forward(self, patches: Patches | Sequence[Patches]) -> Features | list[Features]:
        """Encode the patches that are given; [B, N, p*p] uint16 values are normalised here, on their device.

        Films of several sizes come as several groups, each of one size, and so do their features. Only attention tells
        the groups apart; every other layer takes the tokens of all of them at once.
        """
        if isinstance(patches, Patches):
            return self.features(self.blocks(self.embed(patches)))
        embedded = [self.embed(group) for group in patches]
        sizes = [(x.shape[0], x.shape[1]) for x in embedded]
        x = self.blocks(torch.cat([x.flatten(0, 1) for x in embedded]), sizes)
        return [self.features(group) for group in unpack(x, sizes)]

    def embed(self, patches: Patches) -> Tensor:
        """[B, 1 + N, D] what enters the first block: the class token, then the patches in their order."""
        dtype = self.embedding.weight.dtype
        precise = torch.promote_types(dtype, torch.float32)
        values = (patches.values.to(precise) / DISPLAY_RANGE - self.mean) / self.std
        positions = sincos_positions(patches.coords.to(precise), self.dim).to(dtype)
        # Under autocast the sum is float32, and so is the residual stream from here on.
        tokens = self.embedding(self._emphasised(values).to(dtype)) + positions
        if self.stem is not None:
            tokens = tokens + self.stem(values)
        return torch.cat([self.cls.expand(tokens.shape[0], 1, -1), tokens], dim=1)

    def _emphasised(self, values: Tensor) -> Tensor:
        if not self.emphasis:
            return values
        with torch.autocast(values.device.type, enabled=False):  # bf16 would drown what is to be raised
            return values @ emphasis_map(self.patch, self.emphasis, values).T

    @property
    def patch_kernel(self) -> Tensor:
        """[D, p*p] the linear embedding as it acts on normalised pixels: its weight, with the emphasis folded in.

        To set it gives the weight that acts so under the emphasis of this encoder.
        """
        weight = self.embedding.weight.detach()
        if not self.emphasis:
            return weight
        precise = weight.double()
        return (precise @ emphasis_map(self.patch, self.emphasis, precise)).to(weight.dtype)

    @patch_kernel.setter
    def patch_kernel(self, kernel: Tensor) -> None:
        precise = kernel.double()
        if self.emphasis:  # rows of the map are orthogonal: its inverse is its transpose over their squared lengths
            rows = emphasis_map(self.patch, self.emphasis, precise)
            precise = precise @ (rows / rows.square().sum(dim=1, keepdim=True)).T
        with torch.no_grad():
            self.embedding.weight.copy_(precise)

    def features(self, x: Tensor) -> Features:
        """What is told of [B, 1 + N, D] that leaves the last block."""
        x = self.norm(x)
        cls, tokens = x[:, 0], x[:, 1:]
        return Features(tokens, pool_film(self.pool, tokens, cls), cls)


def build_encoder(settings: EncoderSettings) -> ViT:
    """A freshly initialised encoder (from torch's global random state)."""
    return ViT(
        settings.shape,
        patch=settings.patch,
        mean=settings.mean,
        std=settings.std,
        emphasis=settings.emphasis,
        stem=settings.stem,
        pool=settings.pool,
        attention=settings.attention,
        checkpoint_activations=settings.checkpoint_activations,
    )
