"""Networks of timm as encoders of films: ViTs (DINOv2, DINOv3, CLIP, SigLIP), ConvNeXt, ResNet, EfficientNet, …

Published weights are converted to an encoder folder by :mod:`mae_rad.export.convert`. The networks take square or
oblong films of any size, but whole: no patch can be hidden from them. A film is repeated in three equal channels, or
has one. Batch norm averages over the films of a forward pass: with it, several ranks, accumulation and parts of a batch
would train another model.

Legend: B films, N cells of the last feature map (one per patch of a ViT), D channels.
"""

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from data_prep.settings import Settings
from mae_rad.data.batch import Patches
from mae_rad.data.patch_layout import CONTENT_SCALE, FilmScale
from mae_rad.encoders.blocks import Shape
from mae_rad.encoders.film_image import IMAGENET_MEAN, IMAGENET_STD, as_image
from mae_rad.encoders.film_pooling import pool_film
from mae_rad.encoders.pooling_name import FilmPool, check_blocks
from mae_rad.encoders.timm_network import (
    DEFAULT_PATCH,
    NetworkFacts,
    build_network,
    check_image,
    layers_above,
    network_facts,
)
from mae_rad.encoders.vit import DISPLAY_RANGE, Features

Argument = bool | int | float | str | list[bool | int | float | str] | None
"""Value of an argument of a network."""

_NORMALISATION = {1: ((0.5,), (0.25,)), 3: (IMAGENET_MEAN, IMAGENET_STD)}
"""Channels → default mean and standard deviation."""

FINEST_STRIDE = 4
"""Pixels per cell of the finest feature map that a detection uses."""


