"""Nothing of a checkpoint is unpickled unless the user, or someone whom the user trusts, has written it."""

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from mae_rad.errors import RunError, WeightsError
from mae_rad.export.checkpoint_encoder import checkpoint_folder
from mae_rad.training import checkpoint_seal
from mae_rad.training.checkpoint_seal import has_valid_seal, sealed
from mae_rad.training.deepspeed_engine import Ranks, join_ranks
from mae_rad.training.save_and_resume import Checkpoints, read_record

WEIGHTS = "mp_rank_00_model_states.pt"


class Writer:
    """Stands for the engine."""

    def save(self, folder: Path, tag: str, state: dict[str, Any]) -> str | None:
        (folder / tag).mkdir()
        (folder / tag / WEIGHTS).write_bytes(b"weights of step %d" % state["step"])
        return None


@pytest.fixture(scope="module")
def ranks() -> Ranks:
    return join_ranks(1)


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home" / ".mae_rad" / "run_secret"
    monkeypatch.setenv("MAE_RAD_RUN_SECRET", str(path))
    return path


@pytest.fixture
def run(ranks: Ranks, secret: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    Checkpoints(folder, ranks, 0, keep=2).save(Writer(), 4)  # type: ignore[arg-type]
    return folder


def _forge(folder: Path) -> None:
    """What a stranger can do: other files, and a record that fits them."""
    path = folder / "step-0000004" / "complete.json"
    record = json.loads(path.read_text())
    forged = b"cos\nsystem\n(S'touch PWNED'\ntR."
    (folder / "step-0000004" / WEIGHTS).write_bytes(forged)
    record["files"][WEIGHTS] = [len(forged), hashlib.sha256(forged).hexdigest()]
    path.write_text(json.dumps(record))


def test_a_checkpoint_of_the_user_is_resumed_from(run: Path, ranks: Ranks) -> None:
    newest = Checkpoints(run, ranks, 0, keep=2).newest()
    assert newest is not None and newest.step == 4


def test_the_secret_is_made_once_and_for_its_owner_only(run: Path, secret: Path) -> None:
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    before = secret.read_bytes()
    assert has_valid_seal(sealed({"step": 1, "files": {}})) and secret.read_bytes() == before
    assert [path.name for path in secret.parent.iterdir()] == ["run_secret"]


def test_forged_files_with_a_record_that_fits_them_are_refused(run: Path, ranks: Ranks) -> None:
    _forge(run)
    with pytest.raises(RunError, match=r"no seal of yours.*runtime\.trust_run=true"):
        Checkpoints(run, ranks, 0, keep=2).newest()
    assert Checkpoints(run, ranks, 0, keep=2, trusted=True).newest() is not None


def test_another_user_is_refused_until_trusted(run: Path, ranks: Ranks, secret: Path) -> None:
    secret.write_bytes(b"\1" * 32)
    with pytest.raises(RunError, match="no seal of yours"):
        Checkpoints(run, ranks, 0, keep=2).newest()
    trusting = Checkpoints(run, ranks, 0, keep=2, trusted=True)
    assert trusting.newest() is not None
    trusting.save(Writer(), 5)  # type: ignore[arg-type]
    newest = Checkpoints(run, ranks, 0, keep=2).newest()  # what is written then bears the seal
    assert newest is not None and newest.step == 5


def test_an_unsealed_newest_checkpoint_does_not_give_way_in_silence(run: Path, ranks: Ranks) -> None:
    Checkpoints(run, ranks, 0, keep=2).save(Writer(), 5)  # type: ignore[arg-type]
    record = run / "step-0000005" / "complete.json"
    record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "seal"}))
    with pytest.raises(RunError, match="no seal of yours"):
        Checkpoints(run, ranks, 0, keep=2).newest()


@pytest.mark.parametrize("name", ["zero_pp_rank_0_mp_rank_00_optim_states.pt", "layer_00-model_states.pt"])
def test_a_file_beside_the_recorded_ones_is_damage(run: Path, ranks: Ranks, name: str) -> None:
    (run / "step-0000004" / name).write_bytes(b"more")
    with pytest.raises(RunError, match=r"every checkpoint .* is damaged"):
        Checkpoints(run, ranks, 0, keep=2).newest()


def test_a_link_in_place_of_a_file_is_damage(run: Path, ranks: Ranks, tmp_path: Path) -> None:
    weights = run / "step-0000004" / WEIGHTS
    (tmp_path / "elsewhere").write_bytes(weights.read_bytes())
    weights.unlink()
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"every checkpoint .* is damaged"):
        Checkpoints(run, ranks, 0, keep=2).newest()


def test_a_secret_that_others_may_read_is_refused(run: Path, ranks: Ranks, secret: Path) -> None:
    secret.chmod(0o644)
    with pytest.raises(RunError, match="chmod 600"):
        Checkpoints(run, ranks, 0, keep=2).newest()


def test_a_home_folder_that_cannot_be_written_costs_the_seal_not_the_checkpoint(
    ranks: Ranks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MAE_RAD_RUN_SECRET", str(tmp_path / "file" / "run_secret"))
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    Checkpoints(folder, ranks, 0, keep=2).save(Writer(), 1)  # type: ignore[arg-type]
    assert "bear no seal" in caplog.text
    record = read_record(folder / "step-0000001")
    assert record is not None and checkpoint_seal.SEAL not in record


def test_an_export_of_a_forged_checkpoint_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forge(run)
    monkeypatch.chdir(tmp_path)
    config = "encoder: {dim: 32, depth: 1, heads: 2, patch: 16}\nobjective: {name: mae}\noptimizer: {steps: 4}\n"
    (run.parent / "config.yaml").write_text(config)
    (run.parent / "run.json").write_text("{}")
    with pytest.raises(WeightsError, match="no seal of yours"):
        checkpoint_folder(run.parent, 4, tmp_path / "encoder")
    assert not (tmp_path / "PWNED").exists()
