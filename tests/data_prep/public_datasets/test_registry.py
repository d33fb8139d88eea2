"""All layouts: boxes are in place, layouts are detected, tables of earlier scans are removed."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep.annotations.film_lookup import FilmNames, ListedFilm
from data_prep.annotations.settings import LayoutName
from data_prep.annotations.upright_boxes import to_upright_box
from data_prep.cli.exit_codes import BAD_INPUT
from data_prep.cli.main import main
from data_prep.errors import ArchiveError, SettingsError
from data_prep.labels.write_labels import LabelFiles, write_labels
from data_prep.public_datasets.registry import LAYOUTS, matching_layouts
from data_prep.scan.settings import ScanSettings
from data_prep.settings import load
from data_prep.shard_format.apply_display import apply_display
from data_prep.shard_format.boxes import Box
from data_prep.shard_format.film_codec import decode_film
from data_prep.shard_format.sidecar import Sidecar
from data_prep.verification.audit import audit
from tests.builders.set_builder import Edges, Scanned, film, save, write

ORIENTATIONS = range(1, 9)
EDGES: Edges = (6, 30, 18, 50)
"""In a film of 60 × 48; no turn or mirror brings it onto itself."""


def stored(edges: Edges, orientation: int) -> Edges:
    """The same box in the file's raster, found by looking for its pixels."""
    from tests.builders.set_builder import turned

    there = turned(film("x", bright=edges) > 200, orientation)
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def coco(edges: Edges, size: tuple[int, int], name: str) -> str:
    x_min, y_min, x_max, y_max = edges
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": name, "width": size[0], "height": size[1]}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [x_min, y_min, x_max - x_min, y_max - y_min]}],
            "categories": [{"id": 1, "name": "spot"}],
        }
    )


def assert_boxes_are_bright(found: Scanned, films: int) -> None:
    """In the shards, what is inside each box is bright and all the rest dark."""
    public, summary = found.sharded()
    assert summary.boxes.used == films and not summary.boxes.unknown
    boxes = {row["key"]: row for row in pq.read_table(public / "boxes.parquet").to_pylist()}
    for row in found.index(public).to_pylist():
        with (public / row["shard"]).open("rb") as tar:
            tar.seek(row["sidecar_offset"])
            sidecar = Sidecar.model_validate_json(tar.read(row["sidecar_size"]))
            tar.seek(row["film_offset"])
            shown = (
                apply_display(decode_film(tar.read(row["film_size"]), bits=sidecar.display.bits), sidecar.display)
                / 65535
            )
        box = boxes[row["key"]]
        x_min, y_min, x_max, y_max = (round(box[edge]) for edge in ("x_min", "y_min", "x_max", "y_max"))
        inside = np.zeros(shown.shape, np.bool_)
        inside[y_min:y_max, x_min:x_max] = True
        assert shown[inside].min() > 0.6, box
        assert shown[~inside].max() < 0.4, box


@pytest.mark.parametrize("frame", ["upright", "stored"])
def test_boxes_are_in_place_on_films_with_an_orientation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: str
) -> None:
    """One film per EXIF orientation; square ones too, whose size says nothing about the frame."""
    for orientation in ORIENTATIONS:
        for side, rows in (("long", 60), ("square", 48)):
            name = f"{side}{orientation}.jpg"
            edges = (6, 30, 18, 44) if rows == 48 else EDGES
            save(tmp_path / "set" / name, film(name, rows, 48, edges), orientation)
            turned_size = (rows, 48) if frame == "stored" and orientation >= 5 else (48, rows)
            drawn = edges if frame == "upright" else _stored(edges, rows, orientation)
            write(tmp_path / "set" / f"{name}.json", coco(drawn, turned_size, name))
    found = Scanned(tmp_path / "set", monkeypatch, layout="coco", tables={"box_frame": frame})
    assert not found.problems
    assert_boxes_are_bright(found, 16)


def _stored(edges: Edges, rows: int, orientation: int) -> Edges:
    from tests.builders.set_builder import turned

    there = turned(film("x", rows, 48, edges) > 200, orientation)
    down, across = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    return float(across[0]), float(down[0]), float(across[-1] + 1), float(down[-1] + 1)


