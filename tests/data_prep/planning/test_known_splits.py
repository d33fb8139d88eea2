"""The split of a public data set is used by default; a folder keeps its recorded choice."""

import json
import logging
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_prep.archive.manifest import LINKAGE_FILE, MANIFEST_FILE, SPLITS_TABLE, dataset_name
from data_prep.cli.main import main
from data_prep.planning.splits import draw_split
from data_prep.runtime.secret_environment import SECRET_VARIABLE
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.index import read_index
from data_prep.verification.audit import audit
from tests.builders.private_builder import SECRET
from tests.builders.set_builder import save, write

SMALL = ["min_side=16", "runtime.workers=1", "runtime.isolated=false"]


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    caplog.set_level(logging.INFO)


@pytest.fixture
def mura(tmp_path: Path) -> Path:
    """24 patients of train/ and 16 of valid/."""
    root = tmp_path / "MURA-v1.1"
    for folder, first, patients in (("train", 1, 24), ("valid", 11185, 16)):
        films = [
            f"{folder}/XR_WRIST/patient{number:05d}/study1_negative/image1.png"
            for number in range(first, first + patients)
        ]
        for film in films:
            save(root / film)
        write(root / f"{folder}_image_paths.csv", [f"MURA-v1.1/{film}" for film in films])
        write(root / f"{folder}_labeled_studies.csv", [f"MURA-v1.1/{film.rpartition('/')[0]}/,0" for film in films])
    return root


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    """30 patients of the list train_val, 10 of the list test, and two films that are in no list."""
    root = tmp_path / "nih"
    names = [f"{number:08d}_000.png" for number in range(42)]
    for name in names:
        save(root / "images_001" / "images" / name)
    head = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    head += "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    rows = [f"{name},No Finding,0,{number},50,F,PA,48,60,0.1,0.1" for number, name in enumerate(names)]
    write(root / "Data_Entry_2017.csv", [head, *rows])
    write(root / "BBox_List_2017.csv", ["Image Index,Finding Label,Bbox [x,y,w,h],,,"])
    write(root / "train_val_list.txt", names[:30])
    write(root / "test_list.txt", names[30:40])
    return root


def scanned(archive: Path) -> Path:
    private = archive.parent / "private"
    assert main(["scan", str(archive), "--out", str(private), "layout=auto", "workers=1"]) == 0
    return private


def sharded(private: Path, *words: str, out: str = "public", code: int = 0) -> Path:
    public = private.parent / out
    assert main(["shard", str(private), "--out", str(public), *SMALL, *words]) == code
    return public


def splits_by_number(private: Path, public: Path) -> dict[str, str]:
    """Number of the patient in the archive → split in the shards."""
    keys = pq.read_table(private / MANIFEST_FILE)["patient"].to_pylist()
    numbers = dict(zip(keys, pq.read_table(private / LINKAGE_FILE)["patient_id"].to_pylist(), strict=True))
    index = read_index(public, ["patient", "split"]).to_pylist()
    return {numbers[row["patient"]]: row["split"] for row in index}


def test_all_valid_patients_of_mura_validate(mura: Path, caplog: pytest.LogCaptureFixture) -> None:
    private = scanned(mura)
    public = sharded(private)
    found = splits_by_number(private, public)
    assert Counter(found.values()) == {"train": 24, "val": 16}
    assert {number for number, split in found.items() if split == "val"} == {str(n) for n in range(11185, 11201)}
    assert f"splits.table=auto takes {private / SPLITS_TABLE}, the split of mura" in caplog.text
    assert dataset_name(private) == "mura" and audit(public, privates=[private]).problems == []
    assert main(["label", str(private), "--out", str(public)]) == 0


def test_nih_patients_of_the_test_list_test_and_others_train(nih: Path, caplog: pytest.LogCaptureFixture) -> None:
    private = scanned(nih)
    found = splits_by_number(private, sharded(private, "splits.val=0.4", "splits.test=0.4"))
    assert {number for number, split in found.items() if split == "test"} == {str(n) for n in range(30, 40)}
    assert 4 < sum(found[str(number)] == "val" for number in range(30)) < 20
    assert found["40"] == found["41"] == "train"
    assert "splits.table does not name 2 of the patients: they train" in caplog.text


