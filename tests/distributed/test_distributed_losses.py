"""Losses of two gloo processes equal those of one in value and gradient."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from mae_rad.data.batch import Batch, Members, Patches, View
from mae_rad.losses import (
    barlow_twins,
    cc_cluster,
    clip,
    clip_with_classes,
    clip_without_false_negatives,
    dcl,
    dec,
    dec_assignment,
    dec_target,
    dino,
    dino_center,
    gather_columns,
    negative_cosine,
    nnclr,
    nt_xent,
    pair_nce,
    rank_n_contrast,
    scan,
    siglip,
    sinkhorn,
    soft_clip,
    supcon,
    swav,
    tico,
    vicreg,
    y_aware,
)
from mae_rad.losses.contrastive import view_similarity
from mae_rad.objectives.projection_head import AllRankBatchNorm
from mae_rad.pairing.relations import Shown, relate
from mae_rad.pairing.settings import PairSettings

WORLD, FILMS, WIDTH, DIM = 2, 6, 10, 8
SEED = 2
MEMORY = torch.randn(9, DIM, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


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
        "position": torch.arange(WORLD * FILMS),
        "age": torch.tensor([40, 41, 7, 7.5, 40, torch.nan, 39, 80, 7, 41, torch.nan, 40], dtype=torch.float64),
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


def weighted(z0: Tensor, z1: Tensor, x: dict[str, Tensor]) -> Tensor:
    everyone = gather_columns(x["labels"])
    weights = (x["labels"][:, None] == everyone[None]) / (1.0 + everyone)
    return pair_nce(z0 @ gather_columns(z1).T, weights, (everyone / 3.0).expand_as(weights) * ~(everyone == 7))


def related(z0: Tensor, z1: Tensor, x: dict[str, Tensor]) -> Tensor:
    """Relations of every kind; the second view of each second film shows the film before it."""
    views = {name: View(Patches(z, z, z)) for name, z in (("a", z0), ("b", z1))}
    shown = {
        name: Members(x["position"], torch.full_like(x["film"], view), x["film"] - view * (x["film"] % 2), x["study"],
                      x["study"])
        for view, name in enumerate(views)
    }  # fmt: skip
    meta = {"age": x["age"].float(), "label.found": x["labels"] % 4 - 1, "part": x["labels"] % 2}
    rows = Shown.of(Batch(views, (), shown, dict.fromkeys(views, meta)), list(views))
    relation = [
        "film",
        {"kernel": "age", "sigma": 5, "within": ["part"]},
        {"agreement": ["label.*"], "nearest": 3},
        {"conflict": ["label.found"], "within": ["part"], "weight": 2},
    ]
    pairs = PairSettings.model_validate({"relation": relation})
    return pair_nce(view_similarity(z0, z1, 0.1), *relate(pairs.relation, rows, rows.each(gather_columns)))


def moved(z: Tensor) -> Tensor:
    return dino_center(torch.ones(DIM, dtype=z.dtype), z, 0.5)


def deep_clusters(z0: Tensor, z1: Tensor, x: dict[str, Tensor]) -> Tensor:
    q = dec_assignment(z0, MEMORY[:4])
    return dec(q, dec_target(q))


def normalised(z0: Tensor, z1: Tensor) -> tuple[Tensor, ...]:
    return AllRankBatchNorm(DIM).double()(torch.cat([z0, z1])).chunk(2)


LOSSES: dict[str, Callable[[Tensor, Tensor, dict[str, Tensor]], Tensor]] = {
    "nt_xent": lambda z0, z1, x: nt_xent(z0, z1, 0.1),
    "nt_xent of studies": lambda z0, z1, x: nt_xent(z0, z1, 0.1, film=x["film"], study=x["study"]),
    "supcon": lambda z0, z1, x: supcon(z0, x["labels"], 0.1),
    "clip": lambda z0, z1, x: clip(z0, z1, 0.1, 0.3),
    "pair_nce": raw,
    "pair_nce with weights in the denominator": weighted,
    "nt_xent after batch norm": lambda z0, z1, x: nt_xent(*normalised(z0, z1), 0.1),
    "dcl": lambda z0, z1, x: dcl(z0, z1, 0.1, film=x["film"], study=x["study"]),
    "y_aware": lambda z0, z1, x: y_aware(z0, z1, x["age"], 5.0),
    "y_aware by columns": lambda z0, z1, x: y_aware(z0, z1, x["age"], 5.0, normalise="columns"),
    "nnclr": lambda z0, z1, x: nnclr(z0, z1, MEMORY, 0.1, neighbours=2),
    "clip without its own pair": lambda z0, z1, x: clip(z0, z1, 0.1, 0.3, own_in_denominator=False),
    "false negatives": lambda z0, z1, x: clip_without_false_negatives(z0, z1, x["labels"] % 3, 0.1, 0.3, False),
    "classes": lambda z0, z1, x: clip_with_classes(z0, z1, x["labels"], 0.1, 0.3),
    "soft_clip": lambda z0, z1, x: soft_clip(z0, z1, x["x0"] / 2, x["x1"] / 2, 0.1, 0.3),
    "siglip": lambda z0, z1, x: siglip(z0, z1, 3.0, -1.5),
    "rank_n_contrast": lambda z0, z1, x: rank_n_contrast(torch.cat([z0, z1]), x["age"].repeat(2)),
    "barlow_twins": lambda z0, z1, x: barlow_twins(z0, z1, 0.02),
    "vicreg": lambda z0, z1, x: vicreg(z0, z1),
    "tico": lambda z0, z1, x: tico(z0, z1, torch.eye(DIM, dtype=torch.float64))[0],
    "negative_cosine": lambda z0, z1, x: negative_cosine(z0, z1),
    "dino": lambda z0, z1, x: dino(torch.stack([z0, z1]), torch.stack([z1, z0]), moved(z1)),
    "swav": lambda z0, z1, x: swav(z0 / 9, z1 / 9, 0.1, 0.05, 3, further=[(z0 - z1) / 9]),
    "sinkhorn": lambda z0, z1, x: (sinkhorn(z0.detach() / 9, 0.05, 4) * z1).sum(dim=1).mean(),
    "dec": deep_clusters,
    "scan": lambda z0, z1, x: scan(z0, z1, 5.0),
    "relations": related,
    "cc_cluster": lambda z0, z1, x: cc_cluster(z0, z1, 0.7),
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
