"""Out of memory names settings that need less of it by the same estimate, with their price."""

import re
from pathlib import Path

import pytest
import torch

from data_prep.settings import load
from mae_rad.cli import pretrain
from mae_rad.cost.memory import count_parameters, estimate_memory
from mae_rad.cost.memory_advice import fit_text, memory_savers, needed_bytes
from mae_rad.cost.table import GIB
from mae_rad.pretraining.run_flops import flops_per_film
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.deepspeed_engine import Engine
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import arguments

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "pretrain"


def _settings(name: str, *overrides: str) -> PretrainSettings:
    return load(PretrainSettings, CONFIGS / f"{name}.yaml", overrides)


@pytest.mark.parametrize("name", ["one_gpu_24gb", "one_gpu_24gb_simclr", "one_gpu_80gb", "mae", "simclr"])
@pytest.mark.parametrize("world", [1, 8])
def test_every_setting_that_is_named_needs_what_is_said(name: str, world: int) -> None:
    settings, limit = _settings(name), 4 * GIB
    savers = memory_savers(settings, world, limit)
    assert savers
    for saver in savers:
        variant = _settings(name, *saver.setting.split())
        assert needed_bytes(variant, world) == saver.bytes < needed_bytes(settings, world)
        assert saver.time == pytest.approx(
            max(flops_per_film(one).hardware for one in variant.stages())
            / max(flops_per_film(one).hardware for one in settings.stages())
        )
        if saver.effect == "the same result":
            assert variant.results() == settings.results()
    assert any(saver.bytes <= limit for saver in savers)


def test_the_largest_stage_counts() -> None:
    settings = _settings("one_gpu_80gb")
    early, late = (estimate_memory(stage, 1).total(512) for stage in settings.stages())
    assert needed_bytes(settings, 1) == late > early


def test_the_average_of_the_weights_is_one_more_copy() -> None:
    plain, averaged = (_settings("one_gpu_24gb", *more) for more in ((), ("optimizer.average_decay=0.999",)))
    assert needed_bytes(averaged, 1) - needed_bytes(plain, 1) == 4 * count_parameters(plain)[0]


def test_films_that_are_encoded_at_once_need_memory() -> None:
    fewer, more = (_settings("simclr", f"objective.films_at_once={films}") for films in (64, 128))
    memory = estimate_memory(fewer, 1)
    assert needed_bytes(fewer, 1) == memory.total(64)
    assert needed_bytes(more, 1) == memory.total(128)
    flops = [flops_per_film(one) for one in (fewer, _settings("simclr"))]
    assert flops[0].training == flops[1].training
    assert flops[0].hardware == pytest.approx(flops[1].hardware * 4 / 3, rel=0.01)  # one more forward pass


def test_a_run_fits_or_it_is_said_what_helps() -> None:
    settings = _settings("one_gpu_24gb")
    assert fit_text(settings, 1, 24 * GIB).endswith(" GiB: fits")
    text = fit_text(settings, 1, 8 * GIB)
    assert "does not fit. Less is needed with encoder.checkpoint_activations=decoder (11.0 GiB, 1.05 times" in text
    assert "optimizer.accumulation=8 (4.8 GiB, the same time; a new run" in text


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: error code 12"),
        RuntimeError("std::bad_alloc"),
        MemoryError("Unable to allocate 2.00 GiB for an array"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_a_training_that_runs_out_of_memory_names_them(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    public = write_public(tmp_path / "public", [film(f"f{i}", noise(90, 90, seed=i)) for i in range(8)])
    monkeypatch.setattr(Engine, "forward", fail)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert pretrain.main(arguments(public, tmp_path / "run", 2)) == 2
    text = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"error: this machine has run out of memory. 8 films per forward pass need about \d+ MiB", text)
    assert "Less is needed with encoder.checkpoint_activations=" in text
    assert "optimizer.accumulation=" in text
