"""Losses of two gloo processes equal those of one in value and gradient."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from mae_rad.losses import clip, gather_columns, nt_xent, pair_nce, supcon
from mae_rad.objectives.projection_head import AllRankBatchNorm

WORLD, FILMS, WIDTH, DIM = 2, 6, 10, 8
SEED = 2


def films() -> dict[str, Tensor]:
    """Films of both ranks: studies reach over ranks, a film is on both, each has another number of lone classes."""
    draw = torch.Generator().manual_seed(SEED)
    inputs = torch.randn(2, WORLD * FILMS, WIDTH, generator=draw, dtype=torch.float64)
    return {
        "x0": inputs[0],
        "x1": inputs[1],
        "film": torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 2, 9, 10, 11]),
        "study": torch.tensor([0, 0, 2, 3, 4, 5, 3, 7, 2, 9, 9, 0]),
        "labels": torch.tensor([1, 1, 2, 2, 3, 4, 1, 2, 5, 6, 7, 8]),
    }


def network() -> torch.nn.Linear:
    layer = torch.nn.Linear(WIDTH, DIM, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(DIM, WIDTH, generator=torch.Generator().manual_seed(9), dtype=torch.float64))
        layer.bias.fill_(0.1)
    return layer


def raw(z0: Tensor, z1: Tensor, x: dict[str, Tensor]) -> Tensor:
    """Rows of this rank whose denominators and weights are empty here and there, differently often on each rank."""
    everyone = gather_columns(x["labels"])
    same = x["labels"][:, None] == everyone[None]
    return pair_nce(z0 @ gather_columns(z1).T, same & (everyone % 2 == 0), ~same & (x["study"][:, None] > 2))


def normalised(z0: Tensor, z1: Tensor) -> tuple[Tensor, ...]:
    return AllRankBatchNorm(DIM).double()(torch.cat([z0, z1])).chunk(2)


LOSSES: dict[str, Callable[[Tensor, Tensor, dict[str, Tensor]], Tensor]] = {
    "nt_xent": lambda z0, z1, x: nt_xent(z0, z1, 0.1),
    "nt_xent of studies": lambda z0, z1, x: nt_xent(z0, z1, 0.1, film=x["film"], study=x["study"]),
    "supcon": lambda z0, z1, x: supcon(z0, x["labels"], 0.1),
    "clip": lambda z0, z1, x: clip(z0, z1, 0.1, 0.3),
    "pair_nce": raw,
    "nt_xent after batch norm": lambda z0, z1, x: nt_xent(*normalised(z0, z1), 0.1),
}


def value_and_gradient(name: str, x: dict[str, Tensor]) -> list[Tensor]:
    layer = network()
    loss = LOSSES[name](layer(x["x0"]), layer(x["x1"]), x)
    return [loss.detach(), *torch.autograd.grad(loss, list(layer.parameters()))]


def one_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    mine = {name: value[rank * FILMS : (rank + 1) * FILMS] for name, value in films().items()}
    results = {}
    for name in LOSSES:
        for number, part in enumerate(value_and_gradient(name, mine)):
            results[f"{name} {number}"] = part.numpy()
    np.savez(folder / f"rank{rank}.npz", columns=gather_columns(mine["labels"]).numpy(), **results)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(one_rank, args=(folder,), nprocs=WORLD)
    return [dict(np.load(folder / f"rank{rank}.npz")) for rank in range(WORLD)]


@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_equal_one_in_value_and_gradient(name: str, of_ranks: list[dict[str, np.ndarray]]) -> None:
    for number, expected in enumerate(value_and_gradient(name, films())):
        mean = sum(rank[f"{name} {number}"] for rank in of_ranks) / WORLD
        np.testing.assert_allclose(mean, expected.numpy(), rtol=0, atol=1e-12)


def test_ranks_drop_different_numbers_of_rows() -> None:
    """What the comparison above rests on."""
    labels = films()["labels"]
    alone = (labels[:, None] == labels[None]).sum(1) == 1
    assert alone[:FILMS].sum() != alone[FILMS:].sum()


def test_gathered_columns_stand_in_the_order_of_ranks(of_ranks: list[dict[str, np.ndarray]]) -> None:
    for rank in of_ranks:
        assert rank["columns"].tolist() == films()["labels"].tolist()
