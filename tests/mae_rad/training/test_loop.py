"""A training has the same losses for any number of ranks, and after an interruption."""

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mae_rad.data.batch import Batch
from tests.builders.processes.warm_python import run_ranks, run_script
from tests.builders.shard_builder import film, hexed, noise, write_public

ROOT = Path(__file__).resolve().parents[3]
STEPS = 6
TINY = [
    "precision=f32",
    "encoder={model: vit_tiny, dim: 32, depth: 2, heads: 2, patch: 16}",
    f"optimizer={{steps: {STEPS}, batch: 8, base_learning_rate: 0.03, warmup_fraction: 0.2}}",
    "runtime.workers=0", "runtime.threads=1", "runtime.log_every=1", "runtime.checkpoint_every=2",
    "runtime.picture_every=4", "runtime.pictures=2",
]  # fmt: skip
OBJECTIVES = {
    "mae": "objective={name: mae, tokens: 36, predicted: 0.5, decoder_dim: 32, decoder_depth: 1, decoder_heads: 2}",
    "simclr": "objective={name: simclr, tokens: 36, head_hidden: 32, head_dim: 16}",
}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(f"f{i}", noise(120, 100, seed=i), study=hexed("study", i // 2)) for i in range(20)]
    films += [film(f"v{i}", noise(100, 120, seed=90 + i), split="val") for i in range(8)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def _arguments(public: Path, run: Path, objective: str = "mae", *more: str) -> list[str]:
    config = ROOT / "configs" / "pretrain" / f"demo_{objective}.yaml"
    places = [f"data.shards=[{public}]", f"runtime.run_dir={run}"]
    return ["--config", str(config), *places, *TINY, OBJECTIVES[objective], *more]


def _settings(public: Path, run: Path, objective: str = "mae", *more: str) -> Any:
    from data_prep.settings import load
    from mae_rad.pretraining.settings import PretrainSettings

    arguments = _arguments(public, run, objective, *more)
    return load(PretrainSettings, Path(arguments[1]), arguments[2:])


def _pretrain(*arguments: Any) -> None:
    from mae_rad.pretraining.run import pretrain

    pretrain(_settings(*arguments))


def _environment() -> dict[str, str]:
    ranks = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}  # of this process
    return {name: value for name, value in os.environ.items() if name not in ranks} | {"OMP_NUM_THREADS": "1"}


def _launch(arguments: list[str], ranks: int) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command = [*start, str(ROOT / "launch" / "pretrain.py"), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=300, check=False
    )


def _losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def uninterrupted(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    _pretrain(public, run)
    return run


def _stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    from mae_rad.training.deepspeed_engine import Engine

    forward = Engine.forward
    taken = 0

    def interrupted(self: Any, batch: Batch) -> Any:
        nonlocal taken
        if taken == step:
            raise KeyboardInterrupt
        taken += 1
        return forward(self, batch)

    monkeypatch.setattr(Engine, "forward", interrupted)
    return monkeypatch.undo


def test_the_run_folder_holds_its_documented_files(uninterrupted: Path) -> None:
    names = {"config.yaml", "run.json", "checkpoints", "encoder", "metrics.jsonl", "mlflow_run", "samples"}
    assert {path.name for path in uninterrupted.iterdir()} == names
    assert sorted(path.name for path in (uninterrupted / "samples").iterdir()) == [
        "step-0000004.png",
        "step-0000006.png",
    ]
    assert len(_losses(uninterrupted)) == STEPS
    for line in (uninterrupted / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        assert 0 < values["flops_utilisation"] < 1
        assert values["memory_gib"] > 0.1
        assert 0 <= values["data_wait"] <= 1
        assert values["films_per_second"] > 0
    assert (uninterrupted.parent / "mlflow.db").exists()


@pytest.mark.parametrize("stop", [3, 4, 5])
def test_resume_is_bitwise_identical(
    public: Path, uninterrupted: Path, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "interrupted"
    go_on = _stop_at(stop, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        _pretrain(public, run)
    go_on()
    _pretrain(public, run)
    assert _losses(run) == _losses(uninterrupted)
    weights, expected = (load_file(folder / "encoder" / "encoder.safetensors") for folder in (run, uninterrupted))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_checkpoints_are_exported_too(uninterrupted: Path, tmp_path: Path) -> None:
    from mae_rad.errors import WeightsError
    from mae_rad.export.encoder_with_decoder_folder import load_objective
    from mae_rad.export.export_run import export

    last = load_objective(export(uninterrupted, "safetensors", None, tmp_path / "last", step=STEPS))
    expected = load_objective(uninterrupted)
    weights = last.objective.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in expected.objective.state_dict().items())
    assert last.card.provenance.items() <= expected.card.provenance.items()
    assert last.settings == expected.settings

    unfinished = tmp_path / "unfinished"
    shutil.copytree(uninterrupted, unfinished, ignore=shutil.ignore_patterns("encoder"))
    newest = load_objective(export(unfinished, "safetensors", None, tmp_path / "newest"))
    assert newest.card.weights_sha256 == expected.card.weights_sha256
    earlier = load_objective(export(unfinished, "safetensors", None, tmp_path / "earlier", step=4))
    assert earlier.card.provenance["steps"] == 4
    assert earlier.card.weights_sha256 != expected.card.weights_sha256
    with pytest.raises(WeightsError, match=r"has no checkpoint step-0000003\. Choose one of its steps: 4, 6"):
        export(unfinished, "safetensors", None, tmp_path / "none", step=3)


def test_a_run_whose_encoder_found_no_room_writes_it_when_it_is_started_again(
    public: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run, ignore=shutil.ignore_patterns("encoder"))
    _pretrain(public, run)
    assert _losses(run) == _losses(uninterrupted)
    found, expected = (folder / "encoder" / "encoder.safetensors" for folder in (run, uninterrupted))
    assert found.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("objective", ["mae", "simclr"])
def test_two_ranks_train_the_model_of_one(public: Path, tmp_path: Path, objective: str) -> None:
    """One objective under torchrun, as a user starts it; the other on forked ranks, which is quicker."""
    _pretrain(public, tmp_path / "one", objective)
    words = _arguments(public, tmp_path / "two", objective)
    result = _launch(words, ranks=2) if objective == "mae" else run_ranks("pretrain", words, 2, tmp_path / "log")
    assert result.returncode == 0, result.stderr[-2000:]
    assert _losses(tmp_path / "two") == pytest.approx(_losses(tmp_path / "one"), rel=2e-5)


def test_accumulation_changes_memory_not_the_model(public: Path, uninterrupted: Path, tmp_path: Path) -> None:
    _pretrain(public, tmp_path / "run", "mae", "optimizer.accumulation=4")
    assert _losses(tmp_path / "run") == pytest.approx(_losses(uninterrupted), rel=2e-5)


def test_a_contrast_in_parts_changes_memory_not_the_model(public: Path, tmp_path: Path) -> None:
    for name, more in (("whole", []), ("parts", ["objective.films_at_once=3"])):
        _pretrain(public, tmp_path / name, "simclr", *more)
    assert _losses(tmp_path / "parts") == pytest.approx(_losses(tmp_path / "whole"), rel=1e-5)


IN_PARTS, RECOMPUTED = ("simclr", "objective.films_at_once=1"), ("mae", "encoder.checkpoint_activations=true")


@pytest.mark.parametrize(
    ("ranks", "objective"),
    [(1, IN_PARTS), *(pytest.param(2, objective, marks=pytest.mark.slow) for objective in (IN_PARTS, RECOMPUTED))],
)
def test_what_is_computed_again_in_the_backward_pass_finds_its_partitioned_weights(
    public: Path, tmp_path: Path, ranks: int, objective: tuple[str, str]
) -> None:
    """Under stage 3, which gathers the weights of each layer for its forward pass and lets them go again."""
    steps = "optimizer.steps=3"
    _pretrain(public, tmp_path / "whole", objective[0], steps)
    more = (*objective, "runtime.zero_stage=3", steps)
    # Processes of their own also for one rank: stage 3 replaces torch's linear function for the rest of a process.
    result = run_ranks("pretrain", _arguments(public, tmp_path / "parts", *more), ranks, tmp_path / "log")
    assert result.returncode == 0, result.stderr[-2000:]
    assert _losses(tmp_path / "parts") == pytest.approx(_losses(tmp_path / "whole"), rel=1e-4)


@pytest.mark.parametrize("stage", [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow), 3])
def test_partitioned_ranks_train_the_same_model_and_export_it_whole(
    public: Path, uninterrupted: Path, tmp_path: Path, stage: int
) -> None:
    words = _arguments(public, tmp_path / "run", "mae", f"runtime.zero_stage={stage}")
    result = run_ranks("pretrain", words, 2, tmp_path / "log")
    assert result.returncode == 0, result.stderr[-2000:]
    assert _losses(tmp_path / "run") == pytest.approx(_losses(uninterrupted), rel=1e-4)
    expected = load_file(uninterrupted / "encoder" / "encoder.safetensors")
    for name, tensor in load_file(tmp_path / "run" / "encoder" / "encoder.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5)


def test_metrics_are_reduced_where_the_group_lives(monkeypatch: pytest.MonkeyPatch, uninterrupted: Path) -> None:
    from mae_rad.training import deepspeed_engine

    monkeypatch.setattr(deepspeed_engine, "_group_device", lambda: torch.device("meta"))
    seen: list[torch.device] = []
    monkeypatch.setattr(deepspeed_engine.dist, "all_reduce", lambda tensor: seen.append(tensor.device))
    with pytest.raises(NotImplementedError):  # a meta tensor has no values to read
        deepspeed_engine.mean_over_ranks({"wait": torch.tensor(0.5), "loss": torch.tensor(1.0)})
    assert seen == [torch.device("meta")]


def test_a_lost_tracking_store_does_not_end_a_run(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = _stop_at(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        _pretrain(public, tmp_path / "here" / "run")
    go_on()
    shutil.move(tmp_path / "here" / "run", tmp_path / "run")
    _pretrain(public, tmp_path / "run")
    assert len(_losses(tmp_path / "run")) == STEPS


def test_a_changed_result_setting_stops_the_command_with_one_line(public: Path, uninterrupted: Path) -> None:
    script = "import sys; from launch.pretrain import main; sys.exit(main(sys.argv[1:]))"
    result = run_script(script, _arguments(public, uninterrupted, "mae", "seed=5"))
    assert result.returncode == 2
    assert "seed was 0 and is 5" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_online_probe_begins_at_the_initial_weights_and_changes_no_result(
    public: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "probed"
    go_on = _stop_at(4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        _pretrain(public, run, "mae", "runtime.probe_every=2", "runtime.probe_films=16")
    go_on()
    _pretrain(public, run, "mae", "runtime.probe_every=2", "runtime.probe_films=16")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "probe/rankme" in line] == [0, 2, 4, 6]
    assert [line["loss"] for line in lines if "loss" in line] == _losses(uninterrupted)
    weights, expected = (load_file(folder / "encoder" / "encoder.safetensors") for folder in (run, uninterrupted))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_the_peak_is_reported_before_the_first_step_and_again_where_it_is_outside(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def reports(name: str, base: float) -> list[list[str]]:
        found = []
        for stop in (4, None):  # a start, and a resumption
            caplog.clear()
            with caplog.at_level(logging.INFO), contextlib.suppress(KeyboardInterrupt):
                go_on = _stop_at(stop or STEPS, monkeypatch)
                _pretrain(public, tmp_path / name, "mae", f"optimizer.base_learning_rate={base}")
            go_on()
            found.append([one.levelname for one in caplog.records if "peak learning rate" in one.getMessage()])
        return found

    assert reports("tried", 2e-3) == [["INFO"], []]
    assert reports("outside", 0.05) == [["WARNING"], ["WARNING"]]
    card = json.loads((tmp_path / "tried" / "encoder" / "encoder.json").read_text())
    assert card["provenance"]["peak_learning_rate"] == pytest.approx(2e-3 * 8 / 256)


def test_dropped_branches_are_the_same_after_an_interruption(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("mae", "encoder.drop_path=0.5")
    _pretrain(public, tmp_path / "whole", *more)
    restore = _stop_at(4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        _pretrain(public, tmp_path / "parts", *more)
    restore()
    _pretrain(public, tmp_path / "parts", *more)
    assert _losses(tmp_path / "parts") == _losses(tmp_path / "whole")
