"""Published weights become an encoder folder.

    python -m mae_rad.export.convert mae_pretrain_vit_base.pth --out encoder

An original masked autoencoder (.pth), a timm ViT or a Hugging Face ViT or ViTMAE (file or downloaded folder) on 14 x 14
patches gives the same features as the source does for the film shown as a grey colour picture: the three colour
kernels are summed to one with the source's colour normalisation folded in, the position of the class token is added to
it, and the positions of the patches are computed, not copied. A decoder is kept beside the encoder.
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from data_prep.settings import Settings, load
from mae_rad.command_line import run
from mae_rad.encoders.blocks import Shape
from mae_rad.encoders.positions import sincos_positions
from mae_rad.encoders.vit import SHAPES, EncoderSettings, build_encoder
from mae_rad.errors import WeightsError
from mae_rad.export.encoder_folder import check_fit, save_encoder, without_weights
from mae_rad.export.published_weights import PublishedWeights, read_published
from mae_rad.objectives.mae_decoder import Decoder

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of the colours of [0, 1] that most published weights were trained with."""

REFERENCE_GRID = 14


class ConvertSettings(Settings):
    """What the weights themselves do not say."""

    mean: list[float] | None = Field(default=None, min_length=1, max_length=3)
    """Of the source's normalisation, per colour; by default from the folder's own files, else ImageNet's."""
    std: list[float] | None = Field(default=None, min_length=1, max_length=3)
    heads: int | None = Field(default=None, ge=1)
    """By default from the folder's config.json, else 64 channels each."""
    decoder_heads: int | None = Field(default=None, ge=1)
    """By default from the folder's config.json, else 32 channels each."""
    positions: Literal["same", "replace"] = "same"
    """``replace`` accepts positions that differ from ours, learned ones or another grid: train on before use."""
    pool: Literal["cls", "mean"] = "mean"


class Conversion(NamedTuple):
    """A converted model.

    Attributes:
        settings: of the encoder.
        encoder: its weights, float64, by name.
        decoder: those of the decoder with its settings; None where the source has none.
        tokens: T that the source was trained at.
        report: lines that say what became of everything.
    """

    settings: EncoderSettings
    encoder: dict[str, Tensor]
    decoder: Decoder | None
    tokens: int
    report: list[str]


def convert(source: PublishedWeights, settings: ConvertSettings, facts: Mapping[str, Any]) -> Conversion:
    """Turn published weights into ours.

    Args:
        source: from ``read_published``.
        settings: what the user says.
        facts: ``mean``, ``std``, ``heads``, ``decoder_heads`` where the source's own files tell them.

    Raises:
        WeightsError: something is missing, has another shape, or the positions differ.
    """
    encoder = _under("encoder.", source.weights)
    decoder = _under("decoder.", source.weights)
    _need(encoder, "embedding.weight", "embedding.bias", "cls", "positions")
    report = [f"names of {source.layout}; left out: {', '.join(source.left_out) or 'nothing'}"]

    kernels = encoder["embedding.weight"]
    dim, colours, patch = kernels.shape[0], kernels.shape[1], kernels.shape[-1]
    if colours not in {1, 3} or kernels.shape[2] != patch:
        raise WeightsError(f"the patch embedding is {tuple(kernels.shape)}; one or three colours, square patches only")
    mean, std = (_per_colour(name, settings, facts, colours, report) for name in ("mean", "std"))
    heads = _heads("heads", dim, settings.heads or facts.get("heads"), width=64)
    ours = EncoderSettings.model_validate(
        _named(Shape(dim, _depth(encoder), heads)) | {"patch": patch, "pool": settings.pool}
    )
    encoder["embedding.weight"], encoder["embedding.bias"] = _one_kernel(
        kernels, encoder["embedding.bias"], mean, std, ours
    )
    report.append(f"{colours} colour kernel{'s' if colours > 1 else ''} summed to one, normalisation folded in")

    positions = encoder.pop("positions").flatten(0, 1)
    encoder["cls"] = encoder["cls"].flatten() + positions[0]
    same = _told(positions, settings.positions, report)
    check_fit(encoder, without_weights(ours), "the source")

    built = None
    if decoder:
        _need(decoder, "embedding.weight", "mask_token", "head.weight", "head.bias", "positions")
        table = decoder.pop("positions").flatten(0, 1)
        if same and not _is_ours(table):
            raise WeightsError("the decoder's positions are not the published ones; drop its weights from the file")
        built = _decoder(decoder, dim, patch, settings.decoder_heads or facts.get("decoder_heads"))
        report.append("decoder kept (predictions of the colours averaged); for use with decoder: self")
    return Conversion(ours, encoder, built, len(positions) - 1, report)


def _under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _need(weights: Mapping[str, Tensor], *names: str) -> None:
    missing = [name for name in names if name not in weights]
    if missing:
        raise WeightsError(f"the weights lack what is needed: {', '.join(missing)}")


def _depth(weights: Mapping[str, Tensor]) -> int:
    return 1 + max((int(name.split(".")[1]) for name in weights if name.startswith("blocks.")), default=-1)


def _named(shape: Shape) -> dict[str, Any]:
    for model, known in SHAPES.items():
        if known == shape:
            return {"model": model}
    return {"dim": shape.dim, "depth": shape.depth or None, "heads": shape.heads}


