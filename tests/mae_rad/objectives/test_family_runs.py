"""Runs of the methods of several views: resumed bit for bit with all that is not trained, exported, and costed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from data_prep.settings import load
from mae_rad.cost.memory import count_parameters, count_untrained, estimate_activations, estimate_memory
from mae_rad.cost.table import GIB, Machine, cost_table, vary_settings
from mae_rad.data.batch import Batch
from mae_rad.encoders.any_encoder import build_any_encoder
from mae_rad.encoders.transformer_cost import encoder_flops
from mae_rad.export.encoder_folder import OBJECTIVE, WEIGHTS, load_encoder
from mae_rad.export.encoder_with_decoder_folder import load_objective
from mae_rad.objectives import FILM
from mae_rad.pretraining.run import pretrain
from mae_rad.pretraining.run_flops import flops_per_film
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.deepspeed_engine import Engine
from tests.builders import tiny_run
from tests.builders.pairs.small_methods import METHODS
from tests.builders.shard_builder import film, noise, write_public

STEPS = 5
STAGES = {"byol": 2, "swav": 1, "dino": 2}
"""Method → ZeRO stage, for those with parameters that have no gradient at first or at all; 0 for the others."""


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(f"f{i}", noise(90, 80, seed=i), age_years=20 + i if i % 5 else None) for i in range(20)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def run_of(name: str, public: Path, folder: Path, *more: str) -> PretrainSettings:
    given = ", ".join(f"{key}: {value}" for key, value in (METHODS[name] | {"name": name, "tokens": 16}).items())
    stage = f"runtime.zero_stage={STAGES.get(name, 0)}"
    _, path, *words = tiny_run.arguments(public, folder, STEPS, f"objective={{{given}}}", stage, *more)
    return load(PretrainSettings, Path(path), words)


def interrupted(step: int) -> Any:
    forward, taken = Engine.forward, 0

    def stopping(self: Engine, batch: Batch) -> Any:
        nonlocal taken
        if taken == step:
            raise KeyboardInterrupt
        taken += 1
        return forward(self, batch)

    return stopping


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    name: str, public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    pretrain(run_of(name, public, whole))
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "forward", interrupted(4))
        with pytest.raises(KeyboardInterrupt):
            pretrain(run_of(name, public, cut))
    pretrain(run_of(name, public, cut))  # from the checkpoint after step 3
    for file in (WEIGHTS, OBJECTIVE):
        expected, found = (load_file(folder / "encoder" / file) for folder in (whole, cut))
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected), file
    objective = load_objective(whole).objective
    for exported, encoder in objective.exports().items():
        folder = whole if exported == "encoder" else whole / "encoders" / exported
        loaded, card = load_encoder(folder / "encoder" if exported == "encoder" else folder)
        assert card.provenance["objective"] == name
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), encoder.parameters(), strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_it_is_costed(name: str, public: Path, tmp_path: Path) -> None:
    settings = run_of(name, public, tmp_path / "run")
    flops = flops_per_film(settings)
    assert flops.encoder > 0 and flops.rest > 0 and flops.training > flops.forward
    assert estimate_activations(settings).kept > 0
    line = cost_table(list(vary_settings(settings, [], [], [])), Machine(1e12, 1, GIB, 1e-8, 1536)).splitlines()[-1]
    assert line.split()[0] == "16"
    view = encoder_flops(settings.encoder, 16)
    computes_copies = flops.fixed >= 2 * (view.embedding + view.encoder)  # forward alone
    assert computes_copies == settings.objective.keeps_whole_copy


def test_memory_counts_a_target_as_weights_and_a_memory_as_it_is(public: Path, tmp_path: Path) -> None:
    byol = run_of("byol", public, tmp_path / "run", "runtime.zero_stage=0")
    of_encoder = sum(
        p.numel() for p in byol.objective.build({FILM: build_any_encoder(byol.encoder)}).encoder.parameters()
    )
    parameters, _ = count_parameters(byol)
    frozen, _ = count_untrained(byol)
    assert of_encoder < frozen < parameters - frozen  # the predictor has no copy
    memory = estimate_memory(byol, 1)
    assert (memory.weights, memory.optimizer) == (4 * parameters, 8 * (parameters - frozen))
    small, large = (
        estimate_memory(run_of("nnclr", public, tmp_path / "run", f"objective.memory={size}"), 1) for size in (40, 140)
    )
    assert large.weights - small.weights == 4 * 100 * 16
