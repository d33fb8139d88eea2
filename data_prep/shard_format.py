"""The contract between sharding and training: what a public folder holds. Imported by ``mae_rad``.

PUBLIC/
  train-000000.tar      <key>.j2c (or png, jpg: FILM_SUFFIXES) then <key>.json for every film, plain WebDataset
  train-000000.parquet  the rows of index.parquet that belong to this shard
  train-000000.json     written last: this shard is done (ShardCard)
  index.parquet         one row per film (INDEX_SCHEMA)
  rejects.parquet       one row per file that became no film (REJECTS_SCHEMA)
  dataset.json          written last of all: this folder is complete (DatasetCard)
  generation-001/       the same again, of the films that `append` found later
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_prep.errors import ShardFormatError

FORMAT_VERSION = 2
FILM_SUFFIXES = {"htj2k": "j2c", "png": "png", "jpeg": "jpg"}
"""Codec of the films (``codec`` of the settings) → suffix of their members."""
SIDECAR_SUFFIX = "json"
GENERATIONS = "generation-[0-9][0-9][0-9]"
MASK_SIDE = 64
"""Cells along the longer side of a content mask."""

MAX_FRAMES = 64
"""Frames that a radiograph file may have: views, energies, a slow series. More is cine."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


Provenance = Literal[
    "bytes_behind_image",
    "palette_applied",
    "colour_stored_grey",
    "bits_moved",
    "high_bit_ignored",
    "bits_widened",
    "overlay_removed",
    "padding_hidden",
    "shutter_hidden",
    "shutter_ignored",
    "modality_lut",
    "modality_lut_unusable",
    "rescale_beside_lut",
    "rescale_unusable",
    "voi_lut_unusable",
    "window_unusable",
    "function_unknown",
    "presentation_shape_conflict",
    "made_square",
    "display_applied",
]
"""What was decided about a film beyond the plain case, in the order of its steps.

bytes_behind_image          something follows the end of the compressed image, and was left out
palette_applied             colours of a PALETTE COLOR film looked up
colour_stored_grey          red, green and blue that agree, or luminance without colour; LUTs and windows do not hold
bits_moved                  values moved down by High Bit (PS3.5 section 8.1.1)
high_bit_ignored            High Bit says left-justified, the values are not
bits_widened                Bits Stored is too small for the values
overlay_removed             an overlay in unused bits of the pixels
padding_hidden              Pixel Padding Value or its range occurs
shutter_hidden              a shutter hides a part of the film
shutter_ignored             the shutter is described wrongly, or its bitmap is not there
modality_lut                the Modality LUT was applied
modality_lut_unusable       … is broken: rescale in its place
rescale_beside_lut          Modality LUT and rescale exclude each other: the LUT was taken
rescale_unusable            rescale would make values equal or infinite, or half of it is absent
voi_lut_unusable            the VOI LUT is broken or shows nothing: the window in its place
window_unusable             the window shows nothing: percentiles of the content in its place
function_unknown            VOI LUT Function is none of the standard's: LINEAR
presentation_shape_conflict Presentation LUT Shape contradicts Photometric Interpretation, which decides
made_square                 pixels were not square: the finer direction was shrunk
display_applied             the shard holds 8 bits of the displayed film (codec jpeg), not the stored values
"""


class ClosedModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Display(ClosedModel):
    """How shard values become display values (DICOM PS3.3 C.11.1, C.11.2, C.7.6.3.1.2).

    A shard value is ``(stored + value_offset) >> value_shift`` and lies in ``[0, 2**bits)``.
    """

    bits: int = Field(ge=1, le=15)
    value_offset: int = Field(ge=0)
    value_shift: int = Field(ge=0, le=16)
    slope: float
    intercept: float
    center: float | None
    width: float | None
    """Without centre and width, and without a table, the values are shown from 0 dark to 2**bits - 1 bright."""
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
    invert: bool
    source: Literal["voi_lut", "window", "percentile", "declared_range"]
    windows: list[tuple[float, float]]
    table: str | None = None
    """Only where the film has a real LUT: the whole display table, see :func:`pack_table`."""
    provenance: list[Provenance] = []
    """How the film came to its values and its display, in that order."""


class Sidecar(ClosedModel):
    """Everything that a shard says of a film beside its pixels: the allow-list. Pseudonyms are keyed hashes."""

    format_version: int
    key: str
    frame: int | None = Field(default=None, ge=0)
    """Of a file with several frames, which one, counted from 0; each is a film of its own."""
    patient: str
    study: str
    series: str
    site: str | None
    patient_known: bool
    study_day: int | None
    split: Split
    body_part: str | None
    view: str | None
    laterality: Literal["L", "R", "B"] | None
    sex: Literal["F", "M", "O"] | None
    age_years: int | None = Field(ge=0, le=90)
    manufacturer: str | None
    model: str | None
    bits_stored: int
    photometric: str
    presentation_intent: str | None
    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    source_rows: int = Field(ge=1)
    source_columns: int = Field(ge=1)
    """Size of the source raster, upright: after the EXIF orientation of an image. Boxes are in its pixels."""
    pixel_spacing_mm: tuple[float, float] | None
    """Row and column spacing of this film, after resizing."""
    pixel_spacing_from: str | None
    display: Display
    content_mask: str
    """Anatomy against background, see :func:`pack_mask`; empty means all of the film."""
    content_mask_version: int
    pixel_sha256: str


INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.string()),
        ("film_offset", pa.int64()),
        ("film_size", pa.int64()),
        ("sidecar_offset", pa.int64()),
        ("sidecar_size", pa.int64()),
        ("frame", pa.int16()),
        ("patient", pa.string()),
        ("study", pa.string()),
        ("series", pa.string()),
        ("site", pa.string()),
        ("patient_known", pa.bool_()),
        ("study_day", pa.int32()),
        ("split", pa.string()),
        ("body_part", pa.string()),
        ("view", pa.string()),
        ("laterality", pa.string()),
        ("sex", pa.string()),
        ("age_years", pa.int16()),
        ("manufacturer", pa.string()),
        ("model", pa.string()),
        ("bits_stored", pa.int16()),
        ("photometric", pa.string()),
        ("presentation_intent", pa.string()),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        ("source_rows", pa.int32()),
        ("source_columns", pa.int32()),
        ("pixel_spacing_mm", pa.list_(pa.float32())),
        ("pixel_spacing_from", pa.string()),
        ("display_source", pa.string()),
        ("display_invert", pa.bool_()),
        ("provenance", pa.list_(pa.string())),
        ("polarity_suspect", pa.bool_()),
        ("pixel_sha256", pa.string()),
        ("same_pixels_as", pa.string()),
        ("content_fraction", pa.float32()),
        ("clipped_low", pa.float32()),
        ("clipped_high", pa.float32()),
        ("perceptual_hash", pa.uint64()),
    ]
)
"""The columns behind ``provenance`` are what only the pixels tell; training filters on them.

polarity_suspect    the film looks as if black and white were exchanged
pixel_sha256        equal for films of equal source size and equal values in the shards (of jpeg: before the display)
same_pixels_as      key of another film with equal pixels, for all such films but one (data_prep.index.same_pixels);
                    null in the table of a shard, which knows nothing of others
content_fraction    part of the film that its content mask takes for anatomy
clipped_low         part of the content at the dark end of the display, within 0.2 % of the range
clipped_high        … and at its bright end
perceptual_hash     64 bits, of which near duplicates share nearly all: see ``perceptual_hash.py``
"""

REJECTS_SCHEMA = pa.schema([("row", pa.int64()), ("reason", pa.string())])
"""``row`` is the row of the private manifest: it names no file."""

LABELS_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.string()),
        ("value", pa.string()),
        ("number", pa.float64()),
        ("source", pa.string()),
        ("confidence", pa.float32()),
        ("start", pa.int32()),
        ("stop", pa.int32()),
        ("reader", pa.int16()),
    ]
)
"""``value`` is present, absent, uncertain or not_mentioned, or null with a ``number``; ``source`` is expert, report or
metadata; ``start`` and ``stop`` are character offsets into the private report; ``reader`` counts those who have read
the film from 1, is ADJUDICATED for the word that overrules them, and null where nobody is told apart. Tables that were
written before there were readers lack the last column: :func:`read_labels`."""

ADJUDICATED = 0
"""``reader`` of a label or box that was settled after the readers had differed."""

BOXES_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.string()),
        ("x_min", pa.float32()),
        ("y_min", pa.float32()),
        ("x_max", pa.float32()),
        ("y_max", pa.float32()),
        ("source", pa.string()),
        ("reader", pa.int16()),
    ]
)
"""Boxes in source raster pixels, so that re-sharding at another size moves nothing. ``reader`` as in LABELS_SCHEMA: one
number is one person in both tables."""


class ShardCard(ClosedModel):
    """``<shard>.json``: written last, means that the shard is done."""

    shard: str
    config_sha256: str
    inputs_sha256: str
    """Of the planned units of this shard: another plan is another shard."""
    tar_sha256: str
    tar_size: int
    index_sha256: str
    films: int
    rejects: list[tuple[int, str]]
    """(manifest row, reason) for every file of this shard that became no film."""


class FileCounts(ClosedModel):
    """The ledger: in = written + rejected + dropped, in files."""

    written: int
    rejected: int
    dropped: int


