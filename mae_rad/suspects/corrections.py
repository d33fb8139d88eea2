"""The ``corrections`` command: answers of a person → tables that ``scan`` and ``label`` take.

OUT/
  corrections.csv       key, field, value: facts, for ``mae-rad scan … facts.corrections=``
  corrected_labels.csv  key, label, value, number: for ``mae-rad label … --adjudication``
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.folder_url import PublicFolder
from data_prep.runtime.atomic_write import atomic_text
from data_prep.runtime.csv_text import csv_text
from data_prep.settings import Folders, Settings
from data_prep.shard_format.label_tables import VALUES, read_labels
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.suspects.answers import ANSWER, BETWEEN_CLASSES, FIELD, KEEP, KEY, FilmAnswer, read_answers

FACTS_TABLE, LABELS_TABLE, PROBLEMS_TABLE = "corrections.csv", "corrected_labels.csv", "corrections_problems.csv"
FACTS = ("body_part", "view", "laterality", "sex", "age_years")
"""Index columns that a scan may correct."""
_MAX_AGE = 110
_NAMED = 8
"""Most accepted values that a message names."""

LabelRow = tuple[str, str, str, str]
"""Key, label, value, number."""


class CorrectionsSettings(Settings):
    """Shards that the answers are about, and where the tables go."""

    shards: Folders
    """Public folders in which the films are."""
    out: Path
    """Folder to write."""
    distinct_patients: bool = False
    """Folders that were made with different secrets hold no patient twice; it cannot be checked."""


class _Problem(NamedTuple):
    """A cell that cannot be used."""

    answer: FilmAnswer
    column: str
    text: str

    def __str__(self) -> str:
        column = self.answer.columns[self.column]
        return f"{self.answer.path} line {self.answer.line} column {column} ({self.column}): {self.text}"


class _Known(NamedTuple):
    """What answers may say.

    Attributes:
        keys: of all films.
        facts: column → its values.
        labels: labels that have values.
        numbers: labels that have numbers.
    """

    keys: frozenset[str]
    facts: Mapping[str, frozenset[str]]
    labels: frozenset[str]
    numbers: frozenset[str]


def write_corrections(
    answers: Sequence[Path], settings: CorrectionsSettings, words: Mapping[str, frozenset[str]]
) -> str:
    """Check all answers, and write both tables; nothing is written if one cannot be used.

    Args:
        answers: tables with answers; the same answer in two of them counts once.
        settings: shards and output.
        words: column → terms that are accepted besides those that the shards have.

    Returns:
        What was written, and the next commands.

    Raises:
        EvaluationError: a table cannot be read, or has an unknown film, field or value, or two answers for one film.
    """
    rows = [answer for path in answers for answer in read_answers(path) if answer.value]
    if not rows:
        raise EvaluationError("no answer is given: the column value is empty in every row. Write keep or another class")
    known = _read_known(settings, words)
    problems = [problem for answer in rows for problem in _problems_of(answer, known)]
    decided, contradictions = _decide(rows)
    if problems := [*problems, *contradictions]:
        _write_problems(problems, settings.out / PROBLEMS_TABLE)
        more = f" ({len(problems) - 1} more in {settings.out / PROBLEMS_TABLE})" if len(problems) > 1 else ""
        raise EvaluationError(f"{problems[0]}{more}. Nothing is written")
    kept = sum(answer.value.lower() == KEEP for answer in decided)
    changed = [answer for answer in decided if answer.value.lower() != KEEP]
    facts = [(answer.key, answer.field, _fact(answer, known)) for answer in changed if answer.field in FACTS]
    labels = [row for answer in changed if answer.field not in FACTS for row in _label_rows(answer)]
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.out / PROBLEMS_TABLE).unlink(missing_ok=True)
    lines = [f"answers: {len(decided):,}, of which keep: {kept:,}"]
    if facts:
        path = settings.out / FACTS_TABLE
        atomic_text(path, csv_text([(KEY, FIELD, ANSWER), *facts]))
        lines.append(f"facts to correct: {len(facts):,}, in {path}: mae-rad scan … facts.corrections={path}")
    if labels:
        path = settings.out / LABELS_TABLE
        atomic_text(path, csv_text([(KEY, "label", ANSWER, "number"), *labels]))
        films = len({row[0] for row in labels})
        lines.append(f"films with labels to correct: {films:,}, in {path}: mae-rad label … --adjudication {path}")
    return "\n".join(lines)


def _read_known(settings: CorrectionsSettings, words: Mapping[str, frozenset[str]]) -> _Known:
    index = ShardIndex(
        settings.shards, split=None, distinct_patients=settings.distinct_patients, with_copies=True
    ).table
    facts = {name: frozenset(_texts(index[name])) | words.get(name, frozenset()) for name in FACTS}
    folders: Sequence[PublicFolder] = settings.shards
    labels = pa.concat_tables([read_labels(folder) for folder in folders])
    with_value, with_number = (
        frozenset(_texts(labels.filter(pc.is_valid(labels[column]))["label"])) for column in ("value", "number")
    )
    return _Known(frozenset(index["key"].to_pylist()), facts, with_value, with_number)


def _texts(column: pa.ChunkedArray) -> list[str]:
    return [str(value) for value in pc.unique(column.drop_null()).to_pylist()]


def _problems_of(answer: FilmAnswer, known: _Known) -> list[_Problem]:
    """What is wrong with an answer."""
    problems = []
    if answer.key not in known.keys:
        problems.append(_Problem(answer, KEY, "the shards have no such film"))
    allowed = _allowed(answer.field, known)
    if allowed is None:
        text = f"neither a fact ({', '.join(FACTS)}) nor a label of these shards"
        return [*problems, _Problem(answer, FIELD, text)]
    value, is_number = answer.value, answer.field == "age_years" or answer.field in known.numbers
    if value.lower() == KEEP or value in allowed or value.upper() in allowed or (is_number and _is_number(answer)):
        return problems
    shown = ", ".join(sorted(allowed)[:_NAMED]) + (", …" if len(allowed) > _NAMED else "")
    numbers = " or a number" if is_number else ""
    return [*problems, _Problem(answer, ANSWER, f"no value of {answer.field}; write {KEEP}, {shown}{numbers}")]


def _allowed(field: str, known: _Known) -> frozenset[str] | None:
    """The words that a field may have; None for an unknown field."""
    if field in FACTS:
        return known.facts[field] if field != "age_years" else frozenset()
    names = field.split(BETWEEN_CLASSES)
    if len(names) > 1:
        return frozenset(names) if known.labels.issuperset(names) else None
    if field in known.labels:
        return frozenset(VALUES)
    return frozenset() if field in known.numbers else None


def _is_number(answer: FilmAnswer) -> bool:
    try:
        number = float(answer.value)
    except ValueError:
        return False
    if answer.field == "age_years":
        return number.is_integer() and 0 <= number <= _MAX_AGE
    return abs(number) < float("inf")


def _decide(rows: Sequence[FilmAnswer]) -> tuple[list[FilmAnswer], list[_Problem]]:
    """One answer per film and field, and those that contradict an earlier one."""
    first: dict[tuple[str, str], FilmAnswer] = {}
    problems = []
    for answer in rows:
        earlier = first.setdefault((answer.key, answer.field), answer)
        if earlier.value.lower() != answer.value.lower():
            text = f"{earlier.path} line {earlier.line} answers otherwise for this film"
            problems.append(_Problem(answer, ANSWER, text))
    return list(first.values()), problems


def _fact(answer: FilmAnswer, known: _Known) -> str:
    if answer.field == "age_years":
        return f"{float(answer.value):g}"
    return answer.value if answer.value in known.facts[answer.field] else answer.value.upper()


def _label_rows(answer: FilmAnswer) -> list[LabelRow]:
    """Rows of corrected_labels.csv; a class of several means that the other ones are absent."""
    names = answer.field.split(BETWEEN_CLASSES)
    if len(names) > 1:
        return [(answer.key, name, "present" if name == answer.value else "absent", "") for name in names]
    is_value = answer.value.lower() in VALUES
    return [(answer.key, answer.field, answer.value.lower() if is_value else "", "" if is_value else answer.value)]


def _write_problems(problems: Sequence[_Problem], path: Path) -> None:
    rows = [(problem.answer.path.name, problem.answer.line, problem.column, problem.text) for problem in problems]
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_text(path, csv_text([("file", "line", "column", "problem"), *rows]))
