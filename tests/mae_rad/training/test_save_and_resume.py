"""A checkpoint is complete or absent, and a damaged one does not end a run."""

import errno
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mae_rad.errors import RunError
from mae_rad.training.deepspeed_engine import Ranks, join_ranks
from mae_rad.training.save_and_resume import Checkpoints, Placement


class Writer:
    """Stands for the engine: what DeepSpeed would write, with the step as its content."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def save(self, folder: Path, tag: str, state: dict[str, Any]) -> str | None:
        self.tag = tag
        (folder / tag).mkdir()
        (folder / tag / "mp_rank_00_model_states.pt").write_bytes(b"weights of " + str(state["step"]).encode())
        if self.fails:
            return "the disk is gone"
        (folder / tag / "zero_pp_rank_0_mp_rank_00_optim_states.pt").write_bytes(b"moments")
        return None


@pytest.fixture(scope="module")
def ranks() -> Ranks:
    return join_ranks(1)


@pytest.fixture
def checkpoints(ranks: Ranks, tmp_path: Path) -> Iterator[Checkpoints]:
    made = Checkpoints(tmp_path, ranks, 0, keep=2)
    for step in (1, 2, 3):
        made.save(Writer(), step)  # type: ignore[arg-type]
    yield made


def _tags(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_an_old_one_that_cannot_be_removed_yet_ends_nothing(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    remove = shutil.rmtree

    def busy(path: Path, **more: Any) -> None:
        if path.name == "step-0000002":
            raise OSError(errno.ENOTEMPTY, "Directory not empty")  # .nfs files: somebody reads it
        remove(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr("mae_rad.training.save_and_resume.shutil.rmtree", busy)
        checkpoints.save(Writer(), 4)  # type: ignore[arg-type]
    assert "the old checkpoint step-0000002 cannot be deleted yet (Directory not empty)" in caplog.text
    newest = checkpoints.newest()
    assert newest is not None and newest.step == 4
    checkpoints.save(Writer(), 5)  # type: ignore[arg-type]
    assert _tags(checkpoints) == ["latest.json", "step-0000004", "step-0000005"]


def test_the_newest_few_stay(checkpoints: Checkpoints) -> None:
    assert _tags(checkpoints) == ["latest.json", "step-0000002", "step-0000003"]
    newest = checkpoints.newest()
    assert newest is not None
    assert (newest.tag, newest.step, newest.placement) == ("step-0000003", 3, Placement(0, 1))
    assert json.loads((checkpoints.folder / "latest.json").read_text())["tag"] == newest.tag


def test_a_folder_without_checkpoint_begins_anew(ranks: Ranks, tmp_path: Path) -> None:
    assert Checkpoints(tmp_path, ranks, 0, keep=1).newest() is None


def _truncate(folder: Path) -> None:
    with (folder / "mp_rank_00_model_states.pt").open("r+b") as file:
        file.truncate(4)


def _flip(folder: Path) -> None:
    with (folder / "mp_rank_00_model_states.pt").open("r+b") as file:
        file.write(b"W")


def _lose_a_file(folder: Path) -> None:
    (folder / "zero_pp_rank_0_mp_rank_00_optim_states.pt").unlink()


def _lose_the_record(folder: Path) -> None:
    (folder / "complete.json").unlink()


def _cut_the_record(folder: Path) -> None:
    (folder / "complete.json").write_text('{"step": 3')


@pytest.mark.parametrize("damage", [_truncate, _flip, _lose_a_file, _lose_the_record, _cut_the_record])
def test_a_damaged_newest_one_gives_way_to_the_one_before(
    checkpoints: Checkpoints, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    damage(checkpoints.folder / "step-0000003")
    with caplog.at_level(logging.WARNING):
        newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == 2
    assert "step-0000003 is damaged" in caplog.text
    checkpoints.save(Writer(), 3)  # type: ignore[arg-type]  # taken again, it takes the place of the damaged one
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == 3


def test_a_run_without_an_undamaged_checkpoint_is_an_error(checkpoints: Checkpoints) -> None:
    for step in (2, 3):
        _truncate(checkpoints.folder / f"step-{step:07d}")
    with pytest.raises(RunError, match=r"every checkpoint .* is damaged"):
        checkpoints.newest()


def test_a_failed_checkpoint_keeps_the_previous_one_and_training_continues(
    checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints.save(Writer(fails=True), 4)  # type: ignore[arg-type]
    assert "the checkpoint of step 4 cannot be written (rank 0: the disk is gone)" in caplog.text
    assert _tags(checkpoints) == ["latest.json", "step-0000002", "step-0000003"], "its room is not given back"
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == 3
    with pytest.raises(RunError, match=r"step 4 cannot be written \(rank 0: the disk is gone\)"):
        checkpoints.save(Writer(fails=True), 4, last=True)  # type: ignore[arg-type]
    checkpoints.save(Writer(), 4)  # type: ignore[arg-type]
    assert _tags(checkpoints) == ["latest.json", "step-0000003", "step-0000004"]


def test_a_disk_that_fails_when_the_checkpoint_gets_its_name_ends_nothing(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patch:
        patch.setattr("mae_rad.training.save_and_resume.atomic_text", fails)
        checkpoints.save(Writer(), 4)  # type: ignore[arg-type]
    assert "cannot be written (Disk quota exceeded)" in caplog.text
    newest = checkpoints.newest()
    assert newest is not None and newest.step == 3


def test_what_was_being_written_is_removed_and_its_name_never_comes_again(checkpoints: Checkpoints) -> None:
    names = set()
    for step in (4, 5):
        left = checkpoints.folder / f".partial-left{step}"
        left.mkdir()
        (left / "mp_rank_00_model_states.pt").write_bytes(b"half")
        writer = Writer()
        checkpoints.save(writer, step)  # type: ignore[arg-type]
        names.add(writer.tag)
        assert not left.exists()
    assert len(names) == 2
    assert _tags(checkpoints) == ["latest.json", "step-0000004", "step-0000005"]


def test_a_full_disk_keeps_the_previous_checkpoint_and_training_continues(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = shutil.disk_usage(checkpoints.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    checkpoints.save(Writer(), 4)  # type: ignore[arg-type]
    assert "Free disk space" in caplog.text
    with pytest.raises(RunError, match="Free disk space"):
        checkpoints.save(Writer(), 4, last=True)  # type: ignore[arg-type]
    assert _tags(checkpoints) == ["latest.json", "step-0000002", "step-0000003"]


def test_only_stage_0_fits_other_ranks() -> None:
    assert Placement(0, 2).fits(Placement(0, 5))
    assert Placement(2, 2).fits(Placement(2, 2))
    assert not Placement(2, 2).fits(Placement(2, 4))
    assert not Placement(0, 1).fits(Placement(1, 1))


@pytest.mark.parametrize(("stage", "other"), [(0, 1), (2, 0), (2, 3), (3, 1)])
def test_another_stage_is_refused(ranks: Ranks, tmp_path: Path, stage: int, other: int) -> None:
    Checkpoints(tmp_path, ranks, stage, keep=1).save(Writer(), 1)  # type: ignore[arg-type]
    later = Checkpoints(tmp_path, ranks, other, keep=1)
    with (
        pytest.raises(RunError, match=f"saved with runtime.zero_stage={stage} and"),
        later.loadable_folder(later.newest()),
    ):
        pass
