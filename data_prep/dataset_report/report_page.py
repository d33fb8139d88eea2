"""Write the report: one self-contained HTML page for readers who do not know the field.

It uses the public folder only, unless a private folder is given; then it is marked as private and can be written into
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
from data_prep.dataset_report.census import PRIVATE_PAGE_MODE, PUBLIC_PAGE_MODE, Census
from data_prep.dataset_report.hash_pairs import MAX_DISTANCE
from data_prep.dataset_report.near_duplicates import KINDS, NearDuplicates
from data_prep.dataset_report.points_to_decide import Level, list_decisions
from data_prep.dataset_report.report_content import ReportContent, collect_content
from data_prep.dataset_report.svg_charts import Histogram, histogram
from data_prep.errors import ArchiveError
from data_prep.film.polarity import FALSE_ALARMS, SENSITIVITY
from data_prep.folder_url import PublicFolder
from data_prep.pages.html_page import environment
from data_prep.planning.folder_identity import is_public
from data_prep.runtime.atomic_write import atomic_file
from data_prep.runtime.progress import duration
from data_prep.shard_format.rare_values import MIN_PATIENTS
from data_prep.sharding.estimate import format_bytes

MAX_SUSPECTS = 24
MAX_PAIRS = 12
"""Films with suspect polarity, and pairs of near duplicates, on the page."""
MAX_CROSS_ROWS, MAX_CROSS_COLUMNS = 48, 20
"""Size of a table of what two sources state."""
MAX_PAGE_BYTES = 10_000_000
"""Bytes; the page is smaller for any number of films."""


@dataclass(frozen=True)
class WrittenReport:
    """Summary of a written report.

    Attributes:
        out: page.
        size: bytes of the page.
        stops: number of decisions that forbid to use the shards.
        decisions: number of decisions for a person.
        films: number of films in the shards.
        private: whether the page holds private facts.
    """

    out: Path
    size: int
    stops: int
    decisions: int
    films: int
    private: bool

    def __str__(self) -> str:
        decisions = f"{self.decisions} decision{'s' * (self.decisions != 1)} for a person"
        stops = f" ({self.stops} of them: stop)" if self.stops else ""
        private = "; private: do not share it with the shards" if self.private else ""
        return f"{self.out}: {self.films:,} films, {decisions}{stops}; {format_bytes(self.size)}{private}"


def write_report(public: PublicFolder, out: Path, *, private: Path | None = None) -> WrittenReport:
    """Write the page.

    Args:
        public: public folder, finished or unfinished.
        out: HTML file to write.
        private: private folder of the shards, whose facts are added; None for a page that may be shared.

    Raises:
        ShardFormatError: ``public`` is not a public folder, or is damaged.
        ArchiveError: ``private`` is not a private folder or has another secret, or ``out`` is not allowed there or
            cannot be written.
    """
    check_output_path(out, private)
    content = collect_content(public, private)
    decisions = list_decisions(content)
    page = _environment().get_template("report.html").render(_context(content) | {"decisions": decisions}).encode()
    _write(out, page, private is not None)
    stops = sum(decision.level is Level.STOP for decision in decisions)
    return WrittenReport(out, len(page), stops, len(decisions), content.films, private is not None)


def render_census(census: Census) -> str:
    """Render a census as an HTML page."""
    return _environment().get_template("census.html").render({"census": census, "min_patients": MIN_PATIENTS})


def check_output_path(out: Path, private: Path | None) -> None:
    """Check that a page or sheet is outside of public folders, and inside the private folder if it has private facts.

    Args:
        out: file to write.
        private: private folder if the file holds private facts, else None.

    Raises:
        ArchiveError: the file is not allowed there.
    """
    path = out.resolve()
    if any(folder.is_dir() and is_public(folder) for folder in path.parents):
        raise ArchiveError(f"{out} lies in a public folder, which may hold shards only; give another --out")
    if private is not None and not path.is_relative_to(private.resolve()):
        raise ArchiveError(f"{out} is outside the private folder whose facts it holds; give --out {private / out.name}")


def _write(out: Path, page: bytes, private: bool) -> None:
    try:
        with atomic_file(out) as file:
            os.fchmod(file.fileno(), PRIVATE_PAGE_MODE if private else PUBLIC_PAGE_MODE)
            file.write(page)
    except OSError as error:
        raise ArchiveError(f"the page {out} cannot be written ({error.strerror}); give another --out") from None


def _environment() -> Environment:
    templates = environment("data_prep.dataset_report")
    templates.filters |= {"size": format_bytes, "duration": duration}
    return templates


def _context(content: ReportContent) -> dict[str, Any]:
    folder = content.folder
    index = folder.index
    rows: list[int] = []
    if content.polarity_suspects is not None:
        rows = np.sort(
            np.random.default_rng(film_samples.SEED).permutation(content.polarity_suspects)[:MAX_SUSPECTS]
        ).tolist()
    return {
        "content": content,
        "folder": folder,
        "census": content.census,
        "min_patients": MIN_PATIENTS,
        "files": _file_counts(content),
        "sheets": film_samples.draw_body_part_sheets(folder.public, index),
        "seed": film_samples.SEED,
        "per_sheet": film_samples.FILMS_PER_SHEET,
        "charts": _charts(content),
        "brightness": film_samples.measure_brightness(folder.public, index),
        "polarity_found": SENSITIVITY,
        "polarity_false": FALSE_ALARMS,
        "suspects": film_samples.draw_films(folder.public, index, rows),
        "clipped": _clipped(content),
        "clipped_limit": quality.MAX_CLIPPED_FRACTION,
        "display_sources": _count_values(index, "display_source", plain_words.DISPLAY_SOURCES),
        "provenance": _provenance(index),
        "near": _draw_pairs(content, content.near_duplicate_pairs),
        "equal": _draw_pairs(content, content.equal_pixel_pairs),
        "max_distance": MAX_DISTANCE,
        "kinds": KINDS,
        "most_rows": MAX_CROSS_ROWS,
        "most_columns": MAX_CROSS_COLUMNS,
        "splits": quality.count_splits(index),
        "words": plain_words,
    }  # fmt: skip


def _file_counts(content: ReportContent) -> dict[str, Any]:
    """Counts of all files: written, and not written by kind and reason."""
    groups: list[dict[str, Any]] = []
    explained = [
        (plain_words.explain_reason(reason), reason, count) for reason, count in content.reject_reasons.items()
    ]
    for kind, texts in plain_words.KINDS.items():
        rows = [(words, reason, count) for words, reason, count in explained if words.kind is kind]
        if rows:
            groups.append({"kind": kind, **texts, "rows": rows, "files": sum(count for *_, count in rows)})
    parts = [("written", content.folder.written(), "written")]
    parts += [(group["name"], group["files"], group["kind"]) for group in groups]
    return {"groups": groups, "parts": parts, "files": sum(count for _, count, _ in parts)}


def _charts(content: ReportContent) -> list[Histogram]:
    index = content.folder.index

    def column(name: str) -> NDArray[np.float64]:
        return np.asarray(index[name].to_numpy(), np.float64)

    rows, columns = column("source_rows"), column("source_columns")
    charts = [
        histogram("Size of the original film", "megapixels", rows * columns / 1e6),
        histogram("Longer side in the shards", "pixels", np.maximum(column("rows"), column("columns"))),
        histogram("Width to height", "1 = square", columns / np.maximum(rows, 1)),
        histogram("Part of the film that shows the body", "%", 100 * column("content_fraction"),
                  note="The remaining part is collimation, air or padding."),
        histogram("Bytes of a film in the shards", "kB", column("film_size") / 1000),
    ]  # fmt: skip
    spacing = quality.read_row_spacings(index)
    unstated = int(np.isnan(spacing).sum())
    charts.insert(
        2,
        histogram(
            "Distance between pixels in the shards",
            "mm",
            spacing,
            note=f"Not stated for {unstated:,} films." if unstated else "",
        ),
    )
    return [chart for chart in charts if chart is not None]


def _clipped(content: ReportContent) -> list[dict[str, Any]]:
    """One entry per end of the display: black and white."""
    ends: list[dict[str, Any]] = []
    for end, fraction in content.clipped_fractions.items():
        if fraction is None:
            ends.append({"end": end, "recorded": False})
            continue
        chart = histogram(f"Content that is pure {end}", "% of the content", 100 * fraction)
        films = int((fraction > quality.MAX_CLIPPED_FRACTION).sum())
        ends.append({"end": end, "recorded": True, "chart": chart, "films": films})
    return ends


def _provenance(index: Any) -> list[tuple[str, int]]:
    counts = quality.count_provenance(index)
    return [(plain_words.PROVENANCE.get(name, name.replace("_", " ")), count) for name, count in counts]


def _count_values(index: Any, column: str, texts: Mapping[str, str]) -> list[tuple[str, int]]:
    counts = index.group_by(column).aggregate([("key", "count")]).to_pylist()
    return [
        (texts.get(row[column], row[column]), row["key_count"])
        for row in sorted(counts, key=lambda row: -row["key_count"])
    ]


def _draw_pairs(content: ReportContent, duplicates: NearDuplicates | None) -> dict[str, Any] | None:
    if duplicates is None:
        return None
    folder = content.folder
    drawn = [
        {"pictures": film_samples.draw_films(folder.public, folder.index, pair.rows), "pair": pair}
        for pair in duplicates.select_pairs(MAX_PAIRS)
    ]
    return {"duplicates": duplicates, "drawn": drawn}
