"""T is a function of the step, and nothing else of a run changes with it."""

import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mae_rad.data.augmentation import Augmentation
from mae_rad.data.batch import Batch, ViewSpec
from mae_rad.data.film_order import Order, StepRange
from mae_rad.data.loader import training_batches
from mae_rad.data.resolution_schedule import Stage, stage_lengths, tokens_at
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.pretraining.run_flops import flops_per_film
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.learning_rate import learning_rate
from tests.builders.shard_builder import film, noise, write_public
from tests.mae_rad.training.test_loop import _losses, _pretrain, _settings, _stop_at

STAGES = (Stage(until=0.5, tokens=196), Stage(until=0.9, tokens=1024))
SCHEDULE = "objective={name: mae, tokens: 64, predicted: 0.5, decoder_dim: 32, decoder_depth: 1, decoder_heads: 2, \
schedule: [{until: 0.3, tokens: 16}, {until: 0.667, tokens: 36}]}"
"""Of six steps: two, two and two."""


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(f"f{i}", noise(120 + 10 * (i % 3), 100, seed=i)) for i in range(20)]
    films += [film(f"v{i}", noise(100, 120, seed=90 + i), split="val") for i in range(2)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def test_the_stage_is_a_function_of_the_step() -> None:
    drawn = [tokens_at(step, 20, STAGES, 4096) for step in range(20)]
    assert drawn == [196] * 10 + [1024] * 8 + [4096] * 2
    assert [tokens_at(step, 20, (), 400) for step in (0, 19)] == [400, 400]
    assert stage_lengths(20, STAGES, 4096) == [(196, 10), (1024, 8), (4096, 2)]
    assert stage_lengths(1, STAGES, 4096) == [(1024, 1)]  # too short for three: the middle is rounded up
    assert sum(length for _, length in stage_lengths(7, STAGES, 4096)) == 7


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 997])
def test_lengths_are_those_of_the_steps(steps: int) -> None:
    counted = [tokens_at(step, steps, STAGES, 4096) for step in range(steps)]
    assert [size for size, length in stage_lengths(steps, STAGES, 4096) for _ in range(length)] == counted


def _batches(public: Path, spec: ViewSpec, first: int = 0, *, rank: int = 0, world: int = 1) -> list[Batch]:
    index = ShardIndex([public])
    return [
        batch
        for batch, _ in training_batches(
            index, Order(len(index), 3, 8), {"view": spec}, StepRange(first, 6, rank, world, micro=4),
            patch=16, workers=0,
        )
    ]  # fmt: skip


def test_budgets_follow_the_stage_wherever_reading_begins(public: Path) -> None:
    spec = ViewSpec(64, visible=0.25, predicted=0.5, schedule=(Stage(until=0.5, tokens=16),))
    whole = _batches(public, spec)
    shapes = [(batch.views["view"].visible.values.shape[1], _predicted(batch)) for batch in whole]
    assert shapes == [(4, 8)] * 6 + [(16, 32)] * 6
    for first in (2, 3, 4):
        for one, other in zip(whole[2 * first :], _batches(public, spec, first), strict=True):
            assert one.keys == other.keys
            for part, same in zip(one.views["view"].visible.parts, other.views["view"].visible.parts, strict=True):
                assert torch.equal(part.float(), same.float())
    second = _batches(public, spec, rank=1, world=2)
    assert [batch.keys for batch in second] == [batch.keys for batch in whole[1::2]]
    assert [batch.views["view"].visible.values.shape[1] for batch in second] == [4] * 3 + [16] * 3


def _predicted(batch: Batch) -> int:
    predicted = batch.views["view"].predicted
    assert predicted is not None
    return predicted.values.shape[1]


def test_contrastive_views_have_their_own_size_and_drop_patches(public: Path) -> None:
    spec = ViewSpec(64, Augmentation(crop=(0.5, 1.0)), visible=0.5, schedule=(Stage(until=0.5, tokens=36),))
    counts = [batch.views["view"].visible.values.shape[1] for batch in _batches(public, spec)]
    assert counts == [18] * 6 + [32] * 6


def test_settings_of_a_step_have_its_size_and_the_same_learning_rate(tmp_path: Path) -> None:
    settings: PretrainSettings = _settings(tmp_path, tmp_path / "run", "mae", SCHEDULE)
    assert [settings.at(step).objective.tokens for step in range(6)] == [16, 16, 36, 36, 64, 64]
    assert [stage.optimizer.steps for stage in settings.stages()] == [2, 2, 2]
    plain: PretrainSettings = _settings(tmp_path, tmp_path / "run", "mae")
    assert plain.stages() == [plain]
    for step in range(6):
        assert learning_rate(step, settings.optimizer) == learning_rate(step, plain.optimizer)
        assert learning_rate(step, settings.at(step).optimizer) == learning_rate(step, plain.optimizer)
    costs = [flops_per_film(stage).training for stage in settings.stages()]
    assert all(before < after for before, after in pairwise(costs))


@pytest.mark.parametrize("tokens", [196, 1024, 4096, 9216])
def test_any_size_is_drawn_from_the_same_film(tokens: int) -> None:
    from data_prep.shard_format.sidecar import Sidecar
    from mae_rad.data.film import Film
    from mae_rad.data.seeded_random import generator_for
    from mae_rad.data.views import draw_view

    stream, sidecar = film("large", noise(1536, 1100))
    view = draw_view(
        Film(stream, Sidecar.model_validate(sidecar)), ViewSpec(tokens, visible=0.1, predicted=0.2), 16, generator_for()
    )
    assert view is not None
    assert view.predicted is not None
    assert (len(view.visible.values), len(view.predicted.values)) == (tokens // 10, tokens * 2 // 10)
    # Coordinates stay in units of one grid, whatever T.
    assert 12 < view.visible.coords.max() < 18


@pytest.fixture(scope="module")
def uninterrupted(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    _pretrain(public, run, "mae", SCHEDULE, "runtime.checkpoint_every=1", "runtime.keep_checkpoints=10")
    return run


@pytest.mark.parametrize("stop", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)])
def test_resume_within_and_between_stages_is_bitwise_identical(
    public: Path, uninterrupted: Path, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken up in the middle of the first stage, at its end, in the middle of the second."""
    run, more = tmp_path / "interrupted", ("mae", SCHEDULE, "runtime.checkpoint_every=1")
    go_on = _stop_at(stop, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        _pretrain(public, run, *more)
    go_on()
    _pretrain(public, run, *more)
    assert _losses(run) == _losses(uninterrupted)
    weights, expected = (load_file(folder / "encoder" / "encoder.safetensors") for folder in (run, uninterrupted))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_checkpoint_is_exported_with_the_size_that_it_was_trained_at(uninterrupted: Path, tmp_path: Path) -> None:
    from mae_rad.export.encoder_folder import read_card
    from mae_rad.export.export_run import export

    unfinished = tmp_path / "unfinished"
    shutil.copytree(uninterrupted, unfinished, ignore=shutil.ignore_patterns("encoder"))
    for step, tokens in ((2, 16), (3, 36), (6, 64)):
        folder = export(unfinished, "safetensors", None, tmp_path / str(step), step=step)
        assert read_card(folder).preprocessing.tokens == tokens


def test_another_schedule_is_refused_on_resume(public: Path, uninterrupted: Path) -> None:
    from mae_rad.errors import RunError

    with pytest.raises(RunError, match=r"objective\.schedule"):
        _pretrain(public, uninterrupted, "mae", SCHEDULE.replace("0.3", "0.5"))
