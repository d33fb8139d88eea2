"""A run folder becomes a folder that another framework loads; never a pickle."""

import tempfile
from pathlib import Path
from typing import Literal

from mae_rad.errors import WeightsError
from mae_rad.export.checkpoint_encoder import checkpoint_folder
from mae_rad.export.encoder_card import model_card
from mae_rad.export.encoder_folder import exported_folder, load_encoder
from mae_rad.export.encoder_with_decoder_folder import encoder_folder, load_objective, write_objective
from mae_rad.export.fixed_size import FilmSize
from mae_rad.export.hugging_face import write_vit, write_vit_mae
from mae_rad.export.onnx_model import write_onnx
from mae_rad.export.timm_model import write_timm

Target = Literal["timm", "hf_vit", "hf_vit_mae", "onnx", "safetensors"]
"""timm VisionTransformer · Hugging Face ViTModel · Hugging Face ViTMAEForPreTraining · ONNX · ours, decoder kept."""

README = "README.md"


def export(path: Path, to: Target, size: FilmSize | None, out: Path, *, step: int | None = None) -> Path:
    """Write ``out``, which appears complete or not at all; an exported folder that is there is replaced.

    Args:
        path: run folder or encoder folder; ``hf_vit_mae`` and ``safetensors`` need the run folder.
        to: what is made.
        size: of the films that the result takes; ``safetensors`` takes any and needs none.
        out: folder to be made.
        step: of the run's checkpoints; None takes the encoder of a finished run, else the newest checkpoint.

    Raises:
        WeightsError: the folder is no encoder folder or damaged, or the target cannot express the model.
        SettingsError: the size is not whole patches, or a package is missing.
    """
    unfinished = (path / "checkpoints").is_dir() and not (path / "encoder").is_dir()
    if step is None and not unfinished:
        return _export(path, to, size, out)
    with tempfile.TemporaryDirectory() as scratch:
        return _export(checkpoint_folder(path, step, Path(scratch) / "encoder"), to, size, out)


def _export(path: Path, to: Target, size: FilmSize | None, out: Path) -> Path:
    encoder, card = load_encoder(encoder_folder(path))
    with exported_folder(out, mark=README) as folder:
        if to == "safetensors":
            usage = write_objective(path, folder)
        elif size is None:
            raise WeightsError(f"{to} has one film size; give --size ROWSxCOLUMNS in pixels")
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
                raise WeightsError(f"{path} was trained by {settings.name}, which has no decoder for a ViTMAE")
            usage = write_vit_mae(encoder, decoder, card.encoder, size, folder)
        text = model_card(card, usage, None if to == "safetensors" else size)
        (folder / README).write_text(text, encoding="utf-8")
    return out
