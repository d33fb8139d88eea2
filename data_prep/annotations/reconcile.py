"""Reconcile entries of a collector: one value per film, label, source and reader; unique boxes; one split per film.

Contradictions are listed; :mod:`data_prep.shard_format.label_policy` decides their value.
"""

from typing import NamedTuple

from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import BoxEntry, LabelEntry
from data_prep.annotations.none_labels import contradictions
from data_prep.annotations.split_names import GivenSplit, strictest_split
from data_prep.shard_format.label_policy import reconcile_values
from data_prep.shard_format.label_schema import ADJUDICATED

_Slot = tuple[str, str, int | None, str]
"""(key, label, reader, source) of an entry."""
_Slots = dict[_Slot, LabelEntry]


class Reconciled(NamedTuple):
    """Labels and boxes without repetitions, in the order in which they were collected."""

    labels: list[LabelEntry]
    boxes: list[BoxEntry]


def reconcile(collector: LabelCollector) -> Reconciled:
    """Remove repetitions and contradictions, list them in ``collector``, and add the labels that boxes imply.

    An entry without a reader applies to all readers. A label that annotation files or boxes imply is added where no
    expert states it.
    """
    stated = _merge_stated(collector)
    implied = _merge_implied(collector)
    boxes = _remove_repeated_boxes(collector)
    for finding in [*map(_finding_of_box, collector.boxes), *collector.boxless]:
        entries = _expert_entries(stated, finding.key, finding.label, finding.reader)
        for entry in entries:
            if entry.value == "absent":
                place = finding.origin.place
                other_place = entry.origin.place.relative_to(place)
                text = f"the box contradicts {other_place}, which states absent; correct one of them"
                collector.add_problem("box_against_label", place, text)
                if not collector.strict:
                    stated[_slot(entry)] = entry._replace(value=reconcile_values(entry.value, "present"))
        if not entries and ((known := implied.get(_slot(finding))) is None or known.value == "absent"):
            implied[_slot(finding)] = finding
    added = [entry for entry in implied.values() if not _expert_entries(stated, entry.key, entry.label, entry.reader)]
    return Reconciled(_without_contradictions(collector, [*stated.values(), *added]), boxes)


def reconcile_splits(collector: LabelCollector) -> dict[str, GivenSplit]:
    """Return key → split; of several, which are listed, the strictest (:func:`strictest_split`)."""
    splits: dict[str, GivenSplit] = {}
    for key, split, place in collector.splits:
        if (first := splits.setdefault(key, split)) != split:
            collector.add_problem("split_conflict", place)
            splits[key] = strictest_split((first, split))
    return splits


def _merge_stated(collector: LabelCollector) -> _Slots:
    stated: _Slots = {}
    numbers_in_doubt: set[_Slot] = set()
    for entry in collector.labels:
        first = stated.setdefault(_slot(entry), entry)
        if first is entry:
            continue
        if collector.strict:
            other_place = first.origin.place.relative_to(entry.origin.place)
            text = f"the row labels the film of {other_place} again; keep one row per film, label, source and reader"
            collector.add_problem("label_repeated", entry.origin.place, text)
        else:
            stated[_slot(entry)] = _merge_entries(collector, first, entry)
            if first.value is None and first.number != entry.number:
                numbers_in_doubt.add(_slot(entry))
    return {slot: entry for slot, entry in stated.items() if slot not in numbers_in_doubt}


def _without_contradictions(collector: LabelCollector, entries: list[LabelEntry]) -> list[LabelEntry]:
    """List findings against labels that say there is none; in tables of public sets both become uncertain."""
    films: dict[tuple[str, int | None, str], dict[str, LabelEntry]] = {}
    for entry in entries:
        films.setdefault((entry.key, entry.reader, entry.source), {})[entry.label] = entry
    unsure: set[_Slot] = set()
    for labels in films.values():
        for pair in contradictions({label: entry.value for label, entry in labels.items()}):
            collector.add_problem("finding_against_none", labels[pair[0]].origin.place)
            unsure.update(_slot(labels[label]) for label in pair)
    if collector.strict:
        return entries
    return [entry._replace(value="uncertain") if _slot(entry) in unsure else entry for entry in entries]


def _finding_of_box(box: BoxEntry) -> LabelEntry:
    return LabelEntry(box.key, box.label, "present", None, "expert", 1.0, box.reader, box.origin)


def _merge_implied(collector: LabelCollector) -> _Slots:
    implied: _Slots = {}
    for entry in collector.implied:
        if entry.value == "absent" and not collector.unclear.isdisjoint({(entry.key, None), (entry.key, entry.label)}):
            continue
        first = implied.setdefault(_slot(entry), entry)
        implied[_slot(entry)] = _merge_entries(collector, first, entry)
    return implied


def _merge_entries(collector: LabelCollector, first: LabelEntry, entry: LabelEntry) -> LabelEntry:
    if (first.value, first.number, first.confidence) == (entry.value, entry.number, entry.confidence):
        return first
    collector.add_problem("label_conflict", entry.origin.place)
    return first._replace(value=reconcile_values(first.value, entry.value))


def _remove_repeated_boxes(collector: LabelCollector) -> list[BoxEntry]:
    boxes: dict[tuple[object, ...], BoxEntry] = {}
    for entry in collector.boxes:
        reader = entry.origin.reader if entry.reader is None else entry.reader
        first = boxes.setdefault((entry.key, entry.label, entry.box, reader), entry)
        if first is not entry:
            other_place = first.origin.place.relative_to(entry.origin.place)
            collector.add_problem(
                "box_repeated", entry.origin.place, f"the box repeats that of {other_place}; remove one of them"
            )
    return list(boxes.values())


def _expert_entries(stated: _Slots, key: str, label: str, reader: int | None) -> list[LabelEntry]:
    """Entries of ``reader`` or of all readers; adjudicated entries are only for the adjudicator."""
    readers = [reader] if reader in (None, ADJUDICATED) else [reader, None]
    slots = ((key, label, slot_reader, "expert") for slot_reader in readers)
    return [stated[slot] for slot in slots if slot in stated]


def _slot(entry: LabelEntry) -> _Slot:
    return entry.key, entry.label, entry.reader, entry.source
