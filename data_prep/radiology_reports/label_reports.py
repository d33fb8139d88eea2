"""Reports → labels of the films of their studies, in ``labels.parquet`` of a public folder.

PRIVATE/ then also holds, readable by its owner only:
  reports.parquet        one row per study: its text, which the offsets of the labels count in, and where it was read
  mentions.parquet       every mention of a finding: assertion, place in the text, side, age, body parts
  report_problems.csv    problem, file, line, part: reports that are not used, or need a check
  report_review.html     a sample of mentions for a person to confirm
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.annotations.row_problems import RowProblem, count_problems, problems_csv
from data_prep.archive.manifest import write_private_text
from data_prep.errors import LabelError, SecretError
from data_prep.radiology_reports.film_labels import NO_FILMS, FilmLabels, put_labels
from data_prep.radiology_reports.finding_words import triggers
from data_prep.radiology_reports.language import LANGUAGES, Language, language_of
from data_prep.radiology_reports.mentions import Mention, find_mentions
from data_prep.radiology_reports.phrases import lowered
from data_prep.radiology_reports.report_files import ReportText, read_reports
from data_prep.radiology_reports.review_page import REVIEW_FILE, review_page
from data_prep.radiology_reports.study_lookup import PROBLEMS, Studies
from data_prep.runtime.atomic_write import PRIVATE_MODE, atomic_file
from data_prep.runtime.progress import Progress
from data_prep.runtime.worker_pool import process_count, spawn_pool
from data_prep.shard_format.dataset_card import read_dataset_card

REPORTS_FILE, MENTIONS_FILE, PROBLEMS_FILE = "reports.parquet", "mentions.parquet", "report_problems.csv"
REPEATED, UNTOLD, PATIENT_ALONE = "repeated_report", "language_not_told", "several_reports_by_patient_alone"

REPORTS_SCHEMA = pa.schema(
    [("study", pa.string()), ("language", pa.string()), ("text", pa.string()), ("read_from", pa.list_(pa.string()))]
)
MENTIONS_SCHEMA = pa.schema(
    [
        ("study", pa.string()),
        ("finding", pa.string()),
        ("assertion", pa.string()),
        ("start", pa.int32()),
        ("stop", pa.int32()),
        ("section", pa.string()),
        ("side", pa.string()),
        ("acuity", pa.string()),
        ("places", pa.list_(pa.string())),
    ]
)
_BATCH = 500
_WORTH_A_POOL = 4000
"""Studies from which further processes pay for their start."""


@dataclass
class _Told:
    """All that the reports of one study say."""

    study: str
    text: str
    read_from: list[ReportText]
    language: Language | None


@dataclass(frozen=True)
class ReportSummary:
    """What was written: of ``read`` reports that are not empty ``used`` label films, the others are problems."""

    read: int
    used: int
    films: int
    values: Mapping[str, Mapping[str, int]]
    """Label → value → films."""
    problems: dict[str, int]
    private: Path

    def __str__(self) -> str:
        lines = [f"reports: {self.used} of {self.read} used, {self.films} films labelled"]
        for label, counts in self.values.items():
            if not counts:
                continue
            lines.append(f"  {label}: " + ", ".join(f"{count} {value}" for value, count in sorted(counts.items())))
        lines += [f"  {name:<34}{count:>9}" for name, count in self.problems.items()]
        if self.problems:
            lines.append(f"  file and line of each: {PROBLEMS_FILE} in the private folder")
        lines.append(f"a sample to confirm: {self.private / REVIEW_FILE}")
        return "\n".join(lines)


def label_from_reports(
    private: Path, places: Sequence[Path], public: Path, language: Language | None = None, workers: int = 0
) -> ReportSummary:
    """Write labels from reports in place of earlier ones from reports; labels from tables and of other scans stay.

    Args:
        private: folder of the scan that the shards were made from.
        places: CSV tables, folders of text or XML files, or single such files.
        public: complete folder of shards.
        language: of all reports; None finds it for each.
        workers: processes; 0 takes one per core.

    Raises:
        LabelError: a place does not exist, a table has not the columns, or no report is about a film of the shards.
        ArchiveError, ShardFormatError, SecretError: a folder or table is unreadable, or they do not belong together.
    """
    studies = Studies(private)
    if read_dataset_card(public).key_fingerprint != studies.fingerprint:
        raise SecretError(f"{public} was made with another secret than the private folder; give the folder of its scan")
    problems: list[RowProblem] = []
    told, read = _by_study(places, studies, problems)
    _find_languages(told, language, problems)
    films = FilmLabels(public, {one.study for one in told})
    mentions, used = list(_mentions(told, workers)), 0
    for one, found in zip(told, mentions, strict=True):
        outcome = films.add(one.study, found)
        used += 0 if NO_FILMS in outcome else len(one.read_from)
        for problem in outcome:
            _enter(problems, problem, one.read_from)
    write_private_text(private / PROBLEMS_FILE, problems_csv(problems))
    if not used:
        counts = ", ".join(f"{count} {name}" for name, count in count_problems(problems).items())
        raise LabelError(
            f"none of {read} reports is about a film of {public}, so nothing was written ({counts or 'no report'});"
            f" file and line of each: {PROBLEMS_FILE} in the private folder"
        )
    _write_tables(private, told, mentions)
    put_labels(public, films.table(), studies.own_keys())
    write_private_text(
        private / REVIEW_FILE, review_page([one.study for one in told], [one.text for one in told], mentions)
    )
    return ReportSummary(read, used, films.count, films.values, count_problems(problems), private)


def _by_study(places: Sequence[Path], studies: Studies, problems: list[RowProblem]) -> tuple[list[_Told], int]:
    """The reports of each study as one text, in the order in which they were read; and how many were read."""
    told: dict[str, _Told] = {}
    by_patient: Counter[str] = Counter()
    read = 0
    for report in read_reports(places, problems):
        read += 1
        study = studies.of(report)
        if study in PROBLEMS:
            _enter(problems, study, [report])
            continue
        by_patient[study] += report.names.keys() == {"patient_id"}
        one = told.get(study)
        if one is None:
            told[study] = _Told(study, report.text, [report], report.language)
        elif report.text in one.text:
            _enter(problems, REPEATED, [report])
        else:
            one.text += f"\n\n\n{report.text}"
            one.read_from.append(report)
    for study, count in by_patient.items():
        if count > 1:  # which of them is of the study that the archive has, nobody knows
            _enter(problems, PATIENT_ALONE, told.pop(study).read_from)
    return list(told.values()), read


def _find_languages(told: Sequence[_Told], language: Language | None, problems: list[RowProblem]) -> None:
    """Where neither the user nor a table nor the words tell the language, it is that of most other reports."""
    for one in told:
        one.language = one.language or language or language_of(one.text) or _language_of_findings(one.text)
    known = Counter(one.language for one in told if one.language)
    usual = known.most_common(1)[0][0] if known else "en"
    for one in told:
        if one.language is None:
            one.language = usual
            _enter(problems, UNTOLD, one.read_from)


def _language_of_findings(text: str) -> Language | None:
    """The one language that has a word for something in the text: "Rippenfraktur."."""
    told = [language for language in LANGUAGES if triggers(language).fire(lowered(text))]
    return told[0] if len(told) == 1 else None


def _mentions(told: Sequence[_Told], workers: int) -> Iterator[list[Mention]]:
    """The mentions of each study's text, by several processes where it pays."""
    batches = [[(one.text, one.language or "en") for one in told[k : k + _BATCH]] for k in range(0, len(told), _BATCH)]
    progress = Progress("reports", "studies", len(told))
    workers = process_count(workers, len(batches))
    if workers == 1 or len(told) < _WORTH_A_POOL:
        done = map(_of_batch, batches)
        yield from _counted(done, progress)
    else:
        pool = spawn_pool(workers)
        try:
            yield from _counted(pool.map(_of_batch, batches), progress)
        finally:
            pool.shutdown(cancel_futures=True)
    progress.close()


