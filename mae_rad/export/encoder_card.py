"""The card of an encoder folder: ``encoder.json`` for programs, ``README.md`` for people."""

from typing import Literal

from pydantic import Field

from data_prep.settings import Settings
from mae_rad.data.patch_layout import REFERENCE_TOKENS, FilmScale
from mae_rad.encoders.any_encoder import AnyEncoderSettings
from mae_rad.encoders.pooling_name import parse_pooling
from mae_rad.encoders.timm_encoder import TimmSettings
from mae_rad.encoders.vit import EncoderSettings
from mae_rad.export.fixed_size import FilmSize
from mae_rad.export.hub_metadata import front_matter


class Preprocessing(Settings):
    """Preprocessing of a film for the encoder."""

    tokens: int = Field(ge=1)
    """T, number of patches that the content of a film was scaled to in training; the default for its vectors."""
    patch: int = Field(ge=1)
    """Patch side in pixels."""
    mean: float | tuple[float, ...]
    """Subtracted from display values in [0, 1]; one number per channel where the film is repeated in several."""
    std: float | tuple[float, ...]
    """Divides the difference, likewise."""
    values: Literal["(display / 65535 - mean) / std"] = "(display / 65535 - mean) / std"
    coordinates: Literal["index"] = "index"
    """(row, column) of a patch in units of the T = 196 grid."""
    precision: Literal["f32", "bf16"] = "bf16"
    """Precision of training, and of the vectors where the machine is fast at it; older cards without it mean bf16."""


class EncoderCard(Settings):
    """Contents of ``encoder.json``."""

    format_version: Literal[1] = 1
    encoder: AnyEncoderSettings
    preprocessing: Preprocessing
    provenance: dict[str, str | int | float | None]
    """Hashes, counts, versions and names of the labels that were trained on; nothing identifying."""
    parameters: int = Field(ge=1)
    """Number of weights."""
    weights_sha256: str
    """SHA-256 of ``encoder.safetensors``."""

    @property
    def vector_width(self) -> int:
        """Number of channels of the film vector."""
        return parse_pooling(self.encoder.film_vector).width(self.encoder.shape.dim, self.encoder.block_dims)


def encoder_readme(
    card: EncoderCard, usage: str | None = None, size: FilmSize | None = None, library: str = "mae_rad"
) -> str:
    """Write the card for a folder: as :func:`model_card`, with the head that Hugging Face reads.

    Args:
        card: card of the encoder.
        usage: as of :func:`model_card`.
        size: as of :func:`model_card`.
        library: library that loads the folder, by its name on the hub.
    """
    objective, licence = card.provenance.get("objective"), card.provenance.get("licence")
    tags = [card.encoder.model, *([str(objective)] if objective else [])]
    head = front_matter(library, tags, pipeline="image-feature-extraction", licence=str(licence) if licence else None)
    return head + model_card(card, usage, size)


def model_card(card: EncoderCard, usage: str | None = None, size: FilmSize | None = None) -> str:
    """Write the card as Markdown.

    Args:
        card: card of the encoder.
        usage: Markdown that shows how to load the folder; by default as an encoder folder.
        size: the film size that the export is fixed to; None where any size is accepted.

    Returns:
        Text of ``README.md``.
    """
    dim, depth, heads = card.encoder.shape
    pooled = "the class token" if card.encoder.pool == "cls" else "the mean of the patch tokens"
    if isinstance(card.encoder, TimmSettings):
        kind = f"{card.encoder.timm} of timm, {dim} channels"
        if card.encoder.pool == "mean":
            pooled = "the mean over its last tokens"
    else:
        kind = f"Vision Transformer, {dim} channels, {depth} blocks, {heads} heads"
    origin = "\n".join(f"| {name} | {value} |" for name, value in sorted(card.provenance.items()) if name != "labels")
    return f"""# Radiograph encoder

{kind}, {card.parameters:,} parameters.
{_patch_embedding(card.encoder) if size is None else ""}{_labels_used(card)}

## Use

{(usage or _usage(card.vector_width)).strip()}

## Input

* Display values, dark to bright: the DICOM display pipeline applied, polarity corrected.
{_any_size(card.preprocessing, card.encoder.film_scale) if size is None else _one_size(card.preprocessing, size)}
* The vector of a film (`pooled`): {pooled}.{_other_vector(card)}

## Origin

| | |
|---|---|
{origin}
| weights (SHA-256) | {card.weights_sha256} |

## Limits

For research. Not a medical device: it computes vectors, not findings, and no part of it has been validated for
diagnosis. Results on the films that it was trained on need not hold for another hospital, scanner or body part. Measure
before use.
"""


