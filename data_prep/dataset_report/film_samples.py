"""Films on the page: a seeded sample read by its place in the shards, shown as the device meant it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.dataset_report.census import MIN_PATIENTS, codes_of
from data_prep.dataset_report.svg_charts import Band
from data_prep.errors import ShardFormatError
from data_prep.pages.film_thumbnail import read_displayed_film
from data_prep.shard_format.content_mask_bits import unpack_mask

SEED = 0
SIDE = 224
"""Pixels of the longer side of a film on the page."""
PER_SHEET = 12
SHEETS = 24
"""Contact sheets at most: the most frequent body parts. Films of all others, and of those that fewer than MIN_PATIENTS
patients share, are on one sheet."""
MEASURED = 192
"""Films whose brightness is measured."""
_BINS = 64
_QUALITY = 80
"""Of JPEG: about 7 kB a film."""


@dataclass(frozen=True)
class Picture:
    """A film on the page: picture as data URI, its size in pixels, and what is written below it."""

    uri: str
    width: int
    height: int
    caption: str
    note: str


@dataclass(frozen=True)
class Sheet:
    """Films of one body part, and how many there are."""

    title: str
    films: int
    patients: int
    pictures: list[Picture]


def contact_sheets(public: Path, index: pa.Table) -> list[Sheet]:
    """PER_SHEET films of each body part, drawn at random with a fixed seed.

    Raises:
        ShardFormatError: a shard cannot be read.
    """
    parts = pc.fill_null(index["body_part"], "").combine_chunks().dictionary_encode()
    codes = np.asarray(parts.indices, np.int64)
    names = parts.dictionary.to_pylist()
    counts = np.bincount(codes, minlength=len(names))
    patients = codes_of(index["patient"])
    named = sorted(
        (place for place, name in enumerate(names) if name), key=lambda place: (-counts[place], names[place])
    )
    own = [place for place in named if len(np.unique(patients[codes == place])) >= MIN_PATIENTS][:SHEETS]
    groups = [(names[place].replace("_", " "), codes == place) for place in own]
    if rest := [place for place in named if place not in own]:
        groups.append(("rare body parts", np.isin(codes, rest)))
    if "" in names:
        groups.append(("body part not stated", codes == names.index("")))
    sheets = []
    for title, chosen in groups:
        rows = np.flatnonzero(chosen)
        drawn = np.sort(np.random.default_rng(SEED).permutation(rows)[:PER_SHEET])
        sheets.append(Sheet(title, len(rows), len(np.unique(patients[rows])), pictures(public, index, drawn.tolist())))
    return sheets


def pictures(public: Path, index: pa.Table, rows: Sequence[int]) -> list[Picture]:
    """The films of these rows of ``index``.

    Raises:
        ShardFormatError: a shard cannot be read.
    """
    return [_picture(public, row) for row in index.take(pa.array(rows, pa.int64())).to_pylist()]


def _picture(public: Path, row: dict[str, object]) -> Picture:
    try:
        shown, _ = read_displayed_film(public, row, SIDE)
    except (OSError, ValueError):
        raise ShardFormatError(f"{row['shard']} is damaged; run: python -m data_prep verify {public}") from None
    done, jpeg = cv2.imencode(".jpg", (shown >> 8).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    caption = " ".join(str(row[name]).replace("_", " ") for name in ("body_part", "view", "laterality") if row[name])
    note = f"{row['source_columns']} × {row['source_rows']} · {row['bits_stored']} bit"
    return Picture(
        f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}", shown.shape[1], shown.shape[0],
        caption or "body part not stated", f"{note} · {str(row['key'])[:8]}",
    )  # fmt: skip


def brightness(public: Path, index: pa.Table) -> Band | None:
    """How bright the content of films is, over MEASURED films drawn at random; None without films.

    Raises:
        ShardFormatError: a shard cannot be read.
    """
    if not index.num_rows:
        return None
    drawn = np.sort(np.random.default_rng(SEED).permutation(index.num_rows)[:MEASURED])
    shares = np.stack([_shares(public, row) for row in index.take(pa.array(drawn)).to_pylist()])
    lower, middle, upper = np.quantile(shares, (0.1, 0.5, 0.9), axis=0)
    return Band(
        "Brightness of the body part on the film, 0 black to 100 white",
        "brightness, % of white", lower, middle, upper,
        f"Measured on {len(drawn):,} films drawn at random. Line: the typical film. Band: 8 of 10 films lie inside.",
    )  # fmt: skip


def _shares(public: Path, row: dict[str, object]) -> NDArray[np.float64]:
    """[_BINS] percent of the content's pixels at each brightness."""
    try:
        shown, sidecar = read_displayed_film(public, row, SIDE)
    except (OSError, ValueError):
        raise ShardFormatError(f"{row['shard']} is damaged; run: python -m data_prep verify {public}") from None
    cells = unpack_mask(sidecar.content_mask, sidecar.rows, sidecar.columns).astype(np.uint8)
    mask = cv2.resize(cells, shown.shape[1::-1], interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    values = shown[mask] if mask.any() else shown.ravel()
    counts = np.bincount(values >> 10, minlength=_BINS).astype(np.float64)
    return np.asarray(100 * counts / counts.sum(), np.float64)
