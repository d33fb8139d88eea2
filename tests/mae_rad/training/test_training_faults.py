"""A fault stops all ranks before the update, with its step and films."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.settings import load
from mae_rad.data.batch import Batch
from mae_rad.errors import RunError
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders.processes.warm_python import run_ranks
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import arguments, launch


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(f"f{i}", noise(90, 90, seed=i)) for i in range(16)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


class Poison(torch.autograd.Function):
    """The loss as it is, its gradient not a number."""

    @staticmethod
    def forward(ctx: Any, loss: torch.Tensor) -> torch.Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("nan")


def _pretrain_poisoned(
    public: Path, run: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, stage: int, at: int
) -> list[str]:
    """Train until step ``at``, whose loss ``spoil`` changes; the films of that step."""
    from mae_rad.pretraining.run import pretrain
    from mae_rad.training.deepspeed_engine import Engine, NonFiniteError

    forward = Engine.forward
    batches: list[tuple[str, ...]] = []

    def poisoned(self: Any, batch: Batch) -> Any:
        batches.append(batch.keys)
        output = forward(self, batch)
        return output._replace(loss=spoil(output.loss)) if len(batches) == at + 1 else output

    update = Engine.backward_and_step

    def unchanged(self: Engine, loss: torch.Tensor, rate: float, progress: float) -> None:
        def weights() -> list[torch.Tensor]:  # under stage 3 a rank keeps its part of each
            return [getattr(weight, "ds_tensor", weight).detach().clone() for weight in self.objective.parameters()]

        before = weights()
        assert all(weight.numel() for weight in before)
        try:
            update(self, loss, rate, progress)
        except NonFiniteError:
            assert all(map(torch.equal, before, weights())), "the weights were updated"
            raise

    monkeypatch.setattr(Engine, "forward", poisoned)
    monkeypatch.setattr(Engine, "backward_and_step", unchanged)
    words = arguments(public, run, 6, f"runtime.zero_stage={stage}")
    pretrain(load(PretrainSettings, Path(words[1]), words[2:]))
    return list(batches[-1])


@pytest.mark.parametrize(
    ("what", "spoil", "stage"),
    [
        ("the loss", lambda loss: loss * float("nan"), 0),
        ("the gradient", Poison.apply, 0),
        pytest.param("the gradient", Poison.apply, 1, marks=pytest.mark.slow),
        pytest.param("the gradient", Poison.apply, 2, marks=pytest.mark.slow),
        ("the gradient", Poison.apply, 3),
    ],
)
def test_what_is_not_finite_stops_before_the_update_and_keeps_the_films(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, spoil: Any, stage: int
) -> None:
    run = tmp_path / "run"
    with pytest.raises(RunError, match=f"{what} is not finite at step 4 .*before the update") as caught:
        _pretrain_poisoned(public, run, monkeypatch, spoil, stage, at=4)
    fault = json.loads((run / "non_finite.json").read_text())
    (films,) = fault.pop("films_by_rank")
    assert fault == {"not_finite": what, "step": 4}
    assert len(films) == 8
    assert films[0] in str(caught.value)
    assert not (run / "encoder").exists()
    assert [path.name for path in (run / "checkpoints").glob("step-*")] == ["step-0000003"]
    monkeypatch.undo()
    words = arguments(public, run, 6, f"runtime.zero_stage={stage}")
    from mae_rad.pretraining.run import pretrain

    pretrain(load(PretrainSettings, Path(words[1]), words[2:]))  # the fault is gone: it goes on
    assert (run / "encoder").exists()


SPOILT_RANK = """
import os
from mae_rad.training.deepspeed_engine import Engine
forward = Engine.forward
steps = []
def spoilt(self, batch):
    steps.append(batch.keys)
    if len(steps) == 3 and os.environ["RANK"] == "1":
        {fault}
    return forward(self, batch)
