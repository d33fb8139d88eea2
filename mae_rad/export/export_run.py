"""Export a run folder for another framework, without pickled code."""

import tempfile
from pathlib import Path
from typing import Literal

from mae_rad.encoders.vit import EncoderSettings, ViT
from mae_rad.errors import WeightsError
from mae_rad.export.checkpoint_encoder import checkpoint_folder
from mae_rad.export.encoder_card import encoder_readme
from mae_rad.export.encoder_folder import exported_folder, load_encoder
from mae_rad.export.encoder_with_decoder_folder import encoder_folder, load_objective, write_objective
from mae_rad.export.fixed_size import FilmSize
from mae_rad.export.hugging_face import write_vit, write_vit_mae
from mae_rad.export.onnx_model import write_onnx
from mae_rad.export.timm_model import write_timm

Target = Literal["timm", "hf_vit", "hf_vit_mae", "onnx", "safetensors"]
"""timm VisionTransformer, Hugging Face ViTModel and ViTMAEForPreTraining, ONNX, encoder folder with decoder."""

README = "README.md"
LIBRARIES: dict[Target, str] = {
    "timm": "timm",
    "hf_vit": "transformers",
    "hf_vit_mae": "transformers",
    "onnx": "onnx",
    "safetensors": "mae_rad",
}
"""Format → library that loads it, by its name on Hugging Face."""


def export(
    path: Path, to: Target, size: FilmSize | None, out: Path, *, step: int | None = None, trusted: bool = False
) -> Path:
    """Write an export, which appears complete or not at all; an existing export is replaced.

    Args:
        path: run folder or encoder folder; ``hf_vit_mae`` and ``safetensors`` need the run folder.
        to: format of the result.
        size: film size that the result is fixed to; ``safetensors`` takes any and needs none.
        out: folder to write.
        step: steps of the checkpoint; None takes the encoder of a finished run, else the newest checkpoint.
        trusted: read a checkpoint that bears no seal of this user.

    Returns:
        ``out``.

    Raises:
        WeightsError: the folder holds no encoder or is damaged, or the format cannot represent the model.
        SettingsError: the size is not a multiple of the patch side, or a package is missing.
    """
    is_unfinished = (path / "checkpoints").is_dir() and not (path / "encoder").is_dir()
    if step is None and not is_unfinished:
        return _export(path, to, size, out)
    with tempfile.TemporaryDirectory() as scratch:
        return _export(checkpoint_folder(path, step, Path(scratch) / "encoder", trusted=trusted), to, size, out)


def _export(path: Path, to: Target, size: FilmSize | None, out: Path) -> Path:
    encoder, card = load_encoder(encoder_folder(path))
    if not isinstance(encoder, ViT) and to != "safetensors":
        raise WeightsError(
            f"{card.encoder.model} is exported --to safetensors only: load its weights into timm.create_model, without"
            " their prefix network."
        )
    size = size and size._replace(fixed_scale=card.encoder.film_scale.is_fixed)
    with exported_folder(out, mark=README) as folder:
        if to == "safetensors" or not isinstance(encoder, ViT) or not isinstance(card.encoder, EncoderSettings):
            usage = write_objective(path, folder)
        elif size is None:
            raise WeightsError(f"{to} needs a film size. Give --size ROWSxCOLUMNS in pixels.")
        elif to == "timm":
            usage = write_timm(encoder, card.encoder, size, folder)
        elif to == "hf_vit":
            usage = write_vit(encoder, card.encoder, size, folder)
        elif to == "onnx":
            usage = write_onnx(encoder, card.encoder, size, folder)
        else:
            objective, settings, _ = load_objective(path)
            decoder = objective.pixel_decoder()
            if decoder is None:
                raise WeightsError(
                    f"{path} was trained with {settings.name}, which has no ViTMAE decoder. Export it --to hf_vit."
                )
            usage = write_vit_mae(encoder, decoder, card.encoder, size, folder)
        text = encoder_readme(card, usage, None if to == "safetensors" else size, LIBRARIES[to])
        (folder / README).write_text(text, encoding="utf-8")
    return out
