"""What a person is told at the end: how many films were answered, and why others were not. Names no file."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.errors import Reason
from mae_rad.prediction.record import Record

INCOMPLETE = 3
"""Exit code: films that were given have no answer."""
_NO_FILMS = frozenset({Reason.NOT_A_FILM, Reason.NOT_A_RADIOGRAPH, Reason.DOCUMENT})
"""What lies beside films in a folder, and was never expected to be answered."""


@dataclass(frozen=True)
class Summary:
    """What became of all films.

    Attributes:
        text: for a person.
        exit_code: 0 where every radiograph has an answer, else INCOMPLETE.
    """

    text: str
    exit_code: int


def summarise(records: Iterable[Record], out: Path, labels: Sequence[str], points: Sequence[str]) -> Summary:
    """Count all records of a folder.

    Args:
        records: of the folder.
        out: the folder.
        labels: of the model.
        points: its operating points.
    """
    films: Counter[tuple[str, str]] = Counter()
    reached: Counter[tuple[str, str]] = Counter()
    unreported: Counter[str] = Counter()
    for record in records:
        films[record.status, record.reason or ""] += 1
        reached.update(
            (finding.label, name)
            for finding in record.findings
            for name, is_reached in finding.reached.items()
            if is_reached
        )
        unreported.update([record.no_report] if record.no_report else [])
    lines = [_line(status.replace("_", " "), count, reason) for (status, reason), count in sorted(films.items())]
    lines += [_line(f"{label} at {point}", reached[label, point], "") for label in labels for point in points]
    lines += [
        _line("no report", count, f"the header does not allow it ({error})") for error, count in unreported.items()
    ]
    lines.append(f"all in {out}, which is private: it names files. For research, not a medical device.")
    answered = any(status == "answered" for status, _ in films)
    missed = any(status != "answered" and reason not in _NO_FILMS for status, reason in films)
    return Summary("\n".join(lines), INCOMPLETE if missed or not answered else 0)


def _line(what: str, films: int, reason: str) -> str:
    return f"{what:<36}{films:>8}  {reason}".rstrip()
