"""Tables of splits."""

from pathlib import Path

import pyarrow as pa
import pytest

from data_prep.errors import SettingsError
from data_prep.planning.splits import draw_split, read_split_table


def read(path: Path, lines: str, patients: dict[str, str], val: float = 0.5) -> dict[str, str]:
    """``patients``: number in the archive → key."""
    path.write_text(f"patient,split\n{lines}", encoding="utf-8")
    linkage = pa.table({"patient_id": pa.array(list(patients))})
    manifest = pa.table({"patient": pa.array(list(patients.values()))})
    return dict(read_split_table(path, manifest, linkage, 3, val))


def test_train_val_is_drawn_and_never_tests(tmp_path: Path) -> None:
    patients = {f"p{number}": f"{number:032x}" for number in range(400)}
    lines = "".join(f"{name},train_val\n" for name in patients)
    given = read(tmp_path / "s.csv", lines, patients)
    assert set(given.values()) == {"train", "val"}
    assert 150 < list(given.values()).count("val") < 250
    assert given == {key: draw_split(key, 3, 0.5, 0, True) for key in patients.values()}
    assert set(read(tmp_path / "s.csv", lines, patients, val=0).values()) == {"train"}


@pytest.mark.parametrize(
    ("first", "second", "split"),
    [("train", "test", "test"), ("test", "val", "test"), ("val", "train_val", "val"), ("train", "val", "val")],
)
def test_joined_patient_numbers_get_the_strictest_split(tmp_path: Path, first: str, second: str, split: str) -> None:
    patients = {"1": "a", "2": "a"}
    assert read(tmp_path / "s.csv", f"1,{first}\n2,{second}\n", patients) == {"a": split}
    assert read(tmp_path / "s.csv", f"1,{second}\n2,{first}\n", patients) == {"a": split}


def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes("\ufeffsplit;patient;note\r\ntest; 1 ;\r\n\r\nval;2;x\r\n".encode())
    linkage, manifest = pa.table({"patient_id": ["1", "2"]}), pa.table({"patient": ["a", "b"]})
    assert read_split_table(tmp_path / "s.csv", manifest, linkage, 0, 0.1) == {"a": "test", "b": "val"}


@pytest.mark.parametrize("lines", ["1,test\n1,train\n", "1\n", ",test\n", "1,test,x\n"])
def test_wrong_rows_are_refused(tmp_path: Path, lines: str) -> None:
    with pytest.raises(SettingsError, match=r"splits.*line [23]"):
        read(tmp_path / "s.csv", lines, {"1": "a"})


@pytest.mark.parametrize("word", ["val", "valid", "validate", "validation", "dev", "tune", "Valid"])
def test_split_names_of_public_datasets_are_accepted(word: str, tmp_path: Path) -> None:
    assert read(tmp_path / "s.csv", f"1,{word}\n2,training\n", {"1": "a", "2": "b"}) == {"a": "val", "b": "train"}


def test_unknown_split_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"line 2: needs a patient and one of train, train_val, val, test"):
        read(tmp_path / "s.csv", "1,elsewhere\n", {"1": "a"})
