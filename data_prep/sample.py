"""One file of an archive → one sample of a shard: film stream, sidecar, and what only the pixels tell."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.content_mask import CONTENT_MASK_VERSION, content_mask
from data_prep.decode import StoredFilm, decode
from data_prep.display import apply, declared_range, display_of, display_table
from data_prep.film_codec import encode_film
from data_prep.shard_format import FORMAT_VERSION, INDEX_SCHEMA, Display, Sidecar, Split, pack_mask
from data_prep.shard_values import shrink, shrunk_size, to_shard_values, value_range

Facts = Mapping[str, Any]
"""A row of the manifest."""

_COPIED = (
    *("key", "patient", "study", "series", "site", "patient_known", "study_day", "body_part", "view", "laterality"),
    *("sex", "age_years", "manufacturer", "model", "bits_stored", "photometric", "presentation_intent"),
    "pixel_spacing_from",
)
"""What a sidecar takes from the manifest as it is: screened by the scan."""
_INDEXED = tuple(name for name in INDEX_SCHEMA.names if name in Sidecar.model_fields)


@dataclass(frozen=True)
class Sample:
    """What a shard holds of one film."""

    film: bytes
    sidecar: Sidecar
    content_fraction: float

    def index_row(self) -> dict[str, Any]:
        """The columns of the index that do not depend on the film's place."""
        columns = self.sidecar.model_dump(include=set(_INDEXED))
        display = self.sidecar.display
        return columns | {
            "display_source": display.source,
            "display_invert": display.invert,
            "content_fraction": self.content_fraction,
        }


def decode_file(data: bytes, facts: Facts) -> tuple[StoredFilm, str]:
    """The film of a file and the SHA-256 of its stored values.

    Raises:
        FilmReject: it is none.
    """
    film = decode(
        data,
        source=facts["source"],
        transfer_syntax=facts["transfer_syntax"],
        orientation=facts["orientation"] or 1,
    )
    return film, pixel_sha256(film.values)


def pixel_sha256(values: NDArray[np.int16] | NDArray[np.uint16]) -> str:
    """SHA-256 of size and stored values, whatever transfer syntax and word size the file has."""
    head = f"{values.shape[0]} {values.shape[1]} {values.dtype.kind}\n".encode()
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return hashlib.sha256(head + little.tobytes()).hexdigest()


def make_sample(
    film: StoredFilm, sha256: str, facts: Facts, *, split: Split, max_side: int | Literal["native"]
) -> Sample:
    """Shard values, display, content mask and sidecar of a decoded film."""
    values_range = value_range(film)
    full = to_shard_values(film, values_range)
    if film.header is None:
        display = declared_range(values_range)
    else:
        counts = np.bincount(film.visible(full), minlength=2**values_range.bits)
        display = display_of(film.header, values_range, counts)
    rows, columns = shrunk_size(full.shape[0], full.shape[1], max_side)
    values = shrink(full, film.hidden, _darkest(display), (rows, columns))
    mask = content_mask(apply(values, display))
    sidecar = Sidecar(
        format_version=FORMAT_VERSION,
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
    return Sample(encode_film(values), sidecar, float(mask.mean()))


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
