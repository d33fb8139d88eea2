"""Summary of a scan as counts, without any identifying value."""

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.archive.manifest import DIFFERENCES_FILE, UNMAPPED_FILE
from data_prep.archive.stated_facts import CORRECTION, FACTS, CrossTable, cross_tables, differs
from data_prep.scan.film_facts import FilmFacts


@dataclass(frozen=True)
class Changes:
    """Numbers of files compared with the previous scan.

    Attributes:
        new: files that the previous scan did not list.
        read_again: files that have changed, or whose rows could not be reused.
        removed: files that no longer exist.
        unchanged: files whose rows were reused.
    """

    new: int
    read_again: int
    removed: int
    unchanged: int

    def __str__(self) -> str:
        return f"{self.new} new, {self.read_again} read again, {self.removed} removed, {self.unchanged} unchanged"


@dataclass(frozen=True)
class ScanSummary:
    """Numbers of a scan.

    Attributes:
        files: all files; each is a film or has a reason.
        films: source (dicom, png, jpeg) → films.
        reasons: reason → files that are no films.
        patients: patients with a patient number.
        studies: studies of all films.
        films_of_unknown_patients: films without a patient number; they belong to the training split.
        unmapped: fact → texts of films, by header, path or table, that no vocabulary contains.
        marked: selection rule → films to which it applies; the settings of sharding decide on them.
        differing: fact → films of which two sources state different values.
        cross: films by what two sources state, for the facts of which films differ.
        doubtful: (word, body part or an empty text) → films; for words that are not to be relied on, or never read.
        corrected: facts that come from the table of corrections.
        joined: patient numbers that were joined to another one, since they may mean the same person.
        rejected: films to which at least one of these rules applies.
        excluded: files that ``exclude_pattern`` leaves out; they are not among ``files``.
        missing: files that a DICOMDIR refers to and that do not exist.
        changes: compared with the previous scan; None for the first one.
        tables: summary of the tables of a public data set; empty for other archives.
    """

    files: int
    films: dict[str, int]
    reasons: dict[str, int]
    patients: int
    studies: int
    films_of_unknown_patients: int
    unmapped: dict[str, int]
    marked: dict[str, int]
    differing: dict[str, int]
    cross: list[CrossTable]
    doubtful: dict[tuple[str, str], int]
    corrected: int
    joined: int
    missing: int
    changes: Changes | None
    tables: str = ""
    rejected: int = 0
    excluded: int = 0

    def __str__(self) -> str:
        """Format the summary as a table."""
        films = sum(self.films.values())
        sources = ", ".join(f"{count} {source}" for source, count in self.films.items())
        if self.rejected:
            sources += f"; without those that shard rejects by a rule below: {films - self.rejected}"
        lines = [("files", self.files, str(self.changes) if self.changes else ""), ("films", films, sources)]
        lines += [("  studies", self.studies, ""), ("  patients", self.patients, "with a patient number")]
        if self.films_of_unknown_patients:
            lines.append(
                ("  films of unknown patients", self.films_of_unknown_patients, "without a number: training only")
            )
        if self.joined:
            lines.append(("  joined patient numbers", self.joined, "may belong to the patient of another number"))
        lines += [
            (f"  {rule}", count, f"rejected by shard unless selection.{rule}=keep")
            for rule, count in self.marked.items()
        ]
        lines += [
            (
                f"  unmapped {name}",
                count,
                f"words of no vocabulary: see {UNMAPPED_FILE} in the private folder{_hint(name)}",
            )
            for name, count in self.unmapped.items()
        ]
        lines += [
            (f"  doubtful {word}", count, f"read as {term}" if term else "has several meanings: not read")
            for (word, term), count in self.doubtful.items()
        ]
        if self.corrected:
            lines.append(("  corrected facts", self.corrected, "confirmed in the table of facts.corrections"))
        lines += [
            (f"  differing {fact}", count, f"see {DIFFERENCES_FILE} in the private folder; facts.order decides")
            for fact, count in self.differing.items()
        ]
        lines.append(("not films", self.files - films, ""))
        lines += [(f"  {reason}", count, "") for reason, count in self.reasons.items()]
        if self.excluded:
            lines.append(("left out", self.excluded, "match exclude_pattern: not read, not among the files above"))
        if self.missing:
            lines.append(("missing files", self.missing, "listed in a DICOMDIR but do not exist"))
        text = "\n".join(f"{name:<30}{count:>10}  {note}".rstrip() for name, count, note in lines)
        return "\n".join([text, *map(format_cross_table, self.cross), *([self.tables] if self.tables else [])])


