"""Shards from several machines: the bytes of one, whatever overlaps, is preempted or comes twice."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.cli import main
from data_prep.errors import ArchiveError, FolderBusyError, Reason, SettingsError, ShardFormatError
from data_prep.planning.plan_inputs import read_inputs
from data_prep.planning.settings import ShardSettings, SubmitSettings
from data_prep.runtime.folder_lock import locked
from data_prep.runtime.secret_environment import SECRET_VARIABLE
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.sharding.append import append
from data_prep.sharding.public_folder import folder_writer
from data_prep.sharding.shard import shard, shard_part
from data_prep.sharding.slurm import submit
from tests.builders.private_builder import SECRET, make_private, settings
from tests.builders.processes.slurm_cluster import missing
from tests.data_prep.sharding.test_append import contents, write_study


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with archive, private and the shards of one process."""
    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        shard(make_private(folder, patch), folder / "public", settings())
    return folder


def part(number: int, of: int) -> ShardSettings:
    return settings(runtime={"workers": 1, "isolated": False, "part": f"{number}/{of}"})


def submitted(**slurm: object) -> SubmitSettings:
    slurm = {"jobs": 2, "cpus": 1, "cluster": "local"} | slurm
    return SubmitSettings.model_validate(settings().model_dump() | {"slurm": slurm})


def test_parts_in_any_order_are_the_shards_of_one_machine(made: Path, tmp_path: Path) -> None:
    public = tmp_path / "public"
    shards = [shard_part(made / "private", public, part(number, 3)) for number in (2, 0, 1)]
    assert sum(shards) == len(list((made / "public").glob("*.tar"))) and all(shards)
    with pytest.raises(ShardFormatError, match="not finished"):
        read_dataset_card(public)
    shard(made / "private", public, settings())
    assert contents(public) == contents(made / "public")


def test_parts_may_overlap_and_repeat(made: Path, tmp_path: Path) -> None:
    public = tmp_path / "public"
    inputs = read_inputs(made / "private", public, settings())
    with folder_writer(public, inputs.identity, shared=True):  # as if another part were running
        assert shard_part(made / "private", public, part(0, 2)) > 0
        assert shard_part(made / "private", public, part(0, 2)) == 0
        assert shard_part(made / "private", public, part(0, 1)) > 0
        with pytest.raises(FolderBusyError):
            shard(made / "private", public, settings())
    assert shard(made / "private", public, settings()) == read_dataset_card(made / "public")
    assert contents(public) == contents(made / "public")


def test_a_part_leaves_the_files_of_others_alone(made: Path, tmp_path: Path) -> None:
    public = tmp_path / "public"
    shard_part(made / "private", public, part(0, 2))
    others = public / ".train-000001.tar.0123.part"
    others.write_bytes(b"another machine writes this")
    shard_part(made / "private", public, part(1, 2))
    assert others.exists()
    shard(made / "private", public, settings())
    assert not others.exists()


def test_failures_of_parts_are_in_the_dataset_card(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that rejects a file records it, so that the card equals that of one machine."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    archive = Path(shutil.copytree(made / "archive", tmp_path / "archive"))
    scan([archive], tmp_path / "private", ScanSettings(workers=1))
    (archive / "p0" / "PA.dcm").unlink()
    lost = {"workers": 1, "isolated": False, "accept": ["unreadable_file"]}
    whole = shard(tmp_path / "private", tmp_path / "whole", settings(runtime=lost))
    for number in (0, 1):
        runtime = lost | {"part": f"{number}/2"}
        shard_part(tmp_path / "private", tmp_path / "parts", settings(runtime=runtime))
    assert shard(tmp_path / "private", tmp_path / "parts", settings()) == whole
    assert [reason for _, reason in whole.quarantined] == [Reason.UNREADABLE_FILE]


@pytest.mark.slow
def test_submit_on_this_machine_writes_the_same_bytes(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv(SECRET_VARIABLE, "a secret that no job should see")
    private = Path(shutil.copytree(made / "private", tmp_path / "private"))
    queued = submit(private, tmp_path / "public", submitted())
    assert contents(tmp_path / "public") == contents(made / "public")
    assert queued.jobs == 2 and queued.logs == private / "slurm"
    assert queued.logs.stat().st_mode & 0o077 == 0
    assert SECRET_VARIABLE not in os.environ


def test_append_in_parts(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("archive", "public"):
        shutil.copytree(made / name, tmp_path / name)
    write_study(tmp_path / "archive", 40, study="new", names=("PA", "LL"))
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    scan([tmp_path / "archive"], tmp_path / "private", ScanSettings(workers=1))
    words = ["append", str(tmp_path / "private"), "--out", str(tmp_path / "public")]
    run = ["runtime.workers=1", "runtime.isolated=false"]
    for number in (0, 1):
        assert main.main([*words, *run, f"runtime.part={number}/2"]) == 0
    assert len(generation_folders(tmp_path / "public")) == 1
    card = append(tmp_path / "private", tmp_path / "public", settings())
    assert card is not None and card.files.written == 2
    assert len(generation_folders(tmp_path / "public")) == 2


@pytest.mark.parametrize("word", ["2/2", "1", "a/b", "-1/2", "0/0"])
def test_a_wrong_part_is_reported(made: Path, tmp_path: Path, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["shard", str(made / "private"), "--out", str(tmp_path / "public"), f"runtime.part={word}"]
    assert main.main(words) == 2
    assert "runtime.part" in capsys.readouterr().err


def test_submit_reports_what_is_wrong(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="Leave it out"):
        submit(made / "private", tmp_path / "public", submitted().model_copy(update={"runtime": part(0, 2).runtime}))
    with pytest.raises(ArchiveError, match="scan"):
        submit(tmp_path, tmp_path / "public", submitted())
    monkeypatch.setenv("PATH", "")
    private = Path(shutil.copytree(made / "private", tmp_path / "private"))
    with pytest.raises(ArchiveError, match="Check that sbatch is installed"):
        submit(private, tmp_path / "public", submitted(cluster="slurm"))


def test_shared_locks_coexist_and_exclude_an_exclusive_one(tmp_path: Path) -> None:
    with locked(tmp_path, shared=True), locked(tmp_path, shared=True), pytest.raises(BlockingIOError), locked(tmp_path):
        pass
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path, shared=True):
        pass


@pytest.mark.slurm
@pytest.mark.slow
def test_slurm_writes_the_same_bytes_when_a_task_is_queued_again(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why := missing():
        pytest.skip(why)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    private = Path(shutil.copytree(made / "private", tmp_path / "private"))
    queued = submit(private, tmp_path / "public", submitted(cluster="slurm", memory_gb=None))
    subprocess.run(["scontrol", "requeue", f"{queued.array}_1"], check=False)  # as preemption does
    for _ in range(120):
        states = subprocess.run(
            ["squeue", "-h", "-j", f"{queued.array},{queued.publishing}", "-o", "%T"],
            capture_output=True,
            text=True,
            check=False,
        )
        if not states.stdout.strip():
            break
        time.sleep(1)
    assert contents(tmp_path / "public") == contents(made / "public")
