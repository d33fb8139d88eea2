"""Failures during sharding: nothing is lost or repeated, and the same command recovers."""

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from data_prep.archive.manifest import read_linkage
from data_prep.cli.main import main
from data_prep.errors import ArchiveError, Reason, SettingsError, ShardFormatError
from data_prep.planning.settings import ShardRuntime
from data_prep.planning.shard_task import ShardTask
from data_prep.runtime.decode_process import Watch
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.shard_format.index import read_index
from data_prep.sharding import run, shard_writer
from data_prep.sharding.append import append
from data_prep.sharding.shard import dry_run, shard
from data_prep.sharding.shard_pool import write_shards
from data_prep.sharding.shard_writer import Unfinished, write_shard
from data_prep.verification.verify import verify
from tests.benchmarks.sharding.kills import finish, kill
from tests.builders.dicom_builder import write_film
from tests.builders.faulty_writer import HANG, SEGFAULT, faulty_decode, write_faulty
from tests.builders.private_builder import ONE, anatomy, make_private, settings
from tests.builders.rejected_films import shard_with_rejects

WORDS = ["max_side=64", "films_per_shard=3", "splits.val=0.25", "splits.test=0.25", "runtime.isolated=false"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with archive, private and public; six films fail in a faulty decoder."""
    folder = tmp_path_factory.mktemp("faults")
    shard_with_rejects(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def flip(path: Path, place: int = 700) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def faulty_archive(folder: Path, monkeypatch: pytest.MonkeyPatch, *comments: str) -> Path:
    """The private folder of an archive with a film for each comment, sharded by a writer that fails on it."""
    monkeypatch.setattr(run, "write_shards", partial(write_shards, write=write_faulty))
    for number in range(2):
        write_film(folder / "archive" / f"{number}.dcm", values=anatomy(number), patient_id=f"P{number}")
    for number, comment in enumerate(comments):
        path = folder / "archive" / f"odd{number}.dcm"
        write_film(path, values=anatomy(("odd", number)), patient_id=f"Q{number}", ImageComments=comment)
    return make_private(folder, monkeypatch)


def test_a_crashing_decoder_costs_one_film_until_it_is_fixed(tmp_path: Path, monkeypatch: Any) -> None:
    private, public = faulty_archive(tmp_path, monkeypatch, SEGFAULT), tmp_path / "public"
    chosen = settings(splits={"val": 0, "test": 0}, runtime={"workers": 2})
    card = shard(private, public, chosen)
    assert card.reasons == {"decoder_crashed": 1} and card.files.written == 2
    assert [reason for _, reason in card.quarantined] == ["decoder_crashed"]
    before = contents(public)
    for name in ("train-000000.json", "train-000000.tar"):  # rewritten without the film, which would crash again
        (public / name).unlink()
    assert shard(private, public, chosen) == card and contents(public) == before
    monkeypatch.setattr(run, "write_shards", write_shards)
    added = append(private, public, settings(splits={"val": 0, "test": 0}), [Reason.DECODER_CRASHED])
    assert added is not None and added.files.written == 1 and added.quarantined == []
    assert contents(public) == before and read_index(public).num_rows == 3


def test_a_hanging_file_is_reported_by_row_and_can_be_accepted_as_lost(tmp_path: Path, monkeypatch: Any) -> None:
    def hangs(task: ShardTask, public: Path, watch: Watch) -> ShardCard | Unfinished:
        return write_shard(task, public) if 2 in task.not_tried else Unfinished(task.name, ((2, timeout),))

    private, public, timeout = faulty_archive(tmp_path, monkeypatch, HANG), tmp_path / "public", Reason.DECODER_TIMEOUT
    monkeypatch.setattr(run, "write_shards", partial(write_shards, write=hangs))
    chosen = settings(splits={"val": 0, "test": 0})
    with pytest.raises(ArchiveError, match=r"manifest row 2.*runtime.accept=\[decoder_timeout\]") as caught:
        shard(private, public, chosen)
    assert "odd" not in str(caught.value) and "\n" not in str(caught.value)
    accepting = chosen.model_copy(update={"runtime": ShardRuntime(isolated=False, accept=frozenset({timeout}))})
    card = shard(private, public, accepting)
    assert card.reasons == {"decoder_timeout": 1} and card.files.written == 2
    assert shard(private, public, chosen) == card  # the shard is complete and does not change


def test_a_missing_file_can_be_accepted_as_lost_and_appended_later(tmp_path: Path, monkeypatch: Any) -> None:
    private, public = make_private(tmp_path, monkeypatch), tmp_path / "public"
    film = tmp_path / "archive" / "p3" / "PA.dcm"
    film.rename(tmp_path / "away")
    with pytest.raises(ArchiveError, match=r"runtime.accept=\[unreadable_file\]"):
        shard(private, public, settings())
    card = shard(private, public, settings(runtime={**ONE, "accept": ["unreadable_file"]}))
    assert card.reasons["unreadable_file"] == 1 and card.files.written == 13
    (tmp_path / "away").rename(film)
    added = append(private, public, settings(), [Reason.UNREADABLE_FILE])
    assert added is not None and added.files.written == 1 and "unreadable_file" not in added.reasons
    assert read_index(public).num_rows == 14 and verify(public) == []


def test_a_file_replaced_by_one_of_equal_size_is_detected(tmp_path: Path, monkeypatch: Any) -> None:
    private, film = make_private(tmp_path, monkeypatch), tmp_path / "archive" / "p3" / "PA.dcm"
    before = film.stat()
    film.write_bytes(film.read_bytes()[::-1])
    os.utime(film, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
    with pytest.raises(ArchiveError, match=r"1 file \(manifest row \d+\) changed since the scan: scan again"):
        shard(private, tmp_path / "public", settings())


def test_a_program_error_costs_one_film(tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    def wrong(film: Any, facts: Any, **options: Any) -> Any:
        if facts["row"] == row:
            raise ValueError("DOE^JANE")
        return make_sample(film, facts, **options)

    private, make_sample = make_private(tmp_path, monkeypatch), shard_writer.make_sample
    (row,) = [one["row"] for one in read_linkage(private).to_pylist() if one["path"].endswith("p3/PA.dcm")]
    monkeypatch.setattr(shard_writer, "make_sample", wrong)
    card = shard(private, tmp_path / "public", settings())
    assert card.reasons["decoder_crashed"] == 1 and card.files.written == 13
    assert f"manifest row {row}: ValueError in test_faults.py" in caplog.text and "DOE" not in caplog.text


def test_damage_that_verify_finds_is_repaired_by_the_same_command(
    private: Path, public: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(public)
    flip(public / "train-000001.tar", 2000)
    flip(public / "val-000000.parquet")
    flip(public / "index.parquet")
    assert main(["verify", str(public)]) == 1
    assert "it rewrites train-000001, val-000000" in capsys.readouterr().out
    command = ["shard", str(private), "--out", str(public), *WORDS, "runtime.max_reject_fraction=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_writer, "decode_file", faulty_decode)
        assert main(command) == 0
    assert contents(public) == before and main(["verify", str(public)]) == 0


@pytest.mark.slow
def test_three_kills_lose_nothing(private: Path, public: Path, tmp_path: Path) -> None:
    command = ["shard", str(private), "--out", "PUBLIC", *WORDS, "runtime.isolated=true", "runtime.workers=2"]
    command.append("runtime.max_reject_fraction=1")
    for seconds in (1.0, 1.5, 2.0):
        kill(command, tmp_path / "killed", seconds)
    card = shard(private, tmp_path / "whole", settings())
    assert card.files.written == 20
    assert contents(finish(command, tmp_path / "killed")) == contents(tmp_path / "whole")


def test_dry_run_reports_the_plan_and_writes_nothing(private: Path, public: Path, tmp_path: Path) -> None:
    planned = dry_run(private, tmp_path / "new", settings())
    assert not (tmp_path / "new").exists() and planned.shards_done == 0
    assert (planned.files, sum(planned.reasons.values())) == (24, 3)
    assert (
        sum(files for files, _ in planned.planned.values()) == 21 == planned.estimate.files == planned.estimate.sampled
    )
    size = sum(path.stat().st_size for path in public.glob("*.tar")) * 20 / 14
    assert planned.estimate.bytes == pytest.approx(size, rel=0.5) and planned.estimate.core_seconds > 0
    assert "estimate, from 21 sampled files:" in str(planned) and "nothing was written" in str(planned)
    before = contents(public)
    (public / "train-000000.json").unlink()
    assert dry_run(private, public, settings()).shards_done == len(list(public.glob("*.tar"))) - 1
    assert {**contents(public), "train-000000.json": before["train-000000.json"]} == before
    with pytest.raises(ShardFormatError, match="seed"):
        dry_run(private, public, settings(seed=1))


def test_a_disk_with_too_little_space_is_refused_before_the_start(
    private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr("data_prep.sharding.estimate.shutil.disk_usage", lambda path: usage)
    with pytest.raises(ShardFormatError, match=r"free disk space: 10 kB .* kB .*runtime.check_disk=false"):
        shard(private, tmp_path / "public", settings())
    assert not list((tmp_path / "public").glob("*-*"))
    shard(private, tmp_path / "public", settings(runtime={**ONE, "check_disk": False}))


def test_given_splits_are_honoured_and_their_table_is_not_named(private: Path, tmp_path: Path) -> None:
    table = tmp_path / "official.csv"
    table.write_text("patient,split\nMRN-0417-1,test\nMRN-0417-2,val\nMRN-9,test\n")
    chosen = settings(splits={"val": 0, "test": 0, "table": str(table)})
    card = shard(private, tmp_path / "public", chosen)
    assert card.patients["test"] == card.patients["val"] == 1
    for path in (tmp_path / "public").iterdir():
        assert b"official" not in path.read_bytes() and b"MRN" not in path.read_bytes()
    table.write_text(table.read_text().replace("MRN-0417-2,val", "MRN-0417-2,test"))
    with pytest.raises(ShardFormatError, match=r"splits.table: .* in the folder, .* given"):
        shard(private, tmp_path / "public", chosen)


def test_of_two_splits_for_one_patient_the_strictest_counts(
    tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2):  # in one study
        path = tmp_path / "archive" / f"{number}.dcm"
        write_film(path, values=anatomy(number), patient_id=f"MRN-{number}", StudyInstanceUID="1.2.3")
    private, table = make_private(tmp_path, monkeypatch), tmp_path / "table.csv"
    table.write_text("patient,split\nMRN-0,test\nMRN-1,val\n")
    assert shard(private, tmp_path / "public", settings(splits={"table": str(table)})).films["test"] == 2
    assert "several splits to 1 patients with more than one number" in caplog.text and "MRN" not in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [("person,split\n", "no column 'patient'"),
     ("patient,split\n1,train\n2,elsewhere\n", "line 3: needs a patient and one of"),
     ("patient,split\n1,train\n1,val\n", "line 3: the patient has two splits"), ("patient,split\n1,val\n", "names no")],
)  # fmt: skip
def test_a_wrong_table_of_splits_is_reported_by_line(text: str, message: str, private: Path, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(SettingsError, match=message) as caught:
        shard(private, tmp_path / "public", settings(splits={"table": str(tmp_path / "table.csv")}))
    assert "elsewhere" not in str(caught.value)
