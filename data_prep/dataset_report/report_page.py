"""The report: one HTML page that needs nothing beside itself, for readers from outside the field.

It is made of the public folder alone, unless a private folder is given; then it says so on its face, and may lie in
the private folder only.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from numpy.typing import NDArray

from data_prep.dataset_report import film_samples, plain_words, quality
from data_prep.dataset_report.census import MIN_PATIENTS, PRIVATE_MODE, PUBLIC_MODE, Census
from data_prep.dataset_report.hash_pairs import BOUND
from data_prep.dataset_report.near_duplicates import KINDS, NearDuplicates
from data_prep.dataset_report.points_to_decide import Level, decisions
from data_prep.dataset_report.report_content import Findings, gather
from data_prep.dataset_report.svg_charts import Histogram, histogram
from data_prep.errors import ArchiveError
from data_prep.film.polarity import FOUND
from data_prep.pages.html_page import environment
from data_prep.planning.folder_identity import is_public
from data_prep.runtime.atomic_write import atomic_file
from data_prep.runtime.progress import duration
from data_prep.sharding.estimate import size_text

SUSPECTS_SHOWN = 24
PAIRS_SHOWN = 12
MAX_PAGE = 10_000_000
"""Bytes that a page must stay below, however large the archive."""


@dataclass(frozen=True)
class WrittenReport:
    """What was written: the page, its size in bytes, and what asks for a person."""

    out: Path
    size: int
    stops: int
    decisions: int
    films: int
    private: bool

    def __str__(self) -> str:
        asked = f"{self.decisions} point{'s' * (self.decisions != 1)} for a person"
        stops = f" ({self.stops} of them: stop)" if self.stops else ""
        whose = "; private: it must not leave with the shards" if self.private else ""
        return f"{self.out}: {self.films:,} films, {asked}{stops}; {size_text(self.size)}{whose}"


def write_report(public: Path, out: Path, *, private: Path | None = None) -> WrittenReport:
    """Write the page ``out``.

    Raises:
        ShardFormatError: ``public`` is no public folder, or damaged.
        ArchiveError: ``private`` is none or of another secret, ``out`` must not lie there, or cannot be written.
    """
    check_place(out, private)
    found = gather(public, private)
    asked = decisions(found)
    page = _environment().get_template("report.html").render(_context(found) | {"decisions": asked}).encode()
    _write(out, page, private is not None)
    stops = sum(one.level is Level.STOP for one in asked)
    return WrittenReport(out, len(page), stops, len(asked), found.films, private is not None)


def census_page(census: Census) -> str:
    """The census alone, as a page like the report."""
    return _environment().get_template("census.html").render({"census": census, "min_patients": MIN_PATIENTS})


def check_place(out: Path, private: Path | None) -> None:
    """Refuse to put a page or sheet into a public folder, or one with private facts anywhere but in the private one.

    Raises:
        ArchiveError: it must not lie there.
    """
    here = out.resolve()
    if any(folder.is_dir() and is_public(folder) for folder in here.parents):
        raise ArchiveError(f"{out} lies in a public folder, which holds shards and nothing else; give another --out")
    if private is not None and not here.is_relative_to(private.resolve()):
        raise ArchiveError(
            f"what is made with the private folder holds private facts and stays there: give --out {private / out.name}"
        )


def _write(out: Path, page: bytes, private: bool) -> None:
    try:
        with atomic_file(out) as file:
            os.fchmod(file.fileno(), PRIVATE_MODE if private else PUBLIC_MODE)
            file.write(page)
    except OSError as error:
        raise ArchiveError(f"the page {out} cannot be written ({error.strerror}); give another --out") from None


def _environment() -> Environment:
    made = environment("data_prep.dataset_report")
    made.filters |= {"size": size_text, "duration": duration}
    return made


def _context(found: Findings) -> dict[str, Any]:
    folder = found.folder
    index = folder.index
    suspects = found.suspects
    rows: list[int] = []
    if suspects is not None:
        rows = np.sort(np.random.default_rng(film_samples.SEED).permutation(suspects)[:SUSPECTS_SHOWN]).tolist()
    return {
        "found": found,
        "folder": folder,
        "census": found.census,
        "min_patients": MIN_PATIENTS,
        "ledger": _ledger(found),
        "sheets": film_samples.contact_sheets(folder.public, index),
        "seed": film_samples.SEED,
        "per_sheet": film_samples.PER_SHEET,
        "charts": _charts(found),
        "brightness": film_samples.brightness(folder.public, index),
        "polarity_found": FOUND,
        "suspects": film_samples.pictures(folder.public, index, rows),
        "clipped": _clipped(found),
        "clipped_limit": quality.CLIPPED,
        "display_sources": _counted(index, "display_source", plain_words.DISPLAY_SOURCES),
        "provenance": _provenance(index),
        "near": _pairs(found, found.near),
        "equal": _pairs(found, found.equal),
        "bound": BOUND,
        "kinds": KINDS,
        "splits": quality.split_table(index),
        "words": plain_words,
    }  # fmt: skip


def _ledger(found: Findings) -> dict[str, Any]:
    """In = written + rejected + dropped, and the reasons by kind."""
    groups: list[dict[str, Any]] = []
    for kind, told in plain_words.KINDS.items():
        reasons = [
            (reason, count) for reason, count in found.reasons.items() if plain_words.reason_words(reason).kind is kind
        ]
        if reasons:
            rows = [(plain_words.reason_words(reason), reason, count) for reason, count in reasons]
            groups.append({"kind": kind, **told, "rows": rows, "files": sum(count for _, count in reasons)})
    parts = [("written", found.folder.written(), "written")]
    parts += [(group["name"], group["files"], group["kind"]) for group in groups]
    return {"groups": groups, "parts": parts, "files": sum(count for _, count, _ in parts)}


def _charts(found: Findings) -> list[Histogram]:
    index = found.folder.index

    def column(name: str) -> NDArray[np.float64]:
        return np.asarray(index[name].to_numpy(), np.float64)

    rows, columns = column("source_rows"), column("source_columns")
    made = [
        histogram("Size of the original film", "megapixels", rows * columns / 1e6),
        histogram("Longer side in the shards", "pixels", np.maximum(column("rows"), column("columns"))),
        histogram("Width to height", "1 = square", columns / np.maximum(rows, 1)),
        histogram("Part of the film that shows the body", "%", 100 * column("content_fraction"),
                  note="The rest is collimation, air or padding."),
        histogram("Bytes of a film in the shards", "kB", column("film_size") / 1000),
    ]  # fmt: skip
    spacing = quality.spacings(index)
    unstated = int(np.isnan(spacing).sum())
    made.insert(
        2,
        histogram(
            "Distance between pixels in the shards",
            "mm",
            spacing,
            note=f"{unstated:,} films state none." if unstated else "",
        ),
    )
    return [one for one in made if one is not None]


def _clipped(found: Findings) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    for end, part in found.clipped.items():
        if part is None:
            told.append({"end": end, "recorded": False})
            continue
        chart = histogram(f"Content that is pure {end}", "% of the content", 100 * part)
        told.append({"end": end, "recorded": True, "chart": chart, "films": int((part > quality.CLIPPED).sum())})
    return told


def _provenance(index: Any) -> list[tuple[str, int]]:
    counts = quality.provenance_counts(index)
    return [(plain_words.PROVENANCE.get(name, name.replace("_", " ")), count) for name, count in counts]


def _counted(index: Any, column: str, plain: Mapping[str, str]) -> list[tuple[str, int]]:
    counted = index.group_by(column).aggregate([("key", "count")]).to_pylist()
    return [
        (plain.get(row[column], row[column]), row["key_count"])
        for row in sorted(counted, key=lambda row: -row["key_count"])
    ]


def _pairs(found: Findings, pairs: NearDuplicates | None) -> dict[str, Any] | None:
    if pairs is None:
        return None
    folder = found.folder
    shown = [
        {"pictures": film_samples.pictures(folder.public, folder.index, pair.rows), "pair": pair}
        for pair in pairs.shown(PAIRS_SHOWN)
    ]
    return {"found": pairs, "shown": shown}
