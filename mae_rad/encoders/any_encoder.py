"""The encoders that can be pretrained, as one type: the project's ViT, or a network of timm."""

from typing import Annotated

from data_prep.settings import ChosenByName
from mae_rad.encoders.timm_encoder import TimmEncoder, TimmSettings
from mae_rad.encoders.vit import EncoderSettings, ViT, build_encoder

Encoder = ViT | TimmEncoder

AnyEncoderSettings = Annotated[
    EncoderSettings | TimmSettings,
    ChosenByName(
        {"model": EncoderSettings, "timm": TimmSettings},
        name_of=lambda values: "timm" if "timm" in values else "model",
    ),
]
"""Type of a settings field for any encoder: ``{timm: NAME}``, or the settings of a ViT."""


def build_any_encoder(settings: EncoderSettings | TimmSettings) -> Encoder:
    """Build an encoder with initial weights from torch's global random state."""
    return TimmEncoder(settings) if isinstance(settings, TimmSettings) else build_encoder(settings)
