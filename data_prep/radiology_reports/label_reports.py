"""Label the films of studies from their reports: rows of ``labels.parquet`` in a public folder.

Files in PRIVATE/, readable by their owner only:
  reports.parquet        one row per study: text, which the offsets of the labels count in, and source files with lines
  mentions.parquet       every mention of a finding: assertion, offsets, side, acuity, body parts
  report_problems.csv    problem, file, line, part: reports that are not used, or need a check
  report_review.html     a sample of mentions for a person to check
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
from data_prep.radiology_reports.film_labels import NO_FILMS, FilmLabels, replace_report_labels
from data_prep.radiology_reports.finding_words import language_filter
from data_prep.radiology_reports.language import LANGUAGES, Language, language_of
from data_prep.radiology_reports.mentions import Mention, find_mentions
from data_prep.radiology_reports.phrases import lowered
from data_prep.radiology_reports.report_files import ReportText, read_reports
from data_prep.radiology_reports.report_names import BY_FILE_NAME, ReportNames
from data_prep.radiology_reports.review_page import REVIEW_FILE, review_page
from data_prep.radiology_reports.study_lookup import PROBLEMS, StudyLookup
from data_prep.runtime.atomic_write import PRIVATE_MODE, atomic_file
from data_prep.runtime.progress import Progress
from data_prep.runtime.worker_pool import process_count, spawn_pool
from data_prep.shard_format.dataset_card import read_dataset_card

REPORTS_FILE, MENTIONS_FILE, PROBLEMS_FILE = "reports.parquet", "mentions.parquet", "report_problems.csv"
REPEATED = "repeated_report"
LANGUAGE_UNKNOWN = "language_not_told"
AMBIGUOUS_PATIENT = "several_reports_by_patient_alone"

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
_BATCH_STUDIES = 500
"""Studies that a process takes at a time."""
_MIN_STUDIES_FOR_POOL = 4000
"""Number of studies from which several processes are faster than one."""


@dataclass
class _StudyReports:
    """The reports of one study, joined to one text."""

    study: str
    text: str
    read_from: list[ReportText]
    language: Language | None


@dataclass(frozen=True)
class ReportSummary:
    """Counts of the labels that were written.

    Attributes:
        read: number of reports that are not empty.
        used: number of reports that label films; the others are listed as problems.
        films: number of films labelled.
        values: label → value → number of films.
        problems: code of a problem → number of reports.
        private: private folder.
    """

    read: int
    used: int
    films: int
    values: Mapping[str, Mapping[str, int]]
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
        lines.append(f"sample for review: {self.private / REVIEW_FILE}")
        return "\n".join(lines)


def label_from_reports(
    private: Path,
    sources: Sequence[Path],
    public: Path,
    language: Language | None = None,
    workers: int = 0,
    names: ReportNames = BY_FILE_NAME,
) -> ReportSummary:
    """Write labels from reports; they replace earlier labels from reports of this scan, all other labels are kept.

    Args:
        private: folder of the scan that the shards were made from.
        sources: CSV tables, folders of text or XML files, or single such files.
        public: complete folder of shards.
        language: of all reports; None detects it for each.
        workers: number of processes; 0 means one per core.
        names: how report files, and folders of films, are named.

    Returns:
        Counts of what was written.

    Raises:
        LabelError: a file does not exist, a table lacks a column, or no report is about a film of the shards.
        ArchiveError, ShardFormatError, SecretError: a folder or table is unreadable, or they do not belong together.
    """
    lookup = StudyLookup(private, names)
    if read_dataset_card(public).key_fingerprint != lookup.fingerprint:
        raise SecretError(
            f"{public} was made with another secret than the private folder. Give the private folder of its scan"
        )
    problems: list[RowProblem] = []
    reports, read = _join_by_study(read_reports(sources, problems, names), lookup, problems)
    _find_languages(reports, language, problems)
    films = FilmLabels(public, {report.study for report in reports})
    mentions, used = list(_find_all_mentions(reports, workers)), 0
    for report, of_study in zip(reports, mentions, strict=True):
        codes = films.add(report.study, of_study)
        used += 0 if NO_FILMS in codes else len(report.read_from)
        for code in codes:
            _add_problem(problems, code, report.read_from)
    write_private_text(private / PROBLEMS_FILE, problems_csv(problems))
    if not used:
        counts = ", ".join(f"{count} {name}" for name, count in count_problems(problems).items())
        raise LabelError(
            f"none of {read} reports is about a film of {public} ({counts or 'no report'}); nothing is written."
            f" See file and line of each report in {PROBLEMS_FILE} of the private folder"
        )
    _write_tables(private, reports, mentions)
    replace_report_labels(public, films.table(), lookup.scan_keys())
    write_private_text(
        private / REVIEW_FILE,
        review_page([report.study for report in reports], [report.text for report in reports], mentions),
    )
    return ReportSummary(read, used, films.count, films.values, count_problems(problems), private)


def _join_by_study(
    report_texts: Iterator[ReportText], lookup: StudyLookup, problems: list[RowProblem]
) -> tuple[list[_StudyReports], int]:
    """Join the reports of each study, in the order of reading; also return the number of reports read."""
    by_study: dict[str, _StudyReports] = {}
    by_patient: Counter[str] = Counter()
    read = 0
    for report_text in report_texts:
        read += 1
        study = lookup.find(report_text)
        if study in PROBLEMS:
            _add_problem(problems, study, [report_text])
            continue
        by_patient[study] += report_text.identifiers.keys() == {"patient_id"}
        report = by_study.get(study)
        if report is None:
            by_study[study] = _StudyReports(study, report_text.text, [report_text], report_text.language)
        elif report_text.text in report.text:
            _add_problem(problems, REPEATED, [report_text])
        else:
            report.text += f"\n\n\n{report_text.text}"
            report.read_from.append(report_text)
    for study, count in by_patient.items():
        if count > 1:  # the patient number alone does not identify the study
            _add_problem(problems, AMBIGUOUS_PATIENT, by_study.pop(study).read_from)
    return list(by_study.values()), read


def _find_languages(reports: Sequence[_StudyReports], language: Language | None, problems: list[RowProblem]) -> None:
    """Set the language of each report: as given, detected, or else the most frequent one of the other reports."""
    for report in reports:
        report.language = report.language or language or language_of(report.text) or _language_of_findings(report.text)
    known = Counter(report.language for report in reports if report.language)
    most_frequent = known.most_common(1)[0][0] if known else "en"
    for report in reports:
        if report.language is None:
            report.language = most_frequent
            _add_problem(problems, LANGUAGE_UNKNOWN, report.read_from)


def _language_of_findings(text: str) -> Language | None:
    """The only language with a phrase of a finding in the text, as in "Rippenfraktur."."""
    languages = [language for language in LANGUAGES if language_filter(language).may_match(lowered(text))]
    return languages[0] if len(languages) == 1 else None


def _find_all_mentions(reports: Sequence[_StudyReports], workers: int) -> Iterator[list[Mention]]:
    """Find the mentions in each study's text, with several processes if there are many studies."""
    batches = [
        [(report.text, report.language or "en") for report in reports[k : k + _BATCH_STUDIES]]
        for k in range(0, len(reports), _BATCH_STUDIES)
    ]
    progress = Progress("reports", "studies", len(reports))
    workers = process_count(workers, len(batches))
    if workers == 1 or len(reports) < _MIN_STUDIES_FOR_POOL:
        results = map(_find_in_batch, batches)
        yield from _with_progress(results, progress)
    else:
        pool = spawn_pool(workers)
        try:
            yield from _with_progress(pool.map(_find_in_batch, batches), progress)
        finally:
            pool.shutdown(cancel_futures=True)
    progress.close()


