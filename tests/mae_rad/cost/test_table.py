"""Cost estimates: FLOPs equal those of the model, memory is close to the measured peak."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from launch.cost import main
from mae_rad.cost.memory import REDUCE_BUCKET_ELEMENTS, count_parameters, estimate_activations, estimate_memory
from mae_rad.cost.table import GIB, Machine, cost_table, films_that_fit, vary_settings
from mae_rad.data.batch import Batch, Patches, View
from mae_rad.encoders.vit import build_encoder
from mae_rad.errors import SettingsError
from mae_rad.objectives import FILM, Objective
from mae_rad.pretraining.run_flops import flops_per_film
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.matmul_throughput import measure_matmul_rate
from tests.builders.pairs.film_batch import film_batch

MAE_CONFIG = Path(__file__).resolve().parents[3] / "configs" / "pretrain" / "mae.yaml"
FILMS = 4
DECODER: dict[str, Any] = {"decoder_dim": 64, "decoder_depth": 2, "decoder_heads": 4}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "cheap": {"name": "mae", "tokens": 196, "visible": 0.25, "predicted": 0.25, **DECODER},
    "published": {"name": "mae", "tokens": 144, "predicted": "all", "decoder": "self", **DECODER},
    "sparse": {"name": "mae", "tokens": 400, "visible": 0.1, "predicted": 0.5, **DECODER},
    "simclr": {"name": "simclr", "tokens": 100, "head_hidden": 64, "head_dim": 16},
    "dropped": {"name": "simclr", "tokens": 196, "visible": 0.5, "head_hidden": 64, "head_dim": 16},
}
each_objective = pytest.mark.parametrize("objective", OBJECTIVES)
FINE: dict[str, Any] = {"emphasis": 1.5, "stem": "convolutional"}


def settings(
    objective: str = "cheap", precision: str = "f32", *, zero_stage: int = 0, **encoder: Any
) -> PretrainSettings:
    return PretrainSettings.model_validate(
        {
            "precision": precision,
            "data": {"shards": []},
            "encoder": {"model": "vit_tiny", "dim": 96, "depth": 4, "attention": "plain"} | encoder,
            "objective": OBJECTIVES[objective],
            "optimizer": {"steps": 1, "batch": FILMS},
            "runtime": {"run_dir": "run", "zero_stage": zero_stage},
        }
    )


def step(chosen: PretrainSettings) -> tuple[Objective, Batch]:
    torch.manual_seed(0)
    objective = chosen.objective.build({FILM: build_encoder(chosen.encoder)})
    views = {}
    for name, spec in chosen.objective.views().items():
        visible, predicted = spec.budgets
        views[name] = View(_patches(visible or spec.tokens), _patches(predicted) if predicted else None)
    return objective, film_batch(views, torch.arange(FILMS))


def _patches(count: int) -> Patches:
    values = torch.randint(0, 65536, (FILMS, count, 256), dtype=torch.int32).to(torch.uint16)
    return Patches(values, 14 * torch.rand(FILMS, count, 2), torch.full((FILMS, 2), 14.0))


@each_objective
@pytest.mark.parametrize("attention", ["plain", "fused"])
def test_flops_forward_are_those_of_the_model(objective: str, attention: str) -> None:
    chosen = settings(objective, attention=attention)
    model, batch = step(chosen)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch)
    assert flops_per_film(chosen).forward == pytest.approx(counter.get_total_flops() / FILMS, rel=0.01)


@pytest.mark.parametrize("objective", ["cheap", "simclr"])
@pytest.mark.parametrize("fine", [{"emphasis": 1.5}, {"stem": "convolutional"}, FINE])
def test_flops_of_emphasis_and_stem_are_those_of_the_model(objective: str, fine: dict[str, Any]) -> None:
    chosen = settings(objective, **fine)
    model, batch = step(chosen)
    with FlopCounterMode(display=False) as counter:
        loss = model(batch).loss
        assert flops_per_film(chosen).forward == pytest.approx(counter.get_total_flops() / FILMS, rel=0.01)
        loss.backward()
    assert flops_per_film(chosen).training == pytest.approx(counter.get_total_flops() / FILMS, rel=0.01)


@each_objective
@pytest.mark.parametrize("again", [False, True, "decoder"])
def test_flops_of_a_training_step_are_those_of_the_model(objective: str, again: bool | str) -> None:
    chosen = settings(objective, checkpoint_activations=again)
    model, batch = step(chosen)
    with FlopCounterMode(display=False) as counter:
        model(batch).loss.backward()
    assert flops_per_film(chosen).hardware == pytest.approx(counter.get_total_flops() / FILMS, rel=0.01)
    assert (
        flops_per_film(chosen).training == flops_per_film(settings(objective)).training
    )  # model FLOPs do not count recomputation


@each_objective
@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize(
    ("attention", "again"), [("plain", False), ("fused", False), ("fused", True), ("fused", "decoder")]
)
def test_activations_are_within_a_quarter_of_the_measured(
    objective: str, precision: str, attention: str, again: bool | str
) -> None:
    chosen = settings(objective, precision, attention=attention, checkpoint_activations=again)
    estimated, _ = estimate_activations(chosen)
    assert estimated == pytest.approx(_saved_for_backward(chosen) / FILMS, rel=0.25)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_activations_of_emphasis_and_stem_are_within_a_quarter_of_the_measured(precision: str) -> None:
    chosen = settings("cheap", precision, **FINE)
    estimated, _ = estimate_activations(chosen)
    assert estimated > estimate_activations(settings("cheap", precision))[0]
    assert estimated == pytest.approx(_saved_for_backward(chosen) / FILMS, rel=0.25)


def _saved_for_backward(chosen: PretrainSettings) -> int:
    """Bytes of all storages that autograd keeps, without weights and their rounded copies."""
    model, batch = step(chosen)
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    shapes = {shape for p in model.parameters() for shape in (tuple(p.shape), tuple(reversed(p.shape)))}
    storages: dict[int, Tensor] = {}

    def keep(saved: Tensor) -> Tensor:
        place = saved.untyped_storage().data_ptr()
        if place not in weights and not (saved.dtype == torch.bfloat16 and tuple(saved.shape) in shapes):
            storages[place] = saved  # alive, so that no other takes its place
        return saved

    with saved_tensors_hooks(keep, lambda saved: saved), torch.autocast("cpu", enabled=chosen.precision == "bf16"):
        model(batch)
    return sum(saved.untyped_storage().nbytes() for saved in storages.values())


def test_fixed_memory_follows_the_stage() -> None:
    parameters, matrices = count_parameters(settings())
    assert parameters == sum(parameter.numel() for parameter in step(settings())[0].parameters())
    alone = estimate_memory(settings(), world=1)
    assert (alone.weights, alone.gradients, alone.optimizer) == (4 * parameters, 4 * parameters, 8 * parameters)
    assert estimate_memory(settings(precision="bf16"), world=1).weights == 4 * parameters + 2 * matrices
    parts = [estimate_memory(settings(zero_stage=stage), world=8) for stage in range(4)]
    assert [part.weights / parameters for part in parts] == [4, 4, 4, 0.5]
    buckets = [4 * parameters, *[4 * REDUCE_BUCKET_ELEMENTS] * 3]
    gradients = [part.gradients - bucket for part, bucket in zip(parts, buckets, strict=True)]
    assert [size / parameters for size in gradients] == [4, 4, 0.5, 0.5]
    assert [part.optimizer / parameters for part in parts] == [8, 1.5, 1.5, 1]
    assert estimate_memory(settings(), 1).total(3) == alone.fixed + 3 * (alone.per_film + alone.working)


def test_checkpointing_saves_memory_not_work() -> None:
    with_it, without = (estimate_memory(settings("published", checkpoint_activations=on), 1) for on in (True, False))
    assert with_it.total(1) < without.total(1)
    chosen = settings("published", checkpoint_activations=True)
    assert 1.2 < flops_per_film(chosen).hardware / flops_per_film(chosen).training < 4 / 3


def test_variants_change_size_model_and_budget() -> None:
    varied = list(vary_settings(settings(), [196, 1024], ["vit_s", "vit_large"], ["0.1/0.3", "published"]))
    assert len(varied) == 8
    first, last = varied[0], varied[-1]
    assert (first.encoder.model, first.objective.tokens) == ("vit_small", 196)
    assert first.encoder.shape.dim == 384  # dim of the config is replaced
    assert first.objective.views()[FILM].budgets == (19, 58)
    assert last.objective.views()[FILM].budgets == (256, 768)
    assert last.objective.model_dump()["decoder"] == "self"
    assert list(vary_settings(settings(), [], [], [])) == [settings()]


def test_every_stage_of_a_schedule_is_one_variant() -> None:
    chosen = settings()
    stages = {"schedule": [{"until": 0.75, "tokens": 100}], "tokens": 400}
    staged = PretrainSettings.model_validate(
        chosen.model_dump() | {"objective": OBJECTIVES["cheap"] | stages, "optimizer": {"steps": 40, "batch": 8}}
    )
    early, late = vary_settings(staged, [], [], ["0.1/0.3"])
    assert [(one.objective.tokens, one.optimizer.steps) for one in (early, late)] == [(100, 30), (400, 10)]
    assert early.objective.views()[FILM].budgets == (10, 30)
    assert [one.objective.tokens for one in vary_settings(staged, [196], [], [])] == [196]  # a given size
    assert flops_per_film(staged.at(29)) == flops_per_film(staged.stages()[0]) != flops_per_film(staged)


@pytest.mark.parametrize(
    ("tokens", "models", "budgets", "message"),
    [
        ([200], [], [], "not a square number"),
        ([], ["resnet"], [], "--models resnet is not one of vit_tiny"),
        ([], [], ["0.9/0.9"], "sum to at most 1"),
        ([], [], ["half"], "is not of the form visible/predicted"),
    ],
)
def test_invalid_variants_are_refused(tokens: list[int], models: list[str], budgets: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        list(vary_settings(settings(), tokens, models, budgets))


def test_budgets_are_of_the_masked_autoencoder() -> None:
    with pytest.raises(SettingsError, match=r"objective\.visible"):
        list(vary_settings(settings("simclr"), [], [], ["published"]))
    assert "2 x 0.5" in cost_table([settings("dropped")], Machine(1e12, 1, GIB, 1e-8, 1536))


def test_films_that_fit_use_at_most_nine_tenths_of_the_memory() -> None:
    chosen, machine = settings(), Machine(1e12, 1, GIB, 1e-8, 1536)
    memory, count = estimate_memory(chosen, 1), films_that_fit(chosen, machine)
    assert memory.total(count) <= 0.9 * GIB < memory.total(count + 1)
    assert films_that_fit(chosen, machine._replace(memory=1e6)) == 0


def test_the_matrix_rate_is_that_of_this_machine() -> None:
    assert 1e8 < measure_matmul_rate(torch.device("cpu"), "f32", seconds=0.02) < 1e14


def test_the_command_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", str(MAE_CONFIG), "--tokens", "196,4096", "--models", "vit_b"]
    words += ["--budgets", "published,0.25/0.25"]
    words += ["objective.decoder_dim=512", "objective.decoder_depth=8", "objective.decoder_heads=16"]
    assert main([*words, "--gpus", "16", "runtime.zero_stage=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[8] for line in lines[2:6]] == ["1.00", "1.72", "1.00", "2.46"]  # gains at 224 and 1024 px
    assert "16 GPUs, ZeRO stage 1" in lines[-3]
    assert lines[-2].endswith("GiB: fits")
    assert main([*words, "--measure"]) == 0
    measured = capsys.readouterr().out
    assert "measured on this" in measured and "(measured here)" in measured
    assert main([*words, "--utilisation", "0"]) == 2
    assert main(["--config", str(MAE_CONFIG), "--tokens", "a few"]) == 2
    assert "whole numbers" in capsys.readouterr().err