class TimmSettings(Settings):
    """Settings of a network of timm; all but ``vector`` change results."""

    timm: str
    """Architecture by timm's name, such as resnet50, convnext_tiny, vit_small_patch14_reg4_dinov2."""
    args: dict[str, Argument] = Field(default_factory=dict)
    """Arguments of timm's network that differ from those of the name, such as {img_size: 224} or {norm_layer:
    groupnorm}."""
    channels: Literal[1, 3] = 3
    """Input channels: one, or three equal ones, as published weights need."""
    patch: int = Field(default=DEFAULT_PATCH, ge=2)
    """Patch side in pixels; films are laid out in whole patches, as for other encoders (default: that of a ViT, 16 for
    other networks)."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Subtracted from display values in [0, 1], per channel (default: ImageNet's; 0.5 of one channel)."""
    std: tuple[float, ...] = IMAGENET_STD
    """Divides the difference, per channel (default: ImageNet's; 0.25 of one channel)."""
    pool: Literal["cls", "mean"] = "mean"
    """The vector of a film in training, ``pooled``: class token (of a network without one, the vector that timm gives
    to its classifier), or mean of the tokens."""
    vector: FilmPool | None = None
    """The vector of a film wherever the trained encoder embeds films, as for a ViT; blocks of a convolutional network
    are the feature maps that timm lists (default: ``pool``)."""

    checkpoint_activations: ClassVar[Literal[False]] = False
    """As in the settings of the ViT."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """Set the defaults that depend on the network: patch and normalisation."""
        if not isinstance(values, Mapping) or not isinstance(values.get("timm"), str):
            return values
        channels, arguments = values.get("channels", 3), values.get("args") or {}
        if channels not in _NORMALISATION or not isinstance(arguments, Mapping):
            return values  # reported by the types
        facts = network_facts(values["timm"], arguments, channels)
        mean, std = _NORMALISATION[channels]
        derived = {"mean": mean, "std": std} | ({"patch": facts.patch} if facts.patch else {})
        return derived | dict(values)

    @model_validator(mode="after")
    def _check_network(self) -> Self:
        own = self.facts.patch
        if own is not None and self.patch != own:
            raise ValueError(f"{self.timm} has patches of {own} pixels, not {self.patch}. Leave patch out")
        if {len(self.mean), len(self.std)} != {self.channels}:
            raise ValueError(f"mean and std need one number for each of {self.channels} channels")
        check_image(self.timm, self.args, self.channels, self.patch)
        check_blocks(self.film_vector, self.shape.depth)
        return self

    @property
    def facts(self) -> NetworkFacts:
        """What timm says about the network."""
        return network_facts(self.timm, self.args, self.channels)

    @property
    def model(self) -> str:
        """Displayed name."""
        return self.timm

    @property
    def shape(self) -> Shape:
        """Channels of the features, number of blocks or maps, and heads of an attention on the features."""
        return Shape(self.facts.dim, len(self.facts.block_dims), self.facts.heads)

    @property
    def block_dims(self) -> tuple[int, ...]:
        """Channels of each block or map."""
        return self.facts.block_dims

    @property
    def off(self) -> set[str]:
        """As in the settings of the ViT."""
        newer: dict[str, object] = {"args": {}, "channels": 3, "pool": "mean"}
        return {name for name, default in newer.items() if getattr(self, name) == default} | {"vector"}

    @property
    def film_scale(self) -> FilmScale:
        """Films are scaled by their content."""
        return CONTENT_SCALE

    @property
    def film_vector(self) -> str:
        """Name of the pooling of the film vector."""
        return self.vector or self.pool


class TimmEncoder(nn.Module):
    """A network of timm that encodes films.

    Attributes:
        network: the network without its classifier, under timm's names.
        facts: what timm says about it.
        dim: channels D of the last feature map.
        block_dims: channels of each block or map.
        depth: number of blocks or maps.
        heads: heads of an attention on its features.
        patch: patch side in pixels.
        channels: input channels.
        pool: pooling of ``pooled``.
        vector: name of the pooling of the film vector.
        mean: subtracted per channel.
        std: divides per channel.
        has_fixed_statistics: whether batch norm keeps its statistics in training, as for batches of few films.
    """

    def __init__(self, settings: TimmSettings, *, has_fixed_statistics: bool = False) -> None:
        super().__init__()
        self.facts = settings.facts
        self.network = build_network(settings.timm, settings.args, settings.channels, dict(self.facts.options))
        self.dim, self.depth, self.heads = settings.shape
        self.block_dims = self.facts.block_dims
        self.patch, self.channels = settings.patch, settings.channels
        self.mean, self.std = settings.mean, settings.std
        self.pool: Literal["cls", "mean"] = settings.pool
        self.vector: str = settings.film_vector
        self.has_fixed_statistics = has_fixed_statistics
        self.train()  # modules are built in training mode without a call

    def forward(self, patches: Patches, blocks: Sequence[int] = ()) -> Features | list[Features]:
        """Encode films; tokens are the cells of the last feature map.

        Args:
            patches: complete films of one grid.
            blocks: numbers of blocks or maps, counted from 1, whose features are requested.

        Returns:
            Features of the films; with ``blocks``, of the films after each of these blocks. timm's final norm is
            applied to the blocks of a ViT.
        """
        images = self.images(patches)
        if blocks:
            return [self._features(*cells_and_prefix) for cells_and_prefix in self._blocks(images, blocks)]
        last = self._network.forward_features(images)
        cells, prefix = self._cells(last)
        return self._features(cells, prefix, None if self._has_class_token else self._own_vector(last))

    def images(self, patches: Patches) -> Tensor:
        """Assemble films as normalised images [B, channels, rows, columns]."""
        images = as_image(patches, self.patch) / DISPLAY_RANGE
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        # The memory format of a depthwise convolution on a CPU: a step takes six tenths of the time.
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)

    def maps(self, patches: Patches) -> list[Tensor]:
        """Compute the feature maps [B, channels, rows, columns] of a network whose maps become coarser.

        Args:
            patches: complete films of one grid.

        Returns:
            The maps of :attr:`map_blocks`, finest first.
        """
        return [cells for cells, _ in self._intermediates(self.images(patches), self.map_blocks)]

    @property
    def map_blocks(self) -> tuple[int, ...]:
        """Numbers of the maps for boxes: the last of each size, from :data:`FINEST_STRIDE` pixels per cell."""
        last = {stride: number for number, stride in enumerate(self.facts.strides, 1)}
        return tuple(number for stride, number in sorted(last.items()) if stride >= FINEST_STRIDE)

    def layers_above(self, name: str) -> int:
        """Number of layers between a parameter and the features, as timm groups them for layer-wise decay.

        Args:
            name: name of the parameter in the encoder.
        """
        return self._layers_above.get(name.removeprefix("network."), 0)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; batch norm stays in evaluation mode if it has fixed statistics."""
        super().train(mode)
        if self.has_fixed_statistics:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    @property
    def _network(self) -> Any:
        """The network, whose methods torch's types do not know."""
        return self.network

    @property
    def _prefix_tokens(self) -> int:
        return int(getattr(self.network, "num_prefix_tokens", 0) or 0)

    @property
    def _has_class_token(self) -> bool:
        return self._prefix_tokens > 0 and getattr(self.network, "cls_token", None) is not None

    @cached_property
    def _returns_prefix_tokens(self) -> bool:
        taken = inspect.signature(self._network.forward_intermediates).parameters
        return self._prefix_tokens > 0 and "return_prefix_tokens" in taken

    @cached_property
    def _layers_above(self) -> dict[str, int]:
        """Parameter → number of layers above it; 0 for what timm counts to no block, such as the last norm."""
        return layers_above(self.network)

    def _blocks(self, images: Tensor, blocks: Sequence[int]) -> list[tuple[Tensor, Tensor | None]]:
        """Cells [B, N, D] and prefix tokens of several blocks, in the order of ``blocks``."""
        of_block = dict(zip(sorted(blocks), self._intermediates(images, sorted(blocks)), strict=True))
        return [(of_block[block][0].flatten(2).transpose(1, 2), of_block[block][1]) for block in blocks]

    def _intermediates(self, images: Tensor, blocks: Sequence[int]) -> list[tuple[Tensor, Tensor | None]]:
        """Maps [B, D, rows, columns] and prefix tokens [B, P, D] of ascending blocks; none where there are no such."""
        options: dict[str, Any] = {"return_prefix_tokens": True} if self._returns_prefix_tokens else {}
        maps = self._network.forward_intermediates(
            images,
            indices=[block - 1 for block in blocks],
            norm=True,
            stop_early=True,
            intermediates_only=True,
            **options,
        )
        return [cast("tuple[Tensor, Tensor]", cells) if options else (cells, None) for cells in maps]

    def _cells(self, last: Tensor) -> tuple[Tensor, Tensor | None]:
        """Split the last features into cells [B, N, D] and prefix tokens [B, P, D]."""
        if last.ndim == 3:
            return last[:, self._prefix_tokens :], last[:, : self._prefix_tokens]
        if str(getattr(self.network, "output_fmt", "NCHW")) == "NHWC":
            return last.flatten(1, 2), None
        return last.flatten(2).transpose(1, 2), None

    def _own_vector(self, last: Tensor) -> Tensor | None:
        """The vector that timm gives to its classifier; None if it has another width than the features."""
        vector: Tensor = self._network.forward_head(last, pre_logits=True)
        return vector if vector.shape[1:] == (self.dim,) else None

    def _features(self, cells: Tensor, prefix: Tensor | None, vector: Tensor | None = None) -> Features:
        if prefix is not None and self._has_class_token:
            vector = prefix[:, 0]
        cls = cells.mean(dim=1) if vector is None else vector
        return Features(cells, pool_film(self.pool, cells, cls), cls)