def _counted(batches: Iterator[list[list[Mention]]], progress: Progress) -> Iterator[list[Mention]]:
    for batch in batches:
        progress.add(len(batch))
        yield from batch


def _of_batch(batch: Sequence[tuple[str, Language]]) -> list[list[Mention]]:
    return [find_mentions(text, language) for text, language in batch]


def _enter(problems: list[RowProblem], problem: str, reports: Sequence[ReportText]) -> None:
    problems += [RowProblem(problem, report.place) for report in reports]


def _write_tables(private: Path, told: Sequence[_Told], mentions: Sequence[Sequence[Mention]]) -> None:
    reports = pa.table(
        {
            "study": [one.study for one in told],
            "language": [one.language for one in told],
            "text": [one.text for one in told],
            "read_from": [[_where(report) for report in one.read_from] for one in told],
        },
        REPORTS_SCHEMA,
    )
    flat = [(one.study, mention) for one, found in zip(told, mentions, strict=True) for mention in found]
    names = [name for name in MENTIONS_SCHEMA.names if name != "study"]
    columns = {"study": [study for study, _ in flat]} | {
        name: [getattr(mention, name) for _, mention in flat] for name in names
    }
    for name, table in ((REPORTS_FILE, reports), (MENTIONS_FILE, pa.table(columns, MENTIONS_SCHEMA))):
        with atomic_file(private / name, PRIVATE_MODE) as file:
            pq.write_table(table, file)


def _where(report: ReportText) -> str:
    file, line, _ = report.place
    return f"{file}:{line}" if line else str(file)
