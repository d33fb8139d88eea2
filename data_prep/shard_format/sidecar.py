"""The sidecar of a film: the closed list of everything that is published about it besides its pixels."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_FRAMES = 64
"""Largest number of frames of a radiograph file: views, energies, a slow series. Files with more are cine."""

Split = Literal["train", "val", "test"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""From the least to the most strictly separated split."""

Provenance = Literal[
    "syntax_contradicted",
    "frames_ignored",
    "image_end_missing",
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
"""Deviations from the usual decoding and display of a film, in the order of the steps.

===========================  =====================================================================================
syntax_contradicted          the pixel data are not of the transfer syntax that is named: they decided
frames_ignored               the header names one frame and there are several: the first was taken
image_end_missing            the end marker of the compressed image is missing, but its data are complete
bytes_behind_image           bytes follow the end of the compressed image, and were left out
palette_applied              the colours of a PALETTE COLOR film were looked up
colour_stored_grey           red, green and blue are equal, or there is luminance without colour; LUTs and windows
                             are not applied
bits_moved                   values were shifted down according to High Bit (PS3.5 section 8.1.1)
high_bit_ignored             High Bit declares left-justified values, but they are not
bits_widened                 Bits Stored is too small for the values
overlay_removed              an overlay in unused bits of the pixels was removed
padding_hidden               Pixel Padding Value or its range occurs
shutter_hidden               a shutter hides a part of the film
shutter_ignored              the description of the shutter is invalid, or its bitmap is missing
modality_lut                 the Modality LUT was applied
modality_lut_unusable        the Modality LUT is invalid: rescale was applied instead
rescale_beside_lut           both Modality LUT and rescale are present, which exclude each other: the LUT was applied
rescale_unusable             rescale would make values equal or infinite, or is incomplete
voi_lut_unusable             the VOI LUT is invalid or displays nothing: the window was applied instead
window_unusable              the window displays nothing: percentiles of the content were taken instead
function_unknown             VOI LUT Function is not in the standard: LINEAR was taken
presentation_shape_conflict  Presentation LUT Shape contradicts Photometric Interpretation, which was followed
made_square                  pixels were not square: the direction with the finer spacing was reduced
display_applied              the shard holds 8 bits of the displayed film (codec jpeg), not the stored values
===========================  =====================================================================================
"""


class ClosedModel(BaseModel):
    """An immutable record that accepts no other fields than its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Display(ClosedModel):
    """Parameters that convert shard values to display values (DICOM PS3.3 C.11.1, C.11.2, C.7.6.3.1.2).

    A shard value is ``(stored + value_offset) >> value_shift`` and lies in ``[0, 2**bits)``.
    """

    bits: int = Field(ge=1, le=15)
    value_offset: int = Field(ge=0)
    value_shift: int = Field(ge=0, le=16)
    slope: float
    intercept: float
    center: float | None
    width: float | None
    """Without center and width, and without a table, 0 is displayed dark and 2**bits - 1 bright."""
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
    invert: bool
    source: Literal["voi_lut", "window", "percentile", "declared_range"]
    windows: list[tuple[float, float]]
    table: str | None = None
    """The whole display table where the film has a LUT that is no formula, see :func:`pack_table`."""
    provenance: list[Provenance] = []
    """Deviations from the usual decoding and display, in the order of the steps."""


class Sidecar(ClosedModel):
    """Everything that a shard holds of a film besides its pixels: the allow-list. Pseudonyms are keyed hashes."""

    format_version: int
    key: str
    frame: int | None = Field(default=None, ge=0)
    """Number of the frame, from 0, in a multi-frame file, whose frames are separate films; else null."""
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
    """Size of the upright source raster, after EXIF orientation. Boxes are in its pixels."""
    pixel_spacing_mm: tuple[float, float] | None
    """Row and column spacing of the film in the shard, after resizing, in mm."""
    pixel_spacing_from: str | None
    display: Display
    content_mask: str
    """Mask of anatomy against background, see :func:`pack_mask`; empty: all of the film is anatomy."""
    content_mask_version: int
    pixel_sha256: str | None
    """SHA-256 of the pixels; null where the settings keep digests out of the public folder."""
