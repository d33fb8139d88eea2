"""Labels of films as targets of a detection: complete boxes, absence, or unknown.

A film with the finding but without a box is neither trained on nor evaluated, since every location may be right or
wrong. It is left out and counted, as are films without a label entry.

Legend: F films, L labels, K boxes of a film.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_prep.folder_url import PublicFolder
from data_prep.shard_format.boxes import EDGES, match_boxes
from data_prep.shard_format.label_policy import LabelPolicy, resolve_labels
from data_prep.shard_format.label_schema import ADJUDICATED
from data_prep.shard_format.label_tables import read_boxes, read_labels
from mae_rad.data.box_frames import Boxes
from mae_rad.data.shard_reader import ShardIndex, matching
from mae_rad.errors import EvaluationError
from mae_rad.heads.classification import TargetLabelSettings

MIN_READER_OVERLAP = 0.4
"""Smallest intersection over union at which boxes of two readers are of one object."""
NO_BOX, CONFLICT = "present, no box", "absent, yet a box"
"""Reasons to leave out a film, in addition to those of the label policy."""

Corners = NDArray[np.float64]
"""[4] of one box."""
_ReaderBox = tuple[Corners, int | None]
"""A box and its reader."""


@dataclass(frozen=True)
class KnownBoxes:
    """Boxes of films.

    Attributes:
        corners: F arrays [K, 4] float64, in source raster pixels.
        labels: F arrays [K] int64, index of the label.
        known: [F, L] bool, whether the boxes of the label on the film are complete.
        left_out: name of the label → reason → number of films.
    """

    corners: list[Boxes]
    labels: list[NDArray[np.int64]]
    known: NDArray[np.bool_]
    left_out: dict[str, dict[str, int]]


def read_known_boxes(
    index: ShardIndex, folders: Sequence[PublicFolder], labels: Sequence[TargetLabelSettings], policy: LabelPolicy
) -> KnownBoxes:
    """Read ``labels.parquet`` and ``boxes.parquet`` of the public folders for the films of an index.

    Args:
        index: of the F films.
        folders: public folders.
        labels: L labels of the task.
        policy: how label entries of several sources become one value.

    Returns:
        Boxes per film, and which films are known for each label.

    Raises:
        EvaluationError: a label has no box.
        ShardFormatError: a table is damaged.
    """
    keys: list[str] = index.table.column("key").to_pylist()
    names = sorted({name for target in labels for name in target.label})
    boxes_by_label = _read_label_boxes(pa.concat_tables([read_boxes(folder) for folder in folders]), names)
    resolved = resolve_labels(
        pa.concat_tables([read_labels(folder) for folder in folders]), policy, keys=keys, names=names
    )
    corners: list[list[Corners]] = [[] for _ in keys]
    numbers: list[list[int]] = [[] for _ in keys]
    known = np.zeros((len(keys), len(labels)), dtype=np.bool_)
    left_out: dict[str, dict[str, int]] = {}
    for number, label in enumerate(labels):
        columns = [(boxes_by_label[name], resolved.labels.index(name)) for name in label.label]
        reasons: Counter[str] = Counter()
        for film in np.flatnonzero(matching(index.table, label.where)).tolist():
            results = [
                _boxes_or_reason(
                    boxes.get(keys[film], []), float(resolved.values[film, column]), resolved.reason(film, column)
                )
                for boxes, column in columns
            ]
            if left_out_reason := next((reason for _, reason in results if reason), ""):
                reasons[left_out_reason] += 1
                continue
            known[film, number] = True
            film_corners = [box for boxes, _ in results for box in boxes]
            corners[film] += film_corners
            numbers[film] += [number] * len(film_corners)
        left_out[label.title] = dict(reasons)
    return KnownBoxes(
        [np.array(film_corners, dtype=np.float64).reshape(-1, 4) for film_corners in corners],
        [np.array(film_numbers, dtype=np.int64) for film_numbers in numbers],
        known,
        left_out,
    )


def _read_label_boxes(table: pa.Table, names: Sequence[str]) -> dict[str, dict[str, list[_ReaderBox]]]:
    """Label → key of a film → its boxes."""
    boxes_by_label: dict[str, dict[str, list[_ReaderBox]]] = {name: defaultdict(list) for name in names}
    columns = (table.column(name).to_pylist() for name in ("key", "label", *EDGES, "reader"))
    for key, label, *edges, reader in zip(*columns, strict=True):
        if label in boxes_by_label:
            boxes_by_label[label][key].append((np.array(edges, dtype=np.float64), reader))
    for name, films in boxes_by_label.items():
        if not films:
            other_labels = sorted(set(table.column("label").to_pylist()))
            raise EvaluationError(
                f"task.labels: boxes.parquet has no box of {name!r}; it has"
                f" {', '.join(other_labels) if other_labels else 'no boxes at all'}."
                " Write them with: mae-rad label PRIVATE --boxes boxes.csv --out PUBLIC"
            )
    return boxes_by_label


def _boxes_or_reason(rows: list[_ReaderBox], value: float, reason: str) -> tuple[list[Corners], str]:
    """Boxes of the objects of one label on one film, or the reason why they are not known.

    Without a label value, a box states that the finding is present. The box of a single reader does not override the
    common label of the readers that it is absent.
    """
    if value == 0:
        return [], CONFLICT if any(reader in {None, ADJUDICATED} for _, reader in rows) else ""
    if np.isfinite(value) and value < 1:
        return [], "uncertain"
    if np.isnan(value) and reason not in {"not labelled", "not mentioned"}:
        return [], reason
    objects = _merge_readers(rows)
    return objects, "" if objects else (NO_BOX if value == 1 else reason)


def _merge_readers(rows: list[_ReaderBox]) -> list[Corners]:
    """One box per object: the adjudicated boxes if any, else the mean over the readers who marked the object."""
    if any(reader == ADJUDICATED for _, reader in rows):
        return [box for box, reader in rows if reader == ADJUDICATED]
    groups: list[list[Corners]] = []
    for reader in dict.fromkeys(reader for _, reader in rows):
        reader_boxes = [box for box, box_reader in rows if box_reader == reader]
        means = np.array([np.mean(group, axis=0) for group in groups]).reshape(-1, 4)
        matches = [] if reader is None else match_boxes(means, np.array(reader_boxes), MIN_READER_OVERLAP)
        for match in matches:
            groups[match.first].append(reader_boxes[match.second])
        matched = {match.second for match in matches}
        groups += [[box] for number, box in enumerate(reader_boxes) if number not in matched]
    return [np.asarray(np.mean(group, axis=0)) for group in groups]
