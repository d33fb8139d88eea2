"""Measure the agreement of readers on the films that several of them have read, label by label."""

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
from data_prep.statistics.kappa import CATEGORIES, Agreement, box_agreement, cohen_agreement, fleiss_agreement


def measure_agreement(labels: pa.Table, boxes: pa.Table, index: pa.Table, settings: AgreementSettings) -> pa.Table:
    """Measure the agreement of experts on each label.

    Args:
        labels: rows of LABELS_SCHEMA.
        boxes: rows of BOXES_SCHEMA.
        index: ``key`` and ``patient`` of the films that are compared.
        settings: overlap of matched boxes, resamples.

    Returns:
        Rows of AGREEMENT_SCHEMA; none where no film has been read twice.
    """
    film_row = pc.index_in(labels["key"], index["key"].combine_chunks())
    patients = index["patient"].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64)
    entries = labels.append_column("film", film_row).filter(
        pc.and_(pc.is_valid(film_row), pc.and_(_is_of_reader(labels), pc.equal(labels["source"], "expert")))
    )
    boxes = boxes.filter(_is_of_reader(boxes))
    rows: list[dict[str, object]] = []
    for name in sorted(pc.unique(entries["label"]).to_pylist()):
        entries_of_label = entries.filter(pc.equal(entries["label"], name))
        rows += _kappa_agreement(name, entries_of_label, patients, settings)
        rows += _box_agreement(name, entries_of_label, boxes.filter(pc.equal(boxes["label"], name)), patients, settings)
    return pa.Table.from_pylist(rows, AGREEMENT_SCHEMA)


def _is_of_reader(table: pa.Table) -> pa.ChunkedArray:
    return pc.fill_null(pc.greater(table["reader"], ADJUDICATED), False)


def _kappa_agreement(
    name: str, entries_of_label: pa.Table, patients: NDArray[np.int64], settings: AgreementSettings
) -> list[dict[str, object]]:
    entries_of_label = entries_of_label.filter(pc.is_in(entries_of_label["value"], pa.array(CATEGORIES)))
    film, reader = entries_of_label["film"].to_numpy(), entries_of_label["reader"].to_numpy()
    category = pc.index_in(entries_of_label["value"], pa.array(CATEGORIES)).to_numpy()
    films, row = np.unique(film, return_inverse=True)
    votes = np.zeros((len(films), len(CATEGORIES)))
    np.add.at(votes, (row, category), 1)
    is_read_twice = votes.sum(axis=1) > 1
    patients_of_films = patients[films[is_read_twice]]
    readers = np.unique(reader[is_read_twice[row]])
    if not is_read_twice.any():
        return []
    if len(readers) > 2:
        kappa = fleiss_agreement(votes[is_read_twice], patients_of_films, settings.resampling)
        return [_agreement_row(name, "fleiss_kappa", len(readers), patients_of_films, kappa)]
    categories = np.zeros((len(films), len(readers)), dtype=np.int64)
    is_compared = is_read_twice[row]
    categories[row[is_compared], np.searchsorted(readers, reader[is_compared])] = category[is_compared]
    first, second = categories[is_read_twice].T
    return [
        _agreement_row(
            name,
            "cohen_kappa",
            2,
            patients_of_films,
            cohen_agreement(first, second, patients_of_films, settings.resampling),
        )
    ]


def _box_agreement(
    name: str, entries_of_label: pa.Table, boxes: pa.Table, patients: NDArray[np.int64], settings: AgreementSettings
) -> list[dict[str, object]]:
    """Share of matched boxes over all pairs of readers, on the films that both have read."""
    boxes_by_reader: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    columns = (boxes[column].to_pylist() for column in ("key", "reader", *EDGES))
    for key, reader, *edges in zip(*columns, strict=True):
        boxes_by_reader[key, reader].append(edges)
    readers_by_film: dict[tuple[str, int], set[int]] = defaultdict(set)
    for key, film, reader in zip(
        *(entries_of_label[column].to_pylist() for column in ("key", "film", "reader")), strict=True
    ):
        readers_by_film[key, film].add(reader)
    matched, overlaps, films, compared_readers = [], [], [], set()
    for (key, film), readers in readers_by_film.items():
        for first_reader, second_reader in combinations(sorted(readers), 2):
            first, second = (
                np.array(boxes_by_reader.get((key, reader), ())).reshape(-1, 4)
                for reader in (first_reader, second_reader)
            )
            if not len(first) and not len(second):
                continue
            pairs = match_boxes(first, second, settings.iou)
            matched.append((2 * len(pairs), len(first) + len(second)))
            overlaps += [pair.iou for pair in pairs]
            films.append(film)
            compared_readers |= {first_reader, second_reader}
    if not matched:
        return []
    patients_of_films = patients[films]
    agreement = box_agreement(np.array(matched), np.array(overlaps), patients_of_films, settings.resampling)
    row = _agreement_row(name, "box_agreement", len(compared_readers), patients_of_films, agreement)
    return [row | {"films": len(set(films))}]


def _agreement_row(
    name: str, statistic: str, readers: int, patients: NDArray[np.int64], agreement: Agreement
) -> dict[str, object]:
    counts = {"films": len(patients), "patients": len(np.unique(patients))}
    return {"label": name, "statistic": statistic, "readers": readers, **counts, **agreement._asdict()}