def test_unnamed_patients_can_be_drawn(nih: Path, caplog: pytest.LogCaptureFixture) -> None:
    private = scanned(nih)
    public = sharded(private, "splits.test=0.9", "splits.val=0", "splits.unnamed=draw")
    key_of = dict(
        zip(
            pq.read_table(private / LINKAGE_FILE)["patient_id"].to_pylist(),
            pq.read_table(private / MANIFEST_FILE)["patient"].to_pylist(),
            strict=True,
        )
    )
    found = splits_by_number(private, public)
    assert {n: found[n] for n in ("40", "41")} == {n: draw_split(key_of[n], 0, 0, 0.9, True) for n in ("40", "41")}
    assert "does not name 2 of the patients: their splits are drawn" in caplog.text


@pytest.mark.parametrize("word", ["none", "None", "null", ""])
def test_none_draws_as_in_a_folder_without_a_table(word: str, mura: Path, caplog: pytest.LogCaptureFixture) -> None:
    private = scanned(mura)
    public = sharded(private, f"splits.table={word}")
    found = splits_by_number(private, public)
    assert any(found[str(number)] == "train" for number in range(11185, 11201))
    assert read_dataset_card(public).config["splits"] == {"val": 0.1, "test": 0.1, "table": None}
    assert "splits.table" not in caplog.text


def test_without_a_table_the_recorded_settings_are_those_of_earlier_releases(
    mura: Path, caplog: pytest.LogCaptureFixture
) -> None:
    private = scanned(mura)
    drawn = sharded(private, "splits.table=none", out="drawn")
    (private / SPLITS_TABLE).unlink()
    public = sharded(private)
    assert {path.name: path.read_bytes() for path in public.iterdir()} == {
        path.name: path.read_bytes() for path in drawn.iterdir()
    }
    assert "splits.table" not in caplog.text


def test_a_folder_that_was_begun_without_a_table_keeps_its_choice(mura: Path, caplog: pytest.LogCaptureFixture) -> None:
    private = scanned(mura)
    public = sharded(private, "splits.table=none")
    before = {path.name: path.read_bytes() for path in public.iterdir()}
    caplog.clear()
    sharded(private)
    assert {path.name: path.read_bytes() for path in public.iterdir()} == before
    lines = [line for line in caplog.messages if "drawn splits" in line]
    assert lines == [
        f"{public} was begun with drawn splits and keeps them; {private / SPLITS_TABLE}, the split of mura,"
        " is for a new folder"
    ]
    save(mura / "valid/XR_WRIST/patient11300/study1_negative/image1.png")
    scanned(mura)
    assert main(["append", str(private), "--out", str(public), *SMALL[1:]]) == 0
    card = read_dataset_card(public / "generation-001")
    assert card.files.written == 1 and card.config["splits"]["table"] is None


def test_a_folder_with_a_table_of_an_earlier_release_draws_unnamed_patients(
    nih: Path, caplog: pytest.LogCaptureFixture
) -> None:
    private = scanned(nih)
    table = f"splits.table={private / SPLITS_TABLE}"
    public = sharded(private, table, "splits.unnamed=draw", "splits.test=0.9", "splits.val=0")
    config = read_dataset_card(public).config["splits"]
    assert sorted(config) == ["table", "test", "val"] and len(config["table"]) == 64  # as that release recorded it
    before = {path.name: path.read_bytes() for path in public.iterdir()}
    assert "splits.unnamed=draw and keeps it" not in caplog.text
    sharded(private, table, "splits.test=0.9", "splits.val=0")
    assert f"{public} was begun with splits.unnamed=draw and keeps it" in caplog.text
    sharded(private, "splits.test=0.9", "splits.val=0")
    assert {path.name: path.read_bytes() for path in public.iterdir()} == before


def test_append_requires_the_table_again(nih: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private = scanned(nih)
    public = sharded(private)
    save(nih / "images_001" / "images" / "00000030_001.png")
    table = nih / "Data_Entry_2017.csv"
    table.write_text(table.read_text() + "00000030_001.png,No Finding,1,30,50,F,PA,48,60,0.1,0.1\n")
    (nih / "test_list.txt").write_text((nih / "test_list.txt").read_text() + "00000030_001.png\n")
    scanned(nih)
    words = ["append", str(private), "--out", str(public), *SMALL[1:]]
    assert main(words) == 2 and "splits.table=auto" in capsys.readouterr().err
    assert main([*words, "splits.table=auto"]) == 0
    assert splits_by_number(private, public)["30"] == "test"
    assert json.loads((public / "generation-001" / "dataset.json").read_text())["films"]["test"] == 1


def test_a_wrong_table_setting_is_reported_in_one_line(mura: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private = scanned(mura)
    sharded(private, "splits.table=3", code=2)
    assert "setting 'splits.table': Value error, give auto, none, or the path of a table" in capsys.readouterr().err
    sharded(private, "splits.table=absent.csv", code=2)
    assert "absent.csv is missing" in capsys.readouterr().err
