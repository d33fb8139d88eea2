"""What an encoder folder says of itself: ``encoder.json`` for programs, ``README.md`` for people."""

from typing import Literal

from pydantic import Field

from data_prep.settings import Settings
from mae_rad.data.patch_layout import REFERENCE_TOKENS
from mae_rad.encoders.vit import EncoderSettings
from mae_rad.export.fixed_size import FilmSize


class Preprocessing(Settings):
    """How a film becomes the input of this encoder."""

    tokens: int = Field(ge=1)
    """T, patches that the content of a film was scaled to in training; its vectors have it unless another is given."""
    patch: int = Field(ge=1)
    """Patch side in pixels."""
    mean: float
    std: float
    values: Literal["(display / 65535 - mean) / std"] = "(display / 65535 - mean) / std"
    coordinates: Literal["index"] = "index"
    """(row, column) of a patch in units of the T = 196 grid."""
    precision: Literal["f32", "bf16"] = "bf16"
    """Of training, and of the vectors where the machine is fast at it; cards from before this field are of bf16."""


class EncoderCard(Settings):
    """What ``encoder.json`` says."""

    format_version: Literal[1] = 1
    encoder: EncoderSettings
    preprocessing: Preprocessing
    provenance: dict[str, str | int | float | None]
    """Hashes, counts, versions, names of labels that were learned from; nothing identifying."""
    parameters: int = Field(ge=1)
    """Number of weights."""
    weights_sha256: str


def model_card(card: EncoderCard, usage: str | None = None, size: FilmSize | None = None) -> str:
    """The card as Markdown.

    Args:
        card: of the encoder.
        usage: how the folder is loaded, as Markdown; by default as an encoder folder.
        size: the one film size that it takes; None where it takes any.
    """
    dim, depth, heads = card.encoder.shape
    pooled = "the class token" if card.encoder.pool == "cls" else "the mean of the patch tokens"
    origin = "\n".join(f"| {name} | {value} |" for name, value in sorted(card.provenance.items()) if name != "labels")
    return f"""# Radiograph encoder

Vision Transformer, {dim} channels, {depth} blocks, {heads} heads, {card.parameters:,} parameters.
{_embedded(card.encoder) if size is None else ""}{_learned(card)}

## Use

{(usage or _own_usage(dim)).strip()}

## Input

* Display values, dark to bright: the DICOM display pipeline applied, polarity corrected.
{_any_size(card.preprocessing) if size is None else _one_size(card.preprocessing, size)}
* The vector of a film (`pooled`): {pooled}.

## Origin

| | |
|---|---|
{origin}
| weights (SHA-256) | {card.weights_sha256} |

## Limits

For research. Not a medical device: it makes vectors, not findings, and no part of it has been validated for diagnosis.
What holds for the films that it was trained on need not hold for another hospital, scanner or body part. Measure before
use.
"""


def _embedded(encoder: EncoderSettings) -> str:
    """How patches enter it, where that is not by a linear layer alone; what is exported for one size has it within."""
    ways = [f"raised in their fine detail (emphasis {encoder.emphasis:g})"] if encoder.emphasis else []
    ways += ["seen by two convolutions"] if encoder.stem == "convolutional" else []
    return f"Its patches are {' and '.join(ways)}.\n" if ways else ""


def _learned(card: EncoderCard) -> str:
    labels = card.provenance.get("labels")
    return f"Trained with labels of films: {labels}." if labels else "Trained without labels."


def _own_usage(dim: int) -> str:
    return f"""```python
from pathlib import Path
from mae_rad.export.encoder_folder import load_encoder

encoder, card = load_encoder(Path("this folder"))
features = encoder(patches)  # mae_rad.data.batch.Patches -> tokens [B, N, {dim}], pooled [B, {dim}]
```"""


def _any_size(inputs: Preprocessing) -> str:
    return f"""* One channel of uint16, 0 dark and 65535 bright.
* The whole film, its aspect kept, scaled so that its content holds about {inputs.tokens} patches,
  each {inputs.patch} x {inputs.patch} pixels.
* Normalised inside the encoder: {inputs.values}, mean {inputs.mean}, std {inputs.std}.
* Coordinates: (row, column) of each patch in units of the grid that the film has at T = {REFERENCE_TOKENS}."""


def _one_size(inputs: Preprocessing, size: FilmSize) -> str:
    down, across = size.layout(inputs.patch).grid
    return f"""* {size.rows} x {size.columns} pixels, {down} x {across} patches: films scaled by area averaging, their
  aspect kept, padded with 0. In training the content of a film was scaled to about {inputs.tokens} patches.
* The positions are a table for this size; content was taken to fill {size.content:.0%} of the film.
* Values in [0, 1], normalised by mean {inputs.mean} and std {inputs.std}: inside an ONNX graph, before other models."""
