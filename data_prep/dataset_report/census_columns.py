"""Facets of a census: their columns, and the bins of numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydicom.uid import UID

Values: TypeAlias = Any
"""[films] Arrow array of text or null; None if the table lacks the columns."""


@dataclass(frozen=True)
class FacetDefinition:
    """A facet and the function that computes its values.

    Attributes:
        name: name in the tables.
        title: name for readers.
        values: function of a table of films.
        ordered: whether cells are sorted by number instead of by frequency.
    """

    name: str
    title: str
    values: Callable[[pa.Table], Values]
    ordered: bool = False


def _column(name: str) -> Callable[[pa.Table], Values]:
    return lambda films: films[name] if name in films.column_names else None


def _megapixels(rows: str, columns: str) -> Callable[[pa.Table], Values]:
    def values(films: pa.Table) -> Values:
        pixels = pc.multiply(pc.cast(films[rows], pa.int64()), pc.cast(films[columns], pa.int64()))
        return _binned(pc.divide(pc.cast(pixels, pa.float64()), 1e6), (1, 2, 4, 6, 8, 12, 16), "MP")

    return values


def _ages(films: pa.Table) -> Values:
    return _binned(films["age_years"], (1, 10, 20, 30, 40, 50, 60, 70, 80), "years", first=0)


def _bits(films: pa.Table) -> Values:
    return pc.binary_join_element_wise(pc.cast(films["bits_stored"], pa.string()), "bit", " ")


def _films_per_patient(films: pa.Table) -> Values:
    """[films] bin of the number of films of the patient of each film; unknown patients have a separate bin."""
    encoded = films["patient"].combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    counts = np.bincount(codes, minlength=1)[codes] if films.num_rows else np.zeros(0, np.int64)
    binned = _binned(pa.array(counts, pa.int64()), (2, 3, 4, 6, 11, 21, 51), "films", first=1)
    known = pc.fill_null(films["patient_known"], False)
    return pc.if_else(known, binned, "patient not known")


def _binned(numbers: Any, edges: Sequence[float], unit: str, *, first: int | None = None) -> pa.Array:
    """[films] name of the bin of each number, see :func:`name_bins`; null for null."""
    column = numbers.combine_chunks() if isinstance(numbers, pa.ChunkedArray) else numbers
    filled = pc.cast(column, pa.float64()).fill_null(np.nan)
    values: NDArray[np.float64] = np.asarray(filled.to_numpy(zero_copy_only=False), np.float64)
    bins = np.searchsorted(np.asarray(edges, np.float64), values, side="right")
    return pa.array(name_bins(edges, unit, first=first)).take(pa.array(bins, pa.int64(), mask=np.isnan(values)))


def name_bins(edges: Sequence[float], unit: str, *, first: int | None = None) -> list[str]:
    """Name the ``len(edges) + 1`` bins between edges; an edge belongs to the bin above it.

    Args:
        edges: increasing numbers.
        unit: unit, part of every name.
        first: smallest possible value of integers, whose bins are named ``1 film``, ``4 to 5 films``; None for other
            numbers, whose bins are named ``under 1 MP``, ``1 to 2 MP``.
    """
    last = f"{edges[-1]:g} {unit} and more"
    if first is None:
        return [f"under {edges[0]:g} {unit}", *(f"{low:g} to {high:g} {unit}" for low, high in pairwise(edges)), last]
    spans = [(low, high - 1) for low, high in pairwise((first, *edges))]
    names = (
        f"{low:g} {unit if low != 1 else unit.removesuffix('s')}" if low == high else f"{low:g} to {high:g} {unit}"
        for low, high in spans
    )
    return [*names, last]


def _transfer_syntaxes(films: pa.Table) -> Values:
    """[films] names of DICOM PS3.6 Annex A, followed by the UID."""
    encoded = films["transfer_syntax"].combine_chunks().dictionary_encode()
    names = [uid if UID(uid).name == uid else f"{UID(uid).name} ({uid})" for uid in encoded.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(encoded.indices)


_COMMON_FACETS = (
    FacetDefinition("body_part", "Body part", _column("body_part")),
    FacetDefinition("body_part_from", "Body part stated by", _column("body_part_from")),
    FacetDefinition("view", "View", _column("view")),
    FacetDefinition("laterality", "Side", _column("laterality")),
    FacetDefinition("sex", "Sex", _column("sex")),
    FacetDefinition("age", "Age", _ages, ordered=True),
    FacetDefinition("manufacturer", "Vendor", _column("manufacturer")),
    FacetDefinition("model", "Device model", _column("model")),
    FacetDefinition("bits", "Bits stored", _bits, ordered=True),
    FacetDefinition("photometric", "Photometric interpretation", _column("photometric")),
    FacetDefinition("presentation_intent", "Presentation intent", _column("presentation_intent")),
    FacetDefinition("image_type", "Image type", _column("image_type")),
)
_FILMS_PER_PATIENT = FacetDefinition("films_per_patient", "Films per patient", _films_per_patient, ordered=True)
PUBLIC_FACETS = (
    *_COMMON_FACETS,
    FacetDefinition("megapixels", "Size of the original", _megapixels("source_rows", "source_columns"), ordered=True),
    _FILMS_PER_PATIENT,
)
"""Facets of ``index.parquet``, which has neither transfer syntax nor year."""
PUBLIC_COLUMNS = [
    *("patient", "patient_known", "study", "source_rows", "source_columns", "body_part", "view", "laterality"),
    *("sex", "age_years", "manufacturer", "model", "bits_stored", "photometric", "presentation_intent"),
    *("body_part_from", "image_type"),
]
"""Columns of ``index.parquet`` that these facets need."""
PRIVATE_FACETS = (
    FacetDefinition("source", "File type", _column("source")),
    FacetDefinition("modality", "Modality", _column("modality")),
    *_COMMON_FACETS,
    FacetDefinition("transfer_syntax", "Transfer syntax", _transfer_syntaxes),
    FacetDefinition("megapixels", "Size of the original", _megapixels("rows", "columns"), ordered=True),
    FacetDefinition("year", "Year of the study", _column("study_year"), ordered=True),
    _FILMS_PER_PATIENT,
)
"""Facets of ``manifest.parquet``, with the column ``study_year`` if it is known."""
