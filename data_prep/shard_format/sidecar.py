"""The sidecar of a film: every public fact of it, as a closed model."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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
    """A record without other fields than its own, which does not change."""

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
