"""Makes one sample of a shard from a decoded film: film stream, sidecar and columns of the index."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.errors import FilmReject, Reason
from data_prep.film.clipping import measure_clipping
from data_prep.film.content_mask import content_mask
from data_prep.film.decode import StoredFilm, decode
from data_prep.film.empty_exposure import empty_exposure
from data_prep.film.header_display_settings import declared_range, derive_display
from data_prep.film.perceptual_hash import perceptual_hash
from data_prep.film.polarity import polarity_suspect
from data_prep.film.shard_values import (
    halved,
    histogram,
    pixel_aspect,
    shrink,
    shrunk_size,
    to_shard_values,
    value_range,
)
from data_prep.shard_format.apply_display import ValueRange, apply_display, display_table
from data_prep.shard_format.content_mask_bits import CONTENT_MASK_VERSION, pack_mask
from data_prep.shard_format.film_codec import Codec, encode_film
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.index_schema import INDEX_SCHEMA, LATER_COLUMNS
from data_prep.shard_format.sidecar import Display, Provenance, Sidecar, Split

Facts = Mapping[str, Any]
"""A row of the manifest."""

_MANIFEST_FIELDS = (
    *("key", "patient", "study", "series", "site", "patient_known", "study_day", "body_part", "view", "laterality"),
    *("sex", "age_years", "manufacturer", "model", "bits_stored", "photometric", "presentation_intent"),
    "pixel_spacing_from",
)
"""Fields of a sidecar that are copied from the manifest; the scan has screened them."""
_INDEX_FIELDS = LATER_COLUMNS
"""Columns of the index that are copied from the manifest and are in no sidecar."""
_INDEX_COLUMNS = tuple(name for name in INDEX_SCHEMA.names if name in Sidecar.model_fields)

_MIN_SIDE_PIXELS = 256
_MAX_SPACING_MM = 1000.0
"""Least longer side of the reduced film from which content and polarity are computed."""


@dataclass(frozen=True)
class Sample:
    """One film of a shard, with the columns of its index row (see INDEX_SCHEMA).

    Attributes:
        film: encoded film stream.
        sidecar: sidecar of the film.
        fingerprint: pixels and display; equal for copies of one film in any codec.
        content_fraction: fraction of the film that shows anatomy, 0 to 1.
        polarity_suspect: whether the film is probably inverted.
        clipped: fractions of the content at the dark and at the bright end of the display range.
        perceptual_hash: see :func:`data_prep.film.perceptual_hash.perceptual_hash`.
        stated: columns that come from the manifest and are in no sidecar.
    """

    film: bytes
    sidecar: Sidecar
    fingerprint: str
    content_fraction: float
    polarity_suspect: bool
    clipped: tuple[float, float]
    perceptual_hash: int | None
    stated: Mapping[str, Any] = field(default_factory=dict)

    def without_digests(self) -> "Sample":
        """The same sample without the digests of its pixels."""
        sidecar = self.sidecar.model_copy(update={"pixel_sha256": None})
        return replace(self, sidecar=sidecar, perceptual_hash=None)

    def index_row(self) -> dict[str, Any]:
        """The columns of the index that do not depend on the position of the film in the shards."""
        columns = self.sidecar.model_dump(include=set(_INDEX_COLUMNS))
        display = self.sidecar.display
        return columns | {
            "display_source": display.source,
            "display_invert": display.invert,
            "provenance": display.provenance,
            "content_fraction": self.content_fraction,
            "polarity_suspect": self.polarity_suspect,
            "clipped_low": self.clipped[0],
            "clipped_high": self.clipped[1],
            "perceptual_hash": self.perceptual_hash,
            **self.stated,
        }


def decode_file(data: bytes, facts: Facts) -> StoredFilm:
    """Decode the film of a file, or its frame ``facts["frame"]``.

    Args:
        data: bytes of the file.
        facts: row of the manifest.

    Raises:
        FilmReject: the file is no film; with the reason.
    """
    return decode(
        data,
        source=facts["source"],
        transfer_syntax=facts["transfer_syntax"],
        orientation=facts["orientation"] or 1,
        frame=facts.get("frame") or 0,
        frames=facts.get("frames") or 1,
    )


def pixel_sha256(values: NDArray[np.uint16], source: tuple[int, ...]) -> str:
    """Compute the SHA-256 of a film, independent of its codec.

    The shard values are hashed and not the stored values: hashing ten megapixels costs as much as shrinking them.

    Args:
        values: [rows, columns] shard values.
        source: rows and columns of the source.
    """
    size_text = " ".join(str(side) for side in (*source, *values.shape))
    digest = hashlib.sha256(f"{size_text}\n".encode())
    digest.update(np.ascontiguousarray(values, dtype="<u2").data)
    return digest.hexdigest()


def make_sample(
    film: StoredFilm,
    facts: Facts,
    *,
    split: Split,
    max_side: int | Literal["native"],
    min_short_side: int | None = None,
    codec: Codec = "htj2k",
    reject_empty: bool = False,
) -> Sample:
    """Make the sample of a decoded film.

    Args:
        film: the decoded film.
        facts: row of the manifest.
        split: split of the patient.
        max_side: largest side of the film in the shard, pixels, or ``native``.
        min_short_side: least shorter side of a film that is reduced, pixels; None for no limit.
        codec: codec of the film stream.
        reject_empty: whether films that show only air are rejected.

    Raises:
        FilmReject: the film shows only air, and ``reject_empty`` is set.
    """
    values_range = value_range(film)
    full = to_shard_values(film, values_range)
    aspect = pixel_aspect(facts["pixel_spacing_mm"], film.header)
    display = _display_with_provenance(film, full, values_range, aspect)
    rows, columns = shrunk_size(full.shape[0], full.shape[1], max_side, aspect, min_short_side)
    values = shrink(full, film.hidden, _darkest(display), (rows, columns))
    if reject_empty and empty_exposure(values, _shrunk(film.hidden, values.shape)):
        raise FilmReject(Reason.EMPTY_EXPOSURE)
    displayed = apply_display(halved(values, _MIN_SIDE_PIXELS), display)
    mask = content_mask(displayed, (rows, columns))
    sha256, clipped_fractions = pixel_sha256(values, full.shape), measure_clipping(values, mask, display)
    fingerprint = sha256 + display.model_dump_json(exclude={"provenance"})
    if codec == "jpeg":
        values, display = _as_displayed(values, display)
    sidecar = Sidecar(
        format_version=FORMAT_VERSION,
        frame=facts.get("frame"),
        split=split,
        rows=rows,
        columns=columns,
        source_rows=full.shape[0],
        source_columns=full.shape[1],
        pixel_spacing_mm=_spacing(facts["pixel_spacing_mm"], full.shape, (rows, columns)),
        display=display,
        content_mask=pack_mask(mask),
        content_mask_version=CONTENT_MASK_VERSION,
        pixel_sha256=sha256,
        **{name: facts[name] for name in _MANIFEST_FIELDS},
    )
    return Sample(
        film=encode_film(values, codec),
        sidecar=sidecar,
        fingerprint=fingerprint,
        content_fraction=float(mask.mean()),
        polarity_suspect=polarity_suspect(displayed),
        clipped=clipped_fractions,
        perceptual_hash=perceptual_hash(displayed),
        stated={name: facts.get(name) for name in _INDEX_FIELDS},
    )


def _display_with_provenance(
    film: StoredFilm, full: NDArray[np.uint16], values_range: ValueRange, aspect: float
) -> Display:
    """The display of a film, with the provenance codes of decoding, display and resizing."""
    if film.header is None:
        display = declared_range(values_range)
    else:
        display = derive_display(film.header, values_range, histogram(full, film.hidden, values_range.bits))
    square_note: list[Provenance] = ["made_square"] if aspect != 1 else []
    return display.model_copy(update={"provenance": [*film.notes, *display.provenance, *square_note]})


def _as_displayed(values: NDArray[np.uint16], display: Display) -> tuple[NDArray[np.uint16], Display]:
    """The displayed film in 8 bits, 0 dark to 255 bright, and its display."""
    displayed = (apply_display(values, display).astype(np.uint32) + 128) // 257
    provenance: list[Provenance] = [*display.provenance, "display_applied"]
    return displayed.astype(np.uint16), declared_range(ValueRange(bits=8)).model_copy(update={"provenance": provenance})


def _shrunk(hidden: NDArray[np.bool_] | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if hidden is None:
        return np.zeros(shape, dtype=np.bool_)
    return np.asarray(cv2.resize(hidden.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_AREA), dtype=np.bool_)


def _darkest(display: Display) -> int:
    """The shard value with the darkest display value."""
    table = display_table(display)
    if table[0] == table.min():
        return 0
    return len(table) - 1 if table[-1] == table.min() else int(table.argmin())


def _spacing(
    source: tuple[float, float] | None, source_shape: tuple[int, ...], target_shape: tuple[int, int]
) -> tuple[float, float] | None:
    """Row and column spacing after resizing, mm, rounded to a nanometre; None if it is too large to be one."""
    if source is None:
        return None
    row_spacing, column_spacing = (round(source[axis] * source_shape[axis] / target_shape[axis], 6) for axis in (0, 1))
    return (row_spacing, column_spacing) if max(row_spacing, column_spacing) <= _MAX_SPACING_MM else None
