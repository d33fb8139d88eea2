"""SimSiam, Barlow Twins and VICReg: they learn, resume to the bit, and refuse what would change their batch statistics.

Two ranks: ``tests/distributed/test_objectives_on_ranks.py``.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from data_prep.settings import load
from mae_rad.data.batch import Batch, Patches, View
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.errors import SettingsError
from mae_rad.export.encoder_folder import read_card
from mae_rad.objectives import FILM, OBJECTIVES, Objective, objective_settings
from mae_rad.pretraining.run import pretrain
from mae_rad.pretraining.run_flops import flops_per_film
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.deepspeed_engine import Engine
from tests.builders import tiny_run
from tests.builders.shard_builder import film, noise, write_public

NAMES = ("simsiam", "barlow_twins", "vicreg")
SMALL: dict[str, Any] = {"tokens": 16, "head_hidden": 64, "head_dim": 16}
ENCODER = EncoderSettings(dim=32, depth=2, heads=4, patch=4)
FILMS = 8


def build(name: str, **more: Any) -> Objective:
    torch.manual_seed(0)
    return objective_settings({"name": name} | SMALL | more).build({FILM: build_encoder(ENCODER)})


def patches(seed: int, noise_level: float = 0.0) -> Patches:
    """Films of smooth patches, so that they differ in what survives the noise."""
    draw = torch.Generator().manual_seed(1)
    values = 65535 * torch.rand(FILMS, 16, 1, generator=draw).expand(-1, -1, 16)
    values = values + 65535 * noise_level * torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))
    coords = torch.cartesian_prod(torch.arange(4), torch.arange(4)).float().expand(FILMS, -1, -1)
    return Patches(values.clamp(0, 65535).to(torch.uint16), coords, torch.full((FILMS, 2), 4.0))


def batch(seed: int = 2, noise_level: float = 0.1) -> Batch:
    views = {name: View(patches(seed + place, noise_level)) for place, name in enumerate("ab")}
    return Batch(views, torch.arange(FILMS), torch.arange(FILMS), ("",) * FILMS)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: str) -> None:
    objective = build(name)
    output = objective(batch())
    output.loss.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in objective.parameters())
    assert set(output.metrics) == {"feature_std", "projection_std", "positive_similarity"}
    assert not any(value.requires_grad for value in output.metrics.values())


def train(objective: Objective, steps: int, rate: float) -> list[float]:
    optimizer = torch.optim.AdamW(objective.parameters(), lr=rate)
    losses = []
    for step in range(steps):
        loss = objective(batch(2 * step + 10)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def similarities(objective: Objective) -> tuple[float, float]:
    """Mean cosine of the projections of two new views: of one film, and of different films."""
    views = [normalize(objective.projector(objective.encoder(patches(seed, 0.1)).pooled), dim=1) for seed in (1, 2)]
    cosine = views[0] @ views[1].T
    own = torch.eye(FILMS, dtype=torch.bool)
    return cosine[own].mean().item(), cosine[~own].mean().item()


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_what_two_views_of_a_film_share_without_collapse(name: str) -> None:
    objective = build(name)
    own_before, _ = similarities(objective)
    losses = train(objective, 80, 3e-3)
    own, others = similarities(objective)
    assert losses[-1] < losses[0] - 0.5 * abs(losses[0])
    assert own_before < 0.7
    assert own > 0.85
    assert others < 0.2
    assert objective(batch(500)).metrics["projection_std"] > 0.5


def test_without_variance_and_covariance_the_spread_of_projections_falls() -> None:
    kept, lost = build("vicreg"), build("vicreg", variance=0.0, covariance=0.0)
    spreads = []
    for objective in (kept, lost):
        train(objective, 60, 3e-3)
        spreads.append(objective.projector(objective.encoder(patches(7, 0.1)).pooled).std(dim=0).mean().item())
    assert spreads[0] > 0.5
    assert spreads[1] < 0.5 * spreads[0]


@pytest.mark.parametrize("name", NAMES)
def test_loss_stays_in_float32_under_autocast(name: str) -> None:
    objective = build(name)
    exact = objective(batch()).loss
    with torch.autocast("cpu", torch.bfloat16):
        output = objective(batch())
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(exact.item(), rel=0.1, abs=0.05)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [
        film(f"{split}{i}", noise(120, 100, seed=i + start), split=split)
        for start, split, count in ((0, "train", 24), (50, "val", 2))
        for i in range(count)
    ]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def settings(public: Path, run: Path, name: str, *more: str) -> PretrainSettings:
    objective = f"objective={{name: {name}, tokens: 36, head_hidden: 16, head_dim: 8}}"
    config, path, *words = tiny_run.arguments(public, run, 6, objective, *more)
    assert config == "--config"
    return load(PretrainSettings, Path(path), words)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_has_the_bits_of_a_whole_one(
    name: str, public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    pretrain(settings(public, whole, name))
    forward, taken = Engine.forward, 0

    def stopping(self: Any, given: Batch) -> Any:
        nonlocal taken
        taken += 1
        if taken == 5:
            raise KeyboardInterrupt
        return forward(self, given)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "forward", stopping)
        with pytest.raises(KeyboardInterrupt):
            pretrain(settings(public, cut, name))
    pretrain(settings(public, cut, name))
    cards = [read_card(run / "encoder") for run in (whole, cut)]
    assert cards[0].weights_sha256 == cards[1].weights_sha256
    assert cards[0].provenance["objective"] == name


@pytest.mark.parametrize("name", NAMES)
def test_a_divided_batch_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"objective needs the whole batch.*optimizer\.accumulation out"):
        settings(tmp_path, tmp_path / "run", name, "optimizer.accumulation=2")
    assert objective_settings({"name": name}).smaller_passes(2) == {}


@pytest.mark.parametrize("name", NAMES)
def test_cost_counts_both_views_and_the_head(name: str, tmp_path: Path) -> None:
    chosen = settings(tmp_path, tmp_path / "run", name)
    small, large = (flops_per_film(_with_head(chosen, hidden)) for hidden in (16, 32))
    assert small.encoder == large.encoder
    assert large.rest - small.rest == 2 * 2 * (32 * 16 + (32**2 - 16**2) + 16 * 8)
    assert chosen.objective.cost_column() == "2 x 1"
    model = chosen.objective.build({FILM: build_encoder(chosen.encoder)})
    layers = [part for part in model.modules() if isinstance(part, torch.nn.Linear)]
    heads = [part for part in layers if part not in set(model.encoder.modules())]
    products = 2 * 2 * sum(part.weight.numel() for part in heads)
    of_loss = {"simsiam": 0, "barlow_twins": 2 * 8**2, "vicreg": 4 * 8**2}[name]
    assert small.rest == products + of_loss


def _with_head(chosen: PretrainSettings, hidden: int) -> PretrainSettings:
    return chosen.model_copy(update={"objective": chosen.objective.model_copy(update={"head_hidden": hidden})})


def test_all_methods_have_a_config_and_a_name() -> None:
    configs = Path(__file__).resolve().parents[3] / "configs" / "pretrain"
    for name in NAMES:
        assert name in OBJECTIVES
        assert load(PretrainSettings, configs / f"small_cpu_{name}.yaml", []).objective.name == name
