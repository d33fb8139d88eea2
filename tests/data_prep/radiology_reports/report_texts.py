"""Report texts with the labels of a film that they give, kind by kind, and how many of them come out right.

A table has the columns id, language, kind, text, label, side, place, value: one row per question, ``label`` on a film
whose header tells ``side`` and ``place`` (empty: not told). A text is right where all of its rows are.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.radiology_reports.film_values import label_values, select_mentions_on_film
from data_prep.radiology_reports.mentions import find_mentions

OPPOSITE = ({"present", "absent"},)


@dataclass(frozen=True)
class Score:
    """How many texts of a table come out right.

    Attributes:
        texts: ids of all texts.
        wrong: id → what is wrong, a line per row.
        opposite: ids of texts that say present for absent, or absent for present.
        kinds: id → kind.
    """

    texts: list[str]
    wrong: dict[str, list[str]]
    opposite: set[str]
    kinds: dict[str, str]

    @property
    def share_right(self) -> float:
        """Share of the texts that are right."""
        return 1 - len(self.wrong) / len(self.texts)


def score_texts(path: Path) -> Score:
    """Label the texts of a table and compare."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    wrong: dict[str, list[str]] = {}
    opposite = set()
    for row in rows:
        found = label_of_text(row)
        if found != row["value"]:
            wrong.setdefault(row["id"], []).append(
                f"{row['text']!r} {row['label']} {row['side']}: {row['value']}, read as {found}"
            )
        if {found, row["value"]} in OPPOSITE:
            opposite.add(row["id"])
    kinds = {row["id"]: row["kind"] for row in rows}
    return Score(list(kinds), wrong, opposite, kinds)


def label_of_text(row: dict[str, Any]) -> str:
    """The label that the text of a row gives to a film of its side and place."""
    mentions = find_mentions(row["text"], row["language"])
    on_film = select_mentions_on_film(mentions, row["place"] or None, row["side"] or None, {row["place"] or None})
    values = label_values(on_film)
    return values[row["label"]].value if row["label"] in values else "not_mentioned"
