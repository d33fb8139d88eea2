"""Masked autoencoder (He et al. 2022): the encoder gets some patches of a film, a small decoder predicts others.

Deviations from the paper, with the setting that restores it (all in ``configs/pretrain/mae_reference.yaml``):

* visible and predicted patches are drawn from the content of the film (``padded: true`` draws from a padded square);
* only a part of the hidden patches is predicted (``predicted: all``);
* the decoder attends to the output of the encoder alone (``decoder: self``);
* a variance floor keeps the noise of near-black patches from becoming a target (``variance_floor: 0``).

Legend: B films, P predicted patches, p patch side.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mae_rad.data.augmentation import Augmentation
from mae_rad.data.batch import Batch, Patches, View, ViewSpec
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder
from mae_rad.encoders.blocks import Shape
from mae_rad.encoders.transformer_cost import (
    RESIDUAL,
    Activations,
    Flops,
    block,
    cross_attention_stack,
    cross_block_flops,
    encoder_activations,
    encoder_flops,
    last_layer_flops,
    self_attention_stack,
)
from mae_rad.encoders.vit import DISPLAY_RANGE, EncoderSettings, Features, ViT
from mae_rad.errors import SettingsError, WeightsError
from mae_rad.losses.masked_reconstruction import masked_mse, patch_statistics
from mae_rad.objectives.interface import (
    FILM,
    MethodLabel,
    Objective,
    ObjectiveOutput,
    ObjectiveSettings,
    PixelDecoder,
    feature_std,
)
from mae_rad.objectives.learning_rates import TriedRates
from mae_rad.objectives.mae_decoder import Decoder

PUBLISHED: Mapping[str, Any] = {
    "crop": None, "padded": True, "visible": 0.25, "predicted": "all",
    "decoder": "self", "decoder_dim": 512, "decoder_depth": 8, "decoder_heads": 16,
}  # fmt: skip
"""Settings of the paper."""

TRIED_RATES = (
    TriedRates(
        128, 1.5e-4, 5e-4, "ViT-Ti, T = 64, 10,101 films of hands, 128,000 films drawn", failed=1.5e-3,
        failure="attention saturated, and the loss fell further while the encoder became no better than a random one",
    ),
    TriedRates(4096, 2.4e-3, 2.4e-3, "ViT-B and ViT-L, T = 196, photographs: He et al. 2022, table 8"),
)  # fmt: skip
"""Peak learning rates with AdamW. On the hands, probes of sex and age were best at 5e-4, half as good at 1.5e-4 and at
chance from 1.5e-3 on, while the loss was 0.72, 0.59, 0.58 and 0.53 at 1.5e-4, 5e-4, 1.5e-3 and 4e-3."""


class MAESettings(ObjectiveSettings, Augmentation):
    """Settings of the masked autoencoder; all change results."""

    label: ClassVar[MethodLabel] = MethodLabel(
        "MAE", "masked autoencoding: most of a film is hidden and the encoder learns to fill it in"
    )
    tried_rates: ClassVar[tuple[TriedRates, ...]] = TRIED_RATES

    name: Literal["mae"] = "mae"
    """Name of the method."""
    visible: float = Field(default=0.25, gt=0, lt=1)
    """Fraction of T that the encoder gets. T counts the patches of the box around the content: if half of them show
    content, a quarter of T is half of the content. The hidden share of the content is logged as ``masked_content``."""
    predicted: Literal["all"] | Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Fraction of T that is predicted; ``all`` is every patch of T that is not visible, as published."""
    padded: bool = False
    """Pad the film with black to a square of T patches, and draw from all patches, whether content or not."""
    normalise_pixels: bool = True
    """Predict patches normalised by their mean and standard deviation."""
    variance_floor: float = Field(default=1e-5, ge=0)
    """Lower bound of the variance of a patch in the normalisation, in squared display ranges: 1e-5 is a standard
    deviation of 0.3 %. On public films at 224 to 1024 pixels it affects 68 to 87 % of near-black patches and 1 to 9 %
    of bright ones."""
    decoder: Literal["cross", "self"] = "cross"
    """``cross``: mask tokens attend to the output of the encoder. ``self``: mask and visible tokens attend to each
    other, as published."""
    decoder_dim: int = Field(default=512, ge=4)
    """Channels of the decoder; a multiple of 4 and of decoder_heads."""
    decoder_depth: int = Field(default=8, ge=1, le=256)
    """Blocks of the decoder."""
    decoder_heads: int = Field(default=16, ge=1)
    """Attention heads of the decoder."""

    @property
    def view(self) -> ViewSpec:
        """The one view."""
        predicted = None if self.predicted == "all" else self.predicted
        return ViewSpec(self.tokens, self.augmentation, self.visible, predicted, self.padded, self.schedule)

    def views(self) -> dict[str, ViewSpec]:
        """The one view."""
        return {FILM: self.view}

    def build(self, encoders: Mapping[str, Encoder]) -> "MaskedReconstruction":
        """Build the masked autoencoder with the encoder of films."""
        encoder = encoders[FILM]
        assert isinstance(encoder, ViT)  # see check_encoder
        return MAE(encoder, self)

    def cost_column(self) -> str:
        """Visible and predicted fraction, and the decoder."""
        return f"{self.visible:g}/{self.predicted} {self.decoder}"

    def published(self) -> Self:
        """Settings of He et al. (2022)."""
        return self.model_validate(self.model_dump() | dict(PUBLISHED))

    def parse_budget(self, text: str) -> dict[str, Any]:
        """Parse visible/predicted, for example 0.25/0.25 or 0.1/all."""
        visible, _, predicted = text.partition("/")
        try:
            return {"visible": float(visible), "predicted": "all" if predicted == "all" else float(predicted)}
        except ValueError:
            raise SettingsError(
                f"--budgets {text} is not of the form visible/predicted. Give, for example, 0.25/0.25 or 0.1/all"
            ) from None

    def flops(self, encoders: Mapping[str, AnyEncoderSettings], films: int) -> Flops:
        """Count the encoder on visible patches, and the decoder on predicted ones."""
        del films
        encoder, (context, predicted) = _vit(encoders), self._patch_counts()
        dim, depth = self.decoder_dim, self.decoder_depth
        if self.decoder == "self":
            blocks, decoded = depth * block(context + predicted, dim), context + predicted
        else:
            blocks, decoded = depth * cross_block_flops(predicted, context, dim), predicted
        ends = 2.0 * dim * (context * encoder.shape.dim + predicted * encoder.patch**2)
        encoder_cost = encoder_flops(encoder, context - 1)
        recomputed = blocks - depth * last_layer_flops(decoded, dim) if encoder.checkpoint_activations else 0.0
        return encoder_cost._replace(rest=blocks + ends, again=encoder_cost.again + recomputed)

    def activations(self, encoders: Mapping[str, AnyEncoderSettings], films: int, operand_bytes: int) -> Activations:
        """Estimate the activations of encoder and decoder, whose backward passes run one after the other."""
        del films
        encoder, (context, predicted), b = _vit(encoders), self._patch_counts(), operand_bytes
        dim, recomputed = self.decoder_dim, bool(encoder.checkpoint_activations)
        shape = Shape(dim, self.decoder_depth, self.decoder_heads)
        if self.decoder == "self":
            stack = self_attention_stack(encoder, shape, context + predicted, b)
            outputs = RESIDUAL * dim * (context + predicted)
        else:
            stack = cross_attention_stack(encoder, shape, predicted, context, b)
            outputs = RESIDUAL * dim * predicted + b * dim * context
        # Decoder embedding, its norm and head; squared errors in float32.
        ends = b * encoder.shape.dim * context + outputs + b * dim * predicted + 4 * encoder.patch**2 * predicted
        encoder_cost = encoder_activations(encoder, context - 1, b)
        return Activations(
            encoder_cost.kept + stack.saved(recomputed) + ends, max(encoder_cost.peak, stack.peak(recomputed))
        )

    def _patch_counts(self) -> tuple[int, int]:
        """Tokens that the decoder reads (visible patches and the class token), and patches that it predicts."""
        visible, predicted = self.view.budgets
        assert visible is not None  # visible is never null in these settings
        return visible + 1, predicted

    @model_validator(mode="after")
    def _check_budget(self) -> Self:
        total = self.visible if self.predicted == "all" else self.visible + self.predicted
        smallest = replace(self.view, tokens=min([self.tokens, *(stage.tokens for stage in self.schedule)]))
        if total > 1 + 1e-9 or 0 in smallest.budgets:
            raise ValueError(
                f"visible={self.visible} and predicted={self.predicted} must each give at least one patch at every T,"
                " and sum to at most 1"
            )
        if self.padded and self.crop:
            raise ValueError(
                "padded and crop exclude each other: a crop is a square without padding. Leave one of them out"
            )
        if self.decoder_dim % 4 or self.decoder_dim % self.decoder_heads:
            raise ValueError(f"decoder_dim {self.decoder_dim} must be a multiple of 4 and of decoder_heads")
        return self


