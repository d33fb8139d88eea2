"""Census: counts of films and patients by body part, view, device, size and other facets.

| census of | films | values |
|---|---|---|
| private folder | all readable films | all values by name, with study years; must not be shared |
| public folder | films in the shards | values of fewer than MIN_PATIENTS patients are merged; may be shared |
"""

import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_prep.archive.manifest import HEADERS_FILE, is_private, read_manifest
from data_prep.dataset_report.census_columns import PRIVATE_FACETS, PUBLIC_COLUMNS, PUBLIC_FACETS, FacetDefinition
from data_prep.errors import ArchiveError
from data_prep.folder_url import PublicFolder
from data_prep.planning import folder_identity
from data_prep.runtime.atomic_write import atomic_file
from data_prep.runtime.csv_text import csv_text
from data_prep.shard_format.index import read_index
from data_prep.shard_format.rare_values import MIN_PATIENTS

PUBLIC_PAGE_MODE, PRIVATE_PAGE_MODE = 0o644, 0o600

OTHER = "other"
NOT_STATED = "not stated"
CENSUS_SCHEMA = pa.schema(
    [("facet", pa.string()), ("value", pa.string()), ("films", pa.int64()), ("patients", pa.int64())]
)
"""One row per facet and value. A patient with films of several values counts for each of them."""


@dataclass(frozen=True)
class CensusCell:
    """Films and patients with one value of a facet.

    Attributes:
        value: value, NOT_STATED or OTHER.
        films: number of films.
        patients: number of patients.
        merged: number of rare values that are merged into this cell.
    """

    value: str
    films: int
    patients: int
    merged: int = 0

    def __str__(self) -> str:
        """Value, with the number of merged values."""
        return f"{self.value} ({self.merged} rare value{'s' if self.merged > 1 else ''})" if self.merged else self.value


@dataclass(frozen=True)
class Facet:
    """One property of films with the counts of its values.

    Attributes:
        name: name in the tables.
        title: name for readers.
        cells: one per value.
    """

    name: str
    title: str
    cells: tuple[CensusCell, ...]

    @property
    def is_unstated(self) -> bool:
        """Whether no film states a value."""
        return all(cell.value == NOT_STATED for cell in self.cells)


@dataclass(frozen=True)
class Census:
    """All facets of one folder.

    Attributes:
        private: whether it is of a private folder, with rare values and years; then it must not be shared.
        films: number of films.
        patients: number of known patients.
        studies: number of studies.
        unknown: number of films without a known patient; in cells, each of their studies counts as one patient.
        facets: facets with their cells.
    """

    private: bool
    films: int
    patients: int
    studies: int
    unknown: int
    facets: tuple[Facet, ...]

    def table(self) -> pa.Table:
        """Table with CENSUS_SCHEMA, one row per cell."""
        rows = [
            {"facet": facet.name, "value": str(cell), "films": cell.films, "patients": cell.patients}
            for facet in self.facets
            for cell in facet.cells
        ]
        return pa.Table.from_pylist(rows, CENSUS_SCHEMA)

    def csv(self) -> str:
        """Table as CSV with a header line."""
        return csv_text([CENSUS_SCHEMA.names, *(tuple(row.values()) for row in self.table().to_pylist())])

    def __str__(self) -> str:
        """Tables as text."""
        lines = [f"{self.films:,} films of {self.patients:,} known patients in {self.studies:,} studies"]
        if self.unknown:
            lines.append(f"{self.unknown:,} films are of unknown patients; each of their studies counts as one patient")
        if unstated := [facet.title for facet in self.facets if facet.is_unstated]:
            lines.append(f"not stated for any film: {', '.join(unstated)}")
        for facet in self.facets:
            if facet.is_unstated:
                continue
            width = max(44, 2 + max(len(str(cell)) for cell in facet.cells))
            lines += ["", f"{facet.title:<{width + 2}}{'films':>10}{'':>8}{'patients':>10}"]
            lines += [
                f"  {cell!s:<{width}}{cell.films:>10,}{cell.films / max(self.films, 1):>8.1%}{cell.patients:>10,}"
                for cell in facet.cells
            ]
        if self.private:
            lines += ["", "Private: it names rare values and years. Do not share it."]
        else:
            lines += ["", f"Values of fewer than {MIN_PATIENTS} patients are counted as {OTHER!r}."]
        return "\n".join(lines)


Codes: TypeAlias = NDArray[np.int64]


def encode_column(column: pa.ChunkedArray) -> Codes:
    """Dictionary-encode a column of text, which is smaller and faster to compare.

    Args:
        column: [rows] text or null.

    Returns:
        [rows] int64, one number per distinct text; -1 for null.
    """
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)


def compute_public_census(index: pa.Table) -> Census:
    """Count the films of ``index.parquet``, or of a table with some of its columns; rare values are not named."""
    return _census(index, PUBLIC_FACETS, private=False)


