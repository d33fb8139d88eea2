"""SimCLR (Chen et al. 2020): two views of a film are positives, films of other studies negatives.

``pairs`` changes what belongs together: SupCon (Khosla et al. 2020), the elimination of false negatives, the decoupled
loss (Yeh et al. 2022) and kernels on a number (Dufumier et al. 2021) are choices of it.

Deviations from the paper: films of one study are not negatives of each other; the projection head has three layers
(Chen et al. 2020b) and, unless ``head_norm`` says otherwise, layer norm instead of batch norm.

Legend: n films of this rank, D encoder channels.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mae_rad.data.batch import Batch, Patches
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder
from mae_rad.encoders.timm_encoder import TimmSettings
from mae_rad.encoders.transformer_cost import Flops
from mae_rad.losses.all_ranks import gather_columns
from mae_rad.losses.contrastive import view_similarity
from mae_rad.losses.pair_nce import pair_nce, valid_rows
from mae_rad.objectives.interface import ENCODER, FILM, MethodLabel, Objective, ObjectiveOutput, feature_std
from mae_rad.objectives.learning_rates import TriedRates
from mae_rad.objectives.projection_head import HeadNorm, projection_head
from mae_rad.objectives.two_views import VIEWS, TwoViewSettings
from mae_rad.pairing.neighbours import nearest_films
from mae_rad.pairing.relations import Shown, relate

TRIED_RATES = (
    TriedRates(128, 5e-4, 5e-4, "ViT-Ti, T = 64, 10,101 films of hands, 91,000 films drawn"),
    TriedRates(4096, 8e-4, 2.4e-3, "ViT-S and ViT-B, T = 196, photographs, as MoCo v3: Chen et al. 2021, section 4"),
)
"""Peak learning rates with AdamW."""


class SimCLRSettings(TwoViewSettings):
    """Settings of SimCLR; all but ``films_at_once`` change results. T is that of each view."""

    label: ClassVar[MethodLabel] = MethodLabel(
        "SimCLR",
        "contrastive learning: features of two augmented views of a film become similar, those of other films differ",
    )
    compares_pairs: ClassVar[bool] = True
    speed_only: ClassVar[frozenset[str]] = frozenset({"films_at_once"})
    tried_rates: ClassVar[tuple[TriedRates, ...]] = TRIED_RATES

    name: Literal["simclr"] = "simclr"
    """Name of the method."""
    temperature: float = Field(default=0.1, gt=0)
    """Divisor of the cosine similarities."""
    head_hidden: int = Field(default=2048, ge=1)
    """Channels of the two hidden layers of the projection head."""
    head_dim: int = Field(default=128, ge=1)
    """Channels of the projection."""
    head_norm: HeadNorm = "layer"
    """Norm of the hidden layers of the projection head: layer, or batch, as published: over the films of all ranks, in
    one forward pass."""
    films_at_once: int | None = Field(default=None, ge=1)
    """Films per forward pass of a rank; null encodes all its films at once. Memory is then that of so many films for
    any batch size, at the cost of one more forward pass; loss and gradient are those of the whole batch."""

    @model_validator(mode="after")
    def _check_head(self) -> Self:
        if self.head_norm == "batch" and self.films_at_once is not None:
            raise ValueError("head_norm=batch needs all films in one forward pass. Leave objective.films_at_once out")
        return self

    @property
    def off(self) -> set[str]:
        """Newer settings at the value of earlier releases."""
        return super().off | ({"head_norm"} if self.head_norm == "layer" else set())

    @property
    def needs_whole_batch(self) -> bool:
        """Whether the projection of a film depends on the other films of the forward pass."""
        return self.head_norm == "batch"

    def build(self, encoders: Mapping[str, Encoder]) -> "SimCLR":
        """Build SimCLR with the encoder of films."""
        return SimCLR(encoders[FILM], self)

    def check_encoder(self, encoder: AnyEncoderSettings) -> None:
        """Check that a network of timm gets whole views, and one with batch norm all films in one forward pass."""
        super().check_encoder(encoder)
        if isinstance(encoder, TimmSettings) and self.films_at_once is not None and encoder.facts.has_batch_norm:
            raise ValueError(
                f"batch norm of {encoder.timm} needs all films in one forward pass. Leave objective.films_at_once out"
            )

    def films_in_memory(self, films: int) -> int:
        """Number of films that are encoded at once."""
        return min(films, self.films_at_once or films)

    def smaller_passes(self, films: int) -> dict[str, Any]:
        """Encode fewer films at once."""
        return {} if self.needs_whole_batch else {"films_at_once": films}

    def flops(self, encoders: Mapping[str, AnyEncoderSettings], films: int) -> Flops:
        """Count two views, their projections, and their similarities to both views of every film."""
        counted = super().flops(encoders, films)
        is_cached = self.films_in_memory(films) < films  # every part is encoded once more
        return counted._replace(again=counted.again + counted.forward) if is_cached else counted

    def head_flops(self, encoder_dim: int, films: int) -> float:
        """Count the projection of a view, and its similarities to both views of every film."""
        hidden, dim = self.head_hidden, self.head_dim
        return 2.0 * (encoder_dim * hidden + hidden**2 + hidden * dim) + 2.0 * dim * 2 * films

    def head_bytes(self, films: int, operand_bytes: int) -> float:
        """Estimate output, norm and GELU of each hidden layer, and the similarities of a view to all."""
        b = operand_bytes
        return 2 * (b + 4 + b) * self.head_hidden + 8 * self.head_dim + 3 * 4 * 2 * films


class SimCLR(Objective):
    """Contrastive learning between two views of every film, over all ranks."""

    def __init__(self, encoder: Encoder, settings: SimCLRSettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = settings.views()
        self.temperature = settings.temperature
        self.films_at_once = settings.films_at_once
        self.pairs = settings.pairs
        if neighbours := settings.pairs.neighbours:
            self.renew_every, self.renew_from = neighbours.every, neighbours.first
        self.head = projection_head(encoder.dim, settings.head_hidden, settings.head_dim, settings.head_norm)

    def forward(self, batch: Batch) -> ObjectiveOutput:
        """Compute the contrastive loss of the projections (by default NT-Xent); a collective call."""
        first, second = (batch.views[name].visible for name in VIEWS)
        films = Patches(
            *(torch.stack(parts, dim=1) for parts in zip(first.parts, second.parts, strict=True))
        )  # [n, 2, ...]
        films_per_pass = self.films_at_once or len(batch.keys)
        if films_per_pass >= len(batch.keys):
            z, pooled = self._encode(films)
        else:
            # Gradient caching (Gao et al. 2021, section 3.2): backward encodes each part again, with the gradient of
            # the loss of the whole batch. Nothing of one part enters another.
            parts = [
                checkpoint(self._encode, Patches(*part), use_reentrant=False)
                for part in zip(*(torch.split(values, films_per_pass) for values in films.parts), strict=True)
            ]
            z, pooled = (torch.cat(values) for values in zip(*parts, strict=True))
        return self.contrast(batch, z, pooled)

    def contrast(self, batch: Batch, z: Tensor, pooled: Tensor) -> ObjectiveOutput:
        """Compute the contrastive loss of projections; a collective call.

        Args:
            batch: n films.
            z: [n, 2, C] projections of their two views.
            pooled: [n, 2, D] features of the views, for the metrics.
        """
        similarity = view_similarity(z[:, 0], z[:, 1], self.temperature)
        rows = Shown.of(batch, VIEWS)
        weights, mask = relate(
            self.pairs.relation,
            rows,
            rows.each(gather_columns),
            own_in_denominator=self.pairs.own_in_denominator,
        )
        metrics = self._metrics(pooled.flatten(0, 1), similarity, weights, mask)
        if not self.pairs.partner.is_itself:
            first_film, second_film = (batch.members[name].film for name in VIEWS)
            metrics["own_partner"] = (first_film == second_film).float().mean()
        return ObjectiveOutput(pair_nce(similarity, weights, mask), metrics)

    def renew(self, vectors: Mapping[str, Tensor], generator: np.random.Generator) -> dict[str, Tensor]:
        """Find the nearest films of every film for the relation that needs them."""
        del generator
        assert self.pairs.neighbours is not None
        return {"neighbours": nearest_films(vectors[ENCODER], self.pairs.neighbours.ring)}

    def _encode(self, films: Patches) -> tuple[Tensor, Tensor]:
        """Projections and pooled features [n, 2, ...] of the two views of n films."""
        pooled = self.encoder(Patches(*(values.flatten(0, 1) for values in films.parts))).pooled
        return self.head(pooled).unflatten(0, (-1, 2)), pooled.unflatten(0, (-1, 2))

    @torch.no_grad()
    def _metrics(self, pooled: Tensor, similarity: Tensor, weights: Tensor, mask: Tensor) -> dict[str, Tensor]:
        is_positive = weights > 0
        is_negative = (mask > 0) & ~is_positive
        cosine = similarity * self.temperature
        is_compared = is_positive | is_negative
        nearest = similarity.masked_fill(~is_compared, -torch.inf).argmax(dim=1, keepdim=True)
        return {
            "positive_similarity": (cosine * is_positive).sum() / is_positive.sum(),
            "negative_similarity": (cosine * is_negative).sum() / is_negative.sum(),
            "feature_std": feature_std(pooled),
            "contrastive_accuracy": is_positive.gather(1, nearest).float().mean(),
            "dropped_rows": 1 - valid_rows(weights, mask).float().mean(),
        }