def _with_progress(batches: Iterator[list[list[Mention]]], progress: Progress) -> Iterator[list[Mention]]:
    for batch in batches:
        progress.add(len(batch))
        yield from batch


def _find_in_batch(batch: Sequence[tuple[str, Language]]) -> list[list[Mention]]:
    return [find_mentions(text, language) for text, language in batch]


def _add_problem(problems: list[RowProblem], problem: str, reports: Sequence[ReportText]) -> None:
    problems += [RowProblem(problem, report.place) for report in reports]


def _write_tables(private: Path, reports: Sequence[_StudyReports], mentions: Sequence[Sequence[Mention]]) -> None:
    table_of_reports = pa.table(
        {
            "study": [report.study for report in reports],
            "language": [report.language for report in reports],
            "text": [report.text for report in reports],
            "read_from": [[_place_text(report_text) for report_text in report.read_from] for report in reports],
        },
        REPORTS_SCHEMA,
    )
    rows = [(report.study, mention) for report, of_study in zip(reports, mentions, strict=True) for mention in of_study]
    names = [name for name in MENTIONS_SCHEMA.names if name != "study"]
    columns = {"study": [study for study, _ in rows]} | {
        name: [getattr(mention, name) for _, mention in rows] for name in names
    }
    for name, table in ((REPORTS_FILE, table_of_reports), (MENTIONS_FILE, pa.table(columns, MENTIONS_SCHEMA))):
        with atomic_file(private / name, PRIVATE_MODE) as file:
            pq.write_table(table, file)


def _place_text(report: ReportText) -> str:
    file, line, _ = report.place
    return f"{file}:{line}" if line else str(file)
