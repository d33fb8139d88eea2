"""Who withdraws consent is in no byte of the folder any more; all others are as they were."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.cli.main import main
from data_prep.errors import SettingsError
from data_prep.labels.write_labels import LabelFiles, write_labels
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.index import read_index
from data_prep.shard_format.label_tables import read_boxes, read_labels
from data_prep.sharding import remove as remove_module
from data_prep.sharding.append import append
from data_prep.sharding.remove import remove
from data_prep.sharding.shard import shard
from data_prep.verification.audit import audit
from data_prep.verification.verify import verify, verify_generations
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import SECRET, anatomy, settings

GONE = "PAT-3"


def _films(archive: Path, films: range) -> None:
    for film in films:
        number = f"PAT-{film % 6}"
        write_film(archive / f"{film:02d}.dcm", values=anatomy(film), patient_id=number, study=f"study {film}")
    twin = archive / f"twin{films.start}.dcm"  # equal pixels of another patient
    write_film(twin, values=anatomy(films.start + 3), patient_id="PAT-1", study=f"twin {films.start}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAE_RAD_KEY", SECRET)
        _films(folder / "A", range(18))
        scan([folder / "A"], folder / "P", ScanSettings(workers=1))
        shard(folder / "P", folder / "Q", settings())
        _films(folder / "A", range(18, 30))
        scan([folder / "A"], folder / "P", ScanSettings(workers=1))
        append(folder / "P", folder / "Q", settings())
    names = [Path(path).name for path in read_linkage(folder / "P")["path"].to_pylist()]
    (folder / "labels.csv").write_text("path,label,value\n" + "".join(f"{name},fracture,present\n" for name in names))
    edges = "path,label,x_min,y_min,x_max,y_max\n"
    (folder / "boxes.csv").write_text(edges + "".join(f"{name},fracture,1,2,30,40\n" for name in names))
    write_labels(folder / "P", folder / "Q", LabelFiles([folder / "labels.csv"], [folder / "boxes.csv"]))
    yield folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "P", tmp_path / "P")
    shutil.copytree(made / "Q", tmp_path / "Q")
    (tmp_path / "list.txt").write_text(f" {GONE.lower()}\n\n")
    return tmp_path


def _key(folder: Path) -> str:
    numbers = read_linkage(folder / "P")["patient_id"].to_pylist()
    return str(read_manifest(folder / "P")["patient"][numbers.index(GONE)].as_py())


def _film_bytes(public: Path, rows: pa.Table) -> list[bytes]:
    """Streams and sidecars of films."""
    found = []
    for row in rows.to_pylist():
        data = (public / row["shard"]).read_bytes()
        spans = ((row[f"{kind}_offset"], row[f"{kind}_size"]) for kind in ("film", "sidecar"))
        found += [data[start : start + size] for start, size in spans]
    return found


def _all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_byte_of_the_patient_is_left_and_the_others_are_as_they_were(folder: Path) -> None:
    public, key = folder / "Q", _key(folder)
    before = read_index(public)
    gone = before.filter(pc.equal(before["patient"], key))
    others = before.filter(pc.not_equal(before["patient"], key))
    equal_pixels = set(others["pixel_sha256"].to_pylist())
    assert len(gone) == 5 and equal_pixels & set(gone["pixel_sha256"].to_pylist())
    traces = {text for name in ("key", "patient", "study", "series") for text in gone[name].to_pylist()}
    traces |= {text for text in gone["pixel_sha256"].to_pylist() if text not in equal_pixels}
    films = set(_film_bytes(public, gone)) - set(_film_bytes(public, others))  # the twin has the same stream
    kept_films = _film_bytes(public, others)
    data = _all_bytes(public)
    assert all(text.encode() in data for text in traces) and all(film in data for film in films)

    removal = remove(public, folder / "list.txt", folder / "P")
    assert (removal.patients, removal.films) == (1, 5)
    data = _all_bytes(public)
    assert not [text for text in traces if text.encode() in data]
    assert not [film for film in films if film in data]
    assert not [film for film in films if film.startswith(b"\xff\x4f") and film[-300:-100] in data]
    after = read_index(public)
    same = [name for name in after.column_names if "offset" not in name and name != "same_pixels_as"]
    assert after.select(same).equals(others.select(same))
    assert _film_bytes(public, after) == kept_films
    assert key not in after["same_pixels_as"].to_pylist()
    assert set(read_labels(public)["key"].to_pylist()) == set(after["key"].to_pylist())
    assert set(read_boxes(public)["key"].to_pylist()) == set(after["key"].to_pylist())
    for generation in (public, public / "generation-001"):
        assert verify(generation) == []
        assert audit(generation, privates=[folder / "P"]).problems == []
    assert verify_generations(public) == []
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_the_dataset_is_another_and_what_was_made_from_it_is_stale(folder: Path) -> None:
    cards = [read_dataset_card(folder / "Q"), read_dataset_card(folder / "Q" / "generation-001")]
    runs = folder / "runs"
    for name, sha256 in (("old", cards[0].dataset_sha256), ("other", "0" * 64)):
        (runs / name).mkdir(parents=True)
        (runs / name / "run.json").write_text(json.dumps({"dataset_sha256": sha256}))
        table = pa.table({"key": ["k"]}).replace_schema_metadata({"dataset_sha256": sha256})
        pq.write_table(table, runs / name / "embeddings.parquet")
    removal = remove(folder / "Q", folder / "list.txt", folder / "P", [runs])
    assert [path.relative_to(runs).as_posix() for path in removal.stale] == ["old/embeddings.parquet", "old/run.json"]
    new = [read_dataset_card(folder / "Q"), read_dataset_card(folder / "Q" / "generation-001")]
    assert removal.before != removal.after and new[1].after == new[0].dataset_sha256
    assert not {card.dataset_sha256 for card in new} & {card.dataset_sha256 for card in cards}
    assert removal.before in str(removal) and "stale:" in str(removal)


def test_a_later_append_does_not_bring_the_patient_back(folder: Path, made: Path) -> None:
    remove(folder / "Q", folder / "list.txt", folder / "P")
    card = append(folder / "P", folder / "Q", settings())
    assert card is None or card.files.written == 0
    assert _key(folder) not in read_index(folder / "Q")["patient"].to_pylist()


def test_another_private_folder_does_not_bring_the_patient_back(
    folder: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", SECRET)
    remove(folder / "Q", folder / "list.txt", folder / "P")
    scan([made / "A"], folder / "other", ScanSettings(workers=1))
    card = append(folder / "other", folder / "Q", settings())
    assert card is None or card.files.written == 0
    assert _key(folder) not in read_index(folder / "Q")["patient"].to_pylist()
    with pytest.raises(SettingsError, match="films of patients were removed"):
        shard(folder / "other", folder / "Q", settings())


def test_lines_that_match_nothing_are_told(folder: Path) -> None:
    (folder / "list.txt").write_text(f"{GONE}\n{'e' * 32}\n")
    removal = remove(folder / "Q", folder / "list.txt", folder / "P")
    assert removal.films == 5 and "CHECK: 1 lines of --patients have no film here: line 2" in str(removal)


def test_keys_need_no_private_folder(folder: Path) -> None:
    (folder / "list.txt").write_text(_key(folder))
    removal = remove(folder / "Q", folder / "list.txt")
    assert removal.films == 5 and "a new folder" in str(removal)


@pytest.mark.parametrize(
    ("text", "private", "message"),
    [
        ("PAT-99\n", True, r"no patient of line 1 \(1 in all\)"),
        (f"{GONE}\n", False, "patient numbers need the private folder"),
        ("", True, "it is empty"),
        ("f" * 32, True, "none of 1 patients has a film"),
    ],
)
def test_a_list_that_does_not_fit_changes_nothing(text: str, private: bool, message: str, folder: Path) -> None:
    before = _all_bytes(folder / "Q")
    (folder / "list.txt").write_text(text)
    with pytest.raises(SettingsError, match=message) as refused:
        remove(folder / "Q", folder / "list.txt", folder / "P" if private else None)
    assert "PAT-" not in str(refused.value)
    assert _all_bytes(folder / "Q") == before


def test_an_interruption_leaves_the_folder_whole_and_nothing_beside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _all_bytes(folder / "Q")

    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(remove_module, "merge_index", stop)
        remove(folder / "Q", folder / "list.txt", folder / "P")
    assert _all_bytes(folder / "Q") == before
    assert sorted(path.name for path in folder.iterdir()) == ["P", "Q", "list.txt"]
    leftover = folder / ".Q.0123456789abcdef.old"  # of a process that was killed
    shutil.copytree(folder / "Q", leftover)
    options = ["--patients", str(folder / "list.txt"), "--private", str(folder / "P")]
    assert main(["remove", str(folder / "Q"), *options]) == 0
    assert not leftover.exists() and verify(folder / "Q") == []


def test_a_folder_is_put_back_where_a_kill_came_between_its_renames(folder: Path) -> None:
    shutil.copytree(folder / "Q", folder / ".Q.0123456789abcdef.part")
    (folder / "Q").rename(folder / ".Q.0123456789abcdef.old")
    assert remove(folder / "Q", folder / "list.txt", folder / "P").films == 5
    assert sorted(path.name for path in folder.iterdir()) == ["P", "Q", "list.txt"]
