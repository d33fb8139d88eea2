"""VinDr-CXR as published: DICOM of PhysioNet, PNG and the table of Kaggle."""

from pathlib import Path

import pytest

from data_prep.errors import ArchiveError
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import anatomy
from tests.builders.set_builder import Scanned, film, save, write
from tests.data_prep.shard_format.test_frames import write_frames

BOXES = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max"
LABELS = "image_id,rad_id,Cardiomegaly,Clavicle fracture,Rib fracture,Nodule/Mass,Other diseases,No finding"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "vindr-cxr"
    for name in ("train/aaa", "train/bbb", "test/ccc"):
        values = anatomy(name, 60, 48)
        write_film(
            root / f"{name}.dicom",
            values=values,
            patient_id="",
            study=f"study {name}",
            sop=f"1.2.3.{len(name)}.{ord(name[-1])}",
        )
    annotations = root / "annotations"
    write(
        annotations / "annotations_train.csv",
        [
            BOXES,
            "aaa,R8,Cardiomegaly,5,6,20.5,30",
            "aaa,R9,Cardiomegaly,5,6,20.5,30",
            "aaa,R9,Rib fracture,1,1,9,9",
            "bbb,R10,No finding,,,,",
        ],
    )
    write(
        annotations / "image_labels_train.csv",
        [
            LABELS,
            "aaa,R8,1,0,0,0,0,0",
            "aaa,R9,1,0,1,0,0,0",
            "aaa,R10,0,0,0,0,0,0",
            *(f"bbb,R{reader},0,0,0,0,0,1" for reader in (8, 9, 10)),
        ],
    )
    write(
        annotations / "annotations_test.csv",
        ["image_id,class_name,x_min,y_min,x_max,y_max", "ccc,Nodule/Mass,2,3,40,50"],
    )
    write(
        annotations / "image_labels_test.csv",
        [
            "image_id,Cardiomegaly,Clavicle fracture,Rib fracture,Nodule/Mass,Other disease,No finding",
            "ccc,0,0,0,1,1,0",
        ],
    )
    return root


