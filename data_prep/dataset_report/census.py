"""What an archive holds: films and patients by body part, view, device, size and so on.

A census of the private folder says what was there before sharding, one of the public folder what is there after. In the
public one a value that fewer than MIN_PATIENTS patients share stands under OTHER without its name: the tables may be
passed on. Study years exist in the private folder only.
"""

import csv
import io
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_prep.archive.manifest import HEADERS_FILE, is_private, read_manifest
from data_prep.dataset_report.census_columns import PRIVATE_FACETS, PUBLIC_COLUMNS, PUBLIC_FACETS, Named
from data_prep.errors import ArchiveError
from data_prep.planning import folder_identity
from data_prep.runtime.atomic_write import atomic_file
from data_prep.shard_format.index import read_index

PUBLIC_MODE, PRIVATE_MODE = 0o644, 0o600

MIN_PATIENTS = 10
"""A value that fewer patients share is not named in what may be passed on."""
OTHER = "other"
NOT_STATED = "not stated"
CENSUS_SCHEMA = pa.schema(
    [("facet", pa.string()), ("value", pa.string()), ("films", pa.int64()), ("patients", pa.int64())]
)
"""One row per facet and value. A patient with films of several values counts for each of them."""


@dataclass(frozen=True)
class CensusCell:
    """Films and patients that share a value; ``merged`` values stand together under OTHER."""

    value: str
    films: int
    patients: int
    merged: int = 0

    def __str__(self) -> str:
        """The value, and how many stand under it."""
        return f"{self.value} ({self.merged} rare value{'s' if self.merged > 1 else ''})" if self.merged else self.value


@dataclass(frozen=True)
class Facet:
    """One question to the collection, with its answers."""

    name: str
    title: str
    cells: tuple[CensusCell, ...]

    @property
    def silent(self) -> bool:
        """Whether no film states an answer."""
        return all(cell.value == NOT_STATED for cell in self.cells)


@dataclass(frozen=True)
class Census:
    """All facets of one folder.

    Attributes:
        private: whether it is of a private folder, with rare values and years: not to be passed on.
        films, patients, studies: in all; patients that are known.
        unknown: films whose patient is not known; in cells, each of their studies counts as a patient.
    """

    private: bool
    films: int
    patients: int
    studies: int
    unknown: int
    facets: tuple[Facet, ...]

    def table(self) -> pa.Table:
        """CENSUS_SCHEMA."""
        rows = [
            {"facet": facet.name, "value": str(cell), "films": cell.films, "patients": cell.patients}
            for facet in self.facets
            for cell in facet.cells
        ]
        return pa.Table.from_pylist(rows, CENSUS_SCHEMA)

    def csv(self) -> str:
        """The table as CSV with a header line."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(CENSUS_SCHEMA.names)
        writer.writerows(tuple(row.values()) for row in self.table().to_pylist())
        return text.getvalue()

    def __str__(self) -> str:
        """Tables for a person."""
        lines = [f"{self.films:,} films of {self.patients:,} known patients in {self.studies:,} studies"]
        if self.unknown:
            lines.append(f"{self.unknown:,} films are of unknown patients: below, each of their studies counts as one")
        if silent := [facet.title for facet in self.facets if facet.silent]:
            lines.append(f"not stated for any film: {', '.join(silent)}")
        for facet in self.facets:
            if facet.silent:
                continue
            width = max(44, 2 + max(len(str(cell)) for cell in facet.cells))
            lines += ["", f"{facet.title:<{width + 2}}{'films':>10}{'':>8}{'patients':>10}"]
            lines += [
                f"  {cell!s:<{width}}{cell.films:>10,}{cell.films / max(self.films, 1):>8.1%}{cell.patients:>10,}"
                for cell in facet.cells
            ]
        if self.private:
            lines += ["", "Private: rare values and years are named here. Do not pass it on."]
        else:
            lines += ["", f"Values that fewer than {MIN_PATIENTS} patients share stand under {OTHER!r}, unnamed."]
        return "\n".join(lines)


Codes: TypeAlias = NDArray[np.int64]


def codes_of(column: pa.ChunkedArray) -> Codes:
    """[rows] a number for each distinct text, -1 for null: a quarter of the memory, and quick to compare."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)


def public_census(index: pa.Table) -> Census:
    """Census of the rows of ``index.parquet``, of whatever columns of it are there; rare values are not named."""
    return _census(index, PUBLIC_FACETS, private=False)


def private_census(manifest: pa.Table, years: pa.ChunkedArray | None = None) -> Census:
    """Census of the readable films of a private manifest, with every value by its name.

    Args:
        manifest: as :func:`data_prep.archive.manifest.read_manifest` gives it.
        years: [rows of the manifest] of the studies; None where they are not known.
    """
    if years is not None:
        manifest = manifest.append_column("study_year", years)
    return _census(manifest.filter(pc.is_null(manifest["reason"])), PRIVATE_FACETS, private=True)