def compute_private_census(manifest: pa.Table, years: pa.ChunkedArray | None = None) -> Census:
    """Count the readable films of a private manifest, with all values by name.

    Args:
        manifest: result of :func:`data_prep.archive.manifest.read_manifest`.
        years: [rows of the manifest] year of each study as text; None if not known.
    """
    if years is not None:
        manifest = manifest.append_column("study_year", years)
    return _census(manifest.filter(pc.is_null(manifest["reason"])), PRIVATE_FACETS, private=True)


def _census(films: pa.Table, definitions: Iterable[FacetDefinition], *, private: bool) -> Census:
    patients = encode_column(films["patient"])
    facets: list[Facet] = []
    for definition in definitions:
        values = definition.values(films)
        if values is not None:
            cells = _cells(values, patients, ordered=definition.ordered)
            facets.append(Facet(definition.name, definition.title, cells if private else merge_rare(cells)))
    known = np.asarray(pc.fill_null(films["patient_known"], False))
    studies = pc.count_distinct(films["study"]).as_py()
    return Census(private, films.num_rows, len(np.unique(patients[known])), studies, int((~known).sum()), tuple(facets))


def _cells(values: pa.ChunkedArray | pa.Array, patients: Codes, *, ordered: bool) -> tuple[CensusCell, ...]:
    """Cells of a facet, in the order of their numbers or the most frequent first; NOT_STATED is last."""
    table = pa.table({"value": pc.cast(values, pa.string()), "patient": patients})
    counts = table.group_by("value").aggregate([("patient", "count"), ("patient", "count_distinct")]).to_pylist()
    stated = [row for row in counts if row["value"] is not None]
    if ordered:
        stated.sort(key=lambda row: _numeric_key(row["value"]))
    else:
        stated.sort(key=lambda row: (-row["patient_count"], row["value"]))
    rows = stated + [row for row in counts if row["value"] is None]
    return tuple(
        CensusCell(
            NOT_STATED if row["value"] is None else row["value"], row["patient_count"], row["patient_count_distinct"]
        )
        for row in rows
    )


def _numeric_key(text: str) -> tuple[float, str]:
    """Sort key of bins and years: their first number, with ``under …`` first and texts without a number last."""
    digits = "".join(letter if letter.isdigit() or letter == "." else " " for letter in text).split()
    return (float(digits[0]) - 0.5 * text.startswith("under") if digits else float("inf")), text


def merge_rare(cells: tuple[CensusCell, ...]) -> tuple[CensusCell, ...]:
    """Merge the cells of fewer than MIN_PATIENTS patients into a last cell OTHER.

    Its number of patients is an upper bound: a patient with films of two rare values counts twice.
    """
    rare = [cell for cell in cells if cell.patients < MIN_PATIENTS and cell.value != NOT_STATED]
    if not rare:
        return cells
    frequent = tuple(cell for cell in cells if cell not in rare)
    other = CensusCell(OTHER, sum(cell.films for cell in rare), sum(cell.patients for cell in rare), len(rare))
    return (*frequent, other)


def compute_census(folder: PublicFolder) -> Census:
    """Count the films of a private folder, or of a complete public folder with all its generations.

    Raises:
        ArchiveError: the folder is neither, or is damaged.
        ShardFormatError: the public folder is unfinished or of another format version.
    """
    if isinstance(folder, Path) and is_private(folder):
        manifest = read_manifest(folder)
        return compute_private_census(manifest, read_study_years(folder, manifest.num_rows))
    if isinstance(folder, Path) and folder.is_dir() and not folder_identity.is_public(folder):
        raise ArchiveError(
            f"{folder} is neither a private folder of scan nor a public folder of shard; give one of these"
        )
    return compute_public_census(read_index(folder, PUBLIC_COLUMNS))


def read_study_years(private: Path, rows: int) -> pa.ChunkedArray | None:
    """Read the years of the studies from the header cache of the scan.

    Args:
        private: private folder.
        rows: number of rows of its manifest.

    Returns:
        [rows] year as text or null; None if the scan did not keep the headers.
    """
    try:
        with (private / HEADERS_FILE).open("rb") as file:
            batches = [batch.column("study_date") for batch in pa.ipc.open_stream(file)]
    except (OSError, KeyError, pa.ArrowException):
        return None
    years = pc.cast(pc.year(pa.chunked_array(batches, pa.date32())), pa.string())
    return years if len(years) == rows else None


def write_census(census: Census, page: str, out: Path) -> None:
    """Write ``census.csv``, ``census.parquet`` and ``census.html``.

    Args:
        census: counts.
        page: HTML of ``census.html``.
        out: folder, which is created if it does not exist.

    Raises:
        ArchiveError: the folder cannot be written.
    """
    parquet = io.BytesIO()
    pq.write_table(census.table(), parquet)
    files = {"census.csv": census.csv().encode(), "census.parquet": parquet.getvalue(), "census.html": page.encode()}
    mode = PRIVATE_PAGE_MODE if census.private else PUBLIC_PAGE_MODE
    try:
        out.mkdir(parents=True, exist_ok=True, mode=0o700 if census.private else 0o755)
        for name, data in files.items():
            with atomic_file(out / name) as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
    except OSError as error:
        raise ArchiveError(f"the census cannot be written into {out} ({error.strerror}); give another --out") from None