Engine.forward = spoilt
"""
MAIN = """
import sys
from launch.pretrain import main
sys.exit(main(sys.argv[1:]))
"""
IN_BOTH_WAYS = pytest.mark.parametrize("under", ["fork", pytest.param("torchrun", marks=pytest.mark.slow)])
"""Forked ranks, which nobody ends but themselves, and torchrun, which ends those that are left."""


def _train_with(fault: str, public: Path, tmp_path: Path, under: str) -> Any:
    before, words = SPOILT_RANK.format(fault=fault), arguments(public, tmp_path / "run", 6)
    if under == "fork":
        return run_ranks("pretrain", words, 2, tmp_path / "log", before)
    script = tmp_path / "spoilt.py"
    script.write_text(before + MAIN)
    return launch([str(script), *words], ranks=2)


@IN_BOTH_WAYS
def test_a_loss_that_is_not_finite_on_one_rank_stops_all_and_names_its_films(
    public: Path, tmp_path: Path, under: str
) -> None:
    fault = "output = forward(self, batch); return output._replace(loss=output.loss / 0)"
    done = _train_with(fault, public, tmp_path, under)
    assert done.returncode != 0
    assert done.stderr.count("error: the loss is not finite at step 2") == 1, done.stderr
    told = json.loads((tmp_path / "run" / "non_finite.json").read_text())
    assert [len(films) for films in told["films_by_rank"]] == [0, 4]
    assert told["films_by_rank"][1][0] in done.stderr


@IN_BOTH_WAYS
def test_a_rank_that_dies_ends_the_job_with_one_message_that_names_it(public: Path, tmp_path: Path, under: str) -> None:
    done = _train_with("os.kill(os.getpid(), 9)", public, tmp_path, under)
    assert done.returncode != 0
    assert done.stderr.count("missed its heartbeat at step 2") == 1, done.stderr
    assert f"error: rank 1 on {socket.gethostname()} missed its heartbeat" in done.stderr
    assert "unexpected" not in done.stderr
    assert not (tmp_path / "run" / "encoder").exists()


NO_ROOM = """
import os
from mae_rad.training.deepspeed_engine import Engine
from tests.builders.full_disk import room_for
save = Engine.save
def cramped(self, folder, tag, state):
    if os.environ["RANK"] != "1" or state["step"] not in {steps}:
        return save(self, folder, tag, state)
    with room_for(5000):
        return save(self, folder, tag, state)
Engine.save = cramped
"""


@pytest.mark.parametrize(("steps", "ends"), [({3}, True), pytest.param({3, 6}, False, marks=pytest.mark.slow)])
def test_a_checkpoint_that_finds_no_room_in_the_middle_ends_a_training_only_if_it_is_the_last(
    public: Path, tmp_path: Path, steps: set[int], ends: bool
) -> None:
    """On one of two ranks, under stage 3, whose ranks exchange weights behind the writing."""
    run = tmp_path / "run"
    words = arguments(public, run, 6, "runtime.zero_stage=3")
    done = run_ranks("pretrain", words, 2, tmp_path / "log", NO_ROOM.format(steps=steps))
    assert done.stderr.count("checkpoint of step 3 cannot be written (rank 1: ") == 1, done.stderr
    assert (done.returncode == 0) == ends, done.stderr
    assert done.stderr.count("error: the checkpoint of step 6 cannot be written (rank 1: ") == (not ends)
    assert (run / "encoder").exists() == ends
    assert [path.name for path in (run / "checkpoints").glob("*step-*")] == ["step-0000006"] * ends
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 6


@pytest.mark.slow
def test_an_error_of_one_rank_is_reported_once_and_ends_all(public: Path, tmp_path: Path) -> None:
    fault = "from mae_rad.errors import RunError; raise RunError('mended in one way')"
    done = _train_with(fault, public, tmp_path, "torchrun")
    assert done.returncode != 0
    assert done.stderr.count("rank 1: error: mended in one way") == 1, done.stderr
    assert "heartbeat" not in done.stderr
    assert "unexpected" not in done.stderr
