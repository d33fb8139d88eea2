"""Summary of a scan as counts, without any identifying value."""

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.archive.manifest import UNMAPPED_FILE


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
        unmapped: field (body_part, view) → films whose header value the vocabulary does not contain.
        marked: selection rule → films to which it applies; the settings of sharding decide on them.
        joined: patient numbers that were joined to another one, since they may mean the same person.
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
    joined: int
    missing: int
    changes: Changes | None
    tables: str = ""

    def __str__(self) -> str:
        """Format the summary as a table."""
        films = sum(self.films.values())
        sources = ", ".join(f"{count} {source}" for source, count in self.films.items())
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
            (f"  unmapped {name}", count, f"values not in the vocabulary: see {UNMAPPED_FILE} in the private folder")
            for name, count in self.unmapped.items()
        ]
        lines.append(("not films", self.files - films, ""))
        lines += [(f"  {reason}", count, "") for reason, count in self.reasons.items()]
        if self.missing:
            lines.append(("missing files", self.missing, "listed in a DICOMDIR but do not exist"))
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
    """Count the films of a manifest.

    Args:
        manifest: rows of the scan (MANIFEST_SCHEMA).
        unmapped: (field, header value) → number of films, for values that the vocabularies do not contain.
        joined: see :class:`ScanSummary`.
        missing: see :class:`ScanSummary`.
        changes: see :class:`ScanSummary`.
        tables: see :class:`ScanSummary`.
    """
    films = manifest.select(_USED_COLUMNS).filter(pc.is_null(manifest["reason"]))
    known = films.filter(films["patient_known"])
    per_field: Counter[str] = Counter()
    for (name, _), count in unmapped.items():
        per_field[name] += count
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
        joined=joined,
        missing=missing,
        changes=changes,
        tables=tables,
    )


_USED_COLUMNS = ["source", "study", "patient", "patient_known", "marks", "twin"]


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Value → number of rows, the most frequent first."""
    counts = ((entry["values"], entry["counts"]) for entry in pc.value_counts(column).to_pylist())
    return dict(sorted(counts, key=lambda item: (-item[1], item[0])))