def _heads(name: str, dim: int, given: int | None, *, width: int) -> int:
    heads = given or max(1, dim // width)
    if dim % heads or dim % 4:
        raise WeightsError(f"{dim} channels do not divide into {heads} heads; give {name}=N as the source has them")
    return heads


def _per_colour(
    name: Literal["mean", "std"], settings: ConvertSettings, facts: Mapping[str, Any], colours: int, report: list[str]
) -> Tensor:
    given = getattr(settings, name) or facts.get(name)
    if given is None:
        given = IMAGENET[name == "std"][:colours] if colours == 3 else (0.5 if name == "mean" else 0.25,)
        report.append(f"{name} of the source's colours assumed: {', '.join(map(str, given))}; say {name}=[…] if not")
    if len(given) != colours:
        raise WeightsError(f"{name} has {len(given)} values for {colours} colours; give {name}=[…]")
    return torch.tensor(given, dtype=torch.float64)


def _one_kernel(
    kernels: Tensor, bias: Tensor, mean: Tensor, std: Tensor, ours: EncoderSettings
) -> tuple[Tensor, Tensor]:
    """Weight [D, p*p] and bias [D] that act on our normalised grey as the source's on its normalised colours.

    With grey v, colour c is (v - mean_c) / std_c, and our value (v - mean) / std.
    """
    scaled = kernels / std[:, None, None]
    weight = (ours.std * scaled).sum(dim=1).flatten(1)
    return weight, bias + (scaled.sum(dim=(2, 3)) * (ours.mean - mean)).sum(dim=1)


def _told(positions: Tensor, wanted: Literal["same", "replace"], report: list[str]) -> bool:
    if _is_ours(positions):
        report.append("positions computed; they equal the source's")
        return True
    if wanted == "same":
        raise WeightsError(
            f"the source has {len(positions) - 1} positions that are not those of the {REFERENCE_GRID} x"
            f" {REFERENCE_GRID} sine-cosine grid, so its features cannot be reproduced; positions=replace converts it"
            " as a start for training"
        )
    report.append("positions replaced: the features differ from the source's until it is trained on")
    return False


def _is_ours(table: Tensor) -> bool:
    side = math.isqrt(len(table) - 1)
    if side != REFERENCE_GRID or len(table) - 1 != side * side or table.shape[1] % 4:
        return False
    grid = torch.cartesian_prod(torch.arange(side), torch.arange(side)).to(table.dtype)
    return torch.allclose(table[1:], sincos_positions(grid, table.shape[1]), rtol=0, atol=1e-4)


def _decoder(weights: dict[str, Tensor], encoder_dim: int, patch: int, heads: int | None) -> Decoder:
    weights["mask_token"] = weights["mask_token"].flatten()
    outputs, dim = weights["head.weight"].shape
    colours = outputs // patch**2  # fastest in a patch vector
    weights["head.weight"] = weights["head.weight"].reshape(-1, colours, dim).mean(dim=1)
    weights["head.bias"] = weights["head.bias"].reshape(-1, colours).mean(dim=1)
    shape = Shape(dim, _depth(weights), _heads("decoder_heads", dim, heads, width=32))
    with torch.device("meta"):
        decoder = Decoder(encoder_dim, patch**2, shape, attention="self")
    check_fit(weights, decoder, "the decoder")
    decoder.load_state_dict(weights, assign=True)
    return decoder


def beside(path: Path) -> dict[str, Any]:
    """What the files of a downloaded model folder say: timm's ``pretrained_cfg``, Hugging Face's configs."""
    folder = path if path.is_dir() else path.parent
    config, inputs = _json(folder / "config.json"), _json(folder / "preprocessor_config.json")
    timm = config.get("pretrained_cfg") or {}
    facts = {
        "mean": timm.get("mean") or inputs.get("image_mean"),
        "std": timm.get("std") or inputs.get("image_std"),
        "heads": config.get("num_attention_heads"),
        "decoder_heads": config.get("decoder_num_attention_heads"),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


class _Holder(nn.Module):
    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder


def convert_file(path: Path, folder: Path, settings: ConvertSettings) -> list[str]:
    """Convert a file or folder into an encoder folder; returns the report.

    Raises:
        WeightsError: as ``read_published`` and ``convert``.
    """
    source = read_published(path)
    conversion = convert(source, settings, beside(path))
    encoder = build_encoder(conversion.settings)
    encoder.load_state_dict({name: value.float() for name, value in conversion.encoder.items()})
    digest = hashlib.sha256()
    for name, value in sorted(source.weights.items()):
        digest.update(name.encode() + value.numpy().tobytes())
    save_encoder(
        encoder,
        conversion.settings,
        folder,
        tokens=conversion.tokens,
        provenance={
            "converted_from": source.layout,
            "source_weights_sha256": digest.hexdigest(),
            "positions": settings.positions,
            "version": version("mae_rad"),
        },
        objective=_Holder(conversion.decoder) if conversion.decoder else None,
    )
    return conversion.report


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and convert; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mae_rad.export.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("weights", type=Path, help="a .pth, .bin or .safetensors file, or a downloaded model folder")
    parser.add_argument("--out", type=Path, required=True, help="encoder folder to be made")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="what the weights do not say, e.g. heads=12")
    options = parser.parse_intermixed_args(arguments)

    def action() -> None:
        settings = load(ConvertSettings, None, options.settings)
        for line in convert_file(options.weights, options.out, settings):
            sys.stdout.write(f"{line}\n")

    return run(action)


if __name__ == "__main__":
    sys.exit(main())
