"""Folders are joined where their patients can be told apart, and nothing that is scored is trained on."""

from pathlib import Path

import pytest

from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.sharding.shard import shard
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import SettingsError
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import SECRET, anatomy, settings


def _folder(folder: Path, films: range, patients: str, split: str) -> Path:
    for film in films:
        write_film(folder / "A" / f"{film}.dcm", values=anatomy(film), patient_id=f"{patients}{film}", study=f"s{film}")
    scan([folder / "A"], folder / "P", ScanSettings(workers=1))
    rows = "".join(f"{patients}{film},{split}\n" for film in films)
    (folder / "splits.csv").write_text(f"patient,split\n{rows}")
    shard(folder / "P", folder / "Q", settings(splits={"table": str(folder / "splits.csv")}))
    return folder / "Q"


def test_folders_of_different_secrets_are_joined_on_the_users_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", SECRET)
    first = _folder(tmp_path / "1", range(3), "X", "train")
    monkeypatch.setenv("MAE_RAD_KEY", "quite another random secret 123")
    second = _folder(tmp_path / "2", range(10, 13), "X", "train")
    with pytest.raises(SettingsError, match=r"different secrets.*data\.distinct_patients=true"):
        ShardIndex([first, second])
    joined = ShardIndex([first, second], distinct_patients=True)
    assert len(joined) == 6
    folders = " ".join(sorted(read_dataset_card(folder).dataset_sha256 for folder in (first, second)))
    assert joined.joined == {"datasets": folders, "distinct_patients": "said by the user, not checked"}
    assert ShardIndex([first], distinct_patients=True).joined == {}


def test_a_film_of_train_with_the_pixels_of_a_test_film_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", SECRET)
    training = _folder(tmp_path / "1", range(6), "X", "train")
    tested = _folder(tmp_path / "2", range(4, 8), "Y", "test")
    caplog.set_level("INFO")
    index = ShardIndex([training, tested], where={"patient_known": True})
    assert len(index) == 4 and "2 films of train are left out" in caplog.text
    scored = set(ShardIndex([training, tested], split="test").table["pixel_sha256"].to_pylist())
    assert len(scored) == 4 and not scored & set(index.table["pixel_sha256"].to_pylist())
    assert len(ShardIndex([training, tested], split=None)) == 8
    assert len(ShardIndex([training])) == 6
