"""Columns of the index that are in no sidecar hold words of closed lists; the audit finds any other."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.shard_format.index_schema import INDEX_SCHEMA
from data_prep.shard_format.parquet_bytes import encode_parquet
from data_prep.sharding.shard import shard
from data_prep.verification.audit import audit
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import anatomy, make_private, settings


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("columns")
    write_film(
        root / "archive" / "Zwiebel" / "film", values=anatomy("one"), window=(2048, 4096), patient_id="4711-ZW",
        ImageType=["DERIVED", "Zwiebel^Anna", "M_19610203"], BodyPartExamined="THORAX BETT",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        shard(make_private(root, patch), root / "public", settings())
    return root / "public"


def test_free_text_of_the_image_type_is_not_published(public: Path) -> None:
    (row,) = pq.read_table(public / "index.parquet").to_pylist()
    assert row["image_type"] == "DERIVED/other/other"
    assert (row["body_part"], row["body_part_from"], row["body_part_doubtful"]) == ("CHEST", "header", True)
    assert audit(public, privates=[public.parent / "private"]).problems == []


@pytest.mark.parametrize(
    ("column", "value"),
    [("image_type", "DERIVED/ZWIEBEL"), ("body_part_from", "Zwiebel"), ("sex_from", "1961"), ("view_from", "")],
)
def test_another_word_is_a_problem(column: str, value: str, public: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(public, tmp_path / "public")
    index = pq.read_table(changed / "index.parquet")
    place = index.schema.get_field_index(column)
    index = index.set_column(place, INDEX_SCHEMA.field(column), pa.array([value]))
    (changed / "index.parquet").write_bytes(encode_parquet(index))
    assert any(column in problem for problem in audit(changed).problems)
