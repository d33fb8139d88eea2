"""The summary of a predict command: counts of predictions and reasons, without file names."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from data_prep.errors import Reason
from mae_rad.prediction.answer_columns import AnswerColumns
from mae_rad.prediction.record import Record

INCOMPLETE = 3
"""Exit code: some of the given films have no prediction."""
_NO_FILMS = frozenset({Reason.NOT_A_FILM, Reason.NOT_A_RADIOGRAPH, Reason.DOCUMENT})
"""Reasons of files for which no prediction is expected: other files in a folder of films."""
_FILM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg"})


@dataclass(frozen=True)
class Summary:
    """Summary of all records in a folder.

    Attributes:
        text: several lines to print.
        exit_code: 0 where every radiograph has a prediction, else INCOMPLETE.
    """

    text: str
    exit_code: int


def summarise(records: Iterable[Record], out: Path, columns: AnswerColumns) -> Summary:
    """Count the records of a folder by status and reason.

    Args:
        records: of the folder.
        out: the folder.
        columns: answers of the model.

    Returns:
        Text and exit code.
    """
    films: Counter[tuple[str, str]] = Counter()
    reached: Counter[tuple[str, str]] = Counter()
    of_class: Counter[tuple[str, str]] = Counter()
    unreported: Counter[tuple[str, str]] = Counter()
    warnings: Counter[str] = Counter()
    did_not_arrive = False
    for record in records:
        films[record.status, record.reason or ""] += 1
        did_not_arrive |= _should_be_a_film(record)
        reached.update(
            (finding.label, name)
            for finding in record.findings
            for name, is_reached in finding.reached.items()
            if is_reached
        )
        of_class.update((answer.label, answer.predicted) for answer in record.classes)
        warnings.update(record.warnings)
        unreported.update(
            (kind, error)
            for kind, error in (("no report", record.no_report), ("no presentation state", record.no_state))
            if error
        )
    lines = [_line(status.replace("_", " "), count, reason) for (status, reason), count in sorted(films.items())]
    lines += [
        _line(f"{label} at {point}", reached[label, point], "") for label in columns.labels for point in columns.points
    ]
    lines += [
        _line(f"{title}: {name}", of_class[title, name], "") for title, classes in columns.classes for name in classes
    ]
    lines += [
        _line(kind, count, f"the header has values that DICOM does not allow ({error})")
        for (kind, error), count in unreported.items()
    ]
    lines += [f"WARNING: {warning} ({count} films)" for warning, count in sorted(warnings.items())]
    lines.append(f"written to {out}, which is private: it names files. For research, not a medical device.")
    has_predictions = any(status == "answered" for status, _ in films)
    missed = did_not_arrive or any(status != "answered" and reason not in _NO_FILMS for status, reason in films)
    return Summary("\n".join(lines), INCOMPLETE if missed or not has_predictions else 0)


def _should_be_a_film(record: Record) -> bool:
    """Whether a file that is no film has the name of one, or is empty and has no suffix, as films of many archives."""
    suffix = PurePath(record.path).suffix.lower()
    is_named_so = suffix in _FILM_SUFFIXES or (not suffix and record.size == 0)
    return record.reason == Reason.NOT_A_FILM and is_named_so


def _line(what: str, films: int, reason: str) -> str:
    return f"{what:<36}{films:>8}  {reason}".rstrip()
