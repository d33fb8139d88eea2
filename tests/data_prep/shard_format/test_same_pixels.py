"""One film in several files: copies under one identifier, and equal pixels under different ones."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.runtime.secret_environment import SECRET_VARIABLE
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.dataset_card import DatasetCard
from data_prep.shard_format.index import count_across_splits, same_pixels
from data_prep.shard_format.index_schema import INDEX_SCHEMA
from data_prep.sharding.shard import shard
from data_prep.verification.verify import verify
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import SECRET, anatomy, settings

BASE: dict[str, Any] = {"values": anatomy("film"), "sop": "1.2.3", "window": (2048, 4096), "patient_id": "P"}


def sharded(folder: Path, monkeypatch: pytest.MonkeyPatch, codec: str = "htj2k") -> DatasetCard:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    scan([folder / "archive"], folder / "private", ScanSettings(workers=1))
    return shard(folder / "private", folder / "public", settings(codec=codec))


@pytest.mark.parametrize("codec", ["htj2k", "jpeg"])
@pytest.mark.parametrize(
    "other",
    [{"photometric": "MONOCHROME1"}, {"window": (1000, 900)}, {"rescale": (2, 0)}, {"VOILUTFunction": "SIGMOID"},
     {"PixelPaddingValue": 0, "photometric": "MONOCHROME1"}, {"PixelSpacing": [0.1, 0.2]}],
)  # fmt: skip
def test_one_identifier_with_another_display_is_a_conflict(
    other: dict[str, Any], codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_film(tmp_path / "archive" / "a.dcm", **BASE)
    write_film(tmp_path / "archive" / "b.dcm", **BASE | other)
    card = sharded(tmp_path, monkeypatch, codec)
    assert card.reasons == {"uid_conflict": 2} and card.files.written == 0


def test_what_does_not_enter_the_shard_makes_no_conflict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_film(tmp_path / "archive" / "a.dcm", **BASE)
    write_film(tmp_path / "archive" / "b.dcm", **BASE, PatientComments="seen", transfer_syntax="1.2.840.10008.1.2")
    card = sharded(tmp_path, monkeypatch)
    assert card.reasons == {"duplicate": 1} and card.files.written == 1


def test_equal_pixels_under_other_identifiers_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        own = {"sop": f"1.2.{number}", "patient_id": f"P{number}"}
        write_film(tmp_path / "archive" / f"{number}.dcm", **BASE | own)
    write_film(tmp_path / "archive" / "other.dcm", **BASE | {"values": anatomy("other"), "sop": "1.3"})
    card = sharded(tmp_path, monkeypatch)
    index = pq.read_table(tmp_path / "public" / "index.parquet")
    repeated = [row for row in index.to_pylist() if row["same_pixels_as"]]
    assert len(repeated) == card.same_pixels == 11
    (representative,) = {row["same_pixels_as"] for row in repeated}
    (split,) = index.filter(pa.compute.equal(index["key"], representative))["split"].to_pylist()
    assert split == "test", "the evaluation set is kept whole"
    assert card.same_pixels_across_splits == sum(row["split"] != "test" for row in repeated) > 0
    assert f"{card.same_pixels_across_splits} across splits" in str(card)
    assert verify(tmp_path / "public") == []
    for part in (tmp_path / "public").glob("t*-*.parquet"):
        assert pq.read_table(part)["same_pixels_as"].null_count == pq.read_table(part).num_rows


def test_the_representative_film_does_not_depend_on_order() -> None:
    films = [("a", "x", "train"), ("b", "x", "val"), ("c", "x", "val"), ("d", "y", "train"), ("e", "z", "test"),
            ("f", "z", "train")]  # fmt: skip
    rows = [{"key": key, "pixel_sha256": pixels, "split": split} for key, pixels, split in films]
    for order in (rows, rows[::-1]):
        index = same_pixels(pa.Table.from_pylist(order, INDEX_SCHEMA))
        named = dict(zip(index["key"].to_pylist(), index["same_pixels_as"].to_pylist(), strict=True))
        assert named == {"a": "b", "b": None, "c": "b", "d": None, "e": None, "f": "e"}
        assert count_across_splits(index) == 2
    assert same_pixels(INDEX_SCHEMA.empty_table()).num_rows == 0