def test_the_stated_size_determines_the_frame_of_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs differ: one file was drawn on the turned picture, the other on the raster."""
    for name, edges, size in (("a.jpg", EDGES, (48, 60)), ("b.jpg", stored(EDGES, 6), (60, 48))):
        save(tmp_path / "set" / name, film(name, bright=EDGES), 6)
        write(tmp_path / "set" / f"{name}.json", coco(edges, size, name))
    assert_boxes_are_bright(Scanned(tmp_path / "set", monkeypatch, layout="coco"), 2)


def test_fractions_refer_to_the_upright_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "set" / "data.yaml", "names: [spot]")
    for orientation in ORIENTATIONS:
        name = f"images/{orientation}"
        save(tmp_path / "set" / f"{name}.jpg", film(name, bright=EDGES), orientation)
        write(tmp_path / "set" / "labels" / f"{orientation}.txt", f"0 {12 / 48} {40 / 60} {12 / 48} {20 / 60}")
    assert_boxes_are_bright(Scanned(tmp_path / "set", monkeypatch, layout="yolo"), 8)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_stored_box_is_turned_with_its_film(orientation: int) -> None:
    rows, columns = (48, 60) if orientation >= 5 else (60, 48)
    film = ListedFilm(0, "x.jpg", rows, columns, orientation, "jpeg")
    assert to_upright_box(Box(*stored(EDGES, orientation)), film) == EDGES
    assert film.upright_size == (48, 60)


def test_names_match_whole_folders() -> None:
    paths = ("train/a.png", "val/a.png", "val/b.v2.PNG", "a.b/c.jpeg")
    films = FilmNames([ListedFilm(row, path, 1, 1, 1, "png") for row, path in enumerate(paths)], ["note.txt"])

    def found(name: str, below: str = "") -> list[int | None]:
        return [film.row if film is not None else None for film in films.find(name, below=below)]

    assert found("a.png") == found("a") == [0, 1]
    assert found("val/a.png") == found("a", "val") == found("/data/set/val/a.png") == found(r"set\val\a.png") == [1]
    assert found("al/a.png") == found("a.jpg") == found("") == found("b") == []
    assert found("b.v2") == found("b.v2.png") == [2]
    assert found("note.txt") == [None]


def empty_set(root: Path, name: LayoutName) -> None:
    """The telltale files of a layout."""
    if name == "nih_chestxray14":
        write(root / "Data_Entry_2017.csv", "Image Index")
    elif name == "mura":
        (root / "train" / "XR_HAND").mkdir(parents=True)
    elif name == "grazpedwri_dx":
        write(root / "dataset.csv", "filestem,fracture_visible\n")
        write(root / "folder_structure" / "pascalvoc" / "a.xml", "<annotation/>")
        write(root / "folder_structure" / "yolov5" / "meta.yaml", "names: [a]")
        write(root / "folder_structure" / "yolov5" / "labels" / "a.txt", "")
    elif name == "object_cxr":
        write(root / "train.csv", "image_name,annotation\n")
    elif name == "vindr_cxr":
        write(root / "train.csv", "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n")
    elif name == "fracatlas":
        write(root / "dataset.csv", "image_id,fractured\n")
        write(root / "Annotations" / "PASCAL VOC" / "a.xml", "<annotation/>")
    elif name == "coco":
        write(root / "a.json", '{"images": [], "annotations": [], "categories": []}')
    elif name == "voc":
        write(root / "Annotations" / "a.xml", "<annotation/>")
    else:
        write(root / "data.yaml", "names: [a]")
        write(root / "labels" / "a.txt", "")


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_detected_uniquely(tmp_path: Path, name: LayoutName) -> None:
    empty_set(tmp_path, name)
    assert matching_layouts(tmp_path) == [name]


def test_an_ambiguous_layout_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set" / "a.png")
    with pytest.raises(ArchiveError, match=r"none of the sets nih_chestxray14, mura"):
        Scanned(tmp_path / "set", monkeypatch, layout="auto")
    empty_set(tmp_path / "set", "coco")
    empty_set(tmp_path / "set", "yolo")
    with pytest.raises(ArchiveError, match="may be any of coco, yolo; give one of them"):
        Scanned(tmp_path / "set", monkeypatch, layout="auto")


def test_a_known_data_set_without_layout_gives_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set" / "a.png")
    empty_set(tmp_path / "set", "coco")
    found = Scanned(tmp_path / "set", monkeypatch)
    assert "has the files of coco: layout=… reads its tables too" in str(found.summary)
    assert not found.labels and not (found.private / "labels.csv").exists()


def test_tables_of_an_earlier_scan_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set" / "a.jpg")
    write(tmp_path / "set" / "a.json", coco((1, 1, 5, 5), (48, 60), "a.jpg"))
    options = {"tables": {"film_is_patient": True}, "layout": "coco"}
    assert Scanned(tmp_path / "set", monkeypatch, **options).labels
    assert not any((tmp_path / "private" / name).exists() for name in ("splits.csv",))
    Scanned(tmp_path / "set", monkeypatch)
    tables = {path.name for path in (tmp_path / "private").glob("*.csv")}
    assert tables == {"unmapped.csv", "differences.csv"}


def test_equal_paths_and_numbers_of_two_sources_are_two_films_and_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, patients = set(), set()
    for name in ("coco", "table"):
        save(tmp_path / name / "set" / "a.jpg")
        write(tmp_path / name / "set" / "a.json", coco((1, 1, 5, 5), (48, 60), "a.jpg"))
        write(tmp_path / name / "set" / "films.csv", "path,p\na.jpg,a.jpg\n")
        columns = {"films": "films.csv", "facts": {"patient": "p"}}
        tables = {"film_is_patient": True}
        found = Scanned(tmp_path / name / "set", monkeypatch, layout=name, columns=columns, tables=tables, source=name)
        keys.add(found.told("a.jpg", "key"))
        patients.add(found.told("a.jpg", "patient"))
    assert len(keys) == len(patients) == 2


def test_label_reads_the_tables_of_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "set" / "a.jpg", film("a", bright=EDGES))
    write(tmp_path / "set" / "a.json", coco(EDGES, (48, 60), "a.jpg"))
    found = Scanned(tmp_path / "set", monkeypatch, layout="coco")
    public, _ = found.sharded()
    assert main(["label", str(found.private), "--out", str(public)]) == 0
    assert "boxes: 1 rows used" in capsys.readouterr().out
    assert main(["verify", str(public)]) == 0
    assert main(["audit", str(public), "--private", str(found.private)]) == 0
    assert main(["preview", str(public), "--out", str(tmp_path / "sheet.png"), "--boxes"]) == 0
    Scanned(tmp_path / "set", monkeypatch)
    assert main(["label", str(found.private), "--out", str(public)]) == BAD_INPUT
    assert "give --labels or --boxes, or scan a public data set with layout=" in capsys.readouterr().err


def test_an_unknown_layout_is_one_line_of_error() -> None:
    with pytest.raises(SettingsError, match=r"setting 'layout': .*'coco', .*'auto'.*got 'cocoo'"):
        load(ScanSettings, None, ["layout=cocoo"])


def test_a_layout_reads_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set" / "a.jpg")
    with pytest.raises(ArchiveError, match="give its folder as the only archive"):
        Scanned(tmp_path / "set" / "a.jpg", monkeypatch, layout="coco")


def test_a_finding_may_have_the_name_of_a_folder_but_not_of_a_patient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of many patients are named after findings; that of one patient may bear the name of a person."""
    names = [f"Hernia/{number}/x.png" for number in range(3)] + ["Mustermann/x.png"]
    for name in names:
        save(tmp_path / "set" / name, film(name))
    write(tmp_path / "set" / "films.csv", ["file,hernia", *(f"{name},{int('H' in name)}" for name in names)])
    columns = {"films": "films.csv", "file": "file", "labels": {"hernia": "hernia"}}
    found = Scanned(tmp_path / "set", monkeypatch, layout="table", columns=columns)
    public, _ = found.sharded()
    assert audit(public, privates=[found.private]).problems == []
    write(tmp_path / "labels.csv", ["path,label,value", "Mustermann/x.png,mustermann,present"])
    write_labels(found.private, public, LabelFiles([tmp_path / "labels.csv"]))
    assert audit(public, privates=[found.private]).problems == ["labels.parquet: label: an original identifier occurs"]
