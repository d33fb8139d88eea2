"""Methods of several views on two gloo ranks are those of one process in loss, gradient and what they keep."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from tests.builders.pairs.small_methods import METHODS, small_batch, small_method

WORLD, FILMS, STEPS = 2, 4, 3


def values(name: str, rank: int, world: int) -> dict[str, np.ndarray]:
    """Loss and gradient of a third step in float64, after two with other films, and what is not trained then."""
    objective = small_method(name).double()
    found: dict[str, np.ndarray] = {}
    with torch.no_grad():
        objective.stepped(0.0)
    for step in range(STEPS):
        per_rank = FILMS * WORLD // world
        batch = small_batch(objective, per_rank, first=step * WORLD * FILMS + rank * per_rank)
        objective.zero_grad()
        output = objective(batch)
        output.loss.backward()
        found["loss"] = output.loss.detach().numpy()
        for key, parameter in objective.named_parameters():
            if parameter.requires_grad:
                found[f"gradient {key}"] = torch.zeros_like(parameter).numpy() if parameter.grad is None else (
                    parameter.grad.clone().numpy()
                )  # fmt: skip
        with torch.no_grad():
            for parameter in objective.parameters():
                if parameter.requires_grad:  # the same step on all ranks, so that a target has something to follow
                    parameter.mul_(0.99)
            objective.stepped((step + 1) / STEPS)
    trained = {key for key, parameter in objective.named_parameters() if parameter.requires_grad}
    kept = {key: value for key, value in objective.state_dict().items() if key not in trained}
    return found | {f"kept {key}": value.numpy() for key, value in kept.items()}


def one_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    results = {f"{name} {key}": part for name in METHODS for key, part in values(name, rank, WORLD).items()}
    np.savez(folder / f"rank{rank}.npz", **results)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("ranks")
    spawn(one_rank, args=(folder,), nprocs=WORLD)
    return [dict(np.load(folder / f"rank{rank}.npz")) for rank in range(WORLD)]


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_equal_one_process(name: str, of_ranks: list[dict[str, np.ndarray]]) -> None:
    for key, expected in values(name, 0, 1).items():
        parts = [rank[f"{name} {key}"] for rank in of_ranks]
        if key.startswith("kept"):
            np.testing.assert_array_equal(parts[0], parts[1], err_msg=key)  # what a checkpoint asks for
        np.testing.assert_allclose(sum(parts) / WORLD, expected, rtol=0, atol=1e-12, err_msg=key)
