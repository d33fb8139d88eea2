"""What is known of films for each label of a detection: where it is, that it is nowhere, or nothing.

A film that has the finding but no box of it can neither be learned from nor judged by: every place of it may be right
or wrong. It is left out and counted, as are films of which nobody has told anything.

Legend: F films, L labels, K boxes of a film.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_prep.shard_format.boxes import EDGES, match_boxes
from data_prep.shard_format.label_policy import LabelPolicy, resolve
from data_prep.shard_format.label_schema import ADJUDICATED
from data_prep.shard_format.label_tables import read_boxes, read_labels
from mae_rad.data.box_frames import Boxes
from mae_rad.data.shard_reader import ShardIndex, matching
from mae_rad.errors import EvaluationError
from mae_rad.heads.classification import TargetLabelSettings

SAME_OBJECT = 0.4
"""Overlap at which the boxes of two readers are of one object."""
NO_BOX, CONFLICT = "present, no box", "absent, yet a box"
"""Reasons of this module to leave out a film, beside those of the label policy."""

Corners = NDArray[np.float64]
"""[4] of one box."""
_Row = tuple[Corners, int | None]
"""A box and its reader."""


@dataclass(frozen=True)
class KnownBoxes:
    """What is known.

    Attributes:
        corners: F arrays [K, 4], in source raster pixels.
        labels: F arrays [K], place of the label.
        known: [F, L] whether all boxes of the label on the film are told.
        left_out: name of the label → reason → films.
    """

    corners: list[Boxes]
    labels: list[NDArray[np.int64]]
    known: NDArray[np.bool_]
    left_out: dict[str, dict[str, int]]


def known_boxes(
    index: ShardIndex, folders: Sequence[Path], labels: Sequence[TargetLabelSettings], policy: LabelPolicy
) -> KnownBoxes:
    """What ``labels.parquet`` and ``boxes.parquet`` of the public ``folders`` say of the films of ``index``.

    Raises:
        EvaluationError: there are no boxes of a label.
        ShardFormatError: a table is damaged.
    """
    keys: list[str] = index.table.column("key").to_pylist()
    names = sorted({name for one in labels for name in one.label})
    drawn = _drawn(pa.concat_tables([read_boxes(folder) for folder in folders]), names)
    resolved = resolve(pa.concat_tables([read_labels(folder) for folder in folders]), policy, keys=keys, names=names)
    corners: list[list[Corners]] = [[] for _ in keys]
    places: list[list[int]] = [[] for _ in keys]
    known = np.zeros((len(keys), len(labels)), dtype=np.bool_)
    left_out: dict[str, dict[str, int]] = {}
    for place, label in enumerate(labels):
        columns = [(drawn[name], resolved.labels.index(name)) for name in label.label]
        reasons: Counter[str] = Counter()
        for film in np.flatnonzero(matching(index.table, label.where)).tolist():
            settled = [
                _settled(boxes.get(keys[film], []), float(resolved.values[film, column]), resolved.reason(film, column))
                for boxes, column in columns
            ]
            if why := next((reason for _, reason in settled if reason), ""):
                reasons[why] += 1
                continue
            known[film, place] = True
            found = [box for boxes, _ in settled for box in boxes]
            corners[film] += found
            places[film] += [place] * len(found)
        left_out[label.title] = dict(reasons)
    return KnownBoxes(
        [np.array(one, dtype=np.float64).reshape(-1, 4) for one in corners],
        [np.array(one, dtype=np.int64) for one in places],
        known,
        left_out,
    )


def _drawn(table: pa.Table, names: Sequence[str]) -> dict[str, dict[str, list[_Row]]]:
    """Label → key of a film → its boxes."""
    drawn: dict[str, dict[str, list[_Row]]] = {name: defaultdict(list) for name in names}
    columns = (table.column(name).to_pylist() for name in ("key", "label", *EDGES, "reader"))
    for key, label, *edges, reader in zip(*columns, strict=True):
        if label in drawn:
            drawn[label][key].append((np.array(edges, dtype=np.float64), reader))
    for name, films in drawn.items():
        if not films:
            others = sorted(set(table.column("label").to_pylist()))
            raise EvaluationError(
                f"task.labels: boxes.parquet has no box of {name!r}; it has"
                f" {', '.join(others) if others else 'no boxes at all'};"
                " write them with: python -m data_prep label PRIVATE --boxes boxes.csv --out PUBLIC"
            )
    return drawn


def _settled(rows: list[_Row], value: float, reason: str) -> tuple[list[Corners], str]:
    """The objects of one label on one film, or why they are not known.

    A box tells that the finding is there, where the label itself says nothing. A single reader's box does not stand
    against the readers' common word that nothing is there.
    """
    if value == 0:
        return [], CONFLICT if any(reader in {None, ADJUDICATED} for _, reader in rows) else ""
    if np.isfinite(value) and value < 1:
        return [], "uncertain"
    if np.isnan(value) and reason not in {"not labelled", "not mentioned"}:
        return [], reason
    objects = _objects(rows)
    return objects, "" if objects else (NO_BOX if value == 1 else reason)


def _objects(rows: list[_Row]) -> list[Corners]:
    """One box per object: the adjudicated ones; else those of all readers, the mean of those of one object."""
    if any(reader == ADJUDICATED for _, reader in rows):
        return [box for box, reader in rows if reader == ADJUDICATED]
    groups: list[list[Corners]] = []
    for reader in dict.fromkeys(reader for _, reader in rows):
        own = [box for box, who in rows if who == reader]
        means = np.array([np.mean(group, axis=0) for group in groups]).reshape(-1, 4)
        matches = [] if reader is None else match_boxes(means, np.array(own), SAME_OBJECT)
        for match in matches:
            groups[match.first].append(own[match.second])
        matched = {match.second for match in matches}
        groups += [[box] for place, box in enumerate(own) if place not in matched]
    return [np.asarray(np.mean(group, axis=0)) for group in groups]
