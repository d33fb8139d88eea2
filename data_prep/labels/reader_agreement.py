"""Which readers have read the same films, and how far they agree on each label."""

from collections import defaultdict
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.labels.settings import AgreementSettings
from data_prep.shard_format.boxes import EDGES, match_boxes
from data_prep.shard_format.label_schema import ADJUDICATED
from data_prep.shard_format.label_tables import AGREEMENT_SCHEMA
from data_prep.statistics.kappa import CATEGORIES, Agreement, cohen, fleiss, shared_boxes


def agreement_of(labels: pa.Table, boxes: pa.Table, index: pa.Table, how: AgreementSettings) -> pa.Table:
    """How far experts agree, label by label (AGREEMENT_SCHEMA); no rows where no film has been read twice.

    Args:
        labels, boxes: rows of LABELS_SCHEMA and BOXES_SCHEMA.
        index: ``key`` and ``patient`` of the films that count.
        how: overlap of boxes, resamples.
    """
    place = pc.index_in(labels["key"], index["key"].combine_chunks())
    patients = index["patient"].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64)
    words = labels.append_column("film", place).filter(
        pc.and_(pc.is_valid(place), pc.and_(_by_readers(labels), pc.equal(labels["source"], "expert")))
    )
    boxes = boxes.filter(_by_readers(boxes))
    rows: list[dict[str, object]] = []
    for name in sorted(pc.unique(words["label"]).to_pylist()):
        said = words.filter(pc.equal(words["label"], name))
        rows += _kappas(name, said, patients, how)
        rows += _boxes(name, said, boxes.filter(pc.equal(boxes["label"], name)), patients, how)
    return pa.Table.from_pylist(rows, AGREEMENT_SCHEMA)


def _by_readers(table: pa.Table) -> pa.ChunkedArray:
    return pc.fill_null(pc.greater(table["reader"], ADJUDICATED), False)


def _kappas(name: str, said: pa.Table, patients: NDArray[np.int64], how: AgreementSettings) -> list[dict[str, object]]:
    said = said.filter(pc.is_in(said["value"], pa.array(CATEGORIES)))
    film, reader = said["film"].to_numpy(), said["reader"].to_numpy()
    category = pc.index_in(said["value"], pa.array(CATEGORIES)).to_numpy()
    films, row = np.unique(film, return_inverse=True)
    votes = np.zeros((len(films), len(CATEGORIES)))
    np.add.at(votes, (row, category), 1)
    twice = votes.sum(axis=1) > 1
    here = patients[films[twice]]
    readers = np.unique(reader[twice[row]])
    if not twice.any():
        return []
    if len(readers) > 2:
        return [_row(name, "fleiss_kappa", len(readers), here, fleiss(votes[twice], here, how.resampling))]
    chosen = np.zeros((len(films), len(readers)), dtype=np.int64)
    both = twice[row]
    chosen[row[both], np.searchsorted(readers, reader[both])] = category[both]
    return [_row(name, "cohen_kappa", 2, here, cohen(chosen[twice, 0], chosen[twice, 1], here, how.resampling))]


def _boxes(
    name: str, said: pa.Table, boxes: pa.Table, patients: NDArray[np.int64], how: AgreementSettings
) -> list[dict[str, object]]:
    """Agreement on the boxes of all pairs of readers, on the films that both have read."""
    drawn: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    columns = (boxes[column].to_pylist() for column in ("key", "reader", *EDGES))
    for key, reader, *edges in zip(*columns, strict=True):
        drawn[key, reader].append(edges)
    read: dict[tuple[str, int], set[int]] = defaultdict(set)
    for key, film, reader in zip(*(said[column].to_pylist() for column in ("key", "film", "reader")), strict=True):
        read[key, film].add(reader)
    counts, overlaps, films, who = [], [], [], set()
    for (key, film), readers in read.items():
        for one, other in combinations(sorted(readers), 2):
            first, second = (np.array(drawn.get((key, reader), ())).reshape(-1, 4) for reader in (one, other))
            if not len(first) and not len(second):
                continue
            pairs = match_boxes(first, second, how.iou)
            counts.append((2 * len(pairs), len(first) + len(second)))
            overlaps += [pair.iou for pair in pairs]
            films.append(film)
            who |= {one, other}
    if not counts:
        return []
    here = patients[films]
    found = shared_boxes(np.array(counts), np.array(overlaps), here, how.resampling)
    row = _row(name, "box_agreement", len(who), here, found)
    return [row | {"films": len(set(films))}]


def _row(name: str, statistic: str, readers: int, patients: NDArray[np.int64], found: Agreement) -> dict[str, object]:
    counted = {"films": len(patients), "patients": len(np.unique(patients))}
    return {"label": name, "statistic": statistic, "readers": readers, **counted, **found._asdict()}
