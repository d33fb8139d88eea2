"""Folders of earlier releases, whose index has no image type and no source of facts, are read, checked and added to."""

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_prep.archive.manifest import LATER_COLUMNS as LATER_IN_MANIFEST
from data_prep.archive.manifest import MANIFEST_FILE, MANIFEST_SCHEMA, read_manifest
from data_prep.dataset_report.census import compute_census
from data_prep.dataset_report.folder_state import read_folder
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.index import read_index
from data_prep.shard_format.index_schema import INDEX_SCHEMA, LATER_COLUMNS
from data_prep.shard_format.parquet_bytes import encode_parquet
from data_prep.sharding.append import append
from data_prep.sharding.shard import shard
from data_prep.verification.audit import audit
from data_prep.verification.verify import verify
from mae_rad.data.shard_reader import ShardIndex
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import anatomy, make_private, settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("earlier")
    with pytest.MonkeyPatch.context() as patch:
        shard(make_private(root, patch), root / "public", settings())
    return root


def as_earlier(public: Path) -> Path:
    """Take the later columns out of the index and the tables of the shards, as an earlier release wrote them."""
    for path in public.glob("*.parquet"):
        if path.name != "rejects.parquet":
            data = encode_parquet(pq.read_table(path).drop_columns(list(LATER_COLUMNS)))
            path.write_bytes(data)
            if (card := path.with_suffix(".json")).exists():
                values = json.loads(card.read_text()) | {"index_sha256": hashlib.sha256(data).hexdigest()}
                card.write_text(json.dumps(values, sort_keys=True, separators=(",", ":")))
    return public


@pytest.fixture
def earlier(made: Path, tmp_path: Path) -> Path:
    return as_earlier(shutil.copytree(made / "public", tmp_path / "public"))


def test_the_columns_are_read_as_null(earlier: Path) -> None:
    assert read_index(earlier).schema.equals(INDEX_SCHEMA)
    part = read_index(earlier, ["image_type", "key", "body_part_from"])
    assert part.column_names == ["image_type", "key", "body_part_from"]
    assert part.num_rows == part["image_type"].null_count == part["body_part_from"].null_count > 0
    assert read_index(earlier, ["image_type"]).column_names == ["image_type"]


def test_such_a_folder_is_valid_and_reported(earlier: Path) -> None:
    assert verify(earlier) == []
    assert audit(earlier).problems == []
    assert compute_census(earlier).films == read_folder(earlier).index.num_rows > 0


def test_training_joins_it_with_a_new_folder(earlier: Path, made: Path) -> None:
    assert len(ShardIndex([earlier], where={"image_type": None})) == len(ShardIndex([earlier]))
    index = ShardIndex([made / "public"], where={"body_part_from": "header"})
    assert 0 < len(index) < len(ShardIndex([made / "public"]))


def test_films_are_added_to_it(earlier: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "a secret that is long enough")
    archive = shutil.copytree(made / "archive", earlier.parent / "archive")
    write_film(
        archive / "new.dcm", values=anatomy("new"), patient_id="MRN-0417-9", window=(2048, 4096),
        ImageType=["DERIVED", "PRIMARY", "POST_PROCESSED"], BodyPartExamined="KNIE_NEU",
    )  # fmt: skip
    scan([archive], earlier.parent / "private", ScanSettings(workers=1))
    card = append(earlier.parent / "private", earlier, settings(), [])
    assert card is not None and card.files.written == 1
    index = read_index(earlier)
    assert set(index["image_type"].to_pylist()) == {None, "DERIVED/PRIMARY/POST_PROCESSED"}
    assert audit(earlier / "generation-001").problems == verify(earlier / "generation-001") == []
    assert ShardIndex([earlier], where={"image_type": "DERIVED/PRIMARY/POST_PROCESSED"}).table.num_rows == 1


def test_an_earlier_scan_gives_the_same_shards(made: Path, tmp_path: Path) -> None:
    private = shutil.copytree(made / "private", tmp_path / "private")
    table = pq.read_table(private / MANIFEST_FILE)
    pq.write_table(table.drop_columns(list(LATER_IN_MANIFEST)), private / MANIFEST_FILE)
    manifest = read_manifest(private)
    assert manifest.schema.equals(MANIFEST_SCHEMA) and manifest["image_type"].null_count == manifest.num_rows
    shard(private, tmp_path / "public", settings())
    tars = sorted(path.name for path in (made / "public").glob("*.tar"))
    assert sorted(path.name for path in (tmp_path / "public").glob("*.tar")) == tars
    for name in tars:
        assert (tmp_path / "public" / name).read_bytes() == (made / "public" / name).read_bytes()
    assert set(read_index(tmp_path / "public")["body_part_from"].to_pylist()) == {None}
