"""Interruptions, damage and other commands in a folder with generations."""

import errno
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_prep.cli import main
from data_prep.dataset_report.census import compute_census
from data_prep.dataset_report.folder_state import read_folder
from data_prep.dataset_report.report_page import write_report
from data_prep.errors import FolderBusyError, ShardFormatError
from data_prep.labels.write_labels import LabelFiles, write_labels
from data_prep.pages.border_sheets import write_border_sheets
from data_prep.pages.preview_sheet import write_preview
from data_prep.runtime.secret_environment import SECRET_VARIABLE
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.index import read_index
from data_prep.sharding.append import append, append_part
from data_prep.sharding.public_folder import locked_folder
from data_prep.sharding.shard import shard
from data_prep.verification.audit import audit
from data_prep.verification.verify import verify, verify_generations
from mae_rad.data.shard_reader import ShardIndex
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import SECRET, anatomy, make_private, settings
from tests.data_prep.shard_format.test_frames import write_frames
from tests.data_prep.sharding.test_append import films, rescan, write_study


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An archive, a private folder, and the two generations in public that it has given."""
    folder = tmp_path_factory.mktemp("generations")
    with pytest.MonkeyPatch.context() as patch:
        private = make_private(folder, patch)
        shard(private, folder / "public", settings())
        for number in range(2):
            write_study(folder / "archive", 50 + number, study="new", names=("PA", "LL"))
        rescan(private)
        append(private, folder / "public", settings())
        yield folder


@pytest.fixture
def grown(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    return Path(shutil.copytree(made, tmp_path / "made"))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def batch(folder: Path, number: int = 7) -> Path:
    """A private folder of next month's export alone: one film."""
    values = anatomy(("batch", number))
    write_film(folder / f"batch{number}" / "film.dcm", values=values, patient_id=f"P{number}", study="batch")
    scan([folder / f"batch{number}"], folder / f"private{number}", ScanSettings(workers=1))
    return folder / f"private{number}"


