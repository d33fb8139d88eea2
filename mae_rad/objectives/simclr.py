"""SimCLR (Chen et al. 2020): two views of a film agree, films of other studies do not.

Deviations from the paper: films of one study are never each other's negatives; the head has three layers (Chen et al.
2020b) and normalises with LayerNorm. BatchNorm would couple the films of one rank, so that two ranks train another
model than one; its synchronised form does not run on CPU.

Legend: n films of this rank, D encoder channels.
"""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mae_rad.data.augmentation import Augmentation, Crop, Strength
from mae_rad.data.batch import Batch, Patches, ViewSpec
from mae_rad.data.resolution_schedule import Schedule, SquareTokens
from mae_rad.encoders.blocks import initialise
from mae_rad.encoders.transformer_cost import Flops, encoder_flops
from mae_rad.encoders.vit import EncoderSettings, ViT
from mae_rad.losses.contrastive import Pairs, nt_xent
from mae_rad.objectives.interface import Objective, ObjectiveOutput, feature_std

VIEWS = ("a", "b")
"""Names of the two views."""


class SimCLRSettings(Augmentation):
    """Settings of SimCLR; all change results."""

    name: Literal["simclr"] = "simclr"
    tokens: SquareTokens = Field(default=196, ge=16)
    """T, patches of each view."""
    schedule: Schedule = ()
    """Stages before the last with a T of their own, as in the masked autoencoder."""
    crop: Crop = (0.4, 1.0)
    """Area range of the random square crop inside the content; each view has one."""
    window: Strength = 0.5
    gamma: Strength = 0.5
    noise: Strength = 0.5
    visible: float | None = Field(default=None, gt=0, le=1)
    """Fraction of T that is encoded; null encodes all."""
    temperature: float = Field(default=0.1, gt=0)
    head_hidden: int = Field(default=2048, ge=1)
    """Channels of the two hidden layers of the projection head."""
    head_dim: int = Field(default=128, ge=1)
    """Channels of the projection."""
    films_at_once: int | None = Field(default=None, ge=1)
    """Films that a rank encodes at once; null encodes its whole part of the batch. Memory is then that of so many films
    whatever the batch, for one more forward pass; loss and gradient stay those of the whole batch."""

    @property
    def view(self) -> ViewSpec:
        """What the loader draws, twice."""
        return ViewSpec(self.tokens, self.augmentation, self.visible, schedule=self.schedule)


class SimCLR(Objective):
    """Contrast between two views of every film, over all ranks."""

    def __init__(self, encoder: ViT, settings: SimCLRSettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = dict.fromkeys(VIEWS, settings.view)
        self.temperature = settings.temperature
        self.films_at_once = settings.films_at_once
        self.head = _projection_head(encoder.dim, settings.head_hidden, settings.head_dim)

    def forward(self, batch: Batch) -> ObjectiveOutput:
        """NT-Xent of the projections; a collective call."""
        a, b = (batch.views[name].visible for name in VIEWS)
        films = Patches(*(torch.stack(parts, dim=1) for parts in zip(a, b, strict=True)))  # [n, 2, ...]
        at_once = self.films_at_once or len(batch.film)
        if at_once >= len(batch.film):
            z, pooled = self._encode(films)
        else:
            # Cached gradients (Gao et al. 2021, section 3.2): the backward pass comes to each part with the gradient
            # that the whole batch gives its vectors, and encodes it again. Nothing of one part enters another.
            parts = [
                checkpoint(self._encode, Patches(*part), use_reentrant=False)
                for part in zip(*(torch.split(values, at_once) for values in films), strict=True)
            ]
            z, pooled = (torch.cat(values) for values in zip(*parts, strict=True))
        loss, pairs = nt_xent(z[:, 0], z[:, 1], self.temperature, film=batch.film, study=batch.study, return_pairs=True)
        return ObjectiveOutput(loss, self._metrics(pooled.flatten(0, 1), pairs))

    def _encode(self, films: Patches) -> tuple[Tensor, Tensor]:
        """Projections and pooled features [n, 2, ...] of the two views of n films."""
        pooled = self.encoder(Patches(*(values.flatten(0, 1) for values in films))).pooled
        return self.head(pooled).unflatten(0, (-1, 2)), pooled.unflatten(0, (-1, 2))

    @torch.no_grad()
    def _metrics(self, pooled: Tensor, pairs: Pairs) -> dict[str, Tensor]:
        pull = pairs.weights > 0
        push = pairs.mask & ~pull
        cosine = pairs.similarity * self.temperature
        nearest = pairs.similarity.masked_fill(~pairs.mask, -torch.inf).argmax(dim=1, keepdim=True)
        return {
            "positive_similarity": (cosine * pull).sum() / pull.sum(),
            "negative_similarity": (cosine * push).sum() / push.sum(),
            "feature_std": feature_std(pooled),
            "contrastive_accuracy": pull.gather(1, nearest).float().mean(),
        }


def _projection_head(encoder_dim: int, hidden: int, dim: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise([encoder_dim, hidden, hidden]):
        # The norm's own shift makes a bias redundant.
        layers += [nn.Linear(width_in, width_out, bias=False), nn.LayerNorm(width_out), nn.GELU()]
    head = nn.Sequential(*layers, nn.Linear(hidden, dim, bias=False))
    return head.apply(initialise)


def simclr_flops(encoder: EncoderSettings, settings: SimCLRSettings, films: int) -> Flops:
    """FLOPs of one film, in two views, contrasted with ``films`` films."""
    visible, _ = settings.view.budgets
    one = encoder_flops(encoder, settings.tokens if visible is None else visible)
    hidden, dim = settings.head_hidden, settings.head_dim
    head = 2.0 * (encoder.shape.dim * hidden + hidden**2 + hidden * dim)
    similarities = 2.0 * dim * 2 * films  # of one view to both views of every film
    return Flops(2 * one.embedding, 2 * one.encoder, 2 * (head + similarities), 2 * one.again, 2 * one.fixed)
