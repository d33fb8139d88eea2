"""Multi-crop (Caron et al. 2020, section 3.3): beside the two views, small crops of a film at a smaller T."""

from abc import ABC
from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from mae_rad.data.augmentation import Crop
from mae_rad.data.batch import Batch, ViewSpec
from mae_rad.data.resolution_schedule import SquareTokens
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder
from mae_rad.encoders.transformer_cost import Activations, Flops, encoder_activations, encoder_flops
from mae_rad.objectives.interface import FILM
from mae_rad.objectives.two_views import VIEWS, TwoViewSettings, encode_views


class MultiCropSettings(TwoViewSettings, ABC):
    """Settings of a method that takes small crops, too. They show the drawn film, also where a view shows a partner."""

    small_crops: int = Field(default=6, ge=0)
    """Number of small crops beside the two views."""
    small_tokens: SquareTokens = Field(default=36, ge=4)
    """T of a small crop, throughout the run."""
    small_crop: Crop = (0.05, 0.4)
    """Range of the area of a small crop, as a share of the content."""

    def views(self) -> dict[str, ViewSpec]:
        """The two views, then the small crops."""
        augmentation = self.augmentation.model_copy(update={"crop": self.small_crop})
        small = ViewSpec(self.small_tokens, augmentation)
        return super().views() | {f"small{number}": small for number in range(1, self.small_crops + 1)}

    def cost_column(self) -> str:
        """Number of views, the fraction of each that is encoded, and the small crops with their T."""
        return super().cost_column() + (f" + {self.small_crops} of {self.small_tokens}" if self.small_crops else "")

    def flops(self, encoders: Mapping[str, AnyEncoderSettings], films: int) -> Flops:
        """Count two views and the small crops, their heads and the loss."""
        views, small = super().flops(encoders, films), encoder_flops(encoders[FILM], self.small_tokens)
        added = small._replace(rest=self.head_flops(encoders[FILM].shape.dim, films))
        return Flops(*(one + self.small_crops * other for one, other in zip(views, added, strict=True)))

    def activations(self, encoders: Mapping[str, AnyEncoderSettings], films: int, operand_bytes: int) -> Activations:
        """Estimate the activations of two views and the small crops, whose backward passes follow each other."""
        views = super().activations(encoders, films, operand_bytes)
        small = encoder_activations(encoders[FILM], self.small_tokens, operand_bytes)
        kept = small.kept + self.head_bytes(films, operand_bytes)
        return Activations(views.kept + self.small_crops * kept, max(views.peak, self.small_crops * small.peak))


def encode_crops(encoder: Encoder, batch: Batch) -> tuple[Tensor, ...]:
    """Encode the views and small crops of every film, all of one T in one forward pass.

    Args:
        encoder: of films.
        batch: n films with the views of :class:`MultiCropSettings`.

    Returns:
        Pooled features [n, D] of the two views and of each small crop.
    """
    small = [name for name in batch.views if name not in VIEWS]
    return encode_views(encoder, batch) + (encode_views(encoder, batch, small) if small else ())
