"""What the rows of all files say together: nothing twice, no box against its own reader's word, a box is a finding."""

from data_prep.annotations.label_collector import Where
from data_prep.labels.label_rows import BoxRow, LabelRow, Rows
from data_prep.shard_format.label_schema import ADJUDICATED


def check(rows: Rows) -> None:
    """Enter contradictions as mistakes, and add the labels that follow from boxes where nobody says them in words.

    A word without a reader stands for all readers.
    """
    said = _labels_once(rows)
    _boxes_once(rows)
    drawn: dict[tuple[str, str, int | None], BoxRow] = {}
    for box in rows.boxes:
        drawn.setdefault((box.key, box.label, box.reader), box)
        for word in _words(said, box.key, box.label, box.reader):
            if word.value == "absent":
                other = _near(word.origin.where, box.origin.where)
                rows.mistake(box.origin.where, f"has a box where {other} says absent; correct one of them")
    implied = {(row.key, row.label, row.reader): row for row in rows.implied}
    for place, box in drawn.items():
        if (row := implied.get(place)) is None or row.value != "present":
            implied[place] = LabelRow(box.key, box.label, "present", None, "expert", 1.0, box.reader, box.origin)
    rows.labels += [row for row in implied.values() if not _words(said, row.key, row.label, row.reader)]


_Said = dict[tuple[str, str, int | None], list[LabelRow]]


def _labels_once(rows: Rows) -> _Said:
    """(key, label, reader) → rows, one per source; a second one is a mistake."""
    said: _Said = {}
    for row in rows.labels:
        there = said.setdefault((row.key, row.label, row.reader), [])
        if (first := next((one for one in there if one.source == row.source), None)) is not None:
            other = _near(first.origin.where, row.origin.where)
            rows.mistake(
                row.origin.where, f"labels the film of {other} again; keep one row per film, label, source and reader"
            )
        else:
            there.append(row)
    return said


def _boxes_once(rows: Rows) -> None:
    seen: dict[tuple[object, ...], BoxRow] = {}
    for row in rows.boxes:
        first = seen.setdefault((row.key, row.label, row.box, row.reader), row)
        if first is not row:
            other = _near(first.origin.where, row.origin.where)
            rows.mistake(row.origin.where, f"repeats the box of {other}; remove one of them")


def _words(said: _Said, key: str, label: str, reader: int | None) -> list[LabelRow]:
    """What an expert says who is, or stands for, ``reader``; the adjudicator speaks for nobody else."""
    words = said.get((key, label, reader), [])
    if reader not in (None, ADJUDICATED):
        words = [*words, *said.get((key, label, None), [])]
    return [word for word in words if word.source == "expert"]


def _near(where: Where, here: Where) -> str:
    """A place as it is called from another one; names of annotation files are not repeated."""
    if not where.line or where.part:
        return "another file"
    return f"line {where.line}" if where.file == here.file else str(where)
