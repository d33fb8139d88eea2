"""Every kind of damage is found, and named by shard and key only."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.errors import ShardFormatError
from data_prep.shard_format.index_schema import INDEX_SCHEMA
from data_prep.sharding.merged_tables import dataset_sha256
from data_prep.sharding.shard import shard
from data_prep.verification.verify import verify
from tests.builders.private_builder import make_private, settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("verify")
        shard(make_private(folder, patch), folder / "public", settings(films_per_shard=100))
    return folder / "public"


@pytest.fixture
def public(made: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    folder.mkdir()
    for path in made.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def edit_card(public: Path, **changed: Any) -> None:
    card = json.loads((public / "dataset.json").read_text()) | changed
    (public / "dataset.json").write_text(json.dumps(card))


def edit_index(public: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change rows of the index and of its shards, with matching checksums, as a faulty program would write them."""
    rows = pq.read_table(public / "index.parquet").to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), public / "index.parquet")
    for name in {row["shard"] for row in rows}:
        part = public / name.replace(".tar", ".parquet")
        pq.write_table(pa.Table.from_pylist([row for row in rows if row["shard"] == name], INDEX_SCHEMA), part)
        update_checksums(public, name)


def update_checksums(public: Path, name: str) -> None:
    """Write the checksums of a changed shard into its card and into ``dataset.json``."""
    stem = public / name.removesuffix(".tar")
    card = json.loads(stem.with_suffix(".json").read_text())
    tar, part = stem.with_suffix(".tar").read_bytes(), stem.with_suffix(".parquet").read_bytes()
    card |= {"tar_sha256": hashlib.sha256(tar).hexdigest(), "tar_size": len(tar)}
    card["index_sha256"] = hashlib.sha256(part).hexdigest()
    stem.with_suffix(".json").write_text(json.dumps(card))
    shards = json.loads((public / "dataset.json").read_text())["shards"] | {name: card["tar_sha256"]}
    edit_card(public, shards=shards, dataset_sha256=dataset_sha256(shards))


def edit_sidecar(public: Path, old: bytes, new: bytes) -> None:
    """Replace bytes in the sidecars of the training shard, of equal length."""
    assert len(old) == len(new)
    path = public / "train-000000.tar"
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    update_checksums(public, path.name)


def test_valid_folder_has_no_problems(made: Path) -> None:
    assert verify(made) == []  # with several processes


def test_flipped_bit_is_found(public: Path) -> None:
    data = bytearray((public / "val-000000.tar").read_bytes())
    data[900] ^= 1
    (public / "val-000000.tar").write_bytes(data)
    assert any("val-000000.tar: SHA-256 of the tar" in problem for problem in verify(public))


@pytest.mark.parametrize(
    "name", ["val-000000.tar", "val-000000.json", "val-000000.parquet", "index.parquet", "rejects.parquet"]
)
def test_missing_file_is_found(name: str, public: Path) -> None:
    (public / name).unlink()
    assert any("missing or damaged" in problem for problem in verify(public))


def test_tar_that_is_not_in_the_card_is_found(public: Path) -> None:
    (public / "train-000009.tar").write_bytes(b"")
    assert verify(public) == ["train-000009.tar: not in dataset.json"]


def test_duplicate_key_is_found(public: Path) -> None:
    def duplicate_key(rows: list[dict[str, Any]]) -> None:
        rows[1]["key"] = rows[0]["key"]

    edit_index(public, duplicate_key)
    problems = verify(public)
    assert any("in the index 2 times" in problem for problem in problems)
    assert any("the members of the tar are not those of the index" in problem for problem in problems)


def test_patient_in_two_splits_is_found(public: Path) -> None:
    def move(rows: list[dict[str, Any]]) -> None:
        rows[-1]["patient"] = next(row["patient"] for row in rows if row["split"] != rows[-1]["split"])

    edit_index(public, move)
    problems = verify(public)
    assert any("in the splits" in problem for problem in problems)
    assert any("index and sidecar differ in patient" in problem for problem in problems)


def test_index_that_differs_from_the_shards_is_found(public: Path) -> None:
    rows = pq.read_table(public / "index.parquet").to_pylist()
    rows[0]["age_years"] = 3
    pq.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), public / "index.parquet")
    assert verify(public) == ["index.parquet: not the rows of the shards, in their order"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"files": {"written": 14, "rejected": 5, "dropped": 0}}, "files.rejected"), ({"reasons": {}}, "reasons"),
     ({"films": {"train": 1, "val": 1, "test": 1}}, "films"),
     ({"patients": {"train": 1, "val": 1, "test": 1}}, "patients"),
     ({"dataset_sha256": "0" * 64}, "dataset_sha256"), ({"config_sha256": "0" * 64}, "settings")],
)  # fmt: skip
def test_counts_that_do_not_agree_are_found(changed: dict[str, Any], message: str, public: Path) -> None:
    edit_card(public, **changed)
    problems = verify(public)
    assert problems and all(message in problem for problem in problems)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"age_years":44', b'"age_years":99', "the sidecar is damaged"),
        (b'"split":"train"', b'"split":"test" ', "a film of test"),
        (b'"rows":64', b'"rows":65', "the film has 64 x 53 pixels, not 65 x 53 as in its sidecar"),
        (b'"bits":12', b'"bits":9 ', "the film has values of more than 9 bits"),
        (b'"format_version":2', b'"format_version":3', "format version 3"),
        (b'"width":4096.0', b'"width":9e+300', "the display maps all values to one grey"),
        (b'"width":4096.0', b'"width":9e-300', "the sidecar is damaged"),
    ],
)
def test_wrong_sidecars_are_found(old: bytes, new: bytes, message: str, public: Path) -> None:
    edit_sidecar(public, old, new)
    problems = verify(public)
    assert any(message in problem for problem in problems)
    assert all(problem.startswith(("train-000000.tar", "dataset.json")) for problem in problems)


def test_film_that_cannot_be_decoded_is_found(public: Path) -> None:
    row = pq.read_table(public / "train-000000.parquet").to_pylist()[0]
    path = public / "train-000000.tar"
    data = bytearray(path.read_bytes())
    data[row["film_offset"] : row["film_offset"] + 4] = b"none"
    path.write_bytes(data)
    update_checksums(public, path.name)
    assert verify(public) == [f"train-000000.tar {row['key']}: the film cannot be decoded"]


def test_damaged_bytes_are_not_decoded(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> Any:
        raise AssertionError("a damaged film can kill its decoder")

    for path in public.glob("*.tar"):
        data = bytearray(path.read_bytes())
        data[600] ^= 1
        path.write_bytes(data)
    monkeypatch.setattr("data_prep.verification.verify.decode_film", crash)
    assert len(verify(public)) == len(list(public.glob("*.tar")))


def test_several_processes_find_what_one_finds(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in public.glob("*.tar"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    alone = verify(public)
    monkeypatch.setattr("data_prep.verification.verify.process_count", lambda workers, tasks: 2)
    assert verify(public) == alone and len(alone) >= 3


def test_every_file_that_is_not_in_the_card_is_found(public: Path) -> None:
    for name in ("train-000007.tar", "train-000007.parquet", "train-000007.json", ".val-000000.tar.17.part"):
        (public / name).write_bytes(b"")
    assert {problem.partition(":")[0] for problem in verify(public)} == {
        "train-000007.tar", "train-000007.parquet", "train-000007.json", ".val-000000.tar.17.part",
    }  # fmt: skip


def test_unfinished_folder_is_an_error(public: Path) -> None:
    (public / "dataset.json").unlink()
    with pytest.raises(ShardFormatError, match="not finished"):
        verify(public)