def test_a_damaged_generation_is_rewritten_by_append(grown: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public, before = grown / "public", tree(grown / "public")
    damaged = next((public / "generation-001").glob("*.tar"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert main.main(["verify", str(public)]) == 1
    assert "run the same append command again; it rewrites" in capsys.readouterr().out
    append(grown / "private", public, settings())
    assert tree(public) == before
    (public / "generation-001" / "index.parquet").write_bytes(b"damaged")
    append(grown / "private", public, settings())
    assert tree(public) == before


def test_a_damaged_generation_needs_its_own_scan(grown: Path) -> None:
    public = grown / "public"
    next((public / "generation-001").glob("*-*.json")).unlink()
    with pytest.raises(ShardFormatError, match="another scan than the one that they came from"):
        append(batch(grown), public, settings())


def test_append_locks_the_folder(grown: Path) -> None:
    public, private = grown / "public", batch(grown)
    with locked_folder(public, shared=True):
        assert append_part(private, public, settings(runtime={"part": "0/1", "workers": 1, "isolated": False})) == 1
        with pytest.raises(FolderBusyError):
            append(private, public, settings())
    with locked_folder(public), pytest.raises(FolderBusyError):
        append(private, public, settings())
    append(private, public, settings())
    assert [folder.name for folder in generation_folders(public)][1:] == ["generation-001", "generation-002"]


def test_a_folder_that_cannot_be_written_is_reported(grown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public, private = grown / "public", batch(grown)

    def full(path: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path), None, str(target))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(ShardFormatError, match=r"cannot be written \(No space left on device\). Correct that"):
            append(private, public, settings())
    append(private, public, settings())
    assert len(generation_folders(public)) == 3


def test_two_appends_at_once_make_one_generation(grown: Path) -> None:
    public, private = grown / "public", batch(grown)
    outcomes: list[str] = []

    def work() -> None:
        try:
            outcomes.append("added" if append(private, public, settings()) else "nothing")
        except FolderBusyError:
            outcomes.append("busy")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("added") == 1 and len(outcomes) == 4
    assert sorted(path.name for path in public.iterdir() if path.is_dir()) == ["generation-001", "generation-002"]
    assert verify_generations(public) == []


def test_an_unfinished_generation_that_follows_other_shards_starts_again(grown: Path) -> None:
    public, private = grown / "public", batch(grown)
    append_part(private, public, settings(runtime={"part": "0/1", "workers": 1, "isolated": False}))
    begun = public / ".generation-002" / ".unfinished.json"
    begun.write_text(json.dumps(json.loads(begun.read_text()) | {"after": "0" * 64}))
    append(private, public, settings())
    assert len(generation_folders(public)) == 3 and not begun.parent.exists()


@pytest.mark.parametrize("frames", [None, 1, 2, 3])
def test_a_file_with_several_films_is_recognised(
    frames: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None: the same file under another body part; 2: the same frames."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    values = [anatomy(("frame", number)) for number in range(3)]
    base: dict[str, Any] = {"sop": "1.2.3", "patient_id": "P", "window": (2048, 4096)}
    write_frames(tmp_path / "archive" / "f.dcm", values[:2], BodyPartExamined="HAND", **base)
    scan([tmp_path / "archive"], tmp_path / "private", ScanSettings(workers=1))
    shard(tmp_path / "private", tmp_path / "public", settings())
    assert read_index(tmp_path / "public").num_rows == 2
    part = "FOOT" if frames is None else "HAND"
    write_frames(tmp_path / "later" / "f.dcm", values[: frames or 2], BodyPartExamined=part, **base)
    scan([tmp_path / "later"], tmp_path / "private2", ScanSettings(workers=1))
    card = append(tmp_path / "private2", tmp_path / "public", settings())
    reason = {None: "duplicate", 1: "uid_conflict", 2: None, 3: "uid_conflict"}[frames]
    assert (card.reasons if card else None) == ({reason: 1} if reason else None)


def test_equal_pixels_are_reported_across_generations(grown: Path) -> None:
    """As in one run over everything: no pixels twice, and nothing of an evaluation set is lost."""
    for name in ("again", "and again"):
        write_study(grown / "archive", 60, study=name)
        write_film(grown / "archive" / "p60" / f"{name}.dcm", values=anatomy((1, "PA")), patient_id=f"MRN-{name}",
                   study=name, window=(2048, 4096), photometric="MONOCHROME1", BodyPartExamined="CHEST")  # fmt: skip
    rescan(grown / "private")
    append(grown / "private", grown / "public", settings())
    shard(grown / "private", grown / "whole", settings())
    assert films(grown / "public").equals(films(grown / "whole"))
    index = read_index(grown / "public")
    assert len(index) - index["same_pixels_as"].null_count == 2
    assert len(ShardIndex([grown / "public"], split=None, where={"same_pixels_as": None})) == len(index) - 2
    assert read_dataset_card(grown / "whole").same_pixels == 2
    assert [verify(folder) for folder in generation_folders(grown / "public")] == [[], [], []]


def test_films_of_all_generations_are_read_by_their_index(grown: Path) -> None:
    index = read_index(grown / "public")
    assert {Path(shard).parent.name for shard in index["shard"].to_pylist()} == {"", "generation-001"}
    assert all((grown / "public" / shard).is_file() for shard in index["shard"].to_pylist())
    assert read_index(grown / "public", ["shard", "same_pixels_as"]).column_names == ["shard", "same_pixels_as"]


def test_a_film_in_two_generations_is_reported(grown: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public = grown / "public"
    shutil.rmtree(public / "generation-001")
    shard(grown / "private", grown / "other", settings())
    card = read_dataset_card(grown / "other").model_dump(mode="json")
    card["after"] = read_dataset_card(public).dataset_sha256
    (grown / "other").rename(public / "generation-001")
    (public / "generation-001" / "dataset.json").write_text(json.dumps(card, indent=2, sort_keys=True))
    assert main.main(["verify", str(public)]) == 1
    output = capsys.readouterr().out
    assert (
        "problems across generations:" in output
        and output.count("in the index 2 times") == len(read_index(public)) - 18
    )


def test_pages_and_sheets_show_all_generations(grown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public, count = grown / "public", len(read_index(grown / "public"))
    assert compute_census(public).films == count == 18
    assert write_border_sheets(public, tmp_path / "borders", films=2).films == count
    write_preview(public, tmp_path / "sheet.png", films=100, split=None)
    report = write_report(public, tmp_path / "report.html")
    assert report.films == count and "came in 2 generations" in (tmp_path / "report.html").read_text()
    folder = read_folder(public)
    assert folder.files is not None and folder.files.written == count and "already_sharded" not in folder.reasons()
    assert folder.files.rejected + folder.files.dropped == folder.rejects.num_rows
    next((public / "generation-001").glob("*.tar")).unlink()
    with pytest.raises(ShardFormatError):
        write_report(public, tmp_path / "report.html")


def test_an_audit_takes_all_scans_that_the_generations_came_from(
    grown: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public, private = grown / "public", grown / "private"
    later = batch(grown)
    append(later, public, settings())
    assert main.main(["audit", str(public), "--private", str(private), "--private", str(later)]) == 0
    assert main.main(["audit", str(public), "--private", str(private)]) == 1
    assert "hashes that the private folder does not know" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["after", "hidden"])
def test_an_audit_checks_all_generations(place: str, grown: Path) -> None:
    public = grown / "public"
    if place == "hidden":
        append_part(batch(grown), public, settings(runtime={"part": "0/1", "workers": 1, "isolated": False}))
        assert audit(public).problems == [
            ".generation-002: a generation that is not finished; run the same append command again"
        ]
        return
    card = json.loads((public / "dataset.json").read_text()) | {"after": "Meier, Anna"}
    (public / "dataset.json").write_text(json.dumps(card, indent=2, sort_keys=True))
    assert "dataset.json: after is no hash" in audit(public).problems


def test_labels_of_another_scan_stay(grown: Path) -> None:
    public, later = grown / "public", batch(grown)
    append(later, public, settings())
    for private, name, value in (
        (grown / "private", "p1/PA.dcm", "present"),
        (later, "batch7/film.dcm", "present"),
        (later, "batch7/film.dcm", "absent"),
    ):
        (grown / "labels.csv").write_text(f"path,label,value\n{name},fracture,{value}\n")
        write_labels(private, public, LabelFiles([grown / "labels.csv"]))
    assert sorted(pq.read_table(public / "labels.parquet")["value"].to_pylist()) == ["absent", "present"]
    assert audit(public).problems == []


def test_an_interrupted_scan_continues_in_a_folder_with_logs(grown: Path) -> None:
    """Logs of Slurm and tables of a census in a private folder do not prevent its use."""
    private = grown / "private"
    (private / "slurm").mkdir()
    (private / "census.html").touch()
    (private / "manifest.parquet").unlink()
    rescan(private)
    assert append(private, grown / "public", settings()) is not None


@pytest.mark.slow
def test_an_append_that_is_killed_between_any_two_steps_continues() -> None:
    """Some of the moments of tests/benchmarks/sharding/append_kills.py."""
    command = [sys.executable, "-m", "tests.benchmarks.sharding.append_kills", "--every", "19"]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("the same bytes after each") == 3