class DatasetCard(ClosedModel):
    """``dataset.json``: written last of all, means that the folder is complete."""

    format_version: int
    dataset_sha256: str
    """Over the checksums of all shards in order: the identity that runs and resumes refer to."""
    config: dict[str, Any]
    config_sha256: str
    key_fingerprint: str
    files: FileCounts
    reasons: dict[str, int]
    films: dict[Split, int]
    patients: dict[Split, int]
    same_pixels: int = 0
    """Films of this generation with the pixels of another, under another identifier (``same_pixels_as``)."""
    same_pixels_across_splits: int = 0
    """… in another split: training on one of them would leak into the evaluation of the other."""
    shards: dict[str, str]
    """Name of the tar → its SHA-256."""
    plan_sha256: str = ""
    """Of the plan that ``quarantined`` and ``retries`` belong to."""
    quarantined: list[tuple[int, str]] = []
    """(manifest row, reason) of files that are not tried again, since they have killed or stopped their decoder."""
    retries: list[list[tuple[int, str]]] = []
    """Of each generation of shards that ``retry`` has appended: the files that it took up, and why an earlier
    generation had not taken them."""
    after: str | None = None
    """``dataset_sha256`` of the generation before this one; None for the first."""
    deidentification: dict[str, str]
    """PS3.15 Annex E profile and option codes → their meaning."""

    def __str__(self) -> str:
        """A table for a person."""
        lines = [("films", self.files.written, f"in {len(self.shards)} shards")]
        lines += [(f"  {split}", count, f"of {self.patients[split]} patients") for split, count in self.films.items()]
        lines.append(("no films", self.files.rejected + self.files.dropped, ""))
        lines += [(f"  {reason}", count, "") for reason, count in self.reasons.items()]
        if self.same_pixels:
            lines.append(("same pixels", self.same_pixels, f"{self.same_pixels_across_splits} across splits"))
        table = "\n".join(f"{name:<30}{count:>10}  {note}".rstrip() for name, count, note in lines)
        return f"{table}\ndataset {self.dataset_sha256}"


def read_dataset_card(public: Path) -> DatasetCard:
    """Read ``dataset.json`` of a complete public folder.

    Raises:
        ShardFormatError: no folder, not finished, damaged, or another format version.
    """
    path = public / "dataset.json"
    if not public.is_dir():
        raise ShardFormatError(f"shard folder {public} does not exist; make it with: python -m data_prep shard")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ShardFormatError(
            f"{public} holds no dataset.json: it is no shard folder, or sharding has not finished;"
            " run the same shard command again to finish it"
        ) from None
    except (OSError, ValueError):
        raise ShardFormatError(f"{path} cannot be read; run the same shard command again to rewrite it") from None
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise ShardFormatError(
            f"{public} has shard format version {version}, this release reads version {FORMAT_VERSION};"
            " shard the archive again, or use the release that wrote it"
        )
    try:
        return DatasetCard.model_validate(values)
    except ValidationError:
        raise ShardFormatError(f"{path} is damaged; run the same shard command again to rewrite it") from None


def generation_folders(public: Path) -> list[Path]:
    """The shard folders of all generations, in their order; ``public`` itself is the first.

    Raises:
        ShardFormatError: a generation is damaged, missing, or does not belong to the one before it.
    """
    folders = [public, *sorted(public.glob(GENERATIONS))]
    before: str | None = None
    for number, folder in enumerate(folders):
        card = read_dataset_card(folder)
        if number and (folder.name != generation_name(number) or card.after != before):
            raise ShardFormatError(
                f"{folder} does not follow {folders[number - 1].name}: a generation is missing or was written anew;"
                " put back what was there, or move the later generations away and append again"
            )
        before = card.dataset_sha256
    return folders


def generation_name(number: int) -> str:
    """Name of the folder of a generation after the first, counting from 1."""
    return f"generation-{number:03d}"


def film_suffix(config: Mapping[str, Any]) -> str:
    """Suffix of the films of a folder, by ``config`` of its card."""
    return FILM_SUFFIXES[config.get("codec", "htj2k")]


def mask_shape(rows: int, columns: int) -> tuple[int, int]:
    """Cells (down, across) of the content mask of a film: the longer side has MASK_SIDE cells."""
    longer = max(rows, columns)
    return max(1, round(rows * MASK_SIDE / longer)), max(1, round(columns * MASK_SIDE / longer))


def pack_mask(mask: NDArray[np.bool_]) -> str:
    """Content mask of :func:`mask_shape` → base64 of its bits, row by row; a full mask is the empty string."""
    if mask.all():
        return ""
    return base64.b64encode(np.packbits(mask).tobytes()).decode()


def unpack_mask(packed: str, rows: int, columns: int) -> NDArray[np.bool_]:
    """The content mask of a film of ``rows`` × ``columns`` pixels, shape :func:`mask_shape`."""
    shape = mask_shape(rows, columns)
    if not packed:
        return np.ones(shape, dtype=np.bool_)
    bits = np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8), count=shape[0] * shape[1])
    return bits.reshape(shape).astype(np.bool_)
