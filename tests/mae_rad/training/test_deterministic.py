"""Deterministic kernels are used if enabled, and only then."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from data_prep.errors import SettingsError
from mae_rad.training.deterministic import deterministic_kernels
from tests.builders.shard_builder import film, hexed, noise, write_public
from tests.mae_rad.training.test_loop import _losses, _pretrain, _settings, _stop_at

ASKED = "runtime.deterministic=true"


def _state() -> tuple[Any, ...]:
    cudnn = torch.backends.cudnn
    filled = torch.utils.deterministic.fill_uninitialized_memory
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark, filled


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(f"f{i}", noise(120, 100, seed=i), study=hexed("study", i // 2)) for i in range(20)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def test_an_operation_without_such_a_kernel_is_refused_within_the_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = _state()
    values = torch.zeros(3)
    with deterministic_kernels(True):
        assert _state() == (True, True, False, False)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        with pytest.raises(RuntimeError, match="deterministic"):
            values.put_(torch.tensor([1, 1]), torch.tensor([2.0, 3.0]))
    assert _state() == before
    with deterministic_kernels(False):
        assert _state() == before


def test_kernels_chosen_by_the_clock_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unset compile or deterministic"):
        _settings(tmp_path, tmp_path / "run", "mae", ASKED, "runtime.compile=true")


@pytest.mark.parametrize("objective", ["mae", "simclr"])
def test_every_objective_has_deterministic_kernels_and_resumes_bit_for_bit(
    public: Path, tmp_path: Path, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU, where there is one; a CPU only shows that nothing is refused there."""
    _pretrain(public, tmp_path / "whole", objective, ASKED)
    go_on = _stop_at(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        _pretrain(public, tmp_path / "parts", objective, ASKED)
    go_on()
    _pretrain(public, tmp_path / "parts", objective, ASKED)
    assert _losses(tmp_path / "parts") == _losses(tmp_path / "whole")
    found, expected = (load_file(tmp_path / run / "encoder" / "encoder.safetensors") for run in ("parts", "whole"))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not torch.are_deterministic_algorithms_enabled()
