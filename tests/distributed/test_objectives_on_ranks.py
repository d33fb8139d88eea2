"""Objectives with batch norm on two gloo processes equal those on one, in loss and gradient."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from mae_rad.data.batch import Batch, Patches, View
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.objectives import FILM, objective_settings
from tests.builders.pairs.film_batch import film_batch

WORLD, FILMS = 2, 5
OBJECTIVES = {
    name: {"name": name, "tokens": 16, "head_hidden": 24, "head_dim": 12}
    for name in ("simsiam", "barlow_twins", "vicreg")
} | {"simclr": {"name": "simclr", "tokens": 16, "head_hidden": 24, "head_dim": 12, "head_norm": "batch"}}


def batch(part: slice) -> Batch:
    draw = torch.Generator().manual_seed(3)
    coords = torch.cartesian_prod(torch.arange(4), torch.arange(4)).float()
    views = {}
    for name in "ab":
        values = torch.randint(0, 65536, (WORLD * FILMS, 16, 16), generator=draw, dtype=torch.int32)
        count = len(values[part])
        views[name] = View(
            Patches(values[part].to(torch.uint16), coords.expand(count, -1, -1), torch.full((count, 2), 4.0))
        )
    film = torch.arange(WORLD * FILMS)[part]
    return film_batch(views, film, film // 3, position=int(film[0]))


def loss_and_gradients(name: str, given: Batch) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderSettings(dim=16, depth=1, heads=2, patch=4))
    objective = objective_settings(OBJECTIVES[name]).build({FILM: encoder}).double()
    loss = objective(given).loss
    loss.backward()
    gradients = {key: parameter.grad.numpy() for key, parameter in objective.named_parameters()}
    return {"loss": loss.detach().numpy()} | gradients


def one_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    given = batch(slice(rank * FILMS, (rank + 1) * FILMS))
    for name in OBJECTIVES:
        np.savez(folder / f"{name}{rank}.npz", **loss_and_gradients(name, given))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    spawn(one_rank, args=(folder,), nprocs=WORLD)
    return folder


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_ranks_equal_one_in_loss_and_gradient(name: str, of_ranks: Path) -> None:
    ranks = [dict(np.load(of_ranks / f"{name}{rank}.npz")) for rank in range(WORLD)]
    for key, expected in loss_and_gradients(name, batch(slice(None))).items():
        mean = sum(rank[key] for rank in ranks) / WORLD
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-12 * scale, err_msg=f"{name} {key}")
