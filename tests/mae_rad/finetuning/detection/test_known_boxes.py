"""Labels of films as targets of a detection: boxes, absence, or unknown; films left out are counted."""

import numpy as np
import pytest

from data_prep.shard_format.label_policy import LabelPolicy
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.finetuning.detection.known_boxes import CONFLICT, NO_BOX, read_known_boxes
from mae_rad.heads.classification import TargetLabelSettings
from tests.builders.boxed_films import boxed, said, write_tables
from tests.builders.shard_builder import film, noise, write_public

FILMS = ["boxed", "absent", "no box", "silent", "uncertain", "conflict", "box alone"]
OBJECT = [TargetLabelSettings(label="object")]


@pytest.fixture
def public(tmp_path):
    return write_public(tmp_path / "public", [film(name, noise(32, 32)) for name in FILMS])


def read(public, labels, boxes, settings=OBJECT, policy=None):
    write_tables(public, labels, boxes)
    index = ShardIndex([public], split=None)
    known = read_known_boxes(index, [public], settings, policy or LabelPolicy())
    return known, {name: index.table.column("key").to_pylist().index(key) for name, key in _keys().items()}


def _keys():
    return {name: said(name, "present")["key"] for name in FILMS}


def test_only_films_with_complete_boxes_are_known(public):
    labels = [
        said("boxed", "present"), said("absent", "absent"), said("no box", "present"), said("uncertain", "uncertain"),
        said("conflict", "absent"),
    ]  # fmt: skip
    boxes = [boxed("boxed", (1, 2, 3, 4)), boxed("conflict", (1, 1, 9, 9)), boxed("box alone", (5, 5, 7, 7))]
    known, rows = read(public, labels, boxes)
    assert {name for name, row in rows.items() if known.known[row, 0]} == {"boxed", "absent", "box alone"}
    assert known.left_out == {"object": {NO_BOX: 1, "not labelled": 1, "uncertain": 1, CONFLICT: 1}}
    assert known.known.sum() + sum(known.left_out["object"].values()) == len(FILMS)
    assert known.corners[rows["boxed"]].tolist() == [[1, 2, 3, 4]]
    assert known.corners[rows["absent"]].shape == (0, 4)
    assert known.labels[rows["box alone"]].tolist() == [0]


def test_a_box_of_another_label_does_not_count(public):
    labels = [said("boxed", "present"), said("absent", "present")]
    boxes = [boxed("boxed", (1, 2, 3, 4)), boxed("absent", (1, 2, 3, 4), label="fracture")]
    known, rows = read(public, labels, boxes)
    assert not known.known[rows["absent"], 0]


def test_any_of_several_labels_is_known_where_all_are(public):
    settings = [TargetLabelSettings(label=("ring", "plate"), name="object")]
    labels = [
        said("boxed", "present", "ring"), said("boxed", "absent", "plate"),
        said("absent", "absent", "ring"), said("absent", "absent", "plate"),
        said("silent", "present", "ring"),
    ]  # fmt: skip
    boxes = [boxed("boxed", (1, 2, 3, 4), "ring"), boxed("silent", (1, 2, 3, 4), "ring"),
             boxed("box alone", (0, 0, 5, 5), "plate"), boxed("box alone", (9, 9, 12, 12), "ring")]  # fmt: skip
    known, rows = read(public, labels, boxes, settings)
    assert {name for name, row in rows.items() if known.known[row, 0]} == {"boxed", "absent", "box alone"}
    assert len(known.corners[rows["box alone"]]) == 2


def test_the_readers_boxes_of_one_object_are_one_box(public):
    boxes = [
        boxed("boxed", (10, 10, 20, 20), reader=1), boxed("boxed", (12, 10, 22, 20), reader=2),
        boxed("boxed", (50, 50, 60, 60), reader=1), boxed("boxed", (51, 51, 59, 59), reader=1),
    ]  # fmt: skip
    known, rows = read(public, [said("boxed", "present")], boxes)
    assert sorted(known.corners[rows["boxed"]].tolist()) == [[11, 10, 21, 20], [50, 50, 60, 60], [51, 51, 59, 59]]


def test_of_two_boxes_the_one_with_more_overlap_is_merged(public):
    boxes = [
        boxed("boxed", (10, 10, 20, 20), reader=1),
        boxed("boxed", (13, 10, 23, 20), reader=2), boxed("boxed", (10, 10, 20, 21), reader=2),
        boxed("boxed", (10, 10, 20, 22), reader=3), boxed("boxed", (80, 80, 90, 90), reader=None),
        boxed("boxed", (81, 80, 91, 90), reader=None),
    ]  # fmt: skip
    known, rows = read(public, [said("boxed", "present")], boxes)
    expected = [[10, 10, 20, 21], [13, 10, 23, 20], [80, 80, 90, 90], [81, 80, 91, 90]]
    assert sorted(known.corners[rows["boxed"]].tolist()) == expected


def test_an_adjudicated_box_replaces_those_of_the_readers(public):
    boxes = [
        boxed("boxed", (10, 10, 20, 20), reader=1), boxed("boxed", (40, 40, 50, 50), reader=2),
        boxed("boxed", (9, 9, 21, 21), reader=0),
    ]  # fmt: skip
    known, rows = read(public, [said("boxed", "present")], boxes)
    assert known.corners[rows["boxed"]].tolist() == [[9, 9, 21, 21]]


def test_the_box_of_one_reader_does_not_override_the_common_label(public):
    labels = [said("absent", "absent", reader=0), said("boxed", "present")]
    boxes = [boxed("absent", (1, 1, 9, 9), reader=2), boxed("boxed", (1, 2, 3, 4))]
    known, rows = read(public, labels, boxes)
    assert known.known[rows["absent"], 0]
    assert len(known.corners[rows["absent"]]) == 0


def test_films_that_a_label_does_not_apply_to_are_not_known(public):
    settings = [TargetLabelSettings(label="object", where={"body_part": "CHEST"})]
    known, _ = read(public, [said("boxed", "present")], [boxed("boxed", (1, 2, 3, 4))], settings)
    assert not known.known.any()
    assert known.left_out == {"object": {}}
    assert np.array([len(one) for one in known.corners]).sum() == 0


def test_a_label_without_boxes_is_refused(public):
    with pytest.raises(EvaluationError, match=r"no box of 'object'; it has fracture"):
        read(public, [said("boxed", "present")], [boxed("boxed", (1, 2, 3, 4), "fracture")])
