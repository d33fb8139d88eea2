"""The ``suspects`` command: films whose picture contradicts what is stated of them, ranked.

OUT/
  suspects.csv    a row per film: what is stated, what is predicted, and a cell for the answer of a person
  suspects.html   the films to look at, and to answer
  suspects.txt    what was searched and found
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.runtime.atomic_write import atomic_text
from data_prep.runtime.csv_text import csv_text
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.suspects.answers import ANSWER, FIELD, KEY, read_answers
from mae_rad.suspects.field_suspects import FieldSuspects, rank_field
from mae_rad.suspects.film_groups import film_groups
from mae_rad.suspects.scores import open_scores
from mae_rad.suspects.settings import SuspectsSettings
from mae_rad.suspects.stated_fields import read_field
from mae_rad.suspects.suspects_page import render_page

TABLE, PAGE, SUMMARY = "suspects.csv", "suspects.html", "suspects.txt"
COLUMNS = ("rank", KEY, FIELD, "stated", "predicted", "probability", "stated_probability", "deviations", ANSWER)


NOT_MEANT = (
    "The expected number is an estimate from the predictions alone: a film that is hard to tell counts like a wrong"
    " one, a class whose films are wrong together does not, and no film of the list is known to be wrong. A"
    " person decides."
)


def find_suspects(source: Path, settings: SuspectsSettings) -> str:
    """Search all fields, and write table, page and summary.

    Args:
        source: table of embeddings, run or encoder folder, or a finished finetuning.
        settings: of the command.

    Returns:
        The summary.

    Raises:
        UserError: the source or a field does not fit the shards, or the folder holds answers.
    """
    if not source.exists():
        raise EvaluationError(f"{source} does not exist. Give a run, an encoder folder or a table of embeddings")
    _refuse_answers(settings.out / TABLE)
    index = ShardIndex(settings.shards, split=None, distinct_patients=settings.distinct_patients, with_copies=True)
    fields = [read_field(index, settings.shards, field, settings.policy) for field in settings.fields]
    score, groups = open_scores(source, index, settings), film_groups(index.table)
    found = [rank_field(field, score(field), groups, settings) for field in fields]
    text = "\n".join([line for one in found for line in one.lines(settings.listed)] + [NOT_MEANT])
    settings.out.mkdir(parents=True, exist_ok=True)
    atomic_text(settings.out / TABLE, suspects_csv(found, index, settings.listed))
    atomic_text(settings.out / PAGE, render_page(found, index, settings.shown, NOT_MEANT))
    atomic_text(settings.out / SUMMARY, text + "\n")
    return text


def suspects_csv(found: Sequence[FieldSuspects], index: ShardIndex, listed: int) -> str:
    """Format the table of all fields.

    Args:
        found: suspects of each field.
        index: all films.
        listed: most films of a field.
    """
    lines: list[Sequence[object]] = [COLUMNS]
    for one in found:
        of_number = one.field.numbers is not None
        for place, row in enumerate(one.rows[:listed].tolist()):
            shares = ["", ""] if of_number else [one.probability[place], one.stated_probability[place]]
            numbers = [*shares, one.deviations[place] if of_number else ""]
            words = (f"{number:.4f}" if number != "" else "" for number in numbers)
            lines.append(
                (place + 1, index.key(row), one.field.name, one.stated[place], one.predicted[place], *words, "")
            )
    return csv_text(lines)


def _refuse_answers(table: Path) -> None:
    """Refuse to overwrite a table in which a person has answered."""
    if table.exists() and any(answer.value for answer in read_answers(table)):
        raise EvaluationError(f"{table} holds answers. Give another out, or move the file")
