"""A run folder belongs to its settings and its shards."""

import errno
import json
from pathlib import Path

import pytest
from PIL import Image

from data_prep.settings import load
from mae_rad.errors import RunError, SettingsError
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.learning_rate import learning_rate
from mae_rad.training.run_folder import RunFolder
from tests.builders.full_disk import room_for

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "pretrain"


def _settings(run_dir: Path, *overrides: str) -> PretrainSettings:
    return load(PretrainSettings, CONFIGS / "demo_mae.yaml", [f"runtime.run_dir={run_dir}", *overrides])


def _started_run(run_dir: Path, *, checkpoint: bool = True) -> RunFolder:
    folder = RunFolder(_settings(run_dir), "d" * 64)
    folder.check()
    folder.begin()
    if checkpoint:
        (folder.checkpoints / "step-0000001").mkdir()
    return folder


def test_the_same_run_is_taken_up_again(tmp_path: Path) -> None:
    _started_run(tmp_path / "run")
    RunFolder(_settings(tmp_path / "run", "runtime.log_every=3", "data.shards=[elsewhere]"), "d" * 64).check()


def test_a_changed_result_setting_is_refused_and_named(tmp_path: Path) -> None:
    _started_run(tmp_path / "run")
    with pytest.raises(RunError, match=r"objective.visible was 0.25 and is 0.2"):
        RunFolder(_settings(tmp_path / "run", "objective.visible=0.2"), "d" * 64).check()


def test_a_setting_that_came_later_is_refused_only_where_it_changes_something(tmp_path: Path) -> None:
    """A release that adds a setting, here ``flip_sides``, resumes runs that started before it."""
    path = _started_run(tmp_path / "run").path / "run.json"
    began = json.loads(path.read_text())
    del began["settings"]["objective"]["flip_sides"]
    path.write_text(json.dumps(began))
    RunFolder(_settings(tmp_path / "run"), "d" * 64).check()
    with pytest.raises(RunError, match=r"objective.flip_sides was None and is True"):
        RunFolder(_settings(tmp_path / "run", "objective.flip_sides=true"), "d" * 64).check()


def test_a_run_that_learned_nothing_yet_may_begin_anew(tmp_path: Path) -> None:
    _started_run(tmp_path / "run", checkpoint=False)
    RunFolder(_settings(tmp_path / "run", "objective.visible=0.2"), "e" * 64).check()


@pytest.mark.parametrize("saved", [True, False])
def test_the_best_weights_belong_to_what_was_saved(tmp_path: Path, saved: bool) -> None:
    folder = _started_run(tmp_path / "run", checkpoint=saved)
    folder.best.write_bytes(b"weights")
    folder.release()
    folder.begin()
    assert folder.best.exists() is saved