def test_readers_vote_and_their_boxes_are_kept(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(archive, monkeypatch, layout="auto")
    assert found.labels["train/aaa.dicom", "cardiomegaly"] == ("present", "expert", 0.6667)
    assert found.labels["train/aaa.dicom", "rib_fracture"] == ("uncertain", "expert", 0.6667)
    assert found.labels["train/aaa.dicom", "fracture"] == ("uncertain", "expert", 0.6667)
    assert found.labels["train/aaa.dicom", "nodule_mass"] == ("absent", "expert", 1.0)
    assert found.labels["train/bbb.dicom", "no_finding"] == ("present", "expert", 1.0)
    assert found.value("test/ccc.dicom", "other_diseases") == "present"
    assert found.boxes["train/aaa.dicom", "cardiomegaly"] == [((5, 6, 20.5, 30), "R8"), ((5, 6, 20.5, 30), "R9")]
    assert found.boxes["test/ccc.dicom", "nodule_mass"] == [((2, 3, 40, 50), "")]
    assert found.problems == {"readers_differ": 3}
    assert found.told("train/aaa.dicom", "body_part", "view") == ("CHEST", "PA")


def test_no_reader_is_named_in_public(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    found = Scanned(archive, monkeypatch, layout="vindr_cxr", tables={"film_is_patient": True})
    assert found.splits == {"train/aaa.dicom": "train_val", "train/bbb.dicom": "train_val", "test/ccc.dicom": "test"}
    public, summary = found.sharded(splits={"val": 0, "test": 0, "table": found.private / "splits.csv"})
    rows = pq.read_table(public / "boxes.parquet").to_pylist()
    assert sorted((row["label"], row["reader"] or 0) for row in rows) == [
        ("cardiomegaly", 1),
        ("cardiomegaly", 2),
        ("nodule_mass", 0),
        ("rib_fracture", 2),
    ]
    assert not any(b"R9" in path.read_bytes() for path in public.glob("*.parquet"))
    assert summary.boxes.used == 4 and not summary.boxes.unknown
    assert sorted(found.index(public)["split"].to_pylist()) == ["test", "train", "train"]


def kaggle(root: Path, rows: list[str], side: int = 48) -> Path:
    save(root / "train" / "aaa.png", film("a", side * 5 // 4, side))
    write(root / "train.csv", ["image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max", *rows])
    return root


def test_labels_follow_from_the_boxes_of_the_kaggle_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["aaa,Cardiomegaly,3,R8,5,6,20,30", "aaa,No finding,14,R9,,,,"]
    found = Scanned(kaggle(tmp_path / "set", rows), monkeypatch, layout="vindr_cxr")
    assert found.labels["train/aaa.png", "cardiomegaly"] == ("uncertain", "expert", 0.5)
    assert ("train/aaa.png", "fracture") not in found.labels
    assert found.edges("train/aaa.png", "cardiomegaly") == [(5, 6, 20, 30)]


def test_boxes_are_scaled_to_resized_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = kaggle(tmp_path / "set", ["aaa,Cardiomegaly,3,R8,50,60,200,300"])
    with pytest.raises(ArchiveError, match=r"1 of 1 boxes .* shrunk; put train_meta\.csv"):
        Scanned(root, monkeypatch, layout="vindr_cxr")
    write(root / "train_meta.csv", ["image_id,dim0,dim1", "aaa,600,480"])
    found = Scanned(root, monkeypatch, layout="vindr_cxr")
    assert found.edges("train/aaa.png", "cardiomegaly") == [(5, 6, 20, 30)]


def test_a_reader_with_an_unreadable_box_votes_for_the_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set" / "train" / "aaa.png")
    write(tmp_path / "set" / "train.csv", [BOXES, "aaa,R1,Nodule/Mass,,,,", "aaa,R2,Nodule/Mass,5,6,20,30"])
    found = Scanned(tmp_path / "set", monkeypatch, layout="vindr_cxr")
    assert found.labels["train/aaa.png", "nodule_mass"] == ("present", "expert", 1.0)
    assert found.problems == {"box_not_a_number": 1}


def test_a_file_with_several_films_is_not_labelled_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [anatomy("aaa", 60, 48), anatomy("bbb", 60, 48)]
    write_frames(tmp_path / "set" / "train" / "aaa.dicom", values)
    write_film(tmp_path / "set" / "train" / "bbb.dicom", values=anatomy("ccc", 60, 48))
    write(tmp_path / "set" / "train.csv", [BOXES, "aaa,R1,Nodule/Mass,5,6,20,30", "bbb,R1,Nodule/Mass,5,6,20,30"])
    found = Scanned(tmp_path / "set", monkeypatch, layout="vindr_cxr")
    assert found.facts["train/aaa.dicom"]["frames"] == 2
    assert found.problems["no_film"] == 1 and set(found.boxes) == {("train/bbb.dicom", "nodule_mass")}
    _, summary = found.sharded()
    assert summary.boxes.used == 1


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for number in range(4):
        save(tmp_path / "set" / "train" / f"f{number}.png")
    return tmp_path / "set"


def said(found: Scanned, name: str) -> dict[str, str]:
    return {label: value for (below, label), (value, *_) in found.labels.items() if below == f"train/{name}.png"}


READ = "image_id,rad_id,Clavicle fracture,Rib fracture,Mass,No finding"


def scan_labels(films: Path, monkeypatch: pytest.MonkeyPatch, labels: list[str], boxes: list[str]) -> Scanned:
    write(films / "annotations" / "image_labels_train.csv", [READ, *labels])
    write(films / "annotations" / "annotations_train.csv", [BOXES, *boxes])
    return Scanned(films, monkeypatch, layout="vindr_cxr")


def test_fracture_needs_all_its_kinds_to_be_absent(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["f0,R1,0,0,0,1", "f1,R1,?,0,0,1", "f1,R2,,0,0,1", "f2,R1,?,1,0,0", "f3,R1,0,0,0,1", "f3,R2,0,?,0,1"]
    found = scan_labels(films, monkeypatch, rows, [])
    assert said(found, "f0")["fracture"] == "absent" and said(found, "f2")["fracture"] == "present"
    assert "fracture" not in said(found, "f1") and "clavicle_fracture" not in said(found, "f1")
    assert not {"fracture", "rib_fracture"} & said(found, "f3").keys()
    assert said(found, "f3")["clavicle_fracture"] == "absent" and found.problems["label_unknown"] == 3


def test_a_box_against_the_table_of_labels_is_uncertain(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scan_labels(films, monkeypatch, ["f0,R1,0,0,0,1"], ["f0,R1,Rib fracture,5,6,20,30"])
    assert said(found, "f0")["rib_fracture"] == said(found, "f0")["fracture"] == "uncertain"
    assert said(found, "f0")["clavicle_fracture"] == "absent" and found.problems == {"box_against_label": 2}


def test_a_reader_who_says_two_things_is_uncertain(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scan_labels(films, monkeypatch, ["f0,R1,0,0,0,1", "f0,R1,0,1,0,0", "f1,R1,0,1,0,1"], [])
    for name in ("f0", "f1"):
        assert {said(found, name)[label] for label in ("rib_fracture", "fracture", "no_finding")} == {"uncertain"}
        assert said(found, name)["mass"] == "absent"
    assert found.problems == {"film_repeated": 1, "label_conflict": 2, "finding_against_none": 1}


def test_a_box_without_a_class_is_no_negative(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(films / "train.csv", [BOXES, "f0,R1,Mass,5,6,20,30", "f1,R1,,5,6,20,30", "f2,R1,No finding,,,,"])
    found = Scanned(films, monkeypatch, layout="vindr_cxr")
    assert said(found, "f1") == {} and said(found, "f2") == {"mass": "absent"}
    assert found.problems == {"label_unknown": 1}


def test_votes_count_together_however_findings_are_spelt(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = ["f0,R1,Rib fracture,5,6,20,30", "f0,R2,rib  Fracture,5,6,20,30", "f1,R1,No Finding,,,,"]
    write(films / "train.csv", [BOXES, *boxes, "f2,R1,No finding,,,,", "f3,R1,no_finding,,,,"])
    found = Scanned(films, monkeypatch, layout="vindr_cxr", tables={"rename": {"rib  Fracture": "broken_rib"}})
    assert said(found, "f0") == {"broken_rib": "present", "fracture": "present"}
    for name in ("f1", "f2", "f3"):
        assert said(found, name) == {"broken_rib": "absent"}
    assert not found.problems


@pytest.mark.parametrize("meta", ["f0,600,480", "f0,600.0,480.0"])
def test_boxes_of_pictures_whose_size_is_not_known_are_not_used(
    films: Path, monkeypatch: pytest.MonkeyPatch, meta: str
) -> None:
    write(films / "train.csv", [BOXES, "f0,R1,Mass,20,20,40,40", "f1,R1,Mass,20,20,40,40"])
    write(films / "train_meta.csv", ["image_id,dim0,dim1", meta])
    found = Scanned(films, monkeypatch, layout="vindr_cxr")
    assert found.edges("train/f0.png", "mass") == [(2, 2, 4, 4)] and len(found.boxes) == 1
    assert said(found, "f1") == {"mass": "present"} and found.problems == {"box_size_unknown": 1}
