"""Complete runs over a small archive: the same bytes for any number of workers and interruptions."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.errors import ArchiveError, ShardFormatError
from data_prep.shard_format.dataset_card import DatasetCard, read_dataset_card
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.index_schema import INDEX_SCHEMA, REJECTS_SCHEMA
from data_prep.sharding.public_folder import folder_writer
from data_prep.sharding.shard import shard
from tests.builders.private_builder import SECRET, make_private, settings, write_archive


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with archive, private and public; tests change copies."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("engine")
        shard(make_private(folder, patch), folder / "public", settings())
    return folder


@pytest.fixture
def private(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "private", tmp_path / "private"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_one_and_two_workers_write_the_same_bytes(private: Path, public: Path, tmp_path: Path) -> None:
    card = shard(private, tmp_path / "two", settings(runtime={"workers": 2}))
    assert contents(public) == contents(tmp_path / "two")
    assert card == read_dataset_card(public)


def test_counts_add_up_and_reasons_are_recorded(public: Path, private: Path) -> None:
    card = read_dataset_card(public)
    assert (card.files.written, card.files.rejected, card.files.dropped) == (14, 4, 0)
    assert card.reasons == {"corrupt_pixels": 1, "for_processing": 1, "not_a_film": 1, "too_small": 1}
    assert sum(card.films.values()) == 14 and all(card.films.values())
    rejects = pq.read_table(public / "rejects.parquet")
    assert rejects.schema.equals(REJECTS_SCHEMA)
    linkage = read_linkage(private)["path"].to_pylist()
    names = {Path(linkage[row]).name: reason for row, reason in zip(*rejects.to_pydict().values(), strict=True)}
    assert names == {
        "raw.dcm": "for_processing", "note.txt": "not_a_film", "small.dcm": "too_small", "cut.dcm": "corrupt_pixels",
    }  # fmt: skip


def test_index_is_sorted_and_no_patient_is_in_two_splits(public: Path) -> None:
    index = pq.read_table(public / "index.parquet")
    assert index.schema.equals(INDEX_SCHEMA)
    rows = index.to_pylist()
    assert [(row["shard"], row["film_offset"]) for row in rows] == sorted(
        (row["shard"], row["film_offset"]) for row in rows
    )
    assert len({row["key"] for row in rows}) == 14
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["patient"], set()).add(row["split"])
        assert row["shard"].startswith(f"{row['split']}-")
    assert all(len(found) == 1 for found in splits.values())
    assert {row["display_invert"] for row in rows if row["photometric"] == "MONOCHROME1"} == {True}


def test_finished_shards_are_not_changed(private: Path, public: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in public.iterdir()}
    shard(private, public, settings())
    assert {path.name: path.stat().st_mtime_ns for path in public.iterdir()} == before


@pytest.mark.parametrize("lost", ["train-000000.json", "train-000000.tar", "train-000001.parquet", "index.parquet"])
def test_interrupted_run_is_finished_to_the_same_bytes(lost: str, private: Path, public: Path) -> None:
    before = contents(public)
    (public / lost).unlink()
    (public / "dataset.json").rename(public / ".unfinished.json")  # holds the same identity
    (public / f".{lost}.part").write_bytes(b"half a shard")
    (public / ".val-000000.tar.part").write_bytes(b"half a shard")
    shard(private, public, settings())
    assert contents(public) == before


def test_a_truncated_tar_is_rewritten(private: Path, public: Path) -> None:
    before = contents(public)
    (public / "val-000000.tar").write_bytes(before["val-000000.tar"][:-512])
    shard(private, public, settings())
    assert contents(public) == before


def test_runtime_settings_do_not_make_another_dataset(private: Path, public: Path) -> None:
    before = contents(public)
    shard(private, public, settings(runtime={"workers": 1, "max_reject_fraction": 0.9}))
    assert contents(public) == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"max_side": 32}, "max_side: 64 in the folder, 32 given"), ({"seed": 5}, "seed: 0 in the folder, 5 given"),
     ({"splits": {"val": 0.5, "test": 0.25}}, "splits.val: 0.25 in the folder, 0.5 given")],
)  # fmt: skip
def test_other_settings_are_refused_and_named(
    changed: dict[str, Any], message: str, private: Path, public: Path
) -> None:
    before = contents(public)
    with pytest.raises(ShardFormatError, match=message):
        shard(private, public, settings(**changed))
    (public / "dataset.json").rename(public / ".unfinished.json")
    with pytest.raises(ShardFormatError, match=message):
        shard(private, public, settings(**changed))
    (public / ".unfinished.json").rename(public / "dataset.json")
    assert contents(public) == before


def test_another_secret_is_refused(public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = make_private(tmp_path / "other", monkeypatch, secret="another secret, also long")
    with pytest.raises(ShardFormatError, match="another secret") as caught:
        shard(private, public, settings())
    assert SECRET not in str(caught.value)


def test_another_format_version_is_refused(private: Path, public: Path) -> None:
    card = json.loads((public / "dataset.json").read_text())
    (public / "dataset.json").write_text(json.dumps(card | {"format_version": 0}))
    with pytest.raises(ShardFormatError, match="version 0"):
        shard(private, public, settings())


def test_nested_folders_and_folders_with_other_files_are_refused(private: Path, tmp_path: Path) -> None:
    for public in (private / "public", private, tmp_path):
        with pytest.raises(ArchiveError, match="must not contain"):
            shard(private, public, settings())
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    with pytest.raises(ShardFormatError, match="other files"):
        shard(private, tmp_path / "thesis", settings())
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]
    with pytest.raises(ShardFormatError, match="cannot be created"):
        shard(private, tmp_path / "thesis" / "chapter.txt", settings())


def test_two_commands_do_not_write_one_folder_at_once(private: Path, tmp_path: Path) -> None:
    identity = {"format_version": FORMAT_VERSION, "key_fingerprint": "0" * 32, "config": {}}
    with folder_writer(tmp_path / "public", identity), pytest.raises(ShardFormatError, match="another shard command"):
        shard(private, tmp_path / "public", settings())


def test_unreadable_files_are_reported_by_row_and_other_shards_kept(tmp_path: Path, monkeypatch: Any) -> None:
    private = make_private(tmp_path, monkeypatch)
    public, archive = tmp_path / "public", tmp_path / "archive"
    (archive / "p3").rename(tmp_path / "away")
    with pytest.raises(ArchiveError) as caught:
        shard(private, public, settings())
    message = str(caught.value)
    rows = [row for row, path in enumerate(read_linkage(private)["path"].to_pylist()) if "/p3/" in path]
    assert f"manifest rows {rows[0]}, {rows[1]}" in message and "again" in message
    assert "p3" not in message and str(archive) not in message and "\n" not in message
    assert not (public / "dataset.json").exists() and list(public.glob("*.tar"))
    kept = {path.name: path.stat().st_mtime_ns for path in public.glob("*.tar")}
    (tmp_path / "away").rename(archive / "p3")
    card = shard(private, public, settings())
    assert card.files.written == 14
    assert {name: (public / name).stat().st_mtime_ns for name in kept} == kept


def test_a_full_disk_is_reported_in_one_line(private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("data_prep.runtime.atomic_write.os.fsync", full)
    with pytest.raises(ShardFormatError, match="No space left on device"):
        shard(private, tmp_path / "public", settings())
    assert not any(path.is_file() for path in (tmp_path / "public").iterdir())


def test_changed_archive_replaces_the_plan(public: Path, tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    write_archive(tmp_path / "archive", patients=3)
    private = make_private(tmp_path, monkeypatch)
    card = shard(private, public, settings())
    assert "the scan has changed since these shards were begun" in caplog.text
    fresh = shard(private, tmp_path / "fresh", settings())
    assert card == fresh and contents(public) == contents(tmp_path / "fresh")


def test_archive_without_films_makes_an_empty_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "note.txt").write_text("no film")
    card = shard(make_private(tmp_path, monkeypatch), tmp_path / "public", settings())
    assert card.files.written == 0 and card.shards == {} and (tmp_path / "public" / "index.parquet").exists()


def test_nothing_private_is_in_the_public_folder(made: Path, private: Path, public: Path) -> None:
    everything = b"".join(contents(public).values())
    linkage = read_linkage(private)
    private_columns = [name for name in linkage.column_names if name not in ("row", "key", "patient_aliases")]
    values = [value for name in private_columns for value in linkage[name].to_pylist()]
    secrets = {text for value in values for text in (value if isinstance(value, list) else [value])}
    for word in secrets | {SECRET, str(made), "20200131"}:
        assert word is None or str(word).encode() not in everything, word
    assert read_manifest(private).num_rows == 18


def test_the_dataset_card_prints_as_a_table(public: Path) -> None:
    card = read_dataset_card(public)
    assert isinstance(card, DatasetCard)
    lines = str(card).splitlines()
    assert lines[0].split()[:2] == ["films", "14"] and any("for_processing" in line for line in lines)