def test_a_damaged_run_is_reported_in_one_line(tmp_path: Path) -> None:
    _started_run(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        RunFolder(_settings(tmp_path / "run"), "d" * 64).check()


def test_a_second_process_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    first = _started_run(tmp_path / "run")
    second = RunFolder(_settings(tmp_path / "run"), "d" * 64)
    with pytest.raises(RunError, match="another process"):
        second.begin()
    first.release()
    second.begin()
    second.release()


def test_a_file_system_without_locks_is_used_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown(*_: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")  # Lustre without its mount option

    monkeypatch.setattr("data_prep.runtime.folder_lock.fcntl.flock", unknown)
    for _ in range(2):
        folder = _started_run(tmp_path / "run", checkpoint=False)
        folder.release()
        assert not (tmp_path / "run" / ".lock").exists()
    assert "this file system does not support locks" in caplog.text


def test_other_shards_are_refused(tmp_path: Path) -> None:
    _started_run(tmp_path / "run")
    with pytest.raises(RunError, match="other shards"):
        RunFolder(_settings(tmp_path / "run"), "e" * 64).check()


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="holds other files"):
        RunFolder(_settings(tmp_path / "run"), "d" * 64).check()


def _lines(folder: RunFolder) -> list[dict[str, float]]:
    return [json.loads(line) for line in folder.metrics.read_text().splitlines()]


def test_steps_that_are_taken_again_leave_no_second_line(tmp_path: Path) -> None:
    folder = _started_run(tmp_path / "run")
    for step in (10, 20, 30):
        folder.log(step, {"loss": 1.0, "unknown": float("nan")})
    with folder.metrics.open("a") as file:
        file.write('{"step": 15, "lo')  # the machine stopped here
    folder.truncate_metrics(30)
    assert [line["step"] for line in _lines(folder)] == [10, 20, 30]
    with folder.metrics.open("a") as file:
        file.write("\0" * 90 + "\n")  # or its file system brought back a length without its bytes
    folder.truncate_metrics(30)
    assert [line["step"] for line in _lines(folder)] == [10, 20, 30]
    folder.truncate_metrics(20)
    assert [line.keys() for line in _lines(folder)] == [{"step", "time", "loss"}] * 2


def test_a_full_disk_delays_metrics_and_loses_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = _started_run(tmp_path / "run")
    folder.log(1, {"loss": 1.0})
    whole = folder.metrics.read_bytes()
    with room_for(len(whole) + 9):
        for step in (2, 3):
            folder.log(step, {"loss": 1.0})
    assert folder.metrics.read_bytes() == whole
    folder.log(4, {"loss": 1.0})
    assert [line["step"] for line in _lines(folder)] == [1, 2, 3, 4]
    assert len(caplog.records) == 1
    assert "metrics cannot be written" in caplog.text and "training continues" in caplog.text


def test_a_picture_that_does_not_fit_the_disk_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = _started_run(tmp_path / "run")
    folder.samples.rmdir()
    folder.write_picture(1, Image.new("L", (4, 4)))
    assert "a picture cannot be written" in caplog.text
    folder.samples.mkdir()
    folder.write_picture(2, Image.new("L", (4, 4)))
    assert [path.name for path in folder.samples.iterdir()] == ["step-0000002.png"]


def test_a_folder_resumes_after_a_crash_during_writing(tmp_path: Path) -> None:
    _started_run(tmp_path / "run").release()
    names = (".run.json.partial", ".encoder.17.partial", ".encoder.17.old", ".encoder.01ab.part", ".encoder.01ab.old")
    left = [tmp_path / "run" / name for name in (*names, "samples/.step-1.png.01ab.part")]
    left[0].write_text("{")
    left[-1].write_text("half")
    for folder_left in left[1:-1]:
        folder_left.mkdir()
        (folder_left / "encoder.safetensors").write_bytes(b"half")
    folder = RunFolder(_settings(tmp_path / "run"), "d" * 64)
    folder.check()
    folder.begin()
    folder.release()
    assert not any(path.exists() for path in left)


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    settings = _settings(Path("run"), "optimizer.steps=100", "optimizer.warmup_fraction=0.1").optimizer
    rates = [learning_rate(step, settings) for step in range(100)]
    peak = settings.base_learning_rate * settings.batch / 256
    assert max(rates) == pytest.approx(peak)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[0] == pytest.approx(peak / 10)
    assert rates[-1] < 0.001 * peak


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_config_builds(path: Path) -> None:
    from mae_rad.encoders.any_encoder import build_any_encoder
    from mae_rad.objectives import FILM

    settings = load(PretrainSettings, path)
    objective = settings.objective.build({FILM: build_any_encoder(settings.encoder)})
    assert objective.views
    assert path.read_text().startswith("# ")


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(SettingsError, match="is not divisible by accumulation 3"):
        _settings(Path("run"), "optimizer.accumulation=3")


def test_a_training_begun_anew_is_a_new_mlflow_run(tmp_path: Path) -> None:
    """What a training left that ended before its first checkpoint is not shown as that of the next one."""
    folder = _started_run(tmp_path / "run", checkpoint=False)
    folder.write_tracking_id("first")
    folder.write_picture(4, Image.new("L", (2, 2)))
    folder.evaluation.mkdir()
    folder.release()
    folder.begin()
    assert folder.tracking_id() is None
    assert not list(folder.samples.iterdir())
    assert not folder.evaluation.exists()
    (folder.checkpoints / "step-0000001").mkdir()
    folder.write_tracking_id("second")
    folder.release()
    folder.begin()
    assert folder.tracking_id() == "second"


@pytest.mark.parametrize("name", ["labels", "boxes", "start_from"])
def test_a_change_of_anything_that_was_read_is_refused_and_named(tmp_path: Path, name: str) -> None:
    inputs = {"labels": "1" * 64, "boxes": "2" * 64, "start_from": "3" * 64}
    folder = RunFolder(_settings(tmp_path / "run"), "d" * 64, inputs)
    folder.begin()
    (folder.checkpoints / "step-0000001").mkdir()
    RunFolder(_settings(tmp_path / "run"), "d" * 64, inputs).check()
    with pytest.raises(RunError, match=f"other {name}: the checksum"):
        RunFolder(_settings(tmp_path / "run"), "d" * 64, inputs | {name: "4" * 64}).check()


def test_an_encoder_that_a_resumed_run_is_not_given_stays_recorded(tmp_path: Path) -> None:
    folder = RunFolder(_settings(tmp_path / "run"), "d" * 64, {"start_from": "3" * 64})
    folder.begin()
    (folder.checkpoints / "step-0000001").mkdir()
    folder.release()
    again = RunFolder(_settings(tmp_path / "run"), "d" * 64)
    again.check()
    again.begin()
    with pytest.raises(RunError, match="other start_from"):
        RunFolder(_settings(tmp_path / "run"), "d" * 64, {"start_from": "4" * 64}).check()


@pytest.mark.parametrize("text", ["{}", "[]", '{"dataset_sha256": "d", "settings": 3}'])
def test_a_record_without_what_is_compared_is_damaged(tmp_path: Path, text: str) -> None:
    _started_run(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(text)
    with pytest.raises(RunError, match="damaged"):
        RunFolder(_settings(tmp_path / "run"), "d" * 64).check()