def _hint(fact: str) -> str:
    return "; facts.words adds them" if fact == "body_part" else ""


def format_cross_table(table: CrossTable) -> str:
    """Format a cross table: one line per value of the second source, with the films by the value of the first."""
    lines = [f"{table.fact} by {table.second}, and what the {table.first} states ({table.differing} films differ)"]
    shown = table.values(1)
    for value in shown[:_MAX_CROSS_LINES]:
        parts = {first: count for (first, second), count in table.films.items() if second == value}
        ranked = sorted(parts, key=lambda first: (-parts[first], first))
        counts = [f"{first} {parts[first]}" for first in ranked[:_MAX_CROSS_VALUES]]
        if len(ranked) > _MAX_CROSS_VALUES:
            counts.append(
                f"{len(ranked) - _MAX_CROSS_VALUES} more {sum(parts[name] for name in ranked[_MAX_CROSS_VALUES:])}"
            )
        lines.append(f"  {value:<14}{sum(parts.values()):>10}  {', '.join(counts)}")
    if len(shown) > _MAX_CROSS_LINES:
        lines.append(f"  … and {len(shown) - _MAX_CROSS_LINES} more values: see the report of the shards")
    return "\n".join(lines)


def summarise(
    manifest: pa.Table,
    facts: FilmFacts,
    *,
    joined: int = 0,
    missing: int = 0,
    changes: Changes | None = None,
    tables: str = "",
) -> ScanSummary:
    """Count the films of a manifest.

    Args:
        manifest: rows of the scan (MANIFEST_SCHEMA).
        facts: what was stated of the films.
        joined: see :class:`ScanSummary`.
        missing: see :class:`ScanSummary`.
        changes: see :class:`ScanSummary`.
        tables: see :class:`ScanSummary`.
    """
    films = manifest.select(_USED_COLUMNS).filter(pc.is_null(manifest["reason"]))
    known = films.filter(films["patient_known"])
    per_field: Counter[str] = Counter()
    for (name, _), count in facts.unmapped.items():
        per_field[name] += count
    stated = facts.stated.filter(pc.is_null(manifest["reason"]))
    cross = [table for table in cross_tables(stated) if table.differing and table.fact != "age_years"]
    differing = {fact: pc.sum(differs(stated, fact)).as_py() or 0 for fact in FACTS}
    sources = [films[f"{fact}_from"] for fact in FACTS]
    rules: Counter[str] = Counter()
    for entry in pc.value_counts(films["marks"].drop_null()).to_pylist():
        rules.update(dict.fromkeys(entry["values"].split(), entry["counts"]))
    twins = pc.sum(pc.is_valid(films["twin"])).as_py() or 0
    if twins:
        rules += Counter({"for_processing": -twins, "processing_twin": twins})
    return ScanSummary(
        files=manifest.num_rows,
        films=_counts(films["source"]),
        reasons=_counts(manifest["reason"].drop_null()),
        patients=pc.count_distinct(known["patient"]).as_py(),
        studies=pc.count_distinct(films["study"]).as_py(),
        films_of_unknown_patients=films.num_rows - known.num_rows,
        unmapped=dict(sorted(per_field.items())),
        marked=dict(rules.most_common()),
        differing={fact: count for fact, count in differing.items() if count},
        cross=cross,
        doubtful=dict(facts.doubtful.most_common()),
        corrected=sum(pc.sum(pc.equal(column, CORRECTION)).as_py() or 0 for column in sources),
        joined=joined,
        rejected=pc.sum(pc.or_(pc.is_valid(films["marks"]), pc.is_valid(films["twin"]))).as_py() or 0,
        missing=missing,
        changes=changes,
        tables=tables,
    )


_USED_COLUMNS = [
    *("source", "study", "patient", "patient_known", "marks", "twin"),
    *(f"{fact}_from" for fact in FACTS),
]
_MAX_CROSS_LINES, _MAX_CROSS_VALUES = 24, 6
"""Values of the second and of the first source that a cross table shows."""


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Value → number of rows, the most frequent first."""
    counts = ((entry["values"], entry["counts"]) for entry in pc.value_counts(column).to_pylist())
    return dict(sorted(counts, key=lambda item: (-item[1], item[0])))
