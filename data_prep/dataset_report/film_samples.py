"""Films on the report page: a seeded random sample, displayed with the window of the device."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.dataset_report.census import encode_column
from data_prep.dataset_report.svg_charts import Band
from data_prep.folder_url import PublicFolder
from data_prep.pages.film_thumbnail import read_displayed_film
from data_prep.shard_format.content_mask_bits import unpack_mask
from data_prep.shard_format.rare_values import MIN_PATIENTS, patients_per_value

SEED = 0
SIDE = 224
"""Pixels of the longer side of a film on the page."""
FILMS_PER_SHEET = 12
MAX_BODY_PART_SHEETS = 24
"""Number of sheets of the most frequent body parts. Films of all others, and of those with fewer than MIN_PATIENTS
patients, are on one sheet."""
BRIGHTNESS_FILMS = 192
"""Number of films whose brightness is measured."""
_BINS = 64
_CAPTION = ("body_part", "view", "laterality")
_JPEG_QUALITY = 80
"""Gives about 7 kB per film."""


@dataclass(frozen=True)
class Picture:
    """A film on the page.

    Attributes:
        uri: JPEG as a data URI.
        width: pixels.
        height: pixels.
        caption: body part, view and side.
        note: size, bits and start of the key.
    """

    uri: str
    width: int
    height: int
    caption: str
    note: str


@dataclass(frozen=True)
class Sheet:
    """Films of one body part.

    Attributes:
        title: body part.
        films: number of films in the shards.
        patients: number of their patients.
        pictures: the films that are drawn.
    """

    title: str
    films: int
    patients: int
    pictures: list[Picture]


def draw_body_part_sheets(public: PublicFolder, index: pa.Table) -> list[Sheet]:
    """Draw FILMS_PER_SHEET films of each body part, sampled with a fixed seed.

    Args:
        public: public folder.
        index: rows of its index.

    Raises:
        ShardFormatError: a shard cannot be read.
    """
    parts = pc.fill_null(index["body_part"], "").combine_chunks().dictionary_encode()
    codes = np.asarray(parts.indices, np.int64)
    names = parts.dictionary.to_pylist()
    counts = np.bincount(codes, minlength=len(names))
    patients = encode_column(index["patient"])
    by_frequency = sorted(
        (code for code, name in enumerate(names) if name), key=lambda code: (-counts[code], names[code])
    )
    frequent = [code for code in by_frequency if len(np.unique(patients[codes == code])) >= MIN_PATIENTS]
    frequent = frequent[:MAX_BODY_PART_SHEETS]
    groups = [(names[code].replace("_", " "), codes == code) for code in frequent]
    if rare := [code for code in by_frequency if code not in frequent]:
        groups.append(("rare body parts", np.isin(codes, rare)))
    if "" in names:
        groups.append(("body part not stated", codes == names.index("")))
    sheets = []
    for title, is_member in groups:
        rows = np.flatnonzero(is_member)
        sample = np.sort(np.random.default_rng(SEED).permutation(rows)[:FILMS_PER_SHEET]).tolist()
        sheets.append(Sheet(title, len(rows), len(np.unique(patients[rows])), draw_films(public, index, sample)))
    return sheets


def draw_films(public: PublicFolder, index: pa.Table, rows: Sequence[int]) -> list[Picture]:
    """Draw films with captions, which name no value that fewer than MIN_PATIENTS patients have.

    Args:
        public: public folder.
        index: rows of its index.
        rows: row numbers of the films.

    Raises:
        ShardFormatError: a shard cannot be read.
    """
    patient, common = encode_column(index["patient"]), index
    for name in _CAPTION:
        rare = patients_per_value(index[name], patient) < MIN_PATIENTS
        place = common.schema.get_field_index(name)
        named = pc.if_else(pa.array(rare), pa.scalar(None, index[name].type), index[name])
        common = common.set_column(place, index.schema.field(name), named)
    return [_draw_film(public, row) for row in common.take(pa.array(rows, pa.int64())).to_pylist()]


def _draw_film(public: PublicFolder, row: dict[str, object]) -> Picture:
    displayed, _ = read_displayed_film(public, row, SIDE)
    is_encoded, jpeg = cv2.imencode(
        ".jpg", (displayed >> 8).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    assert is_encoded
    caption = " ".join(str(row[name]).replace("_", " ") for name in _CAPTION if row[name])
    note = f"{row['source_columns']} × {row['source_rows']} · {row['bits_stored']} bit"
    return Picture(
        f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}", displayed.shape[1], displayed.shape[0],
        caption or "body part rare or not stated", f"{note} · {str(row['key'])[:8]}",
    )  # fmt: skip


def measure_brightness(public: PublicFolder, index: pa.Table) -> Band | None:
    """Measure the distribution of brightness inside the content mask, on BRIGHTNESS_FILMS films drawn at random.

    Args:
        public: public folder.
        index: rows of its index.

    Returns:
        Percent of the pixels, median and 10 % and 90 % quantiles over films; None without films.

    Raises:
        ShardFormatError: a shard cannot be read.
    """
    if not index.num_rows:
        return None
    sample = np.sort(np.random.default_rng(SEED).permutation(index.num_rows)[:BRIGHTNESS_FILMS])
    percentages = np.stack([_brightness_percentages(public, row) for row in index.take(pa.array(sample)).to_pylist()])
    lower, middle, upper = np.quantile(percentages, (0.1, 0.5, 0.9), axis=0)
    return Band(
        "Brightness of the body part on the film, 0 black to 100 white",
        "brightness, % of white", lower, middle, upper,
        f"Measured on {len(sample):,} films drawn at random. Line: median film. Band: 80 % of the films.",
    )  # fmt: skip


def _brightness_percentages(public: PublicFolder, row: dict[str, object]) -> NDArray[np.float64]:
    """[_BINS] percent of the pixels inside the content mask in each bin of brightness."""
    displayed, sidecar = read_displayed_film(public, row, SIDE)
    cells = unpack_mask(sidecar.content_mask, sidecar.rows, sidecar.columns).astype(np.uint8)
    mask = cv2.resize(cells, displayed.shape[1::-1], interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    values = displayed[mask] if mask.any() else displayed.ravel()
    counts = np.bincount(values >> 10, minlength=_BINS).astype(np.float64)
    return np.asarray(100 * counts / counts.sum(), np.float64)