def _census(films: pa.Table, facets: Iterable[Named], *, private: bool) -> Census:
    patients = codes_of(films["patient"])
    merge: Callable[[tuple[CensusCell, ...]], tuple[CensusCell, ...]] = (lambda cells: cells) if private else merged
    found: list[Facet] = []
    for named in facets:
        values = named.values(films)
        if values is not None:
            cells = merge(_cells(values, patients, ordered=named.ordered))
            found.append(Facet(named.name, named.title, cells))
    known = np.asarray(pc.fill_null(films["patient_known"], False))
    studies = pc.count_distinct(films["study"]).as_py()
    return Census(private, films.num_rows, len(np.unique(patients[known])), studies, int((~known).sum()), tuple(found))


def _cells(values: pa.ChunkedArray | pa.Array, patients: Codes, *, ordered: bool) -> tuple[CensusCell, ...]:
    """Cells of a facet, by their names' order or the most frequent first; ``not stated`` comes last."""
    table = pa.table({"value": pc.cast(values, pa.string()), "patient": patients})
    counted = table.group_by("value").aggregate([("patient", "count"), ("patient", "count_distinct")]).to_pylist()
    stated = [row for row in counted if row["value"] is not None]
    if ordered:
        stated.sort(key=lambda row: _natural(row["value"]))
    else:
        stated.sort(key=lambda row: (-row["patient_count"], row["value"]))
    rows = stated + [row for row in counted if row["value"] is None]
    return tuple(
        CensusCell(
            NOT_STATED if row["value"] is None else row["value"], row["patient_count"], row["patient_count_distinct"]
        )
        for row in rows
    )


def _natural(text: str) -> tuple[float, str]:
    """Bins and years by their first number; ``under …`` before all, words behind."""
    digits = "".join(one if one.isdigit() or one == "." else " " for one in text).split()
    return (float(digits[0]) - 0.5 * text.startswith("under") if digits else float("inf")), text


def merged(cells: tuple[CensusCell, ...]) -> tuple[CensusCell, ...]:
    """Cells with those of few patients put together, at the end and without their names.

    The patients of the merged cell are at most the sum: one with films of two rare values counts twice.
    """
    rare = [cell for cell in cells if cell.patients < MIN_PATIENTS and cell.value != NOT_STATED]
    if not rare:
        return cells
    kept = tuple(cell for cell in cells if cell not in rare)
    other = CensusCell(OTHER, sum(cell.films for cell in rare), sum(cell.patients for cell in rare), len(rare))
    return (*kept, other)


def census_of(folder: Path) -> Census:
    """The census of a private folder, or of a complete public one with all its generations: whichever ``folder`` is.

    Raises:
        ArchiveError: it is neither, or damaged.
        ShardFormatError: sharding has not finished, or by another version.
    """
    if is_private(folder):
        manifest = read_manifest(folder)
        return private_census(manifest, study_years(folder, manifest.num_rows))
    if folder.is_dir() and not folder_identity.is_public(folder):
        raise ArchiveError(f"{folder} is neither a private folder that scan made nor a public one that shard made")
    return public_census(read_index(folder, PUBLIC_COLUMNS))


def study_years(private: Path, rows: int) -> pa.ChunkedArray | None:
    """[rows of the manifest] year of each study as text or null; None where the headers of the scan are not kept."""
    try:
        with (private / HEADERS_FILE).open("rb") as file:
            batches = [batch.column("study_date") for batch in pa.ipc.open_stream(file)]
    except (OSError, KeyError, pa.ArrowException):
        return None
    years = pc.cast(pc.year(pa.chunked_array(batches, pa.date32())), pa.string())
    return years if len(years) == rows else None


def write_census(census: Census, page: str, out: Path) -> None:
    """Write ``census.csv``, ``census.parquet`` and ``census.html`` into the folder ``out``, made if need be.

    Raises:
        ArchiveError: it cannot be written.
    """
    parquet = io.BytesIO()
    pq.write_table(census.table(), parquet)
    files = {"census.csv": census.csv().encode(), "census.parquet": parquet.getvalue(), "census.html": page.encode()}
    mode = PRIVATE_MODE if census.private else PUBLIC_MODE
    try:
        out.mkdir(parents=True, exist_ok=True, mode=0o700 if census.private else 0o755)
        for name, data in files.items():
            with atomic_file(out / name) as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
    except OSError as error:
        raise ArchiveError(f"the census cannot be written into {out} ({error.strerror}); give another --out") from None
