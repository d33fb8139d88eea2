"""One file of an archive → one sample of a shard: film stream, sidecar, and what only the pixels tell."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.errors import FilmReject, Reason
from data_prep.film.clipping import clipped
from data_prep.film.content_mask import content_mask
from data_prep.film.decode import StoredFilm, decode
from data_prep.film.empty_exposure import empty_exposure
from data_prep.film.header_display_settings import declared_range, display_of
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
from data_prep.shard_format.apply_display import ValueRange, apply, display_table
from data_prep.shard_format.content_mask_bits import CONTENT_MASK_VERSION, pack_mask
from data_prep.shard_format.film_codec import Codec, encode_film
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.index_schema import INDEX_SCHEMA
from data_prep.shard_format.sidecar import Display, Provenance, Sidecar, Split

Facts = Mapping[str, Any]
"""A row of the manifest."""

_COPIED = (
    *("key", "patient", "study", "series", "site", "patient_known", "study_day", "body_part", "view", "laterality"),
    *("sex", "age_years", "manufacturer", "model", "bits_stored", "photometric", "presentation_intent"),
    "pixel_spacing_from",
)
"""What a sidecar takes from the manifest as it is: screened by the scan."""
_INDEXED = tuple(name for name in INDEX_SCHEMA.names if name in Sidecar.model_fields)

_GLANCE = 256
"""Longer side of the film, at least, from which content and polarity are told."""


@dataclass(frozen=True)
class Sample:
    """What a shard holds of one film, and what its row of the index says beyond (see INDEX_SCHEMA).

    Attributes:
        fingerprint: of what is seen, pixels and display: equal for copies of one film, whatever codec stores them.
    """

    film: bytes
    sidecar: Sidecar
    fingerprint: str
    content_fraction: float
    polarity_suspect: bool
    clipped: tuple[float, float]
    perceptual_hash: int

    def index_row(self) -> dict[str, Any]:
        """The columns of the index that do not depend on the film's place."""
        columns = self.sidecar.model_dump(include=set(_INDEXED))
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
        }


def decode_file(data: bytes, facts: Facts) -> StoredFilm:
    """The film of a file, or of its frame ``facts["frame"]``.

    Raises:
        FilmReject: it is none.
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
    """SHA-256 of the size of the source and of shard values [rows, columns], whatever codec stores them.

    Of the values of the shard: hashing ten megapixels costs as much as shrinking them, and what no shard value shows,
    no training sees.
    """
    head = " ".join(str(side) for side in (*source, *values.shape))
    digest = hashlib.sha256(f"{head}\n".encode())
    digest.update(np.ascontiguousarray(values, dtype="<u2").data)
    return digest.hexdigest()


def make_sample(
    film: StoredFilm,
    facts: Facts,
    *,
    split: Split,
    max_side: int | Literal["native"],
    codec: Codec = "htj2k",
    reject_empty: bool = False,
) -> Sample:
    """Shard values, display, content mask and sidecar of a decoded film.

    Raises:
        FilmReject: it shows nothing but air, and ``reject_empty`` asks for it.
    """
    values_range = value_range(film)
    full = to_shard_values(film, values_range)
    if film.header is None:
        display = declared_range(values_range)
    else:
        display = display_of(film.header, values_range, histogram(full, film.hidden, values_range.bits))
    aspect = pixel_aspect(facts["pixel_spacing_mm"], film.header)
    squared: list[Provenance] = ["made_square"] if aspect != 1 else []
    display = display.model_copy(update={"provenance": [*film.notes, *display.provenance, *squared]})
    rows, columns = shrunk_size(full.shape[0], full.shape[1], max_side, aspect)
    values = shrink(full, film.hidden, _darkest(display), (rows, columns))
    if reject_empty and empty_exposure(values, _shrunk(film.hidden, values.shape)):
        raise FilmReject(Reason.EMPTY_EXPOSURE)
    shown = apply(halved(values, _GLANCE), display)
    mask = content_mask(shown, (rows, columns))
    sha256, ends = pixel_sha256(values, full.shape), clipped(values, mask, display)
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
        **{name: facts[name] for name in _COPIED},
    )
    return Sample(
        film=encode_film(values, codec),
        sidecar=sidecar,
        fingerprint=fingerprint,
        content_fraction=float(mask.mean()),
        polarity_suspect=polarity_suspect(shown),
        clipped=ends,
        perceptual_hash=perceptual_hash(shown),
    )


def _as_displayed(values: NDArray[np.uint16], display: Display) -> tuple[NDArray[np.uint16], Display]:
    """8 bits of the displayed film, and the display of these: from 0 dark to 255 bright."""
    shown = (apply(values, display).astype(np.uint32) + 128) // 257
    steps: list[Provenance] = [*display.provenance, "display_applied"]
    return shown.astype(np.uint16), declared_range(ValueRange(bits=8)).model_copy(update={"provenance": steps})


def _shrunk(hidden: NDArray[np.bool_] | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if hidden is None:
        return np.zeros(shape, dtype=np.bool_)
    return np.asarray(cv2.resize(hidden.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_AREA), dtype=np.bool_)


def _darkest(display: Display) -> int:
    """The shard value at the dark end of the display."""
    table = display_table(display)
    if table[0] == table.min():
        return 0
    return len(table) - 1 if table[-1] == table.min() else int(table.argmin())


def _spacing(
    source: tuple[float, float] | None, before: tuple[int, ...], after: tuple[int, int]
) -> tuple[float, float] | None:
    """Row and column spacing after resizing, to a nanometre."""
    if source is None:
        return None
    down, across = (round(source[axis] * before[axis] / after[axis], 6) for axis in (0, 1))
    return down, across
