"""What a scan found, in numbers that name nobody."""

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.archive.manifest import UNMAPPED_FILE


@dataclass(frozen=True)
class Changes:
    """Files since the scan before: new ones, those read again, those that are gone, and all others."""

    new: int
    again: int
    gone: int
    unchanged: int

    def __str__(self) -> str:
        return f"{self.new} new, {self.again} read again, {self.gone} gone, {self.unchanged} unchanged"


@dataclass(frozen=True)
class ScanSummary:
    """Numbers of a scan.

    Attributes:
        files: every file is a film or has a reason.
        films: per source (dicom, png, jpeg).
        reasons: reason → files that are no films.
        patients: with a patient number.
        studies: of all films.
        films_of_unknown: films without a patient number; they only train.
        unmapped: field (body_part, view) → films whose word the vocabulary does not know.
        marked: rule of selection → films whose header falls under it; the settings of sharding decide on them.
        joined: patient numbers that were joined to another one, since they may mean the same person.
        missing: files that a DICOMDIR refers to and that are not there.
        changes: against the scan before; None for the first one.
        tables: what came of the tables of a public data set; empty for other archives.
    """

    files: int
    films: dict[str, int]
    reasons: dict[str, int]
    patients: int
    studies: int
    films_of_unknown: int
    unmapped: dict[str, int]
    marked: dict[str, int]
    joined: int
    missing: int
    changes: Changes | None
    tables: str = ""

    def __str__(self) -> str:
        """A table for a person."""
        films = sum(self.films.values())
        sources = ", ".join(f"{count} {source}" for source, count in self.films.items())
        lines = [("files", self.files, str(self.changes) if self.changes else ""), ("films", films, sources)]
        lines += [("  studies", self.studies, ""), ("  patients", self.patients, "with a patient number")]
        if self.films_of_unknown:
            lines.append(("  films of unknown patients", self.films_of_unknown, "without a number: they only train"))
        if self.joined:
            lines.append(("  joined patient numbers", self.joined, "may be another number's patient: kept together"))
        lines += [
            (f"  {rule}", count, f"left out by shard, unless selection.{rule}=keep")
            for rule, count in self.marked.items()
        ]
        lines += [
            (f"  unmapped {name}", count, f"words not in the vocabulary: see {UNMAPPED_FILE} in the private folder")
            for name, count in self.unmapped.items()
        ]
        lines.append(("not films", self.files - films, ""))
        lines += [(f"  {reason}", count, "") for reason, count in self.reasons.items()]
        if self.missing:
            lines.append(("missing files", self.missing, "named in a DICOMDIR but not there"))
        text = "\n".join(f"{name:<30}{count:>10}  {note}".rstrip() for name, count, note in lines)
        return f"{text}\n{self.tables}" if self.tables else text


def summarise(
    manifest: pa.Table,
    unmapped: Counter[tuple[str, str]],
    *,
    joined: int = 0,
    missing: int = 0,
    changes: Changes | None = None,
    tables: str = "",
) -> ScanSummary:
    """Count a manifest and its unmapped (field, word) pairs; what else is told goes into the summary as it is."""
    films = manifest.select(_COUNTED).filter(pc.is_null(manifest["reason"]))
    known = films.filter(films["patient_known"])
    per_field: Counter[str] = Counter()
    for (name, _), count in unmapped.items():
        per_field[name] += count
    rules: Counter[str] = Counter()
    for told in pc.value_counts(films["marks"].drop_null()).to_pylist():
        rules.update(dict.fromkeys(told["values"].split(), told["counts"]))
    twins = pc.sum(pc.is_valid(films["twin"])).as_py() or 0
    if twins:
        rules += Counter({"for_processing": -twins, "processing_twin": twins})
    return ScanSummary(
        files=manifest.num_rows,
        films=_counts(films["source"]),
        reasons=_counts(manifest["reason"].drop_null()),
        patients=pc.count_distinct(known["patient"]).as_py(),
        studies=pc.count_distinct(films["study"]).as_py(),
        films_of_unknown=films.num_rows - known.num_rows,
        unmapped=dict(sorted(per_field.items())),
        marked=dict(rules.most_common()),
        joined=joined,
        missing=missing,
        changes=changes,
        tables=tables,
    )


_COUNTED = ["source", "study", "patient", "patient_known", "marks", "twin"]


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Value → how often, the most frequent first."""
    counted = ((one["values"], one["counts"]) for one in pc.value_counts(column).to_pylist())
    return dict(sorted(counted, key=lambda item: (-item[1], item[0])))
