"""Refuse labels that name a patient, and columns of numbers that carry the numbers of the patients of their films."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.annotations.label_entries import BoxEntry, LabelEntry
from data_prep.archive.identifier_screen import IdentifierScreen, read_confirmed, write_confirmed
from data_prep.archive.manifest import read_linkage
from data_prep.errors import LabelError
from data_prep.shard_format.boxes import EDGES


def check_no_identifiers(
    private: Path, labels: Sequence[LabelEntry], boxes: Sequence[BoxEntry], not_names: Sequence[str]
) -> None:
    """Check all that would become public.

    Args:
        private: folder of the scan.
        labels: entries of labels.
        boxes: entries of boxes.
        not_names: words that the user confirms to be no names; they are kept in the private folder.

    Raises:
        LabelError: a label or column identifies patients; it is not quoted.
    """
    if not_names:
        write_confirmed(private, (word.lower() for word in not_names))
    screen = IdentifierScreen(read_linkage(private), read_confirmed(private))
    origins = {label.label: label.origin for label in labels} | {box.label: box.origin for box in boxes}
    for name, origin in origins.items():
        where = f"{origin.place}: a label"
        if screen.names_a_person(name):
            raise LabelError(
                f"{where} holds a word that is the name of a patient of this scan; nothing is written. Rename it with"
                " rename={…}, or confirm that it is a finding with not_names=[word]"
            )
        if screen.holds_a_number(name):
            raise LabelError(
                f"{where} holds a number or date of a patient of this scan; nothing is written. Rename it with"
                " rename={…}"
            )
    columns: defaultdict[str, list[tuple[str, float | str]]] = defaultdict(list)
    for row in labels:
        if row.number is not None:
            columns[f"number of {row.label}"].append((row.key, row.number))
        if row.confidence not in (0, 1):
            columns[f"confidence of {row.label}"].append((row.key, row.confidence))
    for box in boxes:
        for edge, value in zip(EDGES, box.box, strict=True):
            columns[f"{edge} of {box.label}"].append((box.key, str(np.float32(value))))
    for title, column in columns.items():
        if screen.carries_numbers(column):
            raise LabelError(
                f"the {title}: more than a twentieth of the films carry a number or date of their own patient; nothing"
                " is written. Leave this column out"
            )
