"""Save and load an encoder with its trained head as a folder without pickled code.

predictor.safetensors   weights of both, float32
predictor.json          settings, preprocessing, calibration, thresholds, checksum (PredictorCard)
README.md               model card
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from mae_rad.data.batch import Patches
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder
from mae_rad.encoders.timm_encoder import TimmEncoder, TimmSettings
from mae_rad.encoders.vit import build_encoder
from mae_rad.errors import WeightsError
from mae_rad.export.earlier_resnet import timm_weights_of
from mae_rad.export.encoder_folder import check_fit, exported_folder, load_weights, portable, read_settings, sha256_of
from mae_rad.export.predictor_card import PredictorCard, predictor_card
from mae_rad.heads import Head, Prediction, TaskSettings, build_head

WEIGHTS = "predictor.safetensors"
CARD = "predictor.json"


class Predictor(nn.Module):
    """Encoder, head and card of a predictor folder."""

    def __init__(self, encoder: Encoder, head: Head, card: PredictorCard) -> None:
        super().__init__()
        self.encoder, self.head, self.card = encoder, head, card

    def forward(self, patches: Patches) -> object:
        """Raw outputs of the head for films of one grid."""
        return self.head(self.head.encode(self.encoder, patches), patches)

    @torch.no_grad()
    def predict(self, patches: Patches) -> Prediction:
        """Predict whole films of one grid at ``card.tokens``, as cut by :func:`mae_rad.data.views.whole_film`."""
        return self.head.answer(self(patches))


def save_predictor(encoder: Encoder, head: Head, folder: Path, card: Mapping[str, object]) -> PredictorCard:
    """Write a predictor folder; an existing one is replaced.

    Args:
        encoder: encoder built from ``card["encoder"]``.
        head: head built from ``card["task"]``.
        folder: folder to write.
        card: fields of PredictorCard except labels, parameters and checksum.

    Returns:
        The card that was written.

    Raises:
        WeightsError: weights are not finite, or the folder holds other files.
    """
    weights = portable(nn.ModuleDict({"encoder": encoder, "head": head}).state_dict())
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise WeightsError(
            "the model has weights that are not finite. Train with a lower optimizer.base_learning_rate."
        )
    with exported_folder(folder, mark=CARD) as partial:
        save_file(weights, partial / WEIGHTS)
        derived: dict[str, object] = {
            "labels": head.labels,
            "parameters": sum(value.numel() for value in weights.values()),
            "weights_sha256": sha256_of(partial / WEIGHTS),
        }
        complete = PredictorCard.model_validate(dict(card) | derived)
        (partial / CARD).write_text(complete.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (partial / "README.md").write_text(predictor_card(complete), encoding="utf-8")
    return complete


def load_predictor(folder: Path) -> Predictor:
    """Read a predictor folder, or the one of a finetuning run.

    Returns:
        Encoder and head on the CPU, in evaluation mode.

    Raises:
        WeightsError: the folder is missing or incomplete, of another version, damaged, or its weights do not fit.
    """
    folder = folder / "predictor" if (folder / "predictor").is_dir() else folder
    card = read_settings(folder / CARD, PredictorCard, "a predictor folder", "the folder of a finished finetuning")
    weights = timm_weights_of(load_weights(folder / WEIGHTS, card.weights_sha256))
    encoder, head = build_model(card.encoder, card.task)
    predictor = Predictor(encoder, head, card)
    check_fit(weights, predictor, str(folder / WEIGHTS))
    predictor.load_state_dict(weights)
    if card.calibration:
        head.calibrate([card.calibration[label] for label in card.labels])
    return predictor.eval()


def build_model(encoder: AnyEncoderSettings, task: TaskSettings) -> tuple[Encoder, Head]:
    """Build an initialised encoder and a head on it.

    Args:
        encoder: settings of the encoder.
        task: settings of the task, which name the head.
    """
    built: Encoder
    if isinstance(encoder, TimmSettings):
        built = TimmEncoder(encoder, has_fixed_statistics=True)  # groups of few films, one group per grid
    else:
        built = build_encoder(encoder)
    return built, build_head(task, built)