def _other_vector(card: EncoderCard) -> str:
    """Describe a film vector that is not ``pooled``."""
    if card.encoder.film_vector == card.encoder.pool:
        return ""
    return f"""
* `mae_rad` computes another vector of a film: {card.encoder.film_vector}, {card.vector_width} numbers.
  Blocks are counted from 1, their tokens pass the final norm; regions divide the content box of the film."""


def _patch_embedding(encoder: AnyEncoderSettings) -> str:
    """Describe a patch embedding with emphasis or stem; exports of one size contain it."""
    if not isinstance(encoder, EncoderSettings):
        return ""
    ways = [f"emphasised in their fine detail (emphasis {encoder.emphasis:g})"] if encoder.emphasis else []
    ways += ["filtered by two convolutions"] if encoder.stem == "convolutional" else []
    return f"Its patches are {' and '.join(ways)}.\n" if ways else ""


def _labels_used(card: EncoderCard) -> str:
    labels, photographs = card.provenance.get("labels"), card.provenance.get("photographs")
    begun = f"Its weights begin with those of {photographs}. " if photographs else ""
    trained = f"Trained with labels of films: {labels}." if labels else "Trained without labels of films."
    return begun + (trained if labels or photographs else "Trained without labels.")


def _usage(dim: int) -> str:
    return f"""```python
import mae_rad

encoder = mae_rad.load_encoder("this folder")
vectors = encoder.embed(["film.dcm"])  # [films, {dim}] float32; DICOM, PNG or JPEG files, folders, 2-D arrays
lengths = (vectors**2).sum(axis=1, keepdims=True) ** 0.5
print((vectors / lengths) @ (vectors / lengths).T)  # cosine similarity of every two films
```"""


def _any_size(inputs: Preprocessing, scale: FilmScale) -> str:
    unit = "index of each patch" if scale.is_fixed else f"units of the grid that the film has at T = {REFERENCE_TOKENS}"
    return f"""* One channel of uint16, 0 dark and 65535 bright.
* The whole film, its aspect kept, {size_in_words(inputs.tokens, scale)},
  each {inputs.patch} x {inputs.patch} pixels.
* Normalised inside the encoder: {inputs.values}, mean {inputs.mean}, std {inputs.std}.
* Coordinates: (row, column) of each patch: {unit}."""


def size_in_words(tokens: int, scale: FilmScale) -> str:
    """Say how large a film is for an encoder.

    Args:
        tokens: T.
        scale: of the encoder.
    """
    of_content = f"scaled so that its content holds about {tokens} patches"
    if scale.native:
        return "at the size of its shard, black beyond its edges, in whole patches"
    if scale.mm_per_patch is not None:
        return f"scaled so that a patch covers {scale.mm_per_patch:g} mm (without pixel spacing: {of_content})"
    return of_content


def _one_size(inputs: Preprocessing, size: FilmSize) -> str:
    down, across = size.layout(inputs.patch).grid
    return f"""* {size.rows} x {size.columns} pixels, {down} x {across} patches: films scaled by area averaging, their
  aspect kept, padded with 0. In training the content of a film was scaled to about {inputs.tokens} patches.
* The positions are a table for this size; content was taken to fill {size.content:.0%} of the film.
* Values in [0, 1], normalised by mean {inputs.mean} and std {inputs.std}: inside an ONNX graph, before other models."""