def _vit(encoders: Mapping[str, AnyEncoderSettings]) -> EncoderSettings:
    encoder = encoders[FILM]
    assert isinstance(encoder, EncoderSettings)  # see check_encoder
    return encoder


class MaskedReconstruction(Objective):
    """An objective that predicts hidden patches from the visible ones; its heirs call :meth:`add_decoder`."""

    encoder: ViT

    def add_decoder(self, settings: MAESettings) -> None:
        """Build the decoder.

        Args:
            settings: of the masked autoencoder.
        """
        encoder = self.encoder
        self.visible = settings.visible
        self.predicts_alone = settings.decoder == "cross"
        self.normalise = settings.normalise_pixels
        self.variance_floor = settings.variance_floor
        self.shape = Shape(settings.decoder_dim, settings.decoder_depth, settings.decoder_heads)
        self.decoder = Decoder(
            encoder.dim,
            encoder.patch**2,
            self.shape,
            attention=settings.decoder,
            kernel=encoder.blocks.kernel,
            recompute=bool(encoder.checkpoint_activations),
        )

    def reconstruction(self, view: View, features: Features) -> ObjectiveOutput:
        """Compute the mean squared error of the predicted patches.

        Metrics are the errors on content and background, the hidden share of the content, and the spread of features.

        Args:
            view: of B films.
            features: of its visible patches.
        """
        prediction, target = self._predict(view, features)
        errors = masked_mse(
            prediction, target, normalise=self.normalise, variance_floor=self.variance_floor, reduction="none"
        )
        metrics = {"feature_std": feature_std(features.pooled)}
        if view.predicted_content is not None:
            metrics["loss_content"] = _masked_mean(errors.detach(), view.predicted_content)
            metrics["loss_background"] = _masked_mean(errors.detach(), ~view.predicted_content)
        if view.masked_content is not None:
            metrics["masked_content"] = view.masked_content.mean()
        return ObjectiveOutput(errors.mean(), metrics)

    @torch.no_grad()
    def reconstruct(self, view: View) -> Tensor:
        """Predict patches for pictures.

        With ``normalise_pixels``, a prediction has no brightness and contrast: mean and standard deviation of the true
        patch are applied, so that pictures look better than the model is. Without, nothing of the target is used.

        Args:
            view: of B films.

        Returns:
            [B, P, p*p] float32 display values in [0, 65535].
        """
        prediction, target = self._predict(view, self.encoder(view.visible))
        pixels = prediction.to(target.dtype)
        if self.normalise:
            mean, deviation = patch_statistics(target, self.variance_floor)
            pixels = pixels * deviation + mean
        return (pixels * DISPLAY_RANGE).clamp(0, DISPLAY_RANGE).float()

    def pixel_decoder(self) -> PixelDecoder:
        """The decoder, if it is the published one.

        Raises:
            WeightsError: the decoder uses cross-attention.
        """
        if self.decoder.attention != "self":
            raise WeightsError(
                "ViTMAEForPreTraining has a decoder with self-attention, and this one uses cross-attention"
                " (objective.decoder: cross). Export with --to hf_vit or --to safetensors"
            )
        return PixelDecoder(self.decoder, self.shape, self.visible, self.normalise, self.variance_floor)

    def _predict(self, view: View, features: Features) -> tuple[Tensor, Tensor]:
        target_patches = _predicted(view)
        prediction: Tensor = self.decoder(features, view.visible.coords, target_patches.coords)
        dtype = torch.promote_types(self.decoder.mask_token.dtype, torch.float32)
        return prediction, target_patches.values.to(dtype) / DISPLAY_RANGE


class MAE(MaskedReconstruction):
    """Masked autoencoding of films."""

    def __init__(self, encoder: ViT, settings: MAESettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = settings.views()
        self.add_decoder(settings)

    def forward(self, batch: Batch) -> ObjectiveOutput:
        """Compute the mean squared error of the predicted patches; metrics as :meth:`reconstruction`."""
        view = batch.views[FILM]
        return self.reconstruction(view, self.encoder(view.visible))


def _predicted(view: View) -> Patches:
    if view.predicted is None:
        raise ValueError("the view has no predicted patches, which the masked autoencoder needs")
    return view.predicted


def _masked_mean(errors: Tensor, mask: Tensor) -> Tensor:
    # Sums, as boolean indexing would synchronise with the device; 0 / 0 is NaN for a batch without such patches.
    return (errors * mask).sum() / mask.sum()
